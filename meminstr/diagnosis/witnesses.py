"""What sampled calls and windows say of each guarded function, ready to be decided on.  Pure.

Covers the changes across sampled calls as equations, with an honest error where samples saw nothing, what rate to
expect of a function were it the guilty one, and the confidence asked for where many are asked at once.  Leaves to
others: the solving (`attribution`), the decision (`attributing`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ..attribution import Change, Share, attribute
from ..judgement import Judgement
from ..snapshot import DeltaFacts, Snapshot, SubjectRecord
from ..verdict import Interval, OneTimeGrowth, Verdict

ACCUSED = (Verdict.LEAKING, Verdict.GROWING)
SURE = 2.576
FEW = 8
_ERROR_RATE = 0.005
_TOO_MUCH = 1.5
"""Times the growth: calls that leave more than this behind leave it to somebody who lets go of it."""
_MOST_OF_IT = 0.5
_TELLING_EVENTS = 3.0
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


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to be explained: the process's growth in one signal, as the clearest of the histories shows it."""

    signal: str = ""
    donor: Reckoned | None = None
    size: float | None = None
    """Units that are left behind at once, where sampled calls saw most of the growth happen."""

    def rate(self, one: Reckoned, signal: str) -> Interval | None:
        """Growth per call of one function, were it the only one behind it: by its own history if that is clear, else
        by the donor's, scaled by their calls."""
        own = next((s.rate for s in one.judgement.signals if s.name == signal), None)
        if one.judgement.verdict in ACCUSED and own is not None and own.value > 0:
            return own
        if self.donor is None or self.donor.record is None or one.record is None or signal != self.signal:
            return own
        found = next((s.rate for s in self.donor.judgement.signals if s.name == signal), None)
        if found is None or found.value <= 0 or not one.record.calls:
            return own
        return found.scaled(self.donor.record.calls / one.record.calls)


