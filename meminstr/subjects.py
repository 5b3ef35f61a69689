"""What is remembered of each guarded function: counts, histories and sampled deltas, all bounded.

A `FunctionSubject` is the `Around` of its wrapper: a call that the switch lets through reads memory at entry and at
exit if the sampler's budget allows it.  It does not judge.  Followed classes are the matter of `class_subject`.
"""

from __future__ import annotations

import _thread
import threading
import time
from array import array
from collections.abc import Callable
from typing import Any

from .deltas import Deltas
from .faults import settle
from .instrument.functions import kind_of
from .instrument.switches import Pace
from .owned import owned
from .sampling import BEGAN, MEMORY_SIGNALS, UNKNOWN, Sampler
from .series import Series
from .spending import PLENTY_SECONDS

WRAPPER_BYTES = 2_500
"""What a wrapper and its record take, whether it is called or not (traced)."""

_started: Callable[[], int] = getattr(_thread, "_count", lambda: threading.active_count() - 1)
"""Threads beside the first.  (`threading.active_count` takes a lock: who waits for it has objects in hand.)"""
_NOTHING = (0, 0, 0)
_OTHERS_SHARE = 0.05
_CLOCKS_APART = 20e-6
"""Seconds that the clocks of process and thread may differ by being read one after the other."""
_K = len(MEMORY_SIGNALS)
_TIME, _CPU = _K, _K + 1
_EPOCH, _STEPS, _OTHERS = BEGAN + 1, BEGAN + 2, BEGAN + 3
_PAUSED, _AWAY = BEGAN + 4, BEGAN + 4 + _K
"""Of a call that is suspended: levels when it last was, and what the levels moved by while it was."""
_LONGEST_SAMPLE = 30e-6
"""Seconds, where other threads work: beyond was a wait for the interpreter's lock.  (Dear probes have own budgets.)"""
_LARGE_INT, _COUNTERS = 257, 4
"""From here on an int is a block: the counts of samples in subject, changes, nesting and the next look.  Of fifty
functions at once they would look like a step in the program's memory."""
_MOST_STEPS = 64
"""So many steps of a sampled call are read, and no more: a server's main loop is one call."""


