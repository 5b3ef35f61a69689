"""`MemoryAlert` and what the two monitors share: reading memory, cooling equal alerts, calling callbacks.

A callback that raises something of meminstr's own (`MemoryLimitExceeded`) has asked for it and is heard; any
other exception of a callback is a fault to be noted, not a reason to end the work that was being watched.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import MeminstrError, UsageError
from ..faults import note_fault
from ..probes import shared_resident
from ..probes.base import checked_reading, psutil_process

logger = logging.getLogger("meminstr.monitors")

Severity = str
CRITICAL_FACTOR = 1.5


@dataclass(frozen=True, slots=True)
class MemoryAlert:
    """Memory above a threshold.

    Attributes:
        timestamp: the monitor's clock, seconds since the epoch by default.
        rss_mb: resident set, in MB of 1024**2 bytes.
        growth_mb: growth over the baseline, in MB.
        threshold_mb: the threshold that was passed, in MB.
        message: one sentence for a log.
        severity: ``warning``, or ``critical`` above one and a half times the threshold.
    """

    timestamp: float
    rss_mb: float
    growth_mb: float
    threshold_mb: float
    message: str
    severity: Severity


AlertCallback = Callable[[MemoryAlert], object]


def severity_of(value: float, threshold: float) -> Severity:
    """``critical`` above 1.5 times the threshold, else ``warning``."""
    return "critical" if value > CRITICAL_FACTOR * threshold else "warning"


def deliver(callback: AlertCallback, alert: MemoryAlert, where: str) -> None:
    """Call back; an exception that is not meminstr's own is noted and goes no further.

    Raises:
        MeminstrError: the callback raised it.
    """
    try:
        callback(alert)
    except MeminstrError:
        raise
    except Exception as error:
        note_fault(where, error)


def finite_number(value: Any, what: str, *, above: float = -math.inf, least: float = -math.inf) -> float:
    """The argument as a number.

    Raises:
        UsageError: no number, not finite, or too small; the sentence says what is allowed.
    """
    allowed = f"a number above {above:g}" if above > -math.inf else f"a number from {least:g} up"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"{what}={value!r:.80} is not a number: {allowed} is allowed")
    if not math.isfinite(value) or value <= above or value < least:
        raise UsageError(f"{what}={value!r:.80} is not allowed: {allowed} is")
    return float(value)


def whole_number(value: Any, what: str, least: int = 1) -> int:
    """The argument as a count.

    Raises:
        UsageError: no integer, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{what}={value!r:.80} is not allowed: a whole number from {least} up is")
    return value


def optional_callable(value: Any, what: str) -> None:
    """Nothing, if the argument is None or can be called.

    Raises:
        UsageError: it cannot.
    """
    if value is not None and not callable(value):
        raise UsageError(f"{what}={value!r:.80} is not callable: a function of one MemoryAlert, or None, is allowed")


class Cooldown:
    """Lets an alert of one kind through once in so many seconds; 0 lets all through."""

    def __init__(self, seconds: float) -> None:
        self.seconds = finite_number(seconds, "cooldown_seconds", least=0.0)
        self._last: dict[str, float] = {}

    def allows(self, kind: str, now: float) -> bool:
        """Whether an alert of this kind is due; a clock that went back counts as due."""
        last = self._last.get(kind)
        if last is not None and last <= now < last + self.seconds:
            return False
        self._last[kind] = now
        return True


class ReadsMemory:
    """What both monitors have: `process`, and resident bytes that come from it when it was replaced.

    Args:
        read: resident bytes now; None for this process's own, by the cheapest way there is.
    """

    def __init__(self, read: Callable[[], int] | None) -> None:
        if read is not None and not callable(read):
            raise UsageError(f"read={read!r:.80} is not callable: a function that returns bytes is allowed")
        self._process: Any = None
        self._read_bytes = read if read is not None else shared_resident().read
        self._reads_this_process = read is None
        self._last_bytes = 0

    @property
    def process(self) -> Any:
        """The `psutil.Process` of this process; a replacement (a test's, a child's) is read from then on."""
        return self._process if self._process is not None else psutil_process()

    @process.setter
    def process(self, process: Any) -> None:
        self._process = process
        self._read_bytes = lambda: process.memory_info().rss
        self._reads_this_process = False

    def _try_reading(self) -> int | None:
        """Resident bytes; None when the reading fails, which is noted."""
        try:
            self._last_bytes = checked_reading(self._read_bytes(), "the monitor's reading")
        except Exception as error:
            note_fault("monitor reading", error)
            return None
        return self._last_bytes

    def _resident_bytes(self) -> int:
        """Resident bytes; the last good figure (0 before any) when the reading fails."""
        self._try_reading()
        return self._last_bytes
