"""Is what lives really held, or garbage that awaits the collector?  Asked before a class is accused."""

from __future__ import annotations

import gc

from ..brackets import full_collections
from ..class_subject import ClassSubject
from ..evidence.caches import is_too_large
from ..registry import ControllerMemoryTracker
from ..verdict import Finding

_SECONDS = 0.05


def confirmed(tracker: ControllerMemoryTracker, subject: ClassSubject, finding: Finding) -> bool:
    """Whether a collection leaves the instances alive that the finding speaks of.

    A small heap is collected here, once for each doubling of the samples at most; with a large one, where that would
    stop the program for long, it waits for the interpreter's next full collection.  A program that switched its
    collector off keeps its cycles, so there the count speaks for itself.
    """
    state = subject.state
    if not gc.isenabled():
        return True
    again = 2 * subject.samples
    if is_too_large(_SECONDS):
        full = full_collections()
        if full > state.setdefault("full_collections", full):
            return True
        gone, growth = 1.0, 1.0
        again = subject.samples + subject.samples // 8 + 1  # nothing was collected: whether it was, costs little to ask
    else:
        before = subject.follower.counts()
        gc.collect()
        after = subject.follower.counts()
        gone = max(before.alive - after.alive, before.retained - after.retained)
        per_call = finding.live_per_call.value if finding.live_per_call is not None else 0.0
        growth = per_call * (before.constructed - (finding.onset_call or 0))
    if growth <= 0 or gone < 0.5 * growth:
        return True
    state.pop("acted", None)
    state["verdict"] = None
    state["next_look"] = again
    subject.level_now({}, tracker.sampler.clock())
    return False


def dead_of(tracker: ControllerMemoryTracker) -> dict[str, dict[str, float]]:
    """After a collection: by class and history, how many fewer there are than the history's end shows."""
    out = {}
    for name, subject in list(tracker.classes.items()):
        counts = subject.follower.counts()
        now = {"live": float(counts.alive), "retained": float(counts.retained)}
        ends = {key: view.high[-1] for key in now if len(view := subject.series[key].view())}
        out[name] = {key: max(0.0, end - now[key]) for key, end in ends.items()}
    return out
