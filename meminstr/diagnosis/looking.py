"""The early look: a subject is judged while the program runs, rarely and within the budget.

Looks come after sample 12 and then each time the samples have grown by a seventh, so about five in each doubling.
A look first asks, without numpy, whether anything material was retained at all; most end there.  A change to
`growing` takes a census (what there is now, to be compared later); a change to `leaking` acts as the user asked.
"""

from __future__ import annotations

import gc
import logging
import math
import time

from .. import background
from ..class_subject import ClassSubject
from ..errors import LeakDetected
from ..evidence import caches, census
from ..faults import note_fault, settle
from ..forks import cannot_finish, loading
from ..judgement import FLOORS, Judgement, Policy, prime
from ..registry import ControllerMemoryTracker, Subject, set_look_hook
from ..sampling import MEMORY_SIGNALS, Sampler
from ..settings import current
from ..snapshot import SubjectRecord
from ..subjects import FunctionSubject
from ..verdict import Finding, Verdict
from . import overdue, tracing
from .confirming import confirmed
from .containers import CENSUS_SECONDS, bounded_fill, census_seconds, note_containers
from .figures import Room, finding_of
from .latching import Latch
from .reckoning import judge_class, judge_function, reckon, settled
from .taking import record_of, take

logger = logging.getLogger("meminstr")

_FIRST = 12
_CENSUS_TICKS = (1, 20)
_ENOUGH_SAMPLES, _AT_A_TIME = 1024, 256
"""Samples that tell whose a growth is, of several functions: so many are taken whatever the budget says."""
_ROUND, _A_SIGN = 128, 1.4
_CREDIT = 0.3
"""Seconds that looks may cost to begin with; after that the setting ``cost_budget_share`` of the CPU time holds."""
_RESERVE = 0.1
"""Seconds of looks at one subject that may be spent beyond that."""
_TELLING = 8
_SURE = 2.576


def install() -> None:
    """Have trackers ask for looks."""
    set_look_hook(look)
    background.set_tick_hook(tick)


def tick(tracker: object, ticks: int) -> None:
    """At a reading of the sampling thread: in a program of which nothing is instrumented, count what there is.

    Early, for a program that ends soon, and once more when most have started up.
    """
    if not isinstance(tracker, ControllerMemoryTracker) or ticks not in _CENSUS_TICKS or any(tracker.subjects()):
        return
    with tracker.sampler.not_ours():
        tracker.first_census = None
        first_census(tracker)
        series = ((name, tracker.sampler.series.get(name)) for name in ("heap", "blocks"))
        tracker.first_census.marks.update((name, one.last[2]) for name, one in series if one is not None and one.last)


