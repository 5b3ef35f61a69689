"""From a `Snapshot` to judgements: every subject judged, growth attributed to the caller it belongs to.  Pure.

The counters are the process's: a function's history says that *something* grows with its calls.  Whether it is the
function is settled by three witnesses, in this order:

1. the changes across its sampled calls, where nothing else ran meanwhile: they add up to the growth, or they do not;
2. least squares over windows, where calls overlap;
3. failing both, a function that is the only one guarded answers for what grows with its calls.

Growth that no guarded function answers for is the process's own finding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ..attribution import Share, attribute, explained
from ..judgement import BoundedFill, Judgement, Policy, Signal, judge
from ..series import SeriesView
from ..snapshot import Snapshot, SubjectRecord
from ..units import format_duration
from ..verdict import Interval, OneTimeGrowth, Verdict
from .latching import Latch, still

PROCESS = "process"
_UNITS = {"blocks": "block", "live": "instance", "retained": "instance"}
_ACCUSED = (Verdict.LEAKING, Verdict.GROWING)
_ONE_TIME_FLOOR = 256 * 1024
_SURE = 2.576
_ENOUGH_EVENTS = 5.0
"""Of so many expected growths, none seen: one chance in 150 that the function is behind them all the same."""
_PROCESS_NOTICE = 60.0
_SEEN = 3.0
"""Rises that samples should have seen, before not having seen them means something (the rule of three, 95 %)."""
_IDLE_SECONDS = 1.0
"""Least time without a construction: importing the analysis for a report must not look like a pause."""
_IDLE_WORK = 0.1
"""Least share of the CPU time that fell into the pause: a program that only waits has not moved on."""


@dataclass(frozen=True, slots=True)
class Reckoned:
    """One subject with what was decided of it."""

    record: SubjectRecord | None
    """None for the process."""
    judgement: Judgement
    one_time: OneTimeGrowth | None = None
    share: Share | None = None
    outside: Judgement | None = None
    """What was said before it turned out that the process grows with this function's calls, but not in them."""
    notes: tuple[str, ...] = ()
    through: str | None = None
    """Of the process: the function with whose calls it grows, outside of them."""


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
    shares: dict[str, dict[str, Share]] = {}
    functions = [r for r in snapshot.subjects if r.kind == "function"]
    judged: list[Reckoned] = []
    for record in functions:
        found = judge_function(record, horizon, snapshot.sources, snapshot.floors, fills.get(record.name))
        found = still(found, record, (latched or {}).get(record.name))
        found = _without_garbage(found, freed or {})
        judged.append(Reckoned(record, found, one_time_growth(record, found)))
    accused = [r for r in judged if r.judgement.verdict in _ACCUSED]
    if accused and len(functions) > 1:
        wanted = {s.name for r in accused for s in r.judgement.signals if s.verdict in _ACCUSED}
        for signal in wanted & {"blocks", "heap", "resident"}:
            shares[signal] = attribute(snapshot.windows, signal)
    judged = [_attributed(r, shares, alone=len(functions) == 1) for r in judged]
    for record in snapshot.subjects:
        if record.kind != "function":
            found = judge_class(record, horizon, snapshot.sources)
            found = _without_garbage(found, (dead or {}).get(record.name, {}))
            judged.append(Reckoned(record, found, one_time_growth(record, found)))
    accused = [r for r in judged if r.judgement.verdict in _ACCUSED]
    unexplained = [] if accused else [r for r in judged if r.outside]
    process = _judge_process(snapshot, unexplained)
    return Reckoning(tuple(judged), process, shares)


def _without_garbage(found: Judgement, freed: Mapping[str, float]) -> Judgement:
    """Growth that a collection gave back was garbage, and no leak: if it gave back that of every accused signal.

    One signal alone proves nothing: a collection also empties the interpreter's free lists, some thousand blocks.
    """
    accused = [s for s in found.signals if s.verdict in _ACCUSED and s.growth > 0]
    if found.verdict not in _ACCUSED or not accused:
        return found
    shares = [min(1.0, freed.get(s.name, 0.0) / s.growth) for s in accused]
    if min(shares) < 0.5:
        return found
    reason = f"garbage: a collection gave back {shares[0]:.0%} of the growth; {accused[0].reason}"
    return replace(found, verdict=Verdict.WARMING_UP, reason=reason, onset_x=None)


def _judge_process(snapshot: Snapshot, outside: list[Reckoned]) -> Reckoned:
    policy = Policy(horizon=600.0, x_unit="second", floors=snapshot.floors, min_samples_horizon=200)
    own = judge(signals_of(snapshot.process, snapshot.sources), policy)
    if own.verdict is Verdict.GROWING and snapshot.at_seconds < _PROCESS_NOTICE:
        reason = f"{own.reason}; {_PROCESS_NOTICE:.0f} s of life are wanted before a process is said to grow"
        own = replace(own, verdict=Verdict.WARMING_UP, reason=reason, onset_x=None)
    if own.verdict is Verdict.LEAKING or not outside:
        return Reckoned(None, own)
    # a leak that grows with a function's calls but outside of them: a thread, a callback, the code between calls
    worst = max(outside, key=lambda r: r.outside.verdict.severity if r.outside else -1)
    if worst.outside is None or worst.record is None or own.verdict.severity >= worst.outside.verdict.severity:
        return Reckoned(None, own)
    reason = f"{worst.outside.reason}; it grows with the calls of {worst.record.name}, but outside of them"
    return Reckoned(None, replace(worst.outside, reason=reason), through=worst.record.name)


