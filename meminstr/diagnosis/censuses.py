"""Counts of what there is, taken while a program runs: what a report compares with.

Where no function is guarded they are taken at readings 1, 4, 16, 64, ... of the sampling thread; where one grows, at
looks, each time that three times as long has passed since the first.  Three are kept, so that there is always one from
the first half of the run, and the start of the program is not told as growth for long.
"""

from __future__ import annotations

import time
import weakref

from ..evidence import census
from ..registry import ControllerMemoryTracker
from .containers import census_seconds

_TIMES = 4
_KEPT = 3
_APART = 3.0
_SOONEST = 0.25
"""Seconds after the first census, for the next at a look."""
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
        _kept[tracker] = (tracker.pid, [*rows[1 - _KEPT :], (tracker.sampler.clock(), taken)])


def note(tracker: ControllerMemoryTracker) -> None:
    """At a look at something that grows: count, if it is time."""
    first = tracker.first_census
    if first is None:
        return
    rows = _rows(tracker)
    last = rows[-1][1].at - first.at if rows else _SOONEST / _APART
    if time.monotonic() - first.at >= _APART * last:
        take(tracker)


def since(tracker: ControllerMemoryTracker, before: census.Census) -> list[census.Census]:
    """Those taken after `before`."""
    return [taken for _, taken in _rows(tracker) if taken.at > before.at and taken is not before]


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
