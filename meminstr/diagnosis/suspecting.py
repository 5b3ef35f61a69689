"""Whether a look is due and paid for, whether there is anything to look into, and whose samples to take more of.

Asked after each sample, before any judging: without numpy, and within what looks and samples may cost.
"""

from __future__ import annotations

import math

from ..class_subject import ClassSubject
from ..policy import FLOORS, Policy
from ..registry import ControllerMemoryTracker, Subject
from ..sampling import MEMORY_SIGNALS
from ..settings import current
from ..subjects import FunctionSubject

_ENOUGH_SAMPLES, _AT_A_TIME = 1024, 256
"""Samples that tell whose a growth is, of several functions: so many are taken whatever the budget says."""
_ROUND, _A_SIGN = 128, 1.4
_CREDIT, _AT_ONCE, _CREDIT_PACE = 0.3, 0.15, 0.03
"""Seconds that looks and samples may cost to begin with, the first of them at once, the others as CPU time passes;
after that the setting ``cost_budget_share`` of the CPU time holds."""
_SOON = 0.5
"""Of the horizon: before that no look can say more than that something grows, and half as many will do."""
_RESERVE = 0.1
"""Seconds of looks at one subject that may be spent beyond that."""
_TELLING = 8
SURE = 2.576


def may_look(tracker: ControllerMemoryTracker, subject: Subject) -> bool:
    """Whether a look is paid for: by what all share or, once that is spent, by a reserve of the subject's own.

    The reserve is for those whose own sampled calls leave something behind: when several leak in turn, the looks at the
    first must not cost the last its alarm.
    """
    cpu = tracker.cpu_seconds()
    allowed = min(_CREDIT, _AT_ONCE + _CREDIT_PACE * cpu) + current().cost_budget_share * cpu
    if tracker.sampler.cost_seconds() <= allowed:
        return True
    if subject.state.get("looked", 0.0) > _RESERVE:
        return False
    if isinstance(subject, ClassSubject):
        return bool(subject.follower.counts().alive >= FLOORS["live"])
    for index in (MEMORY_SIGNALS.index("blocks"), MEMORY_SIGNALS.index("heap")):
        samples, mean, error = subject.deltas.recent(index)
        if samples >= _TELLING and mean > SURE * error:
            return True
    return False


def is_early(subject: Subject) -> bool:
    """Whether all that a look could say is that something grows."""
    if isinstance(subject, ClassSubject):
        return bool(subject.follower.tally.constructed.value < _SOON * Policy().retained_horizon)
    horizon = current().horizon if subject.horizon is None else subject.horizon
    return subject.calls() - subject.calls_before < _SOON * horizon


def _signals(subject: Subject) -> tuple[str, ...]:
    return ("live", "retained") if isinstance(subject, ClassSubject) else tuple(subject.series)


def retained_something(subject: Subject) -> bool:
    """Whether anything material has stayed, since the beginning or since `clear`."""
    cleared = subject.state.get("cleared", {})
    for name in _signals(subject):
        series = subject.series.get(name)
        if series is None or series.first is None or series.last is None:
            continue
        floor, view = FLOORS.get(name, 0.0), series.view()
        known, x, level = cleared.get(name, (None, 0.0, 0.0))
        if known is series and x <= series.last[0]:  # a judgement found nothing up to there: what came since counts
            lows = [level, *(low for at, low in zip(view.x, view.low, strict=True) if at > x)]
            if lows[-1] - min(lows) >= floor / 2:
                return True
            continue
        lows = list(view.low)
        if lows and lows[-1] - min(lows) >= floor / 2:
            return True
        if series.last[2] - series.first[2] >= floor:
            return True
    return False


def clear(subject: Subject) -> None:
    """A judgement says that nothing grows: only what comes from here on is worth a look.

    Growth that came once, at the start, stays for ever; it would be looked into for ever too.
    """
    state = subject.state
    state["suspicious"] = False
    if isinstance(subject, FunctionSubject):
        subject.directed = 0
    state["cleared"] = cleared = {}
    for name in _signals(subject):
        series = subject.series.get(name)
        if series is not None and series.last is not None:
            cleared[name] = (series, series.last[0], series.last[2])


def direct(tracker: ControllerMemoryTracker, subject: Subject, *, alone: bool = False) -> None:
    """Something grows: of several functions it must be found out whose it is, and that is worth some samples more.

    First of all alike; then of those whose samples saw something, once there are such (sequential halving: Karnin,
    Koren and Somekh 2013).  One sample that changed something makes a mean of one
    standard error, two of them one and a half.
    """
    if isinstance(subject, ClassSubject) or len(tracker.functions) < 2 or subject.deltas.samples >= _ENOUGH_SAMPLES:
        return
    # between looks only for those with a sign of their own: asking all others is dear
    silent = subject.deltas.samples >= _ROUND and signs(subject) <= _A_SIGN
    if silent and (alone or max(map(signs, list(tracker.functions.values()))) > _A_SIGN):
        subject.directed = 0
        return
    subject.directed = max(subject.directed, min(_AT_A_TIME, _ENOUGH_SAMPLES - subject.deltas.samples))


def signs(subject: FunctionSubject) -> float:
    """Standard errors by which sampled calls leave something behind."""
    best = 0.0
    for name in ("blocks", "heap"):
        samples, mean, error = subject.deltas.recent(MEMORY_SIGNALS.index(name))
        if samples >= _TELLING and mean > 0:
            best = max(best, mean / error if error > 0 else math.inf)
    return best
