"""Whose growth is it?  Every guarded function sees that of the process; here it is settled who answers for it.  Pure.

The witnesses:

1. the changes across a function's sampled calls, where nothing else ran meanwhile (of coroutines and generators: of
   their own steps, checked against the change from begin to end), less what guarded functions inside them left;
2. how growth follows the call counts of all functions over many windows (`attribution` weighs both together);
3. what others account for already: growth is not left behind twice;
4. failing all, a function that is the only one guarded answers for what grows with its calls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ..attribution import Change, Share, attribute, explained
from ..judgement import Judgement
from ..snapshot import DeltaFacts, Snapshot, SubjectRecord
from ..verdict import Interval, OneTimeGrowth, Verdict

ACCUSED = (Verdict.LEAKING, Verdict.GROWING)
SURE = 2.576
_SEEN = 3.0
"""Rises that samples should have seen, before not having seen them means something (the rule of three, 95 %)."""
_FEW, _MANY = 8, 64
_TOO_MUCH = 1.5
"""Times the growth: calls that leave more than this behind leave it to somebody who lets go of it."""
_EXPLAINED = 0.7
"""Of the growth: once so much is accounted for by functions that are sure, the unsure are let go."""
_SUSPECTS = 3
"""More than so many of whom nothing is known are not named each: the process is, and they are listed."""
SIGNALS = ("blocks", "heap", "resident")


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
    notes: tuple[str, ...] = field(default=())
    through: str | None = None
    """Of the process: the function with whose calls it grows, outside of them."""


def shares_of(judged: Sequence[Reckoned], snapshot: Snapshot) -> dict[str, dict[str, Share]]:
    """By signal, what one call of each function leaves behind, as far as samples and windows tell."""
    wanted = {
        s.name: s for r in judged if r.judgement.verdict in ACCUSED for s in r.judgement.signals if s.verdict in ACCUSED
    }
    shares = {}
    for signal in wanted:
        if signal in SIGNALS:
            changes = {}
            for one in judged:
                if one.record is not None and (change := change_of(one.record, signal, _rate(one, signal))):
                    changes[one.record.name] = change
            shares[signal] = attribute(snapshot.windows, signal, changes, snapshot.inside)
    return shares


def change_of(record: SubjectRecord, signal: str, rate: Interval | None) -> Change | None:
    """What sampled calls say of one call, for the equations; None when they cannot tell.

    Args:
        record: the function.
        signal: what grows.
        rate: the process's growth by calls of this function, where it is known.
    """
    facts = _steps_or_whole(record, signal)
    if facts is None or facts.samples < _FEW or not math.isfinite(facts.error):
        return None
    if rate is None or rate.value <= 0:
        return None
    events = max(facts.events, facts.samples * _events_per_call(record, signal))
    if facts.error > 0:
        events = max(events, (facts.mean / facts.error) ** 2)  # those it has seen (Poisson)
    if events <= 0:
        return None
    error = math.hypot(facts.error, rate.value / events) + facts.slack / 2
    mean = facts.mean - facts.slack / 2
    if error > 2 * rate.value:
        return None
    if mean + SURE * error < 0:
        return None  # it lets go of what its caller made: the balance of its calls is not the whole story
    if mean - SURE * error > _TOO_MUCH * max(rate.value, rate.high or 0.0):
        return None  # somebody lets go of it later, or all of it would be seen in the growth
    return Change(mean, error)


def _steps_or_whole(record: SubjectRecord, signal: str) -> DeltaFacts | None:
    """The changes of its own steps, unless those from begin to end show that part of it goes while it is suspended."""
    steps, whole = record.deltas.get(signal), record.across.get(signal)
    if whole is None or whole.samples < _FEW or not math.isfinite(whole.error):
        return steps
    whole = replace(whole, mean=whole.mean - _by_others(record, signal))
    if steps is None or steps.samples < _FEW or not math.isfinite(steps.error):
        return whole
    return whole if whole.mean + SURE * math.hypot(whole.error, steps.error) < steps.mean else steps


def _rate(one: Reckoned, signal: str) -> Interval | None:
    return next((s.rate for s in one.judgement.signals if s.name == signal), None)


def _by_others(record: SubjectRecord, signal: str) -> float:
    """What others may be expected to leave behind during one call that is suspended: growth as the process's."""
    view = record.series.get(signal)
    if view is None or len(view) < 2:
        return 0.0
    half = len(view) // 2
    seconds = view.t[-1] - view.t[half]
    grown = view.low[-1] - view.low[half]
    return max(0.0, grown / seconds * record.seconds_each) if seconds > 0 else 0.0


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


