"""One trial: how often the function is called, when memory is read, and when there is no more to be learnt.

A trial is a generator of numbers of calls, so that the same serves functions and coroutine functions: whoever drives it
makes so many calls and asks for the next number; it ends with a `Finding` or raises `LeakDetected`.

Rounds of 24 readings, each round of more calls than the one before.  What keeps nothing is flat to the block and is
passed after the first round; what grows is called again until its growth has outlasted some 6,000 calls or the time:
what fills up and ends before is no leak, and no test can tell it from one earlier.  Only once something grows are
objects and caches counted, twice: what grew between is the evidence.
"""

from __future__ import annotations

import functools
import os
import time
from array import array
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

from ..diagnosis.figures import Room, finding_of
from ..diagnosis.reckoning import Reckoned
from ..diagnosis.tracing import with_sites
from ..errors import LeakDetected, UsageError
from ..evidence import advice, caches, census, growth
from ..judgement import BoundedFill, Judgement, Policy, judge, prime
from ..snapshot import Snapshot, SubjectRecord
from ..verdict import Finding, Verdict
from . import saying
from .kept_lines import Tracing
from .readings import FIRST, Readings, is_flat, left_out, no_higher

_READINGS = 25
_READINGS_OF_SLOW = 16
"""Of the second round of a function of which one round takes longer than there is time: as many as a verdict needs."""
_WARM_CALLS, _WARM_ROUNDS = 6, 3
"""The fastest round tells what a call takes: one that a busy machine held up would make for too few calls."""
_BATCHES = (36, 220, 400)
"""Calls between two readings of each round, of a quick function.  One call in a hundred leaks eight times in the first
round; the second ends behind 5,000 calls, the horizon of functions elsewhere."""
_SHARES = (0.15, 0.35, 0.5)
"""Of the seconds: how long the calls of each round may take."""
_CENSUS_SECONDS = 2.0
"""At most: a test may wait, and half a census names nobody and sees no cache that fills."""
_BUFFER_SHARE = 0.3
"""Of what the C heap gained: the growth of containers that makes it theirs."""
_TRACED = (20, 1000)
"""Calls traced: so many that some twenty blocks are kept, within these limits."""
_EXACT = ("blocks", "heap", "descriptors", "threads")
_FLOORS = {"blocks": 8, "heap": 16 * 1024, "descriptors": 4, "threads": 4, "mapped": 256 * 1024}
_SUSPECT = (Verdict.LEAKING, Verdict.GROWING)

_prime = functools.cache(prime)
"""What is imported and allocated once is so after the first trial of a process."""

Steps = Generator[int, None, None]