def look(tracker: ControllerMemoryTracker, subject: Subject) -> None:
    """Judge one subject if a look is due; act on a change.  Raises only what ``on_leak="raise"`` asks for."""
    state = subject.state
    overdue.check(tracker)
    tracing.check(tracker)
    # (the steps of suspended calls are paid for by all: more samples of one would blind the others)
    asked = isinstance(subject, FunctionSubject) and not subject.suspends and not subject.directed
    if asked and state.get("suspicious"):
        _direct(tracker, subject, alone=True)
    if subject.samples < state.get("next_look", _FIRST):
        return
    state["next_look"] = subject.samples + max(1, subject.samples // 7)
    sampler = tracker.sampler
    if state.get("looking") or not _may_look(tracker, subject):
        return
    if not can_judge():
        return  # a forked child in which loading the analysis might wait for ever; see `forks`
    # A look holds the lock that a fork waits for: it imports on first use.  Two threads never look at once.
    if not loading.acquire(blocking=False):
        return
    state["looking"] = True
    spent = sampler.analysis_seconds
    finding = None
    try:
        with sampler.not_ours():
            suspicious = _retained_something(subject)
        state["suspicious"] = suspicious
        if suspicious:
            _direct(tracker, subject)
            prime_once(sampler)
            finding = _judge(tracker, subject)
        elif state.get("verdict") is not None:
            state["verdict"] = None
    except Exception as error:
        settle(f"looking at {subject.name}", error)
    finally:
        state["looking"] = False
        state["looked"] = state.get("looked", 0.0) + sampler.analysis_seconds - spent
        loading.release()
    if finding is not None:
        # in a bracket of its own: what becomes of the finding, made inside the other one, is up to who is told
        told = [finding]
        finding = None
        if isinstance(subject, ClassSubject) and not _confirmed(tracker, subject, told[0]):
            return
        if subject.on_leak != "warn":
            act(tracker, subject, told.pop())  # the user's own code: outside of any bracket, with the collector on
            return
        with sampler.not_ours():
            act(tracker, subject, told.pop())


def _may_look(tracker: ControllerMemoryTracker, subject: Subject) -> bool:
    """Whether a look is paid for: by what all share or, once that is spent, by a reserve of the subject's own.

    The reserve is for those whose own sampled calls leave something behind: when several leak in turn, the looks at the
    first must not cost the last its alarm.
    """
    allowed = _CREDIT + current().cost_budget_share * tracker.cpu_seconds()
    if tracker.sampler.cost_seconds() <= allowed:
        return True
    if subject.state.get("looked", 0.0) > _RESERVE:
        return False
    if isinstance(subject, ClassSubject):
        return bool(subject.follower.counts().alive >= FLOORS["live"])
    for index in (MEMORY_SIGNALS.index("blocks"), MEMORY_SIGNALS.index("heap")):
        samples, mean, error = subject.deltas.recent(index)
        if samples >= _TELLING and mean > _SURE * error:
            return True
    return False


def _confirmed(tracker: ControllerMemoryTracker, subject: ClassSubject, finding: Finding) -> bool:
    # outside of all brackets: the program's garbage is not ours
    try:
        return confirmed(tracker, subject, finding)
    except Exception as error:
        note_fault(f"confirming a leak of {subject.name}", error)
        return False


def _retained_something(subject: Subject) -> bool:
    names = ("live", "retained") if isinstance(subject, ClassSubject) else tuple(subject.series)
    for name in names:
        series = subject.series.get(name)
        if series is None or series.first is None or series.last is None:
            continue
        view = series.view()
        lows = list(view.low)
        if lows and lows[-1] - min(lows) >= FLOORS.get(name, 0.0) / 2:
            return True
        if series.last[2] - series.first[2] >= FLOORS.get(name, 0.0):
            return True
    return False


def _judge(tracker: ControllerMemoryTracker, subject: Subject) -> Finding | None:
    # a frame of its own: what a judgement holds must be gone before the bracket closes, or it would be taken for
    # something meminstr keeps
    with tracker.sampler.not_ours():
        return _judged(tracker, subject)


def _judged(tracker: ControllerMemoryTracker, subject: Subject) -> Finding | None:
    settings, sampler, state = current(), tracker.sampler, subject.state
    first_census(tracker)
    sources = {name: probe.source for name, probe in sampler.probes().items()}
    record = record_of(subject, sampler.clock(), early=False)
    if isinstance(subject, ClassSubject):
        found = judge_class(record, settings.horizon, sources)
    else:
        found = judge_function(record, settings.horizon, sources, {})
    if found.verdict not in (Verdict.GROWING, Verdict.LEAKING):
        state["verdict"] = found.verdict
        return None
    if record.kind != "class":
        if state.get("containers") is None:
            note_containers(subject, record)
        elif found.verdict is Verdict.LEAKING and not state.get("acted"):
            fill = bounded_fill(subject, record)
            if fill is not None:
                state["verdict"] = Verdict.WARMING_UP
                if not fill.remaining:
                    subject.restart()
                    state.pop("next_look", None)
                return None
    state["verdict"] = found.verdict
    if found.verdict is Verdict.GROWING:
        state["next_look"] = subject.samples + _until_it_matters(record, found, settings.horizon)
        return None
    if state.get("acted"):
        state["next_look"] = 2 * subject.samples  # there is nothing left to announce
        return None
    # where it is not this one's, the next answer comes when all have more samples; signs of its own need not wait
    samples = sum(f.samples for f in list(tracker.functions.values()))
    if isinstance(subject, FunctionSubject) and samples < tracker.reckon_at and _signs(subject) <= _SURE:
        return None
    snapshot = take(tracker, {})
    reckoning = reckon(snapshot, horizon=settings.horizon)
    mine = next((r for r in reckoning.subjects if r.record and r.record.name == subject.name), None)
    if mine is not None and mine.outside and mine.outside.verdict is Verdict.LEAKING:
        # it grows with the calls but not in them: the process leaks, and this guard is the one to say so
        mine = reckoning.process
    if mine is None or mine.judgement.verdict is not Verdict.LEAKING:
        tracker.reckon_at = samples + samples // 14
        return None
    state["acted"] = True
    state["leak"] = latch_of(found, record)
    counts = subject.follower.counts() if isinstance(subject, ClassSubject) else None
    return finding_of(settled(mine), snapshot, Room(None, None), counts=counts if mine.record else None)


def _direct(tracker: ControllerMemoryTracker, subject: Subject, *, alone: bool = False) -> None:
    """Something grows: of several functions it must be found out whose it is, and that is worth some samples more.

    First of all alike; then of those whose samples saw something, once there are such (sequential halving: Karnin,
    Koren and Somekh 2013).  One sample that changed something makes a mean of one
    standard error, two of them one and a half.
    """
    if isinstance(subject, ClassSubject) or len(tracker.functions) < 2 or subject.deltas.samples >= _ENOUGH_SAMPLES:
        return
    # between looks only for those with a sign of their own: asking all others is dear
    silent = subject.deltas.samples >= _ROUND and _signs(subject) <= _A_SIGN
    if silent and (alone or max(map(_signs, list(tracker.functions.values()))) > _A_SIGN):
        subject.directed = 0
        return
    subject.directed = max(subject.directed, min(_AT_A_TIME, _ENOUGH_SAMPLES - subject.deltas.samples))


def _signs(subject: FunctionSubject) -> float:
    """Standard errors by which sampled calls leave something behind."""
    best = 0.0
    for name in ("blocks", "heap"):
        samples, mean, error = subject.deltas.recent(MEMORY_SIGNALS.index(name))
        if samples >= _TELLING and mean > 0:
            best = max(best, mean / error if error > 0 else math.inf)
    return best


def _until_it_matters(record: SubjectRecord, found: Judgement, horizon: float) -> int:
    """Samples until growth that has begun could be past horizon and floor: looks before could only say the same."""
    lead = [s for s in found.signals if s.verdict is Verdict.GROWING and s.onset_x is not None and s.growth > 0]
    waits = []
    for signal in lead:
        view = record.series[signal.name]
        last = view.last[0] if view.last else view.x[-1]
        wait = record.horizon or horizon
        if signal.name == "retained":
            wait = min(wait, Policy().retained_horizon)
        persisted = max(1.0, last - (signal.onset_x or 0.0))
        wait = max(wait, persisted * FLOORS.get(signal.name, 0.0) / signal.growth)
        each = (view.x[-1] - view.x[-2]) / view.stride if len(view) > 1 else 1.0
        waits.append(math.ceil(max(0.0, wait - persisted) / max(each, 1e-9)) + view.stride)
    # not beyond twice the samples: what holds a growth back may end, and its onset be found to be another
    return max(1, min(*waits, record.samples) if waits else record.samples // 7)


def first_census(tracker: ControllerMemoryTracker) -> None:
    """Count what there is before anything is suspected: a leak that is found later is compared with it."""
    if tracker.first_census is None:
        tracker.first_census = census.take(budget_seconds=census_seconds(), clock=time.thread_time)


_primed = False


def prime_once(sampler: Sampler) -> None:
    """Have the judge import and allocate what it does once, on an account of its own.

    Importing numpy takes the time of a hundred looks; charged to their credit it would blind a short program.
    """
    global _primed
    if _primed:
        return
    _primed = True
    collects = gc.isenabled() and not caches.is_too_large(CENSUS_SECONDS)
    with loading, sampler.not_ours("loading"):
        if collects:
            # the garbage of the program's start goes now, and is taken off the books: what the report's collection will
            # give back has then come since, and a small leak is not mistaken for it
            gc.collect()
        prime()
        if collects:
            # and what that left in the interpreter's free lists: the program would take its next thousands of pairs
            # from there, unseen by any counter, and a growth that slows down would look straight
            gc.collect()


def can_judge() -> bool:
    """Whether the analysis is loaded, or could be: not in a child that was forked amid somebody's import."""
    return _primed or not cannot_finish()


def latch_of(found: Judgement, record: SubjectRecord) -> Latch | None:
    """What passed every gate, to be remembered."""
    signal = next((s for s in found.signals if s.verdict is Verdict.LEAKING), None)
    if signal is None or signal.onset_x is None:
        return None
    return Latch(signal.name, signal.onset_x, record.series[signal.name].x[-1], signal.growth, found)


def act(tracker: ControllerMemoryTracker, subject: Subject, finding: Finding) -> None:
    """Warn, raise or call back, once per subject."""
    on_leak = subject.on_leak
    if on_leak == "raise":
        raise LeakDetected(f"{finding.subject} leaks: {finding.reason}", finding)
    try:
        if callable(on_leak):
            on_leak(finding)
        elif _may_log():
            logger.warning(
                "meminstr_leak: %s %s leaks: %s",
                finding.subject_kind,
                finding.subject,
                finding.reason,
                extra={"meminstr": finding.to_dict()},
            )
    except Exception as error:
        note_fault(f"on_leak of {finding.subject}", error)


_last_logs: list[float] = []


def _may_log() -> bool:
    # at most ten leaks a minute are announced; the report has them all
    now = time.monotonic()
    while _last_logs and now - _last_logs[0] > current().log_interval_seconds:
        del _last_logs[0]
    if len(_last_logs) >= 10:
        return False
    _last_logs.append(now)
    return True