# ---------------------------------------------------------------- decisions


def attributed(judged: Sequence[Reckoned], snapshot: Snapshot) -> tuple[list[Reckoned], dict[str, dict[str, Share]]]:
    """Accusations of functions, each confirmed, dropped or passed on to the process.

    Args:
        judged: all functions, by their histories alone.
        snapshot: with the windows.
    """
    if not any(r.judgement.verdict in ACCUSED for r in judged):
        return list(judged), {}
    if len(judged) == 1:
        return [_alone(judged[0])], {}
    shares = shares_of(judged, snapshot)
    judged = _standing_in(judged, shares)
    says = [_says(one, shares) for one in judged]
    accounted = sum(_share_of_growth(one, shares) for one, word in zip(judged, says, strict=True) if word == "this")
    unsure = [one for one, word in zip(judged, says, strict=True) if word == "unclear"]
    out = []
    for one, word in zip(judged, says, strict=True):
        if word == "this":
            out.append(_with_own_rates(_sharing(one, shares)))
        elif word == "collinear":
            out.append(_noted(_sharing(one, shares)))
        elif word == "another" or (word == "unclear" and accounted >= _EXPLAINED):
            out.append(acquitted(one, "elsewhere: in calls of others" if accounted else "elsewhere"))
        elif word == "unclear" and len(unsure) > _SUSPECTS:
            names = ", ".join(sorted(u.record.name for u in unsure if u.record)[:_SUSPECTS])
            out.append(
                acquitted(one, f"which of {len(unsure)} functions it belongs to is not clear yet ({names}, ...)")
            )
        else:
            out.append(one)
    return out, shares


def _standing_in(judged: Sequence[Reckoned], shares: Mapping[str, Mapping[str, Share]]) -> list[Reckoned]:
    """A function whose own history is not clear yet, but whose calls leave behind what the others' histories show.

    All functions see the same growth, each through the moments of its own samples.
    """
    accused = [one for one in judged if one.judgement.verdict in ACCUSED]
    donor = max(accused, key=lambda one: one.judgement.verdict.severity)
    found = next(iter(_leading(donor)), None)
    if found is None or found[0] not in SIGNALS:
        return list(judged)
    signal, known = found[0], shares.get(found[0], {})
    out = []
    for one in judged:
        rate = _rate(one, signal)
        if one not in accused and one.record is not None and rate is not None and rate.value > 0:
            facts = one.record.deltas.get(signal)
            enough = facts is not None and facts.samples >= _MANY and facts.mean - SURE * facts.error > 0
            if enough and explained(known, one.record.name, rate.value) == "this":
                share = known[one.record.name]
                reason = (
                    f"sampled calls leave {share.rate:.3g} {signal} each behind, and that accounts for what grows "
                    f"while functions are called: {donor.judgement.reason}"
                )
                verdict = donor.judgement.verdict
                signals = tuple(replace(s, verdict=verdict) if s.name == signal else s for s in one.judgement.signals)
                rates = {**one.judgement.rates, signal: Interval(share.rate, share.low, share.high)}
                judgement = replace(donor.judgement, reason=reason, onset_x=None, signals=signals, rates=rates)
                one = replace(one, judgement=judgement, one_time=None)
        out.append(one)
    return out


def _leading(one: Reckoned) -> list[tuple[str, Interval]]:
    # exact counters first: pages come into the resident set when they please
    loud = [s for s in one.judgement.signals if s.verdict in ACCUSED and s.rate is not None]
    return [(s.name, s.rate) for s in sorted(loud, key=lambda s: s.name == "resident") if s.rate is not None]


