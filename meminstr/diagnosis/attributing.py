"""Whose growth is it?  Every guarded function sees that of the process; here it is settled who answers for it.  Pure.

The witnesses:

1. the changes across a function's sampled calls, where nothing else ran meanwhile (of coroutines and generators: of
   their own steps, checked against the change from begin to end), less what guarded functions inside them left;
2. how growth follows the call counts of all functions over many windows (`attribution` weighs both together);
3. what others account for already: growth is not left behind twice;
4. failing all, a function that is the only one guarded answers for what grows with its calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..attribution import Share, explained
from ..snapshot import Snapshot, SubjectRecord
from ..verdict import Interval, Verdict
from .witnesses import (
    ACCUSED,
    FEW,
    SURE,
    Expected,
    Reckoned,
    change_of,
    events_per_call,
    expected_of,
    leading,
    positive,
    shares_of,
    sole_suspect,
    threshold,
)

_SEEN = 3.0
"""Rises that samples should have seen, before not having seen them means something (the rule of three, 95 %)."""
_MANY = 64
_EXPLAINED = 0.7
"""Of the growth: once so much is accounted for by functions that are sure, the unsure are let go."""
_SUSPECTS = 3
"""More than so many of whom nothing is known are not named each: the process is, and they are listed.  Where more are
guarded, not even two: those left over have escaped the samples, and each would be a guess."""


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
    sure = threshold(len(judged))
    expected = expected_of(judged)
    shares = shares_of(judged, snapshot, expected, sure)
    sole = sole_suspect(judged, expected, shares.get(expected.signal, {}))
    judged = _standing_in(judged, expected, shares, sure, sole)
    says = [
        "this" if one.record is not None and one.record.name == sole else _says(one, shares, expected) for one in judged
    ]
    accounted = sum(_share_of_growth(one, shares) for one, word in zip(judged, says, strict=True) if word == "this")
    # with somebody named, or under suspicion by his own samples, others of whom samples show nothing are not accused
    # (nor where several are left that samples do not exclude: each would be a guess)
    many = len(judged) > _SUSPECTS
    rivals = sum(_possible(one, shares, expected) for one in judged) if many else 0
    suspected = "this" in says or rivals > 1 or any(positive(one, expected) for one in judged)
    unsure = [
        one
        for one, word in zip(judged, says, strict=True)
        if word == "unclear" or (word == "collinear" and _tallied(one))
    ]
    out = []
    for one, word in zip(judged, says, strict=True):
        if word == "this":
            out.append(_with_own_rates(_sharing(one, shares)))
        elif word == "collinear" and not _tallied(one):
            out.append(_noted(_sharing(one, shares)))
        elif word == "another" or (
            word == "unclear"
            and (accounted >= _EXPLAINED or (suspected and _asked(one, shares) and not positive(one, expected)))
        ):
            out.append(acquitted(one, "elsewhere: in calls of others" if accounted else "elsewhere"))
        elif word in ("unclear", "collinear") and len(unsure) > (1 if _tallied(one) or many else _SUSPECTS):
            names = ", ".join(sorted(u.record.name for u in unsure if u.record)[:_SUSPECTS])
            more = ", ..." if len(unsure) > _SUSPECTS else ""
            out.append(acquitted(one, f"which of {len(unsure)} it belongs to is not clear yet ({names}{more})"))
        else:
            out.append(one)
    return out, shares


def _tallied(one: Reckoned) -> bool:
    """Whether it has no samples of its own that could speak for it: a route, a kind of task."""
    return one.record is not None and one.record.kind in ("route", "task")


def _standing_in(
    judged: Sequence[Reckoned],
    expected: Expected,
    shares: Mapping[str, Mapping[str, Share]],
    sure: float,
    sole: str | None,
) -> list[Reckoned]:
    """A function whose own history is not clear yet, but whose calls leave behind what the others' histories show.

    All functions see the same growth, each through the moments of its own samples.
    """
    signal, donor = expected.signal, expected.donor
    if donor is None or signal not in shares:
        return list(judged)
    known = shares[signal]
    out = []
    for one in judged:
        rate = expected.rate(one, signal)
        if one.judgement.verdict not in ACCUSED and one.record is not None and rate is not None and rate.value > 0:
            change = change_of(one.record, signal, rate, expected.size)
            facts = one.record.deltas.get(signal)
            enough = change is not None and facts is not None and facts.samples >= _MANY
            enough = enough and change is not None and change.mean - sure * change.error > 0
            enough = enough and explained(known, one.record.name, rate.value) == "this"
            if enough or one.record.name == sole:
                share = known[one.record.name]
                reason = (
                    f"sampled calls leave {share.rate:.3g} {signal} each behind, and that accounts for what grows "
                    f"while functions are called: {donor.judgement.reason}"
                )
                verdict = donor.judgement.verdict
                signals = tuple(
                    replace(s, verdict=verdict, rate=Interval(share.rate, share.low, share.high))
                    if s.name == signal
                    else s
                    for s in one.judgement.signals
                )
                rates = {**one.judgement.rates, signal: Interval(share.rate, share.low, share.high)}
                judgement = replace(donor.judgement, reason=reason, onset_x=None, signals=signals, rates=rates)
                one = replace(one, judgement=judgement, one_time=None)
        out.append(one)
    return out


def _possible(one: Reckoned, shares: Mapping[str, Mapping[str, Share]], expected: Expected) -> bool:
    """Whether it could be behind a material part of the growth, accused by its own history or not."""
    rate = expected.rate(one, expected.signal)
    if one.record is None or not one.record.calls:
        return False
    return rate is None or explained(shares.get(expected.signal, {}), one.record.name, rate.value) != "another"


def _asked(one: Reckoned, shares: Mapping[str, Mapping[str, Share]]) -> bool:
    """Whether its samples had their say: with somebody else named, an unclear answer of theirs is no accusation."""
    assert one.record is not None
    found = [shares.get(signal, {}).get(one.record.name) for signal, _ in leading(one)]
    return any(share is not None and share.told for share in found)


def _says(one: Reckoned, shares: Mapping[str, Mapping[str, Share]], expected: Expected) -> str:
    """``this``, ``another``, ``collinear``, ``unclear``; ``untold`` of what is not asked: no accusation, no changes."""
    record = one.record
    if record is None or one.judgement.verdict not in ACCUSED:
        return "untold"
    word = "untold"
    for signal, rate in leading(one):
        if rate.value <= 0 or signal not in record.deltas:
            return "untold"  # descriptors, threads: no changes to ask
        known = shares.get(signal, {})
        word = (
            explained(known, record.name, rate.value)
            if len(known) > 1
            else _by_itself(record, signal, rate, expected.size)
        )
        if word != "unclear":
            return word
    return word


def _by_itself(record: SubjectRecord, signal: str, rate: Interval, size: float | None) -> str:
    change = change_of(record, signal, rate, size)
    if change is None:
        return "unclear"
    if change.mean - SURE * change.error > 0.3 * rate.value:
        return "this"
    return "another" if change.mean + SURE * change.error < 0.3 * rate.value else "unclear"


def _share_of_growth(one: Reckoned, shares: Mapping[str, Mapping[str, Share]]) -> float:
    assert one.record is not None
    for signal, rate in leading(one):
        share = shares.get(signal, {}).get(one.record.name)
        if share is not None and rate.value > 0:
            return share.rate / rate.value
    return 1.0


def _sharing(one: Reckoned, shares: Mapping[str, Mapping[str, Share]]) -> Reckoned:
    assert one.record is not None
    for signal, _ in leading(one):
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
    for signal, rate in leading(one):
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
    if facts.samples < FEW:
        return None
    if facts.mean - facts.slack - SURE * facts.error > 0.3 * rate:
        return True
    seen = max(facts.events, facts.samples * events_per_call(record, signal)) >= _SEEN
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