def _attributed(one: Reckoned, shares: Mapping[str, Mapping[str, Share]], *, alone: bool) -> Reckoned:
    record, found = one.record, one.judgement
    if record is None or found.verdict not in _ACCUSED:
        return one
    leading = [s for s in found.signals if s.verdict in _ACCUSED and s.rate is not None]
    # exact counters first: pages come into the resident set when they please
    for signal in sorted(leading, key=lambda s: s.name == "resident"):
        rate = signal.rate.value if signal.rate else 0.0
        if rate <= 0 or signal.name not in record.deltas:
            return one  # descriptors, threads: no deltas to ask
        share = shares.get(signal.name, {}).get(record.name)
        known = shares.get(signal.name, {})
        # of a single function the windows can only say that growth goes with its calls, which is known already
        says = explained(known, record.name, rate) if len(known) > 1 else "unclear"
        inside = _inside(record, signal.name, rate, _by_others(record, signal.name))
        if record.overlapped and alone:
            # work may have been handed to a thread: a function that is alone is not acquitted by its own calls
            inside = None
        if inside is True:
            one = replace(one, share=share)
            # with nobody else to blame the process's slope is the rate: objects that the caller made and the function
            # kept are lost by its calls too, though not made in them
            return one if alone else _with_own_rates(one)
        if inside is False and (says != "this" or record.overlapped):
            return _acquitted(one, "between the calls, not in them" if alone else "elsewhere")
        if says in ("this", "collinear"):
            notes = one.notes
            if share is not None and share.collinear_with:
                others = ", ".join(share.collinear_with[:3])
                notes = (*notes, f"its calls cannot be told from those of {others}: the growth is of one of them")
            return replace(one, share=share, notes=notes)
        if says == "another":
            return _acquitted(one, "in calls of others")
    return one


def _by_others(record: SubjectRecord, signal: str) -> float:
    """What others may be expected to leave behind during one sampled call, in units of the signal.

    Samples in which another thread worked are not among the changes.  A call that is suspended has other calls inside
    it: they grow as the process does in that time.
    """
    view = record.series.get(signal)
    if not record.overlapped or view is None or len(view) < 2:
        return 0.0
    half = len(view) // 2
    seconds = view.t[-1] - view.t[half]
    grown = view.low[-1] - view.low[half]
    return max(0.0, grown / seconds * record.seconds_each) if seconds > 0 else 0.0


def _inside(record: SubjectRecord, signal: str, rate: float, others: float = 0.0) -> bool | None:
    """Whether sampled calls account for the rate: True, False, or None when they cannot tell.

    Args:
        record: the function.
        signal: what grows.
        rate: its growth per call.
        others: of a sampled change, what others are expected to have left meanwhile.
    """
    facts = record.deltas[signal]
    if facts.samples < 8:
        return None
    if facts.mean - facts.slack - others - _SURE * facts.error > 0.3 * rate:
        return True
    # what others left is not sure to have been left in this very time: it may excuse no more than all of it
    seen = max(facts.events, facts.samples * _events_per_call(record, signal)) >= _SEEN
    if facts.mean + _SURE * facts.error < 0:
        return None  # it lets go of what its caller made: the balance of its calls is not the whole story
    if seen and facts.mean - others + _SURE * facts.error < 0.3 * rate:
        return False
    return None


def _events_per_call(record: SubjectRecord, signal: str) -> float:
    """How often the level rises, at least: from the share of slots in the later half that show no rise (Poisson).

    A list's buffer grows a few times in ten thousand calls: samples that saw none of it do not acquit.
    """
    view = record.series.get(signal)
    if view is None or len(view) < 8:
        return 0.0
    half = len(view) // 2
    lows = view.low[half:]
    steps = len(lows) - 1
    still = sum(b <= a for a, b in pairwise(lows))
    width = (view.x[-1] - view.x[half]) / steps
    return -math.log(max(still, 0.5) / steps) / width if width > 0 else 0.0


def _with_own_rates(one: Reckoned) -> Reckoned:
    """Its own changes per call in place of the process's slope, where samples tell them more sharply."""
    assert one.record is not None
    rates = dict(one.judgement.rates)
    for signal in ("blocks", "heap"):
        facts, slope = one.record.deltas.get(signal), rates.get(signal)
        if facts is None or slope is None or facts.samples < 32 or facts.slack > 0.05 * abs(facts.mean):
            continue
        # a sampled change also holds what is let go of a moment after the call: above the slope it says nothing, below
        # it the rest of the growth is somebody else's
        if facts.mean + _SURE * facts.error >= (slope.low if slope.low is not None else slope.value):
            continue
        rates[signal] = Interval(facts.mean, facts.mean - _SURE * facts.error, facts.mean + _SURE * facts.error)
    return replace(one, judgement=replace(one.judgement, rates=rates))


def _acquitted(one: Reckoned, where: str) -> Reckoned:
    assert one.record is not None
    reason = f"the process grows while it is called, but {where}"
    judgement = replace(one.judgement, verdict=Verdict.CLEAN, reason=reason, memory_kind=None, onset_x=None)
    return replace(one, judgement=judgement, outside=one.judgement)


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
