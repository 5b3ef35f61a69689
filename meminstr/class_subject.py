"""What is remembered of each followed class: histories over constructions, sampled deltas, birth sites, all bounded.

A `ClassSubject` is the observer of a class follower, which counts; it does not judge.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from typing import Any

from .deltas import Deltas
from .evidence import birth_sites
from .evidence.reservoir import Reservoir
from .sampling import BEGAN, MEMORY_SIGNALS, Sampler
from .series import Series
from .spending import PLENTY_SECONDS

_EVEN = 8
_TIME = len(MEMORY_SIGNALS)
_COUNT_SECONDS = 0.005
"""Between two samples that only count (5 us); the budget of those that read memory is the sampler's."""
_OWN_BYTES = 2_000
_SIGNALS = ("live", "retained", *MEMORY_SIGNALS)


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
        self.series: dict[str, Series] = {k: Series() for k in _SIGNALS}
        self.deltas = Deltas()
        self.samples = 0
        self.enabled = True
        self.state: dict[str, Any] = {}
        self.birth_sites = True
        self.reservoir = Reservoir()
        self.active: tuple[float, float] | None = None
        """Clock and CPU time of the process at the last sampled construction; None: none yet."""
        self.began: tuple[float, float] | None = None
        """The same at the first one."""
        self._open: dict[int, array[float]] = {}
        self._births = self._born_at = 0
        self._next_x = 0.0
        self._due = self._told = 0.0
        self._lock = threading.Lock()

    def sampled(self, follower: Any, constructed: int, phase: str) -> None:
        """Around a sampled construction: read memory, enter the change and the counts."""
        sampler = self.sampler
        thread = threading.get_ident()
        if phase == "before":
            now = sampler.clock()
            self.active = (now, time.process_time())
            if self.began is None:
                self.began = self.active
            left = sampler.budget.left(now)
            soon, self._told = now - self._told < _COUNT_SECONDS, now
            follower.sampler.pace(soon or left <= 0, left > PLENTY_SECONDS)
            if not self.enabled or (left <= 0 and constructed < self._due):
                return
            buffer = sampler.buffer()
            sampler.read(buffer)
            self._open[thread] = buffer
            return
        before = self._open.pop(thread, None)
        if before is None:
            if self.enabled:
                # memory is too dear to read now, but counts are not: their history stays even over x, which slopes need
                with self._lock:
                    self._count(float(constructed), sampler.clock())
            return
        after = sampler.buffer()
        sampler.read(after)
        with self._lock:
            made = self.deltas.make_room()
            if made:
                sampler.book(made)
            self.deltas.add(constructed, before, after)
            self.samples += 1
            self._history(float(constructed), after)
        sampler.keep(after)
        now = sampler.clock()
        sampler.budget.charge(max(0.0, now - after[BEGAN]) + max(0.0, before[_TIME] - before[BEGAN]))
        self._due = constructed + constructed * sampler.budget.growth(now, constructed)
        sampler.release(before)
        sampler.release(after)
        if self.on_sample is not None:
            self.on_sample(self)

    def born(self, follower: Any, instance: Any) -> None:
        """A sampled construction's instance, for its birth site."""
        if self.birth_sites:
            # the first constructions are sampled each, later ones ever more rarely: one speaks for all since the last
            constructed = follower.tally.constructed.value
            weight = max(1.0, constructed - self._born_at)
            self._born_at = constructed
            self._births += 1
            if self.reservoir.wants(self._births):
                site, tags = birth_sites.capture(3), birth_sites.current_tags()
                self.reservoir.offer(instance, self._births, self.sampler.clock(), site, tags, weight)

    def _history(self, x: float, reading: array[float]) -> None:
        # the first constructions are all sampled, for their deltas; a history wants its samples evenly over x
        if x < self._next_x:
            return
        for index, signal in enumerate(MEMORY_SIGNALS):
            if reading[index] >= 0:
                self._enter(signal, x, reading[_TIME], reading[index])
        self._next_x = 0.0
        self.follower.sweep()
        self._count(x, reading[3])

    def _count(self, x: float, now: float) -> None:
        if x < self._next_x:
            return
        self._next_x = x + _EVEN
        alive, retained = self.follower.living()
        self._enter("live", x, now, alive)
        if self.follower.cleanup_names:
            self._enter("retained", x, now, retained)

    def _enter(self, signal: str, x: float, now: float, value: float) -> None:
        self.sampler.enter(self.series[signal], x, now, value)

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
            self.series = {k: Series() for k in _SIGNALS}
            self.deltas = Deltas()
            self.samples = 0
            self.active = self.began = None

    def after_fork(self) -> None:
        """A forked child starts clean."""
        self._lock = threading.Lock()
        self._open = {}
        self.follower.after_fork_in_child()
        self.reservoir = Reservoir()
        self._births = self._born_at = 0
        self.restart()
        self.state = {}

    def size_bytes(self) -> int:
        """Memory that this subject and its follower take, roughly."""
        own = _OWN_BYTES + self.deltas.size_bytes() + sum(series.size_bytes() for series in self.series.values())
        return own + int(self.follower.size_bytes())
