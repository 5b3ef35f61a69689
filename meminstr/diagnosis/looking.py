"""The early look: a subject is judged while the program runs, rarely and within the budget.

Looks come after sample 12 and then each time the samples have grown by a half, or by a seventh once a leak could be
called one: about five in each doubling.  A look first asks, without numpy, whether anything material was retained at
all since a judgement said that nothing grows; most end there.  A change to `growing` takes a census (what there is now,
to be compared later); a change to `leaking` acts as the user asked.
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
from ..sampling import Sampler
from ..settings import current
from ..snapshot import SubjectRecord
from ..subjects import FunctionSubject
from ..verdict import Finding, Verdict
from . import censuses, overdue, tracing
from .confirming import confirmed
from .containers import CENSUS_SECONDS, bounded_fill, census_seconds, note_containers
from .figures import Room, finding_of
from .latching import Latch
from .reckoning import judge_class, judge_function, reckon, settled
from .suspecting import SURE, clear, direct, is_early, may_look, retained_something, signs
from .taking import record_of, take

logger = logging.getLogger("meminstr")

_FIRST = 12


def install() -> None:
    """Have trackers ask for looks."""
    set_look_hook(look)
    background.set_tick_hook(tick)


def tick(tracker: object, ticks: int) -> None:
    """At a reading of the sampling thread: is something overdue; and where no function is guarded, what is there."""
    if not isinstance(tracker, ControllerMemoryTracker):
        return
    overdue.check(tracker)
    if not tracker.functions and censuses.is_due(ticks):
        censuses.take(tracker)


def look(tracker: ControllerMemoryTracker, subject: Subject) -> None:
    """Judge one subject if a look is due; act on a change.  Raises only what ``on_leak="raise"`` asks for."""
    state = subject.state
    overdue.check(tracker)
    tracing.check(tracker)
    # (the steps of suspended calls are paid for by all: more samples of one would blind the others)
    asked = isinstance(subject, FunctionSubject) and not subject.suspends and not subject.directed
    if asked and state.get("suspicious"):
        direct(tracker, subject, alone=True)
    if subject.samples < state.get("next_look", _FIRST):
        return
    state["next_look"] = subject.samples + max(1, subject.samples // (2 if is_early(subject) else 7))
    sampler = tracker.sampler
    if state.get("looking") or not may_look(tracker, subject):
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
            suspicious = retained_something(subject)
        state["suspicious"] = suspicious
        if suspicious:
            prime_once(sampler)
            finding = _judge(tracker, subject)
            if state.get("verdict") is Verdict.CLEAN:
                clear(subject)
            else:
                direct(tracker, subject)
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


def _confirmed(tracker: ControllerMemoryTracker, subject: ClassSubject, finding: Finding) -> bool:
    # outside of all brackets: the program's garbage is not ours
    try:
        return confirmed(tracker, subject, finding)
    except Exception as error:
        note_fault(f"confirming a leak of {subject.name}", error)
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
        censuses.note(tracker)
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
    if isinstance(subject, FunctionSubject) and samples < tracker.reckon_at and signs(subject) <= SURE:
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
    if record.kind != "class":
        censuses.take(tracker)  # what has grown since by the time of a report is what leaks still
    counts = subject.follower.counts() if isinstance(subject, ClassSubject) else None
    return finding_of(settled(mine), snapshot, Room(None, None), counts=counts if mine.record else None)


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
