"""The early look: a subject is judged while the program runs, rarely and within the budget.

Looks come after sample 12 and then each time the samples have grown by a seventh, so about five in each doubling.
A look first asks, without numpy, whether anything material was retained at all; most end there.  A change to
`growing` takes a census (what there is now, to be compared later); a change to `leaking` acts as the user asked.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from ..errors import LeakDetected
from ..evidence import caches, census
from ..faults import note_fault
from ..judgement import FLOORS, BoundedFill, prime
from ..registry import ControllerMemoryTracker, Subject, set_look_hook
from ..settings import current
from ..snapshot import SubjectRecord
from ..subjects import ClassSubject
from ..verdict import Finding, Verdict
from .figures import Room, finding_of
from .reckoning import judge_class, judge_function, reckon, settled
from .taking import record_of, take

logger = logging.getLogger("meminstr")

_FIRST = 12
_CREDIT, _SHARE = 0.3, 0.005
"""Seconds that looks may cost to begin with, and the share of the time that passes after that."""
_CENSUS_CALLS = 1000
_CENSUS_SECONDS = 0.05


def install() -> None:
    """Have trackers ask for looks."""
    set_look_hook(look)


def look(tracker: ControllerMemoryTracker, subject: Subject) -> None:
    """Judge one subject if a look is due; act on a change.  Raises only what ``on_leak="raise"`` asks for."""
    state = subject.state
    if subject.samples < state.get("next_look", _FIRST):
        return
    state["next_look"] = subject.samples + max(1, subject.samples // 7)
    sampler = tracker.sampler
    if state.get("looking") or sampler.analysis_seconds > _CREDIT + _SHARE * (sampler.clock() - sampler.started):
        return
    state["looking"] = True
    finding = None
    try:
        if _retained_something(subject):
            finding = _judge(tracker, subject)
        elif state.get("verdict") is not None:
            state["verdict"] = None
    except Exception as error:
        note_fault(f"looking at {subject.name}", error)
    finally:
        state["looking"] = False
    if finding is not None:
        act(tracker, subject, finding)


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
    prime_once()
    first_census(tracker)
    sources = {name: probe.source for name, probe in sampler.probes().items()}
    record = record_of(subject, sampler.clock())
    if isinstance(subject, ClassSubject):
        found = judge_class(record, settings.horizon, sources)
    else:
        found = judge_function(record, settings.horizon, sources, {})
    if found.verdict not in (Verdict.GROWING, Verdict.LEAKING):
        state["verdict"] = found.verdict
        return None
    if record.kind == "function":
        fill = bounded_fill(subject, record)
        if fill is not None and fill.growing:
            state["verdict"] = Verdict.WARMING_UP
            return None
        if state.pop("restart", False):
            subject.restart()
            state["verdict"] = None
            return None
    state["verdict"] = found.verdict
    if found.verdict is not Verdict.LEAKING or state.get("acted"):
        return None
    snapshot = take(tracker, {})
    reckoning = reckon(snapshot, horizon=settings.horizon)
    mine = next((r for r in reckoning.subjects if r.record and r.record.name == subject.name), None)
    if mine is None or mine.judgement.verdict is not Verdict.LEAKING:
        return None
    state["acted"] = True
    counts = subject.follower.counts() if isinstance(subject, ClassSubject) else None
    return finding_of(settled(mine), snapshot, Room(None, None), counts=counts)


def first_census(tracker: ControllerMemoryTracker) -> None:
    """Count what there is before anything is suspected: a leak that is found later is compared with it."""
    if tracker.first_census is None:
        tracker.first_census = census.take(budget_seconds=_CENSUS_SECONDS)


_primed = False


def prime_once() -> None:
    """Have the judge allocate what it allocates once."""
    global _primed
    if not _primed:
        _primed = True
        prime()


def bounded_fill(subject: Subject, record: SubjectRecord) -> BoundedFill | None:
    """What the containers with a known bound say of this function's growth.

    The first time something grows a census is taken and kept; later ones, at least a thousand calls on, are compared
    with it.  A container that filled and has room holds the alarm; one that filled and is full restarts the history.
    """
    state = subject.state
    blocks = record.series.get("blocks")
    level = blocks.last[2] if blocks is not None and blocks.last else 0.0
    first: tuple[int, float, Any] | None = state.get("containers")
    if first is None:
        state["containers"] = (record.calls, level, caches.bounded_containers(budget_seconds=_CENSUS_SECONDS))
        state["census"] = census.take(budget_seconds=_CENSUS_SECONDS)
        state["census_blocks"] = level
        return None
    calls, before_level, before = first
    if record.calls - calls < min(_CENSUS_CALLS, _least_gap(record)):
        return None
    now = caches.bounded_containers(budget_seconds=_CENSUS_SECONDS)
    report = caches.fill_between(before, now, blocks_gained=level - before_level)
    if report.growing and not report.full:
        return BoundedFill(
            description=report.description,
            growing=True,
            entries_gained=report.entries_gained,
            entries_max=report.capacity,
            remaining=report.capacity_left,
        )
    if report.growing and report.full:
        state["restart"] = True
    state["containers"] = (record.calls, level, now)
    return None


def _least_gap(record: SubjectRecord) -> int:
    return max(100, record.calls // 5)


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
