"""What containers with a known bound say of a function's growth, between a first note and now."""

from __future__ import annotations

import time

from ..evidence import caches, census
from ..policy import BoundedFill
from ..registry import Subject
from ..snapshot import SubjectRecord

CENSUS_SECONDS = 0.05
"""Of this thread's own work: a census that is cut short because others had the processor compares with nothing."""
_CENSUS_SHARE = 0.005
_LONGEST_CENSUS = 0.4
_CENSUS_CALLS = 1000


def census_seconds() -> float:
    """What a census may take: more in a program that has run for long, which is mostly one with a large heap."""
    return max(CENSUS_SECONDS, min(_LONGEST_CENSUS, _CENSUS_SHARE * time.process_time()))


def note_containers(subject: Subject, record: SubjectRecord) -> None:
    """Take the census that later ones are compared with: bounded containers, and everything by type."""
    state = subject.state
    found = caches.bounded_containers(budget_seconds=CENSUS_SECONDS, clock=time.thread_time)
    state["containers"] = (record.calls, _blocks(record), found)
    state["census"] = census.take(budget_seconds=census_seconds(), clock=time.thread_time)
    state["census_blocks"] = _blocks(record)
    heap = record.series.get("heap")
    state["census_heap"] = heap.last[2] if heap is not None and heap.last else None


def _blocks(record: SubjectRecord) -> float:
    blocks = record.series.get("blocks")
    return blocks.last[2] if blocks is not None and blocks.last else 0.0


def bounded_fill(subject: Subject, record: SubjectRecord) -> BoundedFill | None:
    """Containers that filled since they were noted, enough to explain the growth; None when none did.

    With room ``remaining`` they hold an alarm.  With none the growth up to now was theirs and what comes is not: the
    caller restarts the history, and they are noted anew here.
    """
    state = subject.state
    calls, before_level, before = state["containers"]
    if record.calls - calls < min(_CENSUS_CALLS, max(100, record.calls // 5)):
        return None
    now = caches.bounded_containers(budget_seconds=CENSUS_SECONDS, clock=time.thread_time)
    level = _blocks(record)
    report = caches.fill_between(before, now, blocks_gained=level - before_level)
    if not report.growing:
        return None
    if report.full:
        state["containers"] = (record.calls, level, now)
    return BoundedFill(
        description=report.description,
        growing=True,
        entries_gained=report.entries_gained,
        entries_max=report.capacity,
        remaining=report.capacity_left,
    )
