"""What is remembered of each guarded function: counts, histories and sampled deltas, all bounded.

A `FunctionSubject` is the `Around` of its wrapper: a call that the switch lets through reads memory at entry and at
exit if the sampler's budget allows it.  It does not judge.  Followed classes are the matter of `class_subject`.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from typing import Any

from .deltas import EARLY, Deltas
from .faults import settle
from .instrument.functions import kind_of
from .owned import owned
from .sampling import MEMORY_SIGNALS, UNKNOWN, Sampler
from .series import Series

SERIES_BYTES = 4096
"""What a series takes at most; it is allocated whole at once."""

_NOTHING = (0, 0, 0)
_OTHERS_SHARE = 0.05
_CLOCKS_APART = 20e-6
"""Seconds that the clocks of process and thread may differ by being read one after the other."""
_TIME, _CPU = len(MEMORY_SIGNALS), len(MEMORY_SIGNALS) + 1
MUST = 100
"""Whatever the budget says, a sample is taken when the calls have grown by this fraction since the last: a history
without gaps costs a few hundred samples for each tenfold of the run."""


class FunctionSubject:
    """One guarded function: the `Around` of its wrapper and its memory.

    Args:
        name: the subject's name in reports.
        every: the sampling interval of its switch.
        sampler: where readings come from.
        on_sample: told after each sample taken; None when nobody looks.
    """

    kind = "function"
    fresh_references = 3
    """References to a result that nobody else holds, as `owned` sees them; the registry measures it."""
    idle_blocks = 0
    """Blocks that a sample itself seems to gain or lose across a call that does nothing; measured too."""

    def __init__(
        self,
        name: str,
        every: int,
        sampler: Sampler,
        *,
        function: Any = None,
        horizon: float | None = None,
        on_leak: Any = "warn",
        on_sample: Callable[[FunctionSubject], None] | None = None,
        recipe: tuple[Callable[..., Any], dict[str, Any]] | None = None,
    ) -> None:
        self.name = name
        self.every = every
        self.horizon = horizon
        self.on_leak = on_leak
        self.sampler = sampler
        self.function = function
        self.series: dict[str, Series] = {signal: Series() for signal in MEMORY_SIGNALS}
        self.deltas = Deltas()
        self.samples = 0
        self.failures = 0
        self.skipped = 0
        self.suspends = kind_of(function) != "call" if function is not None else False
        self.cpu_of_others = 0.0
        self.seconds = 0.0
        """In sampled calls: CPU seconds of other threads meanwhile, and wall seconds."""
        self.mixed = 0
        """Sampled calls in which another thread worked; their changes are not entered."""
        self.enabled = True
        self.calls: Callable[[], int] = _none
        self.calls_before = 0
        """Calls made before the histories began: a fork or `mark_warm` starts them anew."""
        self.on_sample = on_sample
        self.state: dict[str, Any] = {}
        """What the analysis remembers between looks; see `diagnosis`."""
        self._recipe = recipe
        self._due = 0.0
        self._lock = threading.Lock()

    # ------------------------------------------------------------ Around

    def enter(self) -> array[float] | None:
        """Read memory before the call, if the budget allows."""
        try:
            sampler = self.sampler
            if not self.enabled or (sampler.budget.left(sampler.clock()) <= 0 and self.calls() < self._due):
                self.skipped += 1
                return None
            buffer = sampler.buffer()
            sampler.read(buffer)
            if not self.samples:
                self._history(0.0, buffer)
            buffer[_CPU] = _cpu_of_others() if threading.active_count() > 1 else UNKNOWN
            return buffer
        except Exception as error:
            settle(f"sampling {self.name}", error)
            return None

    def finish(self, token: array[float] | None, result: Any) -> None:
        """`leave` after a call that returned: what its result alone keeps alive is not left behind."""
        if token is None:
            return
        try:
            after = self.sampler.buffer()
            self.sampler.read(after)
            own = owned(result, self.fresh_references)
        except Exception as error:
            settle(f"reading memory after {self.name}", error)
            return
        self._left(token, after, None, own)

    def leave(self, token: array[float] | None, error: BaseException | None) -> None:
        """Read memory after the call, enter the change and the level, and tell who looks."""
        if token is None:
            return
        try:
            after = self.sampler.buffer()
            self.sampler.read(after)
        except Exception as fault:
            settle(f"reading memory after {self.name}", fault)
            return
        self._left(token, after, error, _NOTHING)

    def _left(
        self,
        token: array[float],
        after: array[float],
        error: BaseException | None,
        own: tuple[int, int, int] | None,
    ) -> None:
        sampler = self.sampler
        try:
            if error is not None and not isinstance(error, GeneratorExit):
                self.failures += 1
            calls = self.calls() - self.calls_before
            seconds = after[_TIME] - token[_TIME]
            mixed = False
            if token[_CPU] >= 0 and threading.active_count() > 1:
                others = max(0.0, _cpu_of_others() - token[_CPU])
                self.cpu_of_others += others
                # another thread worked meanwhile: the change may be its own, and says nothing of this call
                mixed = others > max(_CLOCKS_APART, _OTHERS_SHARE * seconds)
            self.seconds += seconds
            with self._lock:
                if own is not None and mixed:
                    self.mixed += 1
                elif own is not None:
                    self.deltas.between(token, calls)
                    token[1] += own[0] + self.idle_blocks
                    token[2] += own[2]
                    self.deltas.add(calls, token, after, own[1])
                self.samples += 1
                self._history(float(calls), after)
            self._due = calls + self.calls_before + calls / MUST
            sampler.keep(after)
            # the cost so far, without that of a look
            sampler.budget.charge(max(0.0, sampler.clock() - after[3]) * 2)
            sampler.release(token)
            sampler.release(after)
        except Exception as fault:
            settle(f"sampling {self.name}", fault)
        if self.on_sample is not None and error is None:
            self.on_sample(self)

    def overlapped(self) -> bool:
        """Whether changes across its sampled calls may be others': threads worked meanwhile, or it was suspended."""
        return self.suspends or self.cpu_of_others > _OTHERS_SHARE * self.seconds

    def recipe(self) -> tuple[Callable[..., Any], dict[str, Any]]:
        """How to make the same guard elsewhere."""
        assert self._recipe is not None
        return self._recipe

    # ------------------------------------------------------------ histories

    def _history(self, x: float, reading: array[float]) -> None:
        for index, signal in enumerate(MEMORY_SIGNALS):
            if reading[index] >= 0:
                self.series[signal].add(x, reading[3], reading[index])

    def level_now(self, reading: dict[str, float], now: float) -> None:
        """Enter a reading taken between calls (at a report): the level after the calls so far."""
        with self._lock:
            calls = float(self.calls() - self.calls_before)
            if calls > 0 and self.samples:
                for signal, value in reading.items():
                    if signal in self.series:
                        self.series[signal].add(calls, now, value)

    def restart(self) -> None:
        """Begin the histories anew from here (start-up is over, a cache is full, a counter was reset)."""
        with self._lock:
            self.calls_before = self.calls()
            self.series = {signal: Series() for signal in MEMORY_SIGNALS}
            self.deltas = Deltas()
            self.samples = 0

    def after_fork(self) -> None:
        """A forked child starts clean."""
        self._lock = threading.Lock()
        self.restart()
        self.failures = self.skipped = 0
        self.state = {}

    def size_bytes(self) -> int:
        """Memory that this subject takes, roughly."""
        return SERIES_BYTES * len(self.series) + 32 * EARLY + 1000


def _cpu_of_others() -> float:
    # threads of this process other than the calling one, in CPU seconds
    return time.process_time() - time.thread_time()


def _none() -> int:
    return 0
