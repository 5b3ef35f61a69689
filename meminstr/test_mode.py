"""`assert_no_leak`: in a test, does calling this leave memory behind?  A verdict in about a second.

The function is warmed up, then called in batches; before each reading garbage is collected, so that the counters (live
blocks, C heap, descriptors, threads) are exact.  The readings are judged by the same test and the same gates as in
production, with a horizon of a third of the calls instead of 5,000, because nothing but the function runs meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .diagnosis.figures import Room, finding_of
from .diagnosis.reckoning import Reckoned
from .diagnosis.tracing import with_sites
from .errors import LeakDetected, UsageError
from .evidence import advice, caches, census, growth
from .evidence.allocations import AllocationSite, Window
from .judgement import BoundedFill, Judgement, Policy, Signal, judge, prime
from .sampling import Sampler, program_froze
from .series import Series
from .snapshot import Snapshot, SubjectRecord
from .verdict import Finding, Verdict

_READINGS = 24
_ROUNDS = 3
_WARM_CALLS, _WARM_ROUNDS = 5, 4
"""The fastest round tells what a call takes: one that a busy machine held up would make for too few calls."""
_MAX_BATCH = 1000
_CENSUS_SECONDS = 2.0
"""At most: a test may wait, and half a census names nobody."""
_MOST_TRACED = 200
_SIGNALS = {"blocks": "block", "heap": "byte", "descriptors": "descriptor", "threads": "thread"}
_FLOORS = {"blocks": 8, "heap": 16 * 1024, "descriptors": 4, "threads": 4}


@dataclass
class _Trial:
    """The readings of one assertion so far."""

    name: str
    sampler: Sampler
    batch: int = 1
    calls: int = 0
    series: dict[str, Series] = field(default_factory=dict)
    frozen: bool = False

    def hold(self) -> None:
        """Leave what there is now out of the collections to come: they look at what the function made alone.

        Before each of fifty readings a large program's whole heap would be gone through: 40 ms and more each time.
        """
        if gc.isenabled() and not program_froze():  # a program that froze objects itself: let them be
            gc.collect()
            gc.freeze()
            self.frozen = True

    def let_go(self) -> None:
        """End `hold`; who looks at objects wants them all."""
        if self.frozen:
            gc.unfreeze()
            self.frozen = False

    def read(self, clock: Callable[[], float] = time.perf_counter) -> None:
        if gc.isenabled():
            gc.collect()
        now = clock()
        buffer = self.sampler.buffer()
        self.sampler.read(buffer)
        values: dict[str, float] = {"blocks": buffer[1], "heap": buffer[2]}
        self.sampler.release(buffer)
        for name in ("descriptors", "threads"):
            probe = self.sampler.probes().get(name)
            count = probe.read() if probe is not None else None
            values[name] = -1.0 if count is None else float(count)
        for name, value in values.items():
            if value >= 0:
                if name not in self.series:
                    self.series[name] = Series()
                self.series[name].add(float(self.calls), now, value)

    def gained(self, signal: str) -> float:
        """What a signal gained since the first reading, 0.0 where it is not known."""
        series = self.series.get(signal)
        if series is None or series.first is None or series.last is None:
            return 0.0
        return series.last[2] - series.first[2]

    def judge(self, fill: BoundedFill | None) -> Judgement:
        policy = Policy(horizon=self.calls / 3, x_unit="call", floors=_FLOORS, rare_seconds=None)
        signals = [Signal(n, _SIGNALS[n], s.view()) for n, s in self.series.items()]
        return judge(signals, policy, bounded_fill=fill)

    def finding(self, judged: Judgement) -> Finding:
        record = SubjectRecord(
            name=self.name,
            kind="function",
            calls=self.calls,
            samples=_READINGS,
            failures=0,
            series={n: s.view() for n, s in self.series.items()},
            deltas={},
        )
        snapshot = Snapshot(0.0, {}, {}, {}, (record,))
        return finding_of(Reckoned(record, judged), snapshot, Room(None, None))


def assert_no_leak(
    function: Callable[..., Any], /, *args: Any, seconds: float = 1.0, allocations: bool = True, **kwargs: Any
) -> Finding:
    """Assert that calling a function leaves no memory, descriptor or thread behind.

    Args:
        function: called many times with ``args`` and ``kwargs``; it must be repeatable.
        seconds: about how long to try (a slow function is called at least 24 times).
        allocations: of a function that leaks, trace some more calls (200 at most) with `tracemalloc` and tell the
            lines that kept memory; a tracer that runs already is used and left running.

    Returns:
        The `Finding`, whose verdict is none of ``leaking`` and ``growing``.

    Raises:
        LeakDetected: it leaks; the error's ``finding`` and message say how much, of what, and who holds it.
        UsageError: ``function`` is not callable or a coroutine function, or ``seconds`` is not positive.
    """
    _check(function, seconds)
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"{function!r:.80} is a coroutine function: await assert_no_leak_async for those")
    trial = _Trial(_name(function), Sampler())
    prime()
    state = _warm(lambda n: _repeat(function, args, kwargs, n), trial, seconds)
    while True:
        trial.hold()
        try:
            for _ in range(_READINGS):
                _repeat(function, args, kwargs, trial.batch)
                trial.calls += trial.batch
                trial.read()
        finally:
            trial.let_go()
        done, finding = _settle(trial, state)
        if finding.verdict is Verdict.LEAKING and done:
            if allocations:
                window, calls = Window(), _traced_calls(trial)
                try:
                    _repeat(function, args, kwargs, calls)
                finally:
                    sites = _kept(window, calls)
                finding = with_sites(finding, sites)
            raise LeakDetected(_message(finding), finding)
        if done:
            return finding


async def assert_no_leak_async(
    function: Callable[..., Awaitable[Any]],
    /,
    *args: Any,
    seconds: float = 1.0,
    allocations: bool = True,
    **kwargs: Any,
) -> Finding:
    """The twin of `assert_no_leak` for coroutine functions; tasks left running count as a leak too."""
    _check(function, seconds)
    trial = _Trial(_name(function), Sampler())
    prime()

    async def repeat(n: int) -> None:
        for _ in range(n):
            await function(*args, **kwargs)
        await asyncio.sleep(0)

    times = []
    for _ in range(_WARM_ROUNDS):
        began = time.perf_counter()
        await repeat(_WARM_CALLS)
        times.append(time.perf_counter() - began)
    state = _begin(trial, min(times) / _WARM_CALLS, seconds)
    while True:
        trial.hold()
        try:
            for _ in range(_READINGS):
                await repeat(trial.batch)
                trial.calls += trial.batch
                trial.read()
        finally:
            trial.let_go()
        done, finding = _settle(trial, state)
        if finding.verdict is Verdict.LEAKING and done:
            if allocations:
                window, calls = Window(), _traced_calls(trial)
                try:
                    await repeat(calls)
                finally:
                    sites = _kept(window, calls)
                finding = with_sites(finding, sites)
            raise LeakDetected(_message(finding), finding)
        if done:
            return finding


def _traced_calls(trial: _Trial) -> int:
    return max(10, min(_MOST_TRACED, trial.batch))


def _kept(window: Window, calls: int) -> list[AllocationSite]:
    if gc.isenabled():
        gc.collect()
    sites = window.close()
    most = max((site.bytes for site in sites), default=0)
    # of what is left some is there by chance: a cache that was touched, the last call's result
    return [site for site in sites if site.count >= calls / 2 or site.bytes >= most / 2]


def _check(function: Any, seconds: Any) -> None:
    if not callable(function):
        raise UsageError(f"function={function!r:.80} is not callable: a function is allowed")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise UsageError(f"seconds={seconds!r} is not allowed: a positive number of seconds is")


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__name__).rpartition("<locals>.")[2]


def _repeat(function: Callable[..., Any], args: Any, kwargs: Any, n: int) -> None:
    for _ in range(n):
        function(*args, **kwargs)


@dataclass
class _State:
    containers: Any
    census: Any
    rounds: int = 0


def _warm(repeat: Callable[[int], None], trial: _Trial, seconds: float) -> _State:
    times = []
    for _ in range(_WARM_ROUNDS):
        began = time.perf_counter()
        repeat(_WARM_CALLS)
        times.append(time.perf_counter() - began)
    return _begin(trial, min(times) / _WARM_CALLS, seconds)


def _begin(trial: _Trial, per_call: float, seconds: float) -> _State:
    budget = 0.6 * seconds / _READINGS
    trial.batch = max(1, min(_MAX_BATCH, int(budget / max(per_call, 1e-9))))
    trial.read()  # allocates what readings need, once
    trial.series.clear()
    state = _State(caches.bounded_containers(), census.take(_CENSUS_SECONDS))
    trial.read()
    return state


def _settle(trial: _Trial, state: _State) -> tuple[bool, Finding]:
    """Judge a round: True when there is no more to be learnt from another.  Of a leak the finding says who holds it."""
    state.rounds += 1
    fill = None
    gained = trial.gained("blocks")
    report = caches.fill_between(state.containers, caches.bounded_containers(), blocks_gained=gained)
    if report.growing and not report.full:
        fill = BoundedFill(report.description, True, report.entries_gained, report.capacity, report.capacity_left)
    judged = trial.judge(fill)
    finding = trial.finding(judged)
    if judged.verdict in (Verdict.LEAKING, Verdict.GROWING):
        if state.rounds == 1 or (report.growing and state.rounds < _ROUNDS):
            trial.batch = max(1, trial.batch // 2)  # a second round, half as long again, must confirm it
            return False, finding
        return True, _explained(trial, finding, state)
    if judged.verdict is Verdict.WARMING_UP and fill is None and state.rounds < _ROUNDS:
        trial.batch = min(4 * _MAX_BATCH, trial.batch * 2)
        return False, finding
    return True, finding


def _explained(trial: _Trial, finding: Finding, state: _State) -> Finding:
    """The finding with what grew since the warm-up and who holds it."""
    kind = finding.memory_kind
    found = growth.explain(
        state.census,
        census.take(_CENSUS_SECONDS),
        calls=trial.calls,
        blocks=trial.gained("blocks"),
        size=trial.gained("heap"),
        native=kind == "native_heap",
        exclude=[trial, trial.__dict__, state, state.__dict__, finding, finding.extra],
    )
    groups = found.holders
    return replace(
        finding,
        verdict=Verdict.LEAKING,
        memory_kind="container_buffer" if kind == "native_heap" and found.container_bytes else kind,
        grown=found.grown,
        culprit_type=found.culprit,
        holders=groups,
        advice=advice.advise(groups[0] if groups else None, kind, found.culprit),
    )


def _message(finding: Finding) -> str:
    from .reports.text import finding_lines

    return "\n".join(finding_lines(finding, width=100))
