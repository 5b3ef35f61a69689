"""From a `Snapshot` to judgements: every subject judged, growth attributed to the caller it belongs to.  Pure.

The counters are the process's: a function's history says that *something* grows with its calls.  Whether it is the
function is settled in `attributing`; growth that no guarded function answers for is the process's own finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..attribution import Share
from ..judgement import BoundedFill, Judgement, Policy, Signal, judge
from ..series import SeriesView
from ..snapshot import Snapshot, SubjectRecord
from ..units import format_duration
from ..verdict import Interval, OneTimeGrowth, Verdict
from .attributing import attributed
from .latching import Latch, still
from .witnesses import ACCUSED as _ACCUSED
from .witnesses import Reckoned as Reckoned

PROCESS = "process"
_UNITS = {"blocks": "block", "live": "instance", "retained": "instance"}
_ONE_TIME_FLOOR = 256 * 1024
_PROCESS_NOTICE = 60.0
_IDLE_SECONDS = 1.0
"""Least time without a construction: importing the analysis for a report must not look like a pause."""
_IDLE_WORK = 0.1
"""Least share of the CPU time that fell into the pause: a program that only waits has not moved on."""


@dataclass(frozen=True, slots=True)
class Reckoning:
    """All subjects of a snapshot, judged."""

    subjects: tuple[Reckoned, ...]
    process: Reckoned
    shares: Mapping[str, Mapping[str, Share]] = field(default_factory=dict)


def signals_of(series: Mapping[str, SeriesView], sources: Mapping[str, str]) -> list[Signal]:
    """Histories as the judge takes them."""
    kept = {name: view for name, view in series.items() if len(view)}
    return [Signal(name, _UNITS.get(name, "byte"), view, sources.get(name, "")) for name, view in kept.items()]


def function_policy(horizon: float, floors: Mapping[str, float]) -> Policy:
    """The policy for functions: the horizon counts calls."""
    return Policy(horizon=horizon, x_unit="call", floors=floors)


def judge_function(
    record: SubjectRecord, horizon: float, snapshot_sources: Mapping[str, str], floors: Mapping[str, float],
    fill: BoundedFill | None = None,
) -> Judgement:  # fmt: skip
    """Judge one function by its history alone, before attribution."""
    policy = function_policy(record.horizon or horizon, floors)
    return judge(signals_of(record.series, snapshot_sources), policy, bounded_fill=fill)


def judge_class(record: SubjectRecord, horizon: float, sources: Mapping[str, str]) -> Judgement:
    """Judge one class by its live and retained counts."""
    series = {k: v for k, v in record.series.items() if k in ("live", "retained")}
    policy = Policy(horizon=record.horizon or horizon, x_unit="construction")
    return _built_and_kept(record, judge(signals_of(series, sources), policy))


def _built_and_kept(record: SubjectRecord, found: Judgement) -> Judgement:
    """Instances built at the start and kept, while the program has long been doing something else, are no leak.

    Idle means: no construction in the later half of the time, in which the process worked.  What outlived its cleanup
    is a leak all the same.
    """
    accused = {s.name for s in found.signals if s.verdict in _ACCUSED}
    if found.verdict not in _ACCUSED or accused != {"live"}:
        return found
    idle, observed = record.idle_seconds, record.observed_seconds
    if idle < max(_IDLE_SECONDS, 0.5 * observed) or record.idle_work < _IDLE_WORK:
        return found
    view = record.series["live"]
    alive = view.last[2] if view.last else view.mean[-1]
    reason = (
        f"settled: {alive:,.0f} instances built in the first {format_duration(observed - idle)} and kept, "
        f"none constructed in the {format_duration(idle)} since"
    )
    return replace(found, verdict=Verdict.CLEAN, reason=reason, memory_kind=None, onset_x=None)


def reckon(
    snapshot: Snapshot,
    *,
    horizon: float = 5000.0,
    fills: Mapping[str, BoundedFill] | None = None,
    freed: Mapping[str, float] | None = None,
    dead: Mapping[str, Mapping[str, float]] | None = None,
    latched: Mapping[str, Latch] | None = None,
) -> Reckoning:
    """Judge every subject of a snapshot.

    Args:
        snapshot: what was recorded.
        horizon: calls or constructions that growth must last.
        fills: by function, what the census of bounded containers says.
        freed: by signal, what a collection after the last sample gave back.
        dead: by class, instances that it freed: ``live`` and ``retained``.
        latched: by function, the growth that passed every gate at an earlier look.
    """
    fills = fills or {}
    functions = [r for r in snapshot.subjects if r.kind != "class"]
    judged: list[Reckoned] = []
    for record in functions:
        found = judge_function(record, horizon, snapshot.sources, snapshot.floors, fills.get(record.name))
        found = still(found, record, (latched or {}).get(record.name))
        found = _without_garbage(found, freed or {}, float(record.calls))
        judged.append(Reckoned(record, found, one_time_growth(record, found)))
    judged, shares = attributed(judged, snapshot)
    for record in snapshot.subjects:
        if record.kind == "class":
            found = judge_class(record, horizon, snapshot.sources)
            found = _without_garbage(found, (dead or {}).get(record.name, {}), float(record.calls))
            judged.append(Reckoned(record, found, one_time_growth(record, found)))
    accused = [r for r in judged if r.judgement.verdict in _ACCUSED]
    unexplained = [] if accused else [r for r in judged if r.outside]
    process = _judge_process(snapshot, unexplained)
    return Reckoning(tuple(judged), process, shares)


def _without_garbage(found: Judgement, freed: Mapping[str, float], last_x: float) -> Judgement:
    """Growth that a collection gave back was garbage, and no leak: if it gave back that of every accused signal.

    One signal alone proves nothing: a collection also empties the interpreter's free lists, some thousand blocks.
    """
    accused = [s for s in found.signals if s.verdict in _ACCUSED and s.growth > 0]
    if found.verdict not in _ACCUSED or not accused:
        return found
    shares = [min(1.0, freed.get(s.name, 0.0) / s.growth) for s in accused]
    if min(shares) < 0.5:
        return replace(found, rates={**found.rates, **_less_garbage(found, freed, last_x)})
    reason = f"garbage: a collection gave back {shares[0]:.0%} of the growth; {accused[0].reason}"
    return replace(found, verdict=Verdict.WARMING_UP, reason=reason, onset_x=None)


def _less_garbage(found: Judgement, freed: Mapping[str, float], last_x: float) -> dict[str, Interval]:
    """Rates less half of the garbage that a collection found: between none and all of it came since the onset.

    The lower limit allows for all, the upper one for none.
    """
    out = {}
    for signal in found.signals:
        rate, gone = found.rates.get(signal.name), freed.get(signal.name, 0.0)
        if rate is None or gone <= 0 or signal.verdict not in _ACCUSED or last_x <= (signal.onset_x or 0.0):
            continue
        less = min(gone / (last_x - (signal.onset_x or 0.0)), max(0.0, rate.value))
        out[signal.name] = Interval(rate.value - less / 2, None if rate.low is None else rate.low - less, rate.high)
    return out


def _judge_process(snapshot: Snapshot, outside: list[Reckoned]) -> Reckoned:
    policy = Policy(horizon=600.0, x_unit="second", floors=snapshot.floors, min_samples_horizon=200)
    own = judge(signals_of(snapshot.process, snapshot.sources), policy)
    if own.verdict in (Verdict.GROWING, Verdict.WARMING_UP) and snapshot.at_seconds < _PROCESS_NOTICE:
        age = f"{format_duration(snapshot.at_seconds)} of {format_duration(_PROCESS_NOTICE)}"
        reason = f"too young to be judged as a whole ({age}), so go by the subjects; so far {own.reason}"
        own = replace(own, verdict=Verdict.WARMING_UP, reason=reason, onset_x=None)
    if own.verdict is Verdict.LEAKING or not outside:
        return Reckoned(None, own)
    # a leak that grows with a function's calls but outside of them: a thread, a callback, the code between calls
    worst = max(outside, key=lambda r: r.outside.verdict.severity if r.outside else -1)
    if worst.outside is None or worst.record is None or own.verdict.severity >= worst.outside.verdict.severity:
        return Reckoned(None, own)
    reason = f"{worst.outside.reason}; it grows with the calls of {worst.record.name}, but outside of them"
    return Reckoned(None, replace(worst.outside, reason=reason), through=worst.record.name)


def one_time_growth(record: SubjectRecord, found: Judgement) -> OneTimeGrowth | None:
    """What a subject took once and kept, from its early sampled calls; None below 256 KiB or while it still grows.

    The moment is the call by which 95 % of it had been taken.
    """
    if found.verdict in _ACCUSED:
        return None
    best: OneTimeGrowth | None = None
    for signal in ("heap", "resident"):
        facts = record.deltas.get(signal)
        if facts is None or not facts.early:
            continue
        total, until, level = 0.0, 0, 0.0
        for _, change in facts.early:
            total += change
        if total < _ONE_TIME_FLOOR:
            continue
        for call, change in facts.early:
            level += change
            if level >= 0.95 * total:
                until = call
                break
        # growth after that moment, as far as samples saw it, must be small beside it
        later = facts.estimated_total - total
        if later > 0.25 * total:
            continue
        exact = next((j.one_time_growth for j in found.signals if j.name == signal and j.one_time_growth), None)
        if exact is not None and 0.5 * exact[0] <= total <= 2 * exact[0]:
            # the level before and after is exact, where sampled calls stand for those between them
            total, until = exact[0], min(until, int(exact[1]))
        if best is None or total > best.bytes:
            best = OneTimeGrowth(int(total), until)
    return best


def settled(reckoned: Reckoned) -> Reckoned:
    """Word a clean verdict with a one-time growth behind it."""
    found = reckoned.judgement
    if reckoned.one_time is None or found.verdict is not Verdict.CLEAN or reckoned.outside:
        return reckoned
    if found.reason.startswith("settled"):
        return reckoned
    return replace(reckoned, judgement=replace(found, reason="settled"))