class FunctionSubject:
    """One guarded function: the `Around` of its wrapper and its memory.

    Args:
        name: the subject's name in reports.
        every: the sampling interval of its switch.
        sampler: where readings come from.
        on_sample: told after each sample taken; None when nobody looks.
    """

    kind = "function"
    weight = 1
    """How much one sample counts towards the next window; see `background.Windows`."""
    fresh_references = 3
    """References to a result that nobody else holds, as `owned` sees them; the registry measures it."""
    idle_blocks = 0
    """Blocks that a sample itself seems to gain or lose across a call that does nothing; measured too."""
    idle_blocks_of_streams = 0
    """The same of async generators."""

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
        self._streams = self.suspends and kind_of(function) == "async generator"
        self.across = Deltas() if self.suspends else None
        """Of calls that are suspended: the changes from begin to end, others' work in between included; `deltas` are
        those of its own steps."""
        self.directed = 0
        """Samples to take whatever the budget says: somebody grows, and it must be found out who."""
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
        self.pace = Pace(every)
        self._recipe = recipe
        self._due = 0.0
        self._lock = threading.Lock()

    # ------------------------------------------------------------ Around

    def enter(self) -> array[float] | None:
        """Read memory before the call, if the budget allows."""
        try:
            sampler = self.sampler
            now = sampler.clock()
            left = sampler.budget.left(now)
            calls = self.calls()
            wanted = self.directed > 0 and sampler.budget.may_inquire(now)
            made = self.pace.sampled(
                left <= 0 and not wanted, left > PLENTY_SECONDS or wanted, calls - self.calls_before
            )
            for size in made:
                sampler.book(size)
            dear = left <= 0 and calls < self._due and not wanted
            if not self.enabled or dear or (sampler.brackets and sampler.analysing()):
                self.skipped += 1
                sampler.own[1] += self.skipped == _LARGE_INT
                return None
            buffer = sampler.buffer()
            calls, made, size = 0, (), 0  # an int above 256 is a block, which would go between the readings
            opened(buffer, sampler)  # first, so that no thread's work slips in between clocks and reading
            sampler.read(buffer)
            if not self.samples:
                self._history(0.0, buffer)
            return buffer
        except Exception as error:
            settle(f"sampling {self.name}", error)
            return None

    def pause(self, token: array[float] | None) -> bool:
        """After a suspension: remember the levels; False when enough was seen of this call."""
        if token is None:
            return False
        try:
            if not 0 <= token[_STEPS] < _MOST_STEPS:
                token[_STEPS] = UNKNOWN
                return False
            token[_STEPS] += 1
            self._levels(token, _PAUSED, 0.0)
            if token[_CPU] >= 0:
                token[_OTHERS] += max(0.0, _cpu_of_others() - token[_CPU])
            return True
        except Exception as error:
            token[_STEPS] = UNKNOWN
            settle(f"reading memory within {self.name}", error)
            return False

    def step(self, token: array[float] | None) -> None:
        """Before a resumption: what changed meanwhile is others'."""
        if token is None:
            return
        try:
            if token[_STEPS] < 0:
                return
            sampler = self.sampler
            token[_EPOCH] = UNKNOWN if sampler.brackets else sampler.epoch
            if token[_CPU] >= 0:
                token[_CPU] = _cpu_of_others()
            self._levels(token, _AWAY, 1.0)
            for index in range(_K):
                token[_AWAY + index] -= token[_PAUSED + index]
        except Exception as error:
            token[_STEPS] = UNKNOWN
            settle(f"reading memory within {self.name}", error)

    def _levels(self, token: array[float], first: int, kept: float) -> None:
        buffer = self.sampler.buffer()
        self.sampler.read(buffer)
        self.sampler.budget.spent += min(max(0.0, buffer[_TIME] - buffer[BEGAN]), _LONGEST_SAMPLE)
        for index in range(_K):
            if buffer[index] < 0:
                token[index] = UNKNOWN  # of this signal the call tells nothing
            token[first + index] = kept * token[first + index] + buffer[index]
        self.sampler.release(buffer)

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
        self, token: array[float], after: array[float], error: BaseException | None, own: tuple[int, int, int] | None
    ) -> None:
        sampler = self.sampler
        try:
            if error is not None and not isinstance(error, GeneratorExit):
                self.failures += 1
            if sampler.brackets and sampler.analysing():
                return  # another thread analyses just now: the level is in part ours
            if token[_EPOCH] != sampler.epoch:
                own = None
            elif sampler.warm != sampler.epoch:  # the first since an analysis emptied the interpreter's free lists
                sampler.warm, own = sampler.epoch, None
            calls = self.calls() - self.calls_before
            seconds, mixed = after[_TIME] - token[_TIME], False
            if token[_CPU] >= 0 and _started():
                others, steps = token[_OTHERS] + max(0.0, _cpu_of_others() - token[_CPU]), token[_STEPS]
                apart = _CLOCKS_APART * max(1, 1 + steps)
                if others > apart:  # else an idle thread would look busy beside calls of a microsecond
                    self.cpu_of_others += others  # and what changed may be their work
                mixed = others > max(apart, 0.0 if steps else _OTHERS_SHARE * seconds)
            self.seconds += seconds
            with self._lock:
                if own is not None and mixed:
                    self.mixed += 1
                elif own is not None:
                    made = self.deltas.make_room()
                    if made:
                        sampler.book(made)
                    self.deltas.between(token, calls)
                    if token[1] >= 0:
                        token[1] += own[0] + (self.idle_blocks_of_streams if self._streams else self.idle_blocks)
                    if token[2] >= 0:
                        token[2] += own[2]
                    if self.across is not None:
                        made = self.across.make_room()
                        if made:
                            sampler.book(made)
                        self.across.add(calls, token, after, own[1])
                        self.across.seconds[0] += seconds
                        sampler.own[1] += self.across.samples == _LARGE_INT
                    if token[_STEPS] >= 0:
                        for index in range(_K):
                            if token[index] >= 0:
                                token[index] += token[_AWAY + index]
                        self.deltas.add(calls, token, after, own[1])
                self.samples += 1
                sampler.own[1] += _COUNTERS * (self.samples == _LARGE_INT)
                self._history(float(calls), after)
            sampler.keep(after)
            now = sampler.clock()  # the cost so far, without that of a look
            cost = max(0.0, now - after[BEGAN]) + max(0.0, token[_TIME] - token[BEGAN])
            if token[_CPU] >= 0:
                cost = min(cost, _LONGEST_SAMPLE)
            if self.directed:
                self.directed -= 1
                sampler.budget.inquired += min(cost, _LONGEST_SAMPLE)
            else:
                sampler.budget.charge(cost)
            self._due = calls + self.calls_before + calls * sampler.budget.growth(now, calls)
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
                self.sampler.enter(self.series[signal], x, reading[3], reading[index])

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
            self.across = Deltas() if self.suspends else None
            self.samples = 0

    def after_fork(self) -> None:
        """A forked child starts clean: its parent's calls are not its own."""
        self._lock = threading.Lock()
        counted, inherited = self.calls, self.calls()
        self.calls = lambda: counted() - inherited
        self._due = 0.0
        self.restart()
        self.failures = self.skipped = 0
        self.state = {}

    def size_bytes(self) -> int:
        """Memory that this subject takes, roughly."""
        deltas = self.deltas.size_bytes() + (self.across.size_bytes() if self.across is not None else 0)
        return WRAPPER_BYTES + deltas + sum(series.size_bytes() for series in self.series.values())


def opened(reading: array[float], sampler: Sampler) -> None:
    """Make a reading to come the beginning of a sample: what is noted beside it until `FunctionSubject.leave`."""
    for slot in range(_STEPS, len(reading)):
        reading[slot] = 0.0
    reading[_EPOCH] = sampler.epoch
    reading[_CPU] = _cpu_of_others() if _started() else UNKNOWN


def _cpu_of_others() -> float:
    # threads of this process other than the calling one, in CPU seconds
    return time.process_time() - time.thread_time()


def _none() -> int:
    return 0