def _says(one: Reckoned, shares: Mapping[str, Mapping[str, Share]]) -> str:
    """``this``, ``another``, ``collinear``, ``unclear``; ``untold`` of what is not asked: no accusation, no changes."""
    record = one.record
    if record is None or one.judgement.verdict not in ACCUSED:
        return "untold"
    word = "untold"
    for signal, rate in _leading(one):
        if rate.value <= 0 or signal not in record.deltas:
            return "untold"  # descriptors, threads: no changes to ask
        known = shares.get(signal, {})
        word = explained(known, record.name, rate.value) if len(known) > 1 else _by_itself(record, signal, rate)
        if word != "unclear":
            return word
    return word


def _by_itself(record: SubjectRecord, signal: str, rate: Interval) -> str:
    change = change_of(record, signal, rate)
    if change is None:
        return "unclear"
    if change.mean - SURE * change.error > 0.3 * rate.value:
        return "this"
    return "another" if change.mean + SURE * change.error < 0.3 * rate.value else "unclear"


def _share_of_growth(one: Reckoned, shares: Mapping[str, Mapping[str, Share]]) -> float:
    assert one.record is not None
    for signal, rate in _leading(one):
        share = shares.get(signal, {}).get(one.record.name)
        if share is not None and rate.value > 0:
            return share.rate / rate.value
    return 1.0


def _sharing(one: Reckoned, shares: Mapping[str, Mapping[str, Share]]) -> Reckoned:
    assert one.record is not None
    for signal, _ in _leading(one):
        share = shares.get(signal, {}).get(one.record.name)
        if share is not None:
            return replace(one, share=share)
    return one


def _noted(one: Reckoned) -> Reckoned:
    others = ", ".join(one.share.collinear_with[:3]) if one.share is not None else ""
    note = f"its calls cannot be told from those of {others}: the growth is of one of them"
    return replace(one, notes=(*one.notes, note))


def _alone(one: Reckoned) -> Reckoned:
    """The only guarded function: acquitted when its calls do not change what grows with them, else it answers."""
    record = one.record
    if record is None or one.judgement.verdict not in ACCUSED:
        return one
    for signal, rate in _leading(one):
        if rate.value <= 0 or signal not in record.deltas:
            return one
        inside = _inside(record, signal, rate.value)
        # with nobody else to blame the process's slope is the rate: objects that the caller made and the function
        # kept are lost by its calls too, though not made in them; and work may have been handed to a thread
        if inside is True:
            return one
        if inside is False and not record.overlapped:
            return acquitted(one, "between the calls, not in them")
    return one


def _inside(record: SubjectRecord, signal: str, rate: float) -> bool | None:
    """Whether sampled calls account for the rate: True, False, or None when they cannot tell."""
    facts = record.deltas[signal]
    if facts.samples < _FEW:
        return None
    if facts.mean - facts.slack - SURE * facts.error > 0.3 * rate:
        return True
    seen = max(facts.events, facts.samples * _events_per_call(record, signal)) >= _SEEN
    if facts.mean + SURE * facts.error < 0:
        return None  # it lets go of what its caller made: the balance of its calls is not the whole story
    return False if seen and facts.mean + SURE * facts.error < 0.3 * rate else None


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
        if facts.mean + SURE * facts.error >= (slope.low if slope.low is not None else slope.value):
            continue
        rates[signal] = Interval(facts.mean, facts.mean - SURE * facts.error, facts.mean + SURE * facts.error)
    return replace(one, judgement=replace(one.judgement, rates=rates))


def acquitted(one: Reckoned, where: str) -> Reckoned:
    """Not this one: clean, with what was said before kept for the process."""
    reason = f"the process grows while it is called, but {where}"
    judgement = replace(one.judgement, verdict=Verdict.CLEAN, reason=reason, memory_kind=None, onset_x=None)
    return replace(one, judgement=judgement, outside=one.judgement)
