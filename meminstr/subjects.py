"""What is remembered of each instrumented function and class: counts, histories and sampled deltas, all bounded.

A `FunctionSubject` is the `Around` of its wrapper: a call that the switch lets through reads memory at entry and at
exit if the sampler's budget allows it.  A `ClassSubject` is the observer of a class follower.  Neither judges.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections.abc import Callable
from typing import Any

from .faults import note_fault
from .owned import owned
from .sampling import MEMORY_SIGNALS, Sampler
from .series import Series

SERIES_BYTES = 4096
"""What a series takes at most; it is allocated whole at once."""

EARLY = 128
"""How many early deltas are kept one by one, to tell a one-time growth and its moment."""


_K = len(MEMORY_SIGNALS)
_SUMS = 3 * _K + 1
_NOTHING = (0, 0, 0)
_MUST = 256
"""Whatever the budget says, a sample is taken when the calls have grown by this fraction since the last: a history
without gaps costs a few hundred samples for each tenfold of the run."""


class Deltas:
    """Sampled per-call changes of each memory signal, over the recent part of the history, and the early ones singly.

    Sums are kept in two halves: when the samples have doubled, the older half is dropped.  What is asked of them is who
    grows *now*, and a warm-up in the first hundred calls must not answer for it.
    """

    __slots__ = ("_half", "_older", "early", "early_used", "gap_sum", "last_call", "samples")

    def __init__(self) -> None:
        self.samples = 0
        # for each half: per signal count, sum, sum of squares; then the sum of slack (see `owned`)
        self._half = array("d", [0.0] * _SUMS)
        self._older = array("d", [0.0] * _SUMS)
        self.gap_sum = array("d", [0.0] * _K)
        """Each delta times the calls since the delta before: the growth of all calls, estimated."""
        self.last_call = 0.0
        self.early = array("d", [0.0] * (EARLY * (_K + 1)))
        self.early_used = 0

    def add(self, call: int, before: array[float], after: array[float], slack: float = 0.0) -> None:
        """Enter one sampled call's readings; unknown readings are passed over."""
        gap = max(1.0, call - self.last_call)
        self.last_call = call
        self.samples += 1
        if self.samples >= 16 and self.samples & (self.samples - 1) == 0:
            self._older, self._half = self._half, self._older
            for i in range(_SUMS):
                self._half[i] = 0.0
        sums = self._half
        sums[_SUMS - 1] += slack
        keep = self.early_used < EARLY
        base = self.early_used * (_K + 1)
        for i in range(_K):
            if before[i] < 0 or after[i] < 0:
                continue
            delta = after[i] - before[i]
            sums[3 * i] += 1
            sums[3 * i + 1] += delta
            sums[3 * i + 2] += delta * delta
            self.gap_sum[i] += delta * gap
            if keep:
                self.early[base + i] = delta * gap
        if keep:
            self.early[base + _K] = call
            self.early_used += 1

    def recent(self, index: int) -> tuple[int, float, float]:
        """Of one signal's recent changes: how many, their mean, and its standard error (infinite below two)."""
        n, total, squares = (self._half[3 * index + j] + self._older[3 * index + j] for j in range(3))
        if n < 2:
            return int(n), (total if n else 0.0), math.inf
        mean = total / n
        variance = max(0.0, squares / n - mean * mean) * n / (n - 1)
        return int(n), mean, math.sqrt(variance / n)

    def slack(self) -> float:
        """Blocks per recent sample that may or may not have gone with the results; see `owned`."""
        n = self._half[0] + self._older[0]
        return (self._half[_SUMS - 1] + self._older[_SUMS - 1]) / n if n else 0.0

    def early_growth(self, index: int) -> list[tuple[int, float]]:
        """The early calls with the growth each stands for, in order."""
        width = _K + 1
        return [(int(self.early[k * width + _K]), self.early[k * width + index]) for k in range(self.early_used)]


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
        self.running = 0
        self.overlapped = 0
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
            self.running += 1
            sampler.read(buffer)
            if not self.samples:
                self._history(0.0, buffer)
            return buffer
        except Exception as error:
            note_fault(f"sampling {self.name}", error)
            return None

    def finish(self, token: array[float] | None, result: Any) -> None:
        """`leave` after a call that returned: what its result alone keeps alive is not left behind."""
        if token is None:
            return
        sampler = self.sampler
        after = sampler.buffer()
        sampler.read(after)
        try:
            own = owned(result, self.fresh_references)
        except Exception as error:
            note_fault(f"sizing the result of {self.name}", error)
            own = None
        self._left(token, after, None, own)

    def leave(self, token: array[float] | None, error: BaseException | None) -> None:
        """Read memory after the call, enter the change and the level, and tell who looks."""
        if token is None:
            return
        after = self.sampler.buffer()
        self.sampler.read(after)
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
            self.running -= 1
            if error is not None and not isinstance(error, GeneratorExit):
                self.failures += 1
            calls = self.calls() - self.calls_before
            with self._lock:
                if own is not None:
                    token[1] += own[0] + self.idle_blocks
                    token[2] += own[2]
                    self.deltas.add(calls, token, after, own[1])
                self.samples += 1
                self._history(float(calls), after)
            self._due = calls + self.calls_before + calls / _MUST
            sampler.keep(after)
            # the cost so far, without that of a look
            sampler.budget.spent += max(0.0, sampler.clock() - after[3]) * 2
            sampler.release(token)
            sampler.release(after)
        except Exception as fault:
            note_fault(f"sampling {self.name}", fault)
        if self.on_sample is not None and error is None:
            self.on_sample(self)

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
        self.failures = self.skipped = self.running = 0
        self.state = {}

    def size_bytes(self) -> int:
        """Memory that this subject takes, roughly."""
        return SERIES_BYTES * len(self.series) + 8 * len(self.deltas.early) + 1000


