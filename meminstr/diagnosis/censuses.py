"""Counts of what there is, taken while a program runs of which no function is guarded: what a report compares with.

They are taken at readings 1, 4, 16, 64, ... of the sampling thread and two are kept, so that there is always one from
the first half of the run, and the start of the program is not told as growth for long.
"""

from __future__ import annotations

import time
import weakref

from ..evidence import census
from ..registry import ControllerMemoryTracker
from .containers import census_seconds

_TIMES = 4
_Kept = tuple[int, list[tuple[float, census.Census]]]
_kept: weakref.WeakKeyDictionary[ControllerMemoryTracker, _Kept] = weakref.WeakKeyDictionary()


def is_due(readings: int) -> bool:
    """Whether it is time for a census, at this reading of the sampling thread."""
    while readings > 1 and readings % _TIMES == 0:
        readings //= _TIMES
    return readings == 1


def take(tracker: ControllerMemoryTracker) -> None:
    """Count now, noting where the process stands."""
    with tracker.sampler.not_ours():
        taken = census.take(budget_seconds=census_seconds(), clock=time.thread_time)
        series = ((name, tracker.sampler.series.get(name)) for name in ("heap", "blocks"))
        taken.marks.update((name, one.last[2]) for name, one in series if one is not None and one.last)
        rows = _rows(tracker)
        _kept[tracker] = (tracker.pid, [*rows[-1:], (tracker.sampler.clock(), taken)])


def earlier(tracker: ControllerMemoryTracker) -> census.Census | None:
    """The later of those taken in the first half of the run so far, or the first; None when none was taken."""
    rows = _rows(tracker)
    if not rows:
        first: census.Census | None = tracker.first_census
        return first
    sampler = tracker.sampler
    half = (sampler.started + sampler.clock()) / 2
    return next((taken for at, taken in reversed(rows) if at <= half), rows[0][1])


def _rows(tracker: ControllerMemoryTracker) -> list[tuple[float, census.Census]]:
    pid, rows = _kept.get(tracker, (tracker.pid, []))
    return rows if pid == tracker.pid else []  # of the parent process: another heap