@dataclass
class Trial:
    """The state of one assertion.

    Args:
        name: of the function.
        seconds: about how long to try.
        allocations: trace some calls of a function that leaks.
    """

    name: str
    seconds: float
    allocations: bool
    clock: Callable[[], float] = time.perf_counter
    readings: Readings = field(default_factory=Readings)
    rounds: int = 0
    spent: float = 0.0
    """Seconds that the calls took by the fastest of them: a busy machine makes for no earlier verdict."""
    per_call: float = float("inf")
    pid: int = field(default_factory=os.getpid)
    look: _Look | None = None
    filling: bool = False
    """A container with a known bound is what grows."""
    finding: Finding | None = None
    _counts: array[int] = field(default_factory=lambda: array("q", (FIRST, 0)))
    """Calls made, and calls to make next: in an array, because a number above 256 is a block of its own."""

    @property
    def calls(self) -> int:
        """Calls made so far."""
        return self._counts[0] - FIRST

    def steps(self) -> Steps:
        """Numbers of calls to make; the first is 1, so that what a call returned can be looked at.

        When there are no more, `finding` is what was found.

        Raises:
            LeakDetected: it leaks.
            UsageError: the function returned in a child process.
        """
        _prime()
        yield from self._warm()
        while True:
            yield from self._round()
            judged = self._judged()
            out = self.readings.spent()
            if out is not None and self.readings.rises(out):
                judged = saying.out_of(out, judged)
            final = self.rounds >= len(_BATCHES) or self.spent >= self.seconds or out is not None
            if judged.verdict in _SUSPECT:
                seen_twice = self.look is not None and self.rounds > 1
                if out is not None or (seen_twice and (final or judged.verdict is Verdict.LEAKING)):
                    yield from self._accuse(judged)
            elif final or self._is_done(judged):
                self.finding = self._finding(judged)
                return
            if self.look is None:
                self.look = _Look.now(self)

    # ------------------------------------------------------------ calls and readings

    def _warm(self) -> Steps:
        with left_out():
            for wanted in (1, 1, *(_WARM_CALLS,) * _WARM_ROUNDS):
                number = self.readings.room(wanted, 1) if self.calls > 1 else wanted
                began = self.clock()
                yield from self._call(number)
                took = (self.clock() - began) / number
                if self.calls > 1:  # not what the first call alone takes
                    self.per_call = min(self.per_call, took)
                self.readings.read(self._counts[0])  # what runs out is seen from here on
                if self.readings.spent() is not None or took * _READINGS > self.seconds:
                    break

    def _call(self, number: int) -> Steps:
        yield number
        self._counts[0] += number
        if os.getpid() != self.pid:
            raise UsageError(
                f"{self.name} returned in a process forked by it: a forked child has to end itself, as with os._exit"
            )

    def _round(self) -> Steps:
        readings, plan = self.readings, self._counts
        start = self.clock()
        budget = self.seconds * _SHARES[self.rounds]
        slow = self.rounds > 0 and self.per_call * _READINGS > self.seconds
        number = _READINGS_OF_SLOW if slow else _READINGS
        with left_out():
            readings.resume(plan[0])
            readings.round_begin = readings.count - 1
            for left in range(number, 0, -1):
                quick = int(budget / number / max(self.per_call, 1e-9))
                plan[1] = max(1, min(_BATCHES[self.rounds], quick))
                plan[1] = readings.room(plan[1], left + _READINGS * (not self.rounds))
                del quick
                start = self.clock()
                yield from self._call(plan[1])
                self.per_call = min(self.per_call, (self.clock() - start) / plan[1])
                self.spent += plan[1] * self.per_call
                readings.read(plan[0])
                if self.rounds == 0 and left == _READINGS:  # what the first readings in this place take is ours
                    readings.begin = readings.round_begin = readings.count - 1
                if readings.spent() is not None:
                    break
        self.rounds += 1

    # ------------------------------------------------------------ what the readings say

    def _is_done(self, judged: Judgement) -> bool:
        quiet = judged.verdict in (Verdict.CLEAN, Verdict.INSUFFICIENT_DATA, Verdict.INCONCLUSIVE)
        enough = self.calls >= _READINGS * _BATCHES[0] or self.spent >= 0.6 * self.seconds
        if quiet and enough and is_flat(self.readings):
            return True
        if judged.verdict is Verdict.CLEAN:
            return self.rounds > 1 and no_higher(self.readings)
        return self.filling  # by a cache that is known to end: another round would say the same

    def _judged(self) -> Judgement:
        fill = None
        if self.look is not None:
            report = self.look.fill(self)
            self.filling = report.growing and not report.full
            if self.filling:
                fill = BoundedFill(
                    report.description, True, report.entries_gained, report.capacity, report.capacity_left
                )
            elif report.growing:  # it is full: what comes from here on is judged anew
                self.readings.begin = self.readings.count - 1
                self.look = _Look.now(self)
                return Judgement(Verdict.WARMING_UP, f"bounded cache: {report.description} is full")
        return self._judge(fill)

    def _judge(self, fill: BoundedFill | None) -> Judgement:
        readings = self.readings
        calls = readings.calls()
        policy = Policy(horizon=(calls[-1] - calls[0]) / 3, x_unit="call", floors=_FLOORS, rare_seconds=None)
        judged = judge(readings.signals(_EXACT), policy, bounded_fill=fill)
        if judged.verdict in _SUSPECT:
            # what has an owner says more than the blocks that come with it
            owned = [s.name for s in judged.signals if s.name in ("threads", "descriptors") and s.verdict in _SUSPECT]
            return replace(judged, memory_kind=owned[-1]) if owned else judged
        if "mapped" not in readings.names:
            return judged
        # what is mapped moves with everything else: it speaks where nothing else does
        mapped = judge(readings.signals(("mapped",)), policy, bounded_fill=fill)
        return replace(mapped, memory_kind="mapping") if mapped.verdict in _SUSPECT else judged

    def _finding(self, judged: Judgement) -> Finding:
        record = SubjectRecord(
            name=self.name,
            kind="function",
            calls=self.calls,
            samples=self.readings.count - self.readings.begin,
            failures=0,
            series={s.name: s.view for s in self.readings.signals(self.readings.names)},
            deltas={},
        )
        return finding_of(Reckoned(record, judged), Snapshot(0.0, {}, {}, {}, (record,)), Room(None, None))

    # ------------------------------------------------------------ the evidence

    def _accuse(self, judged: Judgement) -> Steps:
        # before anything is made of what was found, which would be found too
        after = census.take(_CENSUS_SECONDS) if self.look is not None else None
        finding = saying.accused(self._finding(judged), judged, self.readings)
        if self.look is not None and after is not None:
            finding = self._explained(finding, self.look, after)
        if self.allocations and finding.memory_kind not in ("mapping", "threads"):
            rate = max(0.0, finding.blocks_per_call.value) if finding.blocks_per_call is not None else 0.0
            calls = int(min(max(_TRACED[0], 20 / max(rate, 1e-3)), _TRACED[1]))
            # traced calls take three times as long
            calls = max(10, min(calls, int(0.3 * self.seconds / max(self.per_call, 1e-9))))
            calls = self.readings.room(calls, 1)
            tracing = Tracing()
            try:
                yield from self._call(calls)
            finally:
                sites = tracing.close(rate * calls)
            finding = saying.with_block_bytes(with_sites(finding, sites), tracing.block_bytes, judged.rates.get("heap"))
        raise LeakDetected(saying.message(finding), finding)

    def _explained(self, finding: Finding, look: _Look, after: census.Census) -> Finding:
        """The finding with what grew since the first look and who holds it."""
        kind = finding.memory_kind
        size = self.readings.gained("heap", look.reading)
        found = growth.explain(
            look.census,
            after,
            calls=self.calls - look.calls,
            blocks=self.readings.gained("blocks", look.reading),
            size=size,
            native=kind == "native_heap",
            exclude=[self, self.__dict__, look, finding, finding.extra, self.readings, self.readings.__dict__],
        )
        groups = found.holders
        if kind == "native_heap" and found.container_bytes >= _BUFFER_SHARE * max(size, 1.0):
            kind = "container_buffer"
        return replace(
            finding,
            memory_kind=kind,
            grown=found.grown,
            culprit_type=found.culprit,
            holders=groups,
            advice=advice.advise(groups[0] if groups else None, kind, found.culprit),
        )


@dataclass(slots=True)
class _Look:
    """Objects and bounded containers at one moment."""

    containers: list[caches.BoundedContainer]
    census: census.Census
    calls: int
    reading: int

    @staticmethod
    def now(trial: Trial) -> _Look:
        found = caches.bounded_containers(budget_seconds=_CENSUS_SECONDS)
        return _Look(found, census.take(_CENSUS_SECONDS), trial.calls, trial.readings.count - 1)

    def fill(self, trial: Trial) -> Any:
        gained = trial.readings.gained("blocks", self.reading)
        return caches.fill_between(
            self.containers, caches.bounded_containers(budget_seconds=_CENSUS_SECONDS), blocks_gained=gained
        )