def threshold(count: int) -> float:
    """Standard errors that an accusation needs where ``count`` functions are asked at once (Bonferroni: one innocent
    in two hundred such questions, whatever their number; 2.576 for one)."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(1.0 - _ERROR_RATE / max(1, count))


def expected_of(judged: Sequence[Reckoned]) -> Expected:
    """What is to be explained, by the most certain of the accusations."""
    best: tuple[tuple[int, int, int], Reckoned, str] | None = None
    for one in judged:
        if one.record is not None and one.judgement.verdict in ACCUSED:
            for signal, rate in leading(one)[:1]:
                if signal in SIGNALS and rate.value > 0:
                    key = (one.judgement.verdict.severity, signal != "resident", one.record.samples)
                    if best is None or key > best[0]:
                        best = key, one, signal
    if best is None:
        return Expected()
    expected = Expected(best[2], best[1])
    return replace(expected, size=_event_size(judged, expected))


def _event_size(judged: Sequence[Reckoned], expected: Expected) -> float | None:
    """The size of single events of growth, from sampled calls of functions that together account for most of it.

    Events that come by chance have a mean square over their mean of their size (Campbell 1909).
    """
    sizes, seen = [], 0.0
    for one in judged:
        facts = _steps_or_whole(one.record, expected.signal) if one.record is not None else None
        rate = expected.rate(one, expected.signal)
        if facts is None or rate is None or rate.value <= 0 or facts.samples < FEW or not math.isfinite(facts.error):
            continue
        if facts.mean - SURE * facts.error > 0 and facts.mean <= _TOO_MUCH * max(rate.value, rate.high or 0.0):
            sizes.append((facts.error**2 * (facts.samples - 1) + facts.mean**2) / facts.mean)
            seen += facts.mean / rate.value
    return max(sizes) if seen >= _MOST_OF_IT else None


def leading(one: Reckoned) -> list[tuple[str, Interval]]:
    """Signals that accuse it, each with the rate of growth per call."""
    # exact counters first: pages come into the resident set when they please
    loud = [s for s in one.judgement.signals if s.verdict in ACCUSED and s.rate is not None]
    return [(s.name, s.rate) for s in sorted(loud, key=lambda s: s.name == "resident") if s.rate is not None]


def sole_suspect(judged: Sequence[Reckoned], expected: Expected, shares: Mapping[str, Share]) -> str | None:
    """The only function that could be behind most of the growth, if its own samples say that it is.

    All others have been asked and would have shown it: then the one question left is not one of many.
    """
    suspects = []
    for one in judged:
        rate = expected.rate(one, expected.signal)
        if one.record is None or not one.record.calls:
            continue
        share = shares.get(one.record.name)
        if share is None or rate is None or rate.value <= 0:
            return None
        if share.high >= _MOST_OF_IT * rate.value:
            suspects.append((one, rate, share))
    if len(suspects) != 1:
        return None
    one, rate, share = suspects[0]
    assert one.record is not None
    change = change_of(one.record, expected.signal, rate, expected.size)
    if change is None or not share.told or change.mean - SURE * change.error <= 0:
        return None
    return one.record.name


def positive(one: Reckoned, expected: Expected) -> bool:
    """Whether its own samples, asked alone, say that it leaves something behind."""
    rate = expected.rate(one, expected.signal)
    if one.record is None or rate is None or one.record.samples < FEW:
        return False
    change = change_of(one.record, expected.signal, rate, expected.size)
    return change is not None and change.mean - SURE * change.error > 0


def shares_of(
    judged: Sequence[Reckoned], snapshot: Snapshot, expected: Expected, sure: float = SURE
) -> dict[str, dict[str, Share]]:
    """By signal, what one call of each function leaves behind, as far as samples and windows tell."""
    wanted = {
        s.name: s for r in judged if r.judgement.verdict in ACCUSED for s in r.judgement.signals if s.verdict in ACCUSED
    }
    shares = {}
    for signal in wanted:
        if signal in SIGNALS:
            size = expected.size if signal == expected.signal else None
            changes = {}
            for one in judged:
                if one.record is not None:
                    change = change_of(one.record, signal, expected.rate(one, signal), size)
                    if change is not None:
                        changes[one.record.name] = change
            shares[signal] = attribute(snapshot.windows, signal, changes, snapshot.inside, sure)
    return shares


def change_of(record: SubjectRecord, signal: str, rate: Interval | None, size: float | None = None) -> Change | None:
    """What sampled calls say of one call, for the equations; None when they cannot tell.

    Args:
        record: the function.
        signal: what grows.
        rate: the process's growth by calls of this function, where it is known.
        size: what is left behind at once, where that is known: samples that saw none of it bound the rate by it.
    """
    facts = _steps_or_whole(record, signal)
    if facts is None or facts.samples < FEW or not math.isfinite(facts.error):
        return None
    if rate is None or rate.value <= 0:
        return None
    events = max(facts.events, facts.samples * events_per_call(record, signal))
    if size is not None and size > 0:
        events = max(events, facts.samples * rate.value / size)
    if facts.error > 0:
        events = max(events, (facts.mean / facts.error) ** 2)  # those it has seen (Poisson)
    if events <= 0:
        return None
    error = math.hypot(facts.error, rate.value / events) + facts.slack / 2
    mean = facts.mean - facts.slack / 2
    if size is not None and facts.error > 0 and 0 < (seen := (mean / facts.error) ** 2) < _TELLING_EVENTS:
        # one or two events, of whatever size: those of the growth are of this size, and would have been more
        mean = min(mean, seen * size / facts.samples)
        error = min(error, math.sqrt(seen + 1.0) * size / facts.samples)
    if error > 2 * rate.value:
        return None
    if mean + SURE * error < 0:
        return None  # it lets go of what its caller made: the balance of its calls is not the whole story
    if mean - SURE * error > _TOO_MUCH * max(rate.value, rate.high or 0.0):
        return None  # somebody lets go of it later, or all of it would be seen in the growth
    return Change(mean, error)


def _steps_or_whole(record: SubjectRecord, signal: str) -> DeltaFacts | None:
    """The changes of its own steps, unless those from begin to end show that part of it goes while it is suspended.

    They show that where they are less even with what others left behind meanwhile, which is only estimated.
    """
    steps, whole = record.deltas.get(signal), record.across.get(signal)
    if whole is None or whole.samples < FEW or not math.isfinite(whole.error):
        return steps
    alone = replace(whole, mean=whole.mean - _by_others(record, signal))
    if steps is None or steps.samples < FEW or not math.isfinite(steps.error):
        return alone
    return alone if whole.mean + SURE * math.hypot(whole.error, steps.error) < steps.mean else steps


def _by_others(record: SubjectRecord, signal: str) -> float:
    """What others may be expected to leave behind during one call that is suspended: growth as the process's."""
    view = record.series.get(signal)
    if view is None or len(view) < 2:
        return 0.0
    half = len(view) // 2
    seconds = view.t[-1] - view.t[half]
    grown = view.low[-1] - view.low[half]
    return max(0.0, grown / seconds * record.seconds_each) if seconds > 0 else 0.0


def events_per_call(record: SubjectRecord, signal: str) -> float:
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
