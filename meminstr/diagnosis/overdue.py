"""Expected dead, in the background: what outlives its cleanup, or its `watch`, by more than the grace time.

It has no thread of its own: samples ask, at most every quarter of the grace time, and so do each `watch` and each
reading of a sampling thread.  What is overdue is confirmed by a collection, as often as that stays within 0.5 % of
the time; a program that switched its collector off is not collected, and nothing is said of it.  A watched object is
told with one WARNING, an instance that outlived its cleanup with one INFO for its class: it may be meant to live on,
which its growth will show.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from ..class_subject import ClassSubject
from ..faults import note_fault
from ..registry import ControllerMemoryTracker
from ..settings import current

logger = logging.getLogger("meminstr")

_SHARE = 0.005
"""Of the time, that collections may take."""
_CREDIT = 0.1
"""Seconds that collections may take to begin with."""
_SAMPLE = 256
"""Instances of a class that are followed past their grace time at once."""
_MOST_TOLD = 1_000


class Overdue:
    """The background check of one tracker.

    Args:
        tracker: whose classes and watched objects.
        clock: seconds, never going back; that of the watchlist.
        collect: runs a collection.
        collects: whether the program lets garbage be collected.
    """

    def __init__(
        self,
        tracker: ControllerMemoryTracker,
        *,
        clock: Callable[[], float] = time.monotonic,
        collect: Callable[[], object] = gc.collect,
        collects: Callable[[], bool] = gc.isenabled,
    ) -> None:
        self.clock = clock
        self.pid = tracker.pid
        self.spent = 0.0
        """Seconds of collections so far."""
        self._tracker = weakref.ref(tracker)
        self._collect = collect
        self._collects = collects
        self._began = clock()
        self._next = self._began
        self._longest = 0.0
        self._told: set[tuple[str, str]] = set()
        self._open: dict[str, tuple[float, list[Any]]] = {}
        self._lock = threading.Lock()

    def check(self) -> None:
        """Look at what is overdue, if it is time.  Never raises."""
        now = self.clock()
        if now < self._next or not self._lock.acquire(blocking=False):
            return
        try:
            grace = current().grace_seconds
            self._next = now + min(60.0, max(0.2, grace / 4))
            tracker = self._tracker()
            if tracker is not None:
                self._check(tracker, now, grace)
        except Exception as error:
            note_fault("looking for what is overdue", error)
        finally:
            self._lock.release()

    def _check(self, tracker: ControllerMemoryTracker, now: float, grace: float) -> None:
        watched = any((row.type, row.reason) not in self._told for row in tracker.watchlist.overdue())
        overdue = [subject for subject in list(tracker.classes.values()) if self._is_overdue(subject, now, grace)]
        if not (watched or overdue) or not self._collects() or not self._may_collect(now):
            return
        before = self.clock()
        self._collect()
        seconds = max(0.0, self.clock() - before)
        self._longest = max(seconds, self._longest * 0.9)
        self.spent += seconds
        tracker.sampler.analysis_seconds += seconds
        for subject in overdue:
            self._settle(subject)
        self._tell_watched(tracker)

    def _may_collect(self, now: float) -> bool:
        return self.spent + self._longest <= _CREDIT + _SHARE * (now - self._began)

    def _is_overdue(self, subject: ClassSubject, now: float, grace: float) -> bool:
        """Whether instances that were cleaned up a grace time ago are still there, as far as counts can tell."""
        follower = subject.follower
        if not follower.cleanup_names or subject.state.get("retained_told"):
            return False
        since, refs = self._open.get(subject.name, (0.0, []))
        refs = [ref for ref in refs if ref in follower.tally.retained]
        if not refs:
            # weak references only: no instance lives longer for it
            refs = list(follower.tally.retained)[:_SAMPLE]
            if refs:
                self._open[subject.name] = (now, refs)
            else:
                self._open.pop(subject.name, None)
            return False
        self._open[subject.name] = (since, refs)
        return now - since >= grace

    def _settle(self, subject: ClassSubject) -> None:
        _, refs = self._open.pop(subject.name)
        retained = subject.follower.tally.retained
        left = sum(ref in retained for ref in refs)
        if not left:
            return
        subject.state["retained_told"] = True
        subject.state["retained_confirmed"] = left
        cleanup = subject.follower.cleanup_names[0]
        logger.info(
            "meminstr_retained: %s of %s outlived %s() by more than %g s and a collection; report() names the holder",
            f"{left:,} instances" if left > 1 else "an instance",
            subject.name,
            cleanup,
            current().grace_seconds,
            extra={"meminstr": {"subject": subject.name, "retained": left, "cleanup": cleanup}},
        )

    def _tell_watched(self, tracker: ControllerMemoryTracker) -> None:
        groups: dict[tuple[str, str], int] = {}
        for row in tracker.watchlist.settle(collect=False):
            groups[row.type, row.reason] = groups.get((row.type, row.reason), 0) + 1
        for (kind, reason), count in groups.items():
            if (kind, reason) in self._told or len(self._told) >= _MOST_TOLD:
                continue
            self._told.add((kind, reason))
            logger.warning(
                "meminstr_retained: %s of type %s expected dead (%s) outlived the grace time and a collection; "
                "report() names the holder",
                f"{count:,} objects" if count > 1 else "an object",
                kind,
                reason,
                extra={"meminstr": {"subject": kind, "retained": count, "reason": reason}},
            )


_checks: weakref.WeakKeyDictionary[ControllerMemoryTracker, Overdue] = weakref.WeakKeyDictionary()


def check(tracker: ControllerMemoryTracker) -> None:
    """Have the tracker's check look, if it is time.  A forked child has one of its own."""
    found = _checks.get(tracker)
    if found is None or found.pid != tracker.pid:
        found = _checks[tracker] = Overdue(tracker)
    found.check()
