"""Numbers in, judgement out: what a signal's history means, and what several signals say together.

Covers the six states, the kind of memory, and the time left to a limit.  The method is that of
`meminstr.trend`; the records are those of `meminstr.policy`, the sentences those of `meminstr.sentences`.  Pure:
nothing here reads the process, a clock or a container.  Leaves to others: taking samples, looking into
containers (`BoundedFill` is what such a look says), explaining who holds what.

numpy is imported by the first judgement, and that costs memory: `prime` does it beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from . import sentences
from .policy import FLOORS, BoundedFill, Judgement, Policy, Signal, SignalJudgement
from .series import Series, SeriesView
from .verdict import Interval, Verdict

if TYPE_CHECKING:
    from .trend.episode import Episode, Terms
    from .trend.surge import Surge

__all__ = [
    "FLOORS",
    "BoundedFill",
    "Judgement",
    "Policy",
    "Signal",
    "SignalJudgement",
    "eta",
    "judge",
    "judge_signal",
    "prime",
]

_OWNED = frozenset(("live", "retained", "descriptors", "threads", "tasks"))
_MIN_SLOTS = 16
_LEVEL_SHARE = 0.01
_LN10 = math.log(10)
_WAITING = frozenset(("horizon", "material", "pace"))
_WARMING = frozenset(("shape", "events", "stalled", "given-back"))
_DEFAULT = Policy()


def judge_signal(signal: Signal, policy: Policy = _DEFAULT) -> SignalJudgement:
    """Judge one signal by its own history (VERDICTS.md, section 3).

    Args:
        signal: its name, unit and history.
        policy: horizon, floors and error.

    Returns:
        Verdict, reason and figures; never raises for what a history holds.
    """
    view = signal.view
    if len(view) < 2:
        return SignalJudgement(
            signal.name,
            signal.unit,
            signal.source,
            Verdict.INSUFFICIENT_DATA,
            sentences.few(view, policy),
        )
    from .trend.episode import analyse, columns

    x, t, low, mean, starts = columns(view.x, view.t, view.low, view.mean, view.begin)
    terms = _terms(signal.name, abs(float(low[len(low) // 2])), policy)
    episode = analyse(
        x,
        t,
        low,
        mean,
        terms,
        epoch=view.epoch,
        stride=view.stride,
        starts=starts,
        last=view.last[2] if view.last else None,
    )
    return _describe(signal, policy, episode, terms)


def _terms(name: str, level: float, policy: Policy) -> Terms:
    from .trend.episode import Terms

    share = _LEVEL_SHARE * level
    floor = policy.floors.get(name, FLOORS.get(name))
    if floor is None:
        floor = max(share, 1e-9)
    horizon = policy.horizon_of(name)
    return Terms(
        alpha=policy.alpha,
        floor=floor,
        tolerance=max(floor, share),
        horizon=horizon,
        horizon_seconds=policy.min_seconds_horizon or 0.0,
        horizon_samples=policy.min_samples_horizon,
        rare_seconds=math.inf if policy.rare_seconds is None else policy.rare_seconds,
        rare_samples=policy.rare_samples,
        owned=name in _OWNED,
    )


def _surge(view: SeriesView, episode: Episode, terms: Terms) -> Surge | None:
    """Growth since a moment ago; the slots must speak for themselves where they are as fine as the readings."""
    if episode.slots < _MIN_SLOTS:
        return None
    from .trend.episode import NOTICE_SHARE, columns
    from .trend.surge import find_surge

    x, values = columns(view.recent_x, view.recent)
    earlier = [high for at, high in zip(view.x, view.high, strict=True) if at < x[0]]
    if not earlier:
        return None
    return find_surge(x, values, max(earlier), terms.floor * NOTICE_SHARE, episode.log_threshold)


def _describe(signal: Signal, policy: Policy, episode: Episode, terms: Terms) -> SignalJudgement:
    verdict, reason = _state(signal, policy, episode, terms)
    if verdict in (Verdict.CLEAN, Verdict.INCONCLUSIVE):
        surge = _surge(signal.view, episode, terms)
        if surge is not None:
            return SignalJudgement(
                name=signal.name,
                unit=signal.unit,
                source=signal.source,
                verdict=Verdict.GROWING,
                reason=sentences.surging(surge, signal, policy),
                gates=("horizon",),
                log10_evidence=surge.log_e / _LN10,
                rate=_interval(*surge.rate),
                growth=surge.growth,
                onset_x=surge.onset_x,
                shape="hinge",
            )
    once = episode.settled
    # growth that goes on was not one-time, unless it is over beyond doubt
    one_time = once is not None and (once.over or episode.slots < _MIN_SLOTS) and verdict in _ENDED
    return SignalJudgement(
        name=signal.name,
        unit=signal.unit,
        source=signal.source,
        verdict=verdict,
        reason=reason,
        gates=episode.failed,
        log10_evidence=max(0.0, episode.log_e / _LN10),
        rate=_interval(episode.rate.value, episode.rate.low, episode.rate.high),
        growth=episode.growth,
        onset_x=episode.onset_x if verdict in (Verdict.LEAKING, Verdict.GROWING) else None,
        one_time_growth=(once.amount, once.until_x) if one_time and once is not None else None,
        excluded_rate=_excluded(episode, terms),
        shape=episode.shape.name,
    )


def _excluded(episode: Episode, terms: Terms) -> float | None:
    # growth below the floor is not looked at, whatever its limits: a rate that stays below it is not excluded
    if not math.isfinite(episode.excluded) or episode.span_x <= 0:
        return None
    return max(episode.excluded, terms.floor / episode.span_x)


_ENDED = frozenset((Verdict.CLEAN, Verdict.INSUFFICIENT_DATA, Verdict.INCONCLUSIVE, Verdict.WARMING_UP))


def _state(signal: Signal, policy: Policy, episode: Episode, terms: Terms) -> tuple[Verdict, str]:
    least = _excluded(episode, terms)
    view = signal.view
    few = episode.slots < _MIN_SLOTS
    failed = set(episode.failed)
    if episode.shape.steady and failed <= _WAITING and episode.notable:
        if not failed and not (few and signal.name != "retained"):
            return Verdict.LEAKING, sentences.steady(episode, signal, policy)
        return Verdict.GROWING, sentences.steady(episode, signal, policy)
    once = episode.settled
    if few:
        text = sentences.few(view, policy)
        if once is not None and once.over:
            text += f"; {sentences.settled(once, signal, policy, float(view.x[-1]))}"
        return Verdict.INSUFFICIENT_DATA, text
    if once is not None and once.over and not episode.shape.steady:
        text = sentences.settled(once, signal, policy, float(view.x[-1]))
        return Verdict.CLEAN, f"{text}; {sentences.bound(least, signal, policy)}"
    if episode.quiet and not (episode.shape.steady and episode.notable and "late-rate" not in failed):
        return Verdict.CLEAN, f"no growth: {sentences.bound(least, signal, policy)}"
    evident = "evidence" not in failed and "material" not in failed
    if (evident and failed & _WARMING) or _recent_step(episode):
        return Verdict.WARMING_UP, sentences.held(episode, signal, policy)
    text = sentences.held(episode, signal, policy) if evident or once is not None else sentences.varying(signal)
    return Verdict.INCONCLUSIVE, f"{text}; {sentences.bound(least, signal, policy)}"


def _recent_step(episode: Episode) -> bool:
    # a single large increment that has not yet stood for as long as what came before it
    return episode.settled is not None and not episode.settled.over and episode.steps.largest_share > 0.5


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(value, low if math.isfinite(low) else None, high if math.isfinite(high) else None)


def judge(
    signals: Sequence[Signal], policy: Policy = _DEFAULT, *, bounded_fill: BoundedFill | None = None
) -> Judgement:
    """Judge all signals of a subject together (VERDICTS.md, 3.8).

    Any one exact signal may accuse, since small leaks show in just one; the resident set alone accuses only when
    it grows steadily, which is a mapping outside the allocators, and never when it saturates.

    Args:
        signals: histories of the same subject, over the same x.
        policy: horizon, floors and error; the error is each signal's own.
        bounded_fill: what a census of containers with a known bound said, when there was one.
    """
    # a list first: tuple() of a generator takes blocks for ten and keeps those it shrinks in free lists (3.11)
    judged = tuple([judge_signal(signal, policy) for signal in signals])
    if not judged:
        return Judgement(Verdict.INSUFFICIENT_DATA, "no signal could be read")
    rates = {j.name: j.rate for j in judged if j.rate is not None and j.rate.low is not None}
    lead = _lead(judged)
    kind = _kind(judged, lead)
    verdict, reason, onset = lead.verdict, lead.reason, lead.onset_x
    if verdict in (Verdict.LEAKING, Verdict.GROWING):
        if bounded_fill is not None and bounded_fill.growing:
            held = bounded_fill.entries_max - bounded_fill.remaining
            does = "fills" if bounded_fill.remaining else "is full: what grows is judged from here"
            reason = f"bounded cache {held:,}/{bounded_fill.entries_max:,}: {bounded_fill.description} {does}; {reason}"
            verdict, onset = Verdict.WARMING_UP, None
        elif kind == "fragmentation":
            verdict, onset = Verdict.WARMING_UP, None
    if kind == "fragmentation" and verdict is Verdict.WARMING_UP:
        reason = f"fragmentation or allocator retention, no object kept: {reason}"
    return Judgement(verdict, reason, kind, onset, judged, rates)


def _lead(judged: Sequence[SignalJudgement]) -> SignalJudgement:
    """The signal that speaks for all: the worst exact one; the resident set only where they are silent."""
    exact = [j for j in judged if j.name != "resident"]
    resident = [j for j in judged if j.name == "resident"]
    if not exact:
        return resident[0]
    worst = max(exact, key=lambda j: (j.verdict.severity, j.log10_evidence))
    loud = (Verdict.LEAKING, Verdict.GROWING, Verdict.WARMING_UP)
    if worst.verdict not in loud and resident and resident[0].verdict in loud:
        return resident[0]
    if worst.verdict is Verdict.CLEAN:  # the one with a story to tell
        return max(exact, key=lambda j: (j.one_time_growth is not None, j.unit in ("byte", "bytes")))
    if worst.verdict is Verdict.INSUFFICIENT_DATA and any(j.verdict is Verdict.CLEAN for j in exact):
        return max(exact, key=lambda j: (j.verdict is Verdict.CLEAN, j.one_time_growth is not None))
    return worst


def _kind(judged: Sequence[SignalJudgement], lead: SignalJudgement) -> str | None:
    """The kind of memory that grows, by which signals grow together; None when nothing does."""
    grows = (Verdict.LEAKING, Verdict.GROWING)
    if lead.verdict not in (*grows, Verdict.WARMING_UP):
        return None
    loud = {j.name for j in judged if j.verdict is lead.verdict or j.verdict in grows}
    for name in ("descriptors", "threads", "tasks"):
        if lead.name == name:
            return name
    if lead.name.startswith("device_"):
        return "device"
    if loud & {"live", "retained", "blocks"}:
        return "python_objects"
    if "heap" in loud:
        # one buffer that grows and native allocations look the same from outside: the census of containers,
        # which the diagnosis takes, may call it container_buffer
        return "native_heap"
    if lead.name == "resident":
        exact = {j.name for j in judged}
        if lead.verdict in grows and (not exact & {"blocks", "heap"} or lead.shape in ("linear", "hinge", "jump")):
            return "mapping" if exact & {"blocks", "heap"} else None
        return "fragmentation"
    return None


def eta(rate_per_x: Interval, room: float, x_per_second: float) -> Interval | None:
    """Seconds until `room` is used up at this rate.

    Args:
        rate_per_x: growth per x with its limits.
        room: what is left to the limit, in the unit of the rate.
        x_per_second: calls a second, or 1 where x is seconds.

    Returns:
        The time with its limits, `high` None when the rate may be zero; None when it does not grow, nothing
        runs, or the figures are not finite.  No room left is no time left.
    """
    speed = rate_per_x.value * x_per_second
    if not (math.isfinite(speed) and math.isfinite(room)) or speed <= 0 or x_per_second <= 0:
        return None
    room = max(0.0, room)
    fastest = rate_per_x.high
    slowest = rate_per_x.low
    return Interval(
        room / speed,
        None if fastest is None or fastest <= 0 else room / (fastest * x_per_second),
        None if slowest is None or slowest <= 0 else room / (slowest * x_per_second),
    )


def prime() -> None:
    """Judge made-up histories, so that what is imported and allocated once is so before the first sample."""
    for step in (0.0, 1.0):
        series = Series()
        for i in range(2 * series.capacity):
            series.add(100.0 * i, float(i), 1000.0 + step * i * i**0.01 + (i * 7919 % 13))
            if i in (3, 12, 20, 95):
                judge((Signal("blocks", "block", series.view()), Signal("heap", "byte", series.view())))
        judge((replace(Signal("live", "instance", series.view()), source="prime"),))
