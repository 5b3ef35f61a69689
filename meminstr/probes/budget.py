"""How often a probe may be read: each reading is paid for with time in which none is made.

No exact counter of memory is cheap at any heap size (blocks: up to 12 ms, the C heap: up to 207 ms), so each
probe times itself and earns its next reading: after a reading of cost c it rests for c / share.  The cost is an
exponentially weighted mean, so that one reading which lost the processor is paid off in small coins instead of
silencing a 1 us probe for seconds.  Once that mean is above the cap, the probe is dear in earnest: it rests
for the larger of mean and last cost, as rarely as the budget allows, and `over_cap` says so.

The bound this gives, proven by test: cost of all readings but the last <= share x elapsed + 7 x cap.  (Under the
cap the sum of means falls short of the sum of costs by at most (1 - a) / a times the mean, a = 1/8; over the
cap by nothing.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ..errors import UsageError
from ..faults import settle
from .base import Kind, Probe, Unit, checked_reading

_WEIGHT = 0.125
_PATIENCE = 3  # failures in a row before it is asked less often
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 300.0


class TimedProbe:
    """A probe that knows what it costs and reads itself only as often as its budget allows.

    Args:
        probe: what is read.
        budget_share: cost allowed per elapsed time (0.001: one thousandth).
        cap_seconds: above this mean cost a reading counts as dear.
        clock: seconds, monotonic.

    Attributes:
        probe: the probe itself.
        total_cost_seconds: cost of all readings so far.
        reads: readings that succeeded.
        failures: readings that did not.
        last: the last good reading, or None.
        last_at: clock time of the last good reading, or None.

    Raises:
        UsageError: a share or cap that is not a positive, finite number.
    """

    __slots__ = (
        "_busy",
        "_clock",
        "_failed_in_a_row",
        "_mean",
        "_next_at",
        "_read_at",
        "_readings",
        "budget_share",
        "cap_seconds",
        "failures",
        "last",
        "last_at",
        "probe",
        "reads",
        "total_cost_seconds",
    )

    def __init__(
        self,
        probe: Probe,
        budget_share: float = 0.001,
        cap_seconds: float = 0.001,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        for what, value in (("budget_share", budget_share), ("cap_seconds", cap_seconds)):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value <= 0:
                raise UsageError(f"{what}={value!r:.80} of probe {probe.name} is not allowed: a positive number is")
        self.probe = probe
        self.budget_share = budget_share
        self.cap_seconds = cap_seconds
        self._clock = clock
        # by the real clock: what the thread worked, as waiting for the interpreter's lock is no cost of a reading
        self._busy = time.thread_time if clock is time.perf_counter else None
        self._mean = 0.0
        self._readings = 0
        self.total_cost_seconds = 0.0
        self.reads = 0
        self.failures = 0
        self.last: int | None = None
        self.last_at: float | None = None
        self._failed_in_a_row = 0
        self._read_at = -math.inf
        self._next_at = -math.inf

    @property
    def name(self) -> str:
        """The probe's name."""
        return self.probe.name

    @property
    def unit(self) -> Unit:
        """The probe's unit."""
        return self.probe.unit

    @property
    def kind(self) -> Kind:
        """The probe's kind."""
        return self.probe.kind

    @property
    def source(self) -> str:
        """The signal in use."""
        return self.probe.source

    @property
    def cost_seconds(self) -> float:
        """Running mean cost of a reading in seconds; 0.0 before the first."""
        return self._mean / (1.0 - (1.0 - _WEIGHT) ** self._readings) if self._readings else 0.0

    @property
    def over_cap(self) -> bool:
        """Whether a reading costs more than the cap in the running mean."""
        return self._mean > self.cap_seconds

    @property
    def next_at(self) -> float:
        """Clock time from which the next reading is due (minus infinity before the first)."""
        return self._next_at

    def read_if_due(self, now: float | None = None) -> int | None:
        """A reading if the budget allows one, else None; None also when the reading failed.

        Args:
            now: the clock's time, if the caller has just looked.
        """
        if now is None:
            now = self._clock()
        if now < self._next_at and now >= self._read_at:  # before the last reading: the clock went back
            return None
        return self.read()

    def read(self) -> int | None:
        """A reading, whatever it costs (it is paid for afterwards); None when it failed.

        Raises only what a signal handler of the program's raised meanwhile.
        """
        started = self._clock()
        busy = self._busy() if self._busy is not None else None
        # a claim, not a lock: a thread or a collector's callback that comes here meanwhile finds it not due,
        # and nothing can stay locked in a forked child
        self._read_at = started
        self._next_at = started + max(self._mean, self.cap_seconds) / self.budget_share
        value: int | None = None
        error: Exception | None = None
        try:
            value = checked_reading(self.probe.read(), f"probe {self.probe.name}")
        except Exception as caught:
            error = caught
        ended = self._clock()
        cost = ended - started
        if busy is not None and self._busy is not None:
            cost = min(cost, self._busy() - busy)
        rest = self._account(max(0.0, cost))
        if error is None:
            self.reads += 1
            self._failed_in_a_row = 0
            self.last, self.last_at = value, ended
        else:
            self.failures += 1
            self._failed_in_a_row += 1
            rest = max(rest, self._pause())
        self._read_at = ended
        self._next_at = ended + rest
        if error is not None:
            settle(f"probe {self.probe.name}", error)
        return value

    def _account(self, cost: float) -> float:
        self.total_cost_seconds += cost
        self._readings += 1
        # from 0, so that a first reading that waited for a lock weighs no more than any other
        mean = self._mean = self._mean + _WEIGHT * (cost - self._mean)
        return (max(mean, cost) if mean > self.cap_seconds else mean) / self.budget_share

    def _pause(self) -> float:
        if self._failed_in_a_row < _PATIENCE:
            return 0.0
        doublings = min(self._failed_in_a_row - _PATIENCE, 20)
        return min(_FIRST_PAUSE_SECONDS * 2.0**doublings, _LONGEST_PAUSE_SECONDS)
