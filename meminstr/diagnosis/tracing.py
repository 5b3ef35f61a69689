"""Allocation sites in a live program: a window that one report opens and a later one reads.

``report(diagnose="allocations")`` opens the window after its own work.  It ends by itself after 1,000 guarded calls,
a minute or 32 MiB of the tracer's memory; the next diagnosing report after that shows what was kept, and a second
``report(diagnose="allocations")`` does so at once.  Ends are noticed at samples: without any guarded function or
followed class the window stays open until that second report.  The tracer's memory is taken off the readings as
meminstr's own.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace

from ..brackets import program_froze
from ..evidence.allocations import AllocationSite, Window
from ..faults import note_fault
from ..registry import ControllerMemoryTracker
from ..reports.model import Report
from ..sampling import MEMORY_SIGNALS
from ..verdict import Finding, Verdict

ALLOCATIONS = "allocations"
_HEAP = MEMORY_SIGNALS.index("heap")
_RESIDENT = MEMORY_SIGNALS.index("resident")
_NOTE = (
    'allocations are traced from here on, for 1,000 guarded calls or a minute at most: report(diagnose="allocations") '
    "once more shows the lines that kept memory"
)

_windows: weakref.WeakKeyDictionary[ControllerMemoryTracker, tuple[int, Window]] = weakref.WeakKeyDictionary()


def check(tracker: ControllerMemoryTracker) -> None:
    """After a sample: end the window if it is over, and keep its tracer's memory out of the histories."""
    if not _windows:
        return
    entry = _windows.get(tracker)
    if entry is None or entry[0] != tracker.pid:
        return
    try:
        window, calls = entry[1], _calls(tracker)
        if window.result is None and window.is_over(calls):
            _closed(tracker, window)
        _own(tracker, window.tick(calls))
    except Exception as error:
        note_fault("tracing allocations", error)


def begin(tracker: ControllerMemoryTracker) -> None:
    """Open a window, if none is open."""
    if tracker not in _windows:
        window = Window()
        _windows[tracker] = (tracker.pid, window)
        _own(tracker, window.tick(_calls(tracker)))


def read(tracker: ControllerMemoryTracker, at_once: bool) -> tuple[AllocationSite, ...] | None:
    """What a window kept, which is forgotten then; None while there is none, or it is open still.

    Args:
        at_once: close an open window.
    """
    pid, window = _windows.get(tracker, (0, None))
    if window is None or (window.result is None and not at_once):
        return None
    del _windows[tracker]
    if pid != tracker.pid:  # opened by the process this one was forked from
        window.close()
        return None
    sites = _closed(tracker, window)
    _own(tracker, window.tick(0.0))
    return sites


def _closed(tracker: ControllerMemoryTracker, window: Window) -> tuple[AllocationSite, ...]:
    """Close a window; the thousands of blocks that its reading would leave in free lists are no growth."""
    tracker.sampler.empty_free_lists()
    try:
        return window.close()
    finally:
        if not program_froze():
            gc.freeze()
            gc.collect()
            gc.unfreeze()


def attached(report: Report, sites: Sequence[AllocationSite] | None, begun: bool) -> Report:
    """The report with the sites on the functions that grow, or on the process when none does."""
    if begun:
        notes = report.extra.get("notes", ())
        report = replace(report, extra={**report.extra, "notes": [*notes, _NOTE]})
    if sites is None:
        return report
    suspicious = (Verdict.LEAKING, Verdict.GROWING)
    grow = [f for f in report.findings if f.subject_kind == "function" and f.verdict in suspicious]
    chosen = grow or [f for f in report.findings if f.subject_kind == "process"]
    return replace(report, findings=tuple(with_sites(f, sites) if f in chosen else f for f in report.findings))


def with_sites(finding: Finding, sites: Sequence[AllocationSite]) -> Finding:
    """The finding with its ``allocation_sites``."""
    return replace(finding, extra={**finding.extra, "allocation_sites": [site.to_dict() for site in sites]})


def _own(tracker: ControllerMemoryTracker, change: int) -> None:
    for index in (_HEAP, _RESIDENT):
        tracker.sampler.own[index] += change


def _calls(tracker: ControllerMemoryTracker) -> float:
    return float(sum(f.calls() for f in list(tracker.functions.values())))
