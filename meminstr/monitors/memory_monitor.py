"""`MemoryMonitor`: is this process below its limit, and what did one piece of work do to it?

For limits that stop a call while it runs see `meminstr.memory_limited`; a guard here looks at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import MeminstrError, MemoryLimitExceeded, UsageError
from ..faults import note_fault
from ..probes import Limit, Peak, PeakMeter, process_meter, tightest_limit
from ..units import GIB, MIB, scaled_bytes
from .alert import (
    AlertCallback,
    Cooldown,
    MemoryAlert,
    ReadsMemory,
    deliver,
    logger,
    optional_callable,
    severity_of,
)
from .periodic import Periodic


@dataclass(slots=True)
class GuardRecord:
    """What `MemoryMonitor.memory_guard` yields; complete once the block has ended.

    Attributes:
        start_bytes: resident bytes at the start of the block.
        limit_bytes: the limit that holds for the block, read at its start.
        end_bytes: resident bytes at the end; None while the block runs.
        peak_bytes: highest resident bytes within the block; None while it runs, or if nothing could tell.
        peak_exact: whether that is the exact peak, not merely the larger of two readings.
        peak_source: the signal the peak comes from.
        exceeded: whether the block's end, or its exact peak, was above the limit.
    """

    start_bytes: int
    limit_bytes: int
    end_bytes: int | None = None
    peak_bytes: int | None = None
    peak_exact: bool = False
    peak_source: str = ""
    exceeded: bool = False


class MemoryMonitor(ReadsMemory, Periodic):
    """Watches the resident set of this process against a limit.

    Args:
        limit_gb: the limit in GB of 1024**3 bytes; None for the tightest limit of the surroundings (container,
            soft resource limits, physical memory), read anew at each use.
        on_exceed: called with a `MemoryAlert` when a guard or a periodic check finds the limit exceeded.
        cooldown_seconds: an alert equal to one given less than this long ago is neither logged nor called back.
        read: resident bytes now, in place of this process's own.
        clock: seconds since the epoch.
        container: tells the limit for ``limit_gb=None``.
        meter: measures peaks.

    Raises:
        UsageError: a limit that is not a positive number, no limit known for None, or another bad argument.
    """

    def __init__(
        self,
        limit_gb: float | None = 4.0,
        *,
        on_exceed: AlertCallback | None = None,
        cooldown_seconds: float = 0.0,
        read: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
        container: Callable[[], Limit | None] = tightest_limit,
        meter: PeakMeter | None = None,
    ) -> None:
        fixed = None if limit_gb is None else scaled_bytes(limit_gb, GIB, "limit_gb")
        optional_callable(on_exceed, "on_exceed")
        ReadsMemory.__init__(self, read)
        Periodic.__init__(self, self.check)
        self.on_exceed = on_exceed
        self._cooldown = Cooldown(cooldown_seconds)
        self._clock = clock
        self._container = container
        self._given_meter = meter
        self._limit_bytes = fixed
        self._known_limit = 0
        if fixed is None:
            self._known_limit = self._limit_of_surroundings()

    @property
    def limit_bytes(self) -> int:
        """The limit in bytes; may be set."""
        return self._limit_bytes if self._limit_bytes is not None else self._limit_of_surroundings()

    @limit_bytes.setter
    def limit_bytes(self, value: int) -> None:
        self._limit_bytes = scaled_bytes(value, 1, "limit_bytes")

    def get_memory_usage(self) -> float:
        """Resident set in GB of 1024**3 bytes."""
        return self._resident_bytes() / GIB

    def check_memory_limit(self) -> bool:
        """Whether usage is below the limit."""
        return self.get_memory_usage() * GIB < self.limit_bytes

    def check(self) -> MemoryAlert | None:
        """One full check, as a thread or task repeats it: logs and calls back above the limit.

        Raises:
            MeminstrError: `on_exceed` raised it.
        """
        usage, limit = round(self.get_memory_usage() * GIB), self.limit_bytes
        return self._alert(usage, limit, 0, self._exceeded_text(usage, limit)) if usage > limit else None

    @contextmanager
    def memory_guard(self, raise_on_exceed: bool = False) -> Iterator[GuardRecord]:
        """Log what the block did to memory; yields a `GuardRecord` with the peak inside.

        At the end one line is logged on ``meminstr.monitors``: a WARNING when usage is above the limit, else an
        INFO when memory increased by as much as shows in the two figures, which have two decimals.  A peak above
        the limit that was gone by the end is a WARNING of its own.  An exception of the block is never replaced.

        Raises:
            MemoryLimitExceeded: with ``raise_on_exceed``, when the end or the exact peak was above the limit.
        """
        start = round(self.get_memory_usage() * GIB)
        record = GuardRecord(start, self.limit_bytes)
        meter, window = self._meter(), None
        try:
            window = meter.begin() if meter is not None else None
        except Exception as error:
            note_fault("peak of a memory guard", error)
        succeeded = False
        try:
            yield record
            succeeded = True
        finally:
            end = record.end_bytes = round(self.get_memory_usage() * GIB)
            peak = Peak(max(start, end), False, "two readings")
            try:
                if meter is not None and window is not None:
                    peak = meter.end(window)
            except Exception as error:
                note_fault("peak of a memory guard", error)
            record.peak_bytes = max(peak.bytes, start, end)
            record.peak_exact, record.peak_source = peak.exact, peak.source
            try:
                self._conclude(record, end, record.peak_bytes, raise_on_exceed)
            except MeminstrError as error:  # of the limit, or of the callback
                if succeeded:
                    raise
                note_fault("memory guard of a block that failed itself", error)

    def _meter(self) -> PeakMeter | None:
        # a peak of this process says nothing about readings that come from elsewhere
        return self._given_meter or (process_meter if self._reads_this_process else None)

    def _conclude(self, record: GuardRecord, end: int, peak: int, may_raise: bool) -> None:
        limit, growth = record.limit_bytes, end - record.start_bytes
        record.exceeded = end > limit or (record.peak_exact and peak > limit)
        before, after = f"{record.start_bytes / GIB:.2f}", f"{end / GIB:.2f}"
        if end <= limit and growth > 0 and before != after:
            logger.info("Memory increased during operation: %s GB → %s GB", before, after)
        if not record.exceeded:
            return
        observed = end if end > limit else peak
        text = self._exceeded_text(end, limit) if end > limit else self._peak_text(peak, limit)
        self._alert(observed, limit, growth, text)
        if may_raise:
            raise MemoryLimitExceeded(
                text, subject="memory_guard", limit_bytes=limit, observed_bytes=observed, peak_bytes=peak
            )

    def _alert(self, usage: int, limit: int, growth: int, text: str) -> MemoryAlert:
        now = self._clock()
        alert = MemoryAlert(now, usage / MIB, growth / MIB, limit / MIB, text, severity_of(usage, limit))
        if self._cooldown.allows(alert.severity, now):
            logger.warning("%s", text)
            if self.on_exceed is not None:
                deliver(self.on_exceed, alert, "on_exceed callback of MemoryMonitor")
        return alert

    @staticmethod
    def _exceeded_text(usage: int, limit: int) -> str:
        return f"Memory usage exceeded limit: {usage / GIB:.2f} GB (limit: {limit / GIB:.2f} GB)"

    @staticmethod
    def _peak_text(peak: int, limit: int) -> str:
        return f"Memory peak exceeded limit: {peak / GIB:.2f} GB (limit: {limit / GIB:.2f} GB)"

    def _limit_of_surroundings(self) -> int:
        try:
            limit = self._container()
        except Exception as error:
            note_fault("container limit", error)
            limit = None
        if limit is not None:
            self._known_limit = limit.bytes
        elif not self._known_limit:
            raise UsageError("limit_gb=None, but no limit of the surroundings is known: a positive number is allowed")
        return self._known_limit