def _none() -> int:
    return 0


class ClassSubject:
    """One followed class: the observer of its follower, and its histories over constructions."""

    kind = "class"

    def __init__(
        self,
        name: str,
        sampler: Sampler,
        *,
        on_leak: Any = "warn",
        on_sample: Callable[[ClassSubject], None] | None = None,
    ) -> None:
        self.name = name
        self.sampler = sampler
        self.on_leak = on_leak
        self.on_sample = on_sample
        self.horizon: float | None = None
        self.follower: Any = None
        self.series: dict[str, Series] = {k: Series() for k in ("live", "retained", *MEMORY_SIGNALS)}
        self.deltas = Deltas()
        self.samples = 0
        self.enabled = True
        self.state: dict[str, Any] = {}
        self.born_hook: Callable[[ClassSubject, Any], None] | None = None
        self._open: dict[int, array[float]] = {}
        self._due = 0.0
        self._lock = threading.Lock()

    def sampled(self, follower: Any, constructed: int, phase: str) -> None:
        """Around a sampled construction: read memory, enter the change and the counts."""
        sampler = self.sampler
        thread = threading.get_ident()
        if phase == "before":
            if not self.enabled or (sampler.budget.left(sampler.clock()) <= 0 and constructed < self._due):
                return
            buffer = sampler.buffer()
            sampler.read(buffer)
            self._open[thread] = buffer
            return
        before = self._open.pop(thread, None)
        if before is None:
            return
        after = sampler.buffer()
        sampler.read(after)
        with self._lock:
            self.deltas.add(constructed, before, after)
            self.samples += 1
            self._history(float(constructed), after)
        self._due = constructed + constructed / _MUST
        sampler.keep(after)
        sampler.budget.spent += max(0.0, sampler.clock() - after[3]) * 2
        sampler.release(before)
        sampler.release(after)
        if self.on_sample is not None:
            self.on_sample(self)

    def born(self, follower: Any, instance: Any) -> None:
        """A sampled construction's instance, for its birth site."""
        if self.born_hook is not None:
            self.born_hook(self, instance)

    def _history(self, x: float, reading: array[float]) -> None:
        for index, signal in enumerate(MEMORY_SIGNALS):
            if reading[index] >= 0:
                self.series[signal].add(x, reading[3], reading[index])
        counts = self.follower.counts()
        self.series["live"].add(x, reading[3], counts.alive)
        if self.follower.cleanup_names:
            self.series["retained"].add(x, reading[3], counts.retained)

    def level_now(self, reading: dict[str, float], now: float) -> None:
        """Enter a reading taken between constructions."""
        with self._lock:
            counts = self.follower.counts()
            x = float(counts.constructed)
            if x <= 0:
                return
            for signal, value in reading.items():
                if signal in self.series:
                    self.series[signal].add(x, now, value)
            self.series["live"].add(x, now, counts.alive)
            if self.follower.cleanup_names:
                self.series["retained"].add(x, now, counts.retained)

    def restart(self) -> None:
        """Begin the histories anew from here."""
        with self._lock:
            self.series = {k: Series() for k in ("live", "retained", *MEMORY_SIGNALS)}
            self.deltas = Deltas()
            self.samples = 0

    def after_fork(self) -> None:
        """A forked child starts clean."""
        self._lock = threading.Lock()
        self._open = {}
        self.follower.after_fork_in_child()
        self.restart()
        self.state = {}

    def size_bytes(self) -> int:
        """Memory that this subject and its follower take, roughly."""
        own = SERIES_BYTES * len(self.series) + 8 * len(self.deltas.early) + 1000
        return own + int(self.follower.size_bytes())
