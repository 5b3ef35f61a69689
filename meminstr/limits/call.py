"""One guarded call while it runs: what it began with, what was seen of it, what is to be done to it.

`Call.observe` is what the watcher asks of every call at every look.  Facts only and no locks: the interpreter's
lock makes each single store whole, the call's own thread alone ends the call, and whoever sees the breach first
writes the record (`Guard.breached` is behind a lock).
"""

from __future__ import annotations

import sys
import threading
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from ..forks import loading
from .interrupt import cancel_task, running_task
from .policy import NEAR_SHARE
from .reading import Sample

if TYPE_CHECKING:
    from .guard import Guard

_AGAIN_SHARE = 0.05
"""A call that swallowed its interruption is interrupted again after growing by this share of its limit."""


class Call:
    """The token of one guarded call, from `Guard.enter` to `Guard.leave`."""

    __slots__ = (
        "__weakref__",
        "anchor",
        "armed",
        "base_bytes",
        "breach",
        "cancelled",
        "cancels_before",
        "classes",
        "entered_at",
        "entry",
        "fresh_start",
        "guard",
        "in_own_wrapper",
        "interrupted_at",
        "is_main",
        "kinds",
        "landed_at",
        "landed_bytes",
        "last_under",
        "limit_bytes",
        "loop",
        "owner",
        "promoted",
        "reserved",
        "signalled",
        "stop_wanted",
        "subject",
        "task",
        "thread_id",
        "watched",
    )

    def __init__(self, guard: Guard, entry: Sample, limit_bytes: int, entered_at: float, fresh_start: bool) -> None:
        self.guard = guard
        self.subject = guard.subject
        self.entry = entry
        self.base_bytes = entry.resident_bytes if guard.limit.of == "call" else 0
        self.limit_bytes = limit_bytes
        self.entered_at = entered_at
        self.fresh_start = fresh_start
        self.last_under = entered_at
        self.armed = False
        self.stop_wanted = False
        self.breach: dict[str, Any] | None = None
        self.interrupted_at: float | None = None
        self.landed_at: float | None = None
        self.landed_bytes = 0
        self.cancelled = False
        self.cancels_before = 0
        self.is_main = False
        self.signalled = False
        self.watched = False
        self.promoted = False  # found on a thread's stack by the watcher: `anchor` is its wrapper's frame
        self.reserved = False
        self.in_own_wrapper = False  # whose handlers can take an asynchronous exception
        self.thread_id = 0
        self.task: Any = None
        self.loop: Any = None
        self.anchor: CodeType | FrameType | None = None
        self.owner: FrameType | None = None  # the wrapper's, where `anchor` is code that others may be running too
        self.kinds: dict[str, int] | None = None
        self.classes: dict[str, int] | None = None

    def locate(self, anchor: CodeType | FrameType | None, owner: FrameType | None, asynchronous: bool) -> None:
        """Note where the call runs: its thread, its task if it can be suspended, its frames."""
        self.thread_id = threading.get_ident()
        self.is_main = self.thread_id == threading.main_thread().ident
        self.anchor, self.owner = anchor, owner
        if asynchronous:
            self.task, self.loop = running_task()
            if self.task is not None:
                self.cancels_before = self.task.cancelling()

    def headroom(self, resident_bytes: int) -> int:
        """Bytes left until the limit, negative above it."""
        return self.limit_bytes - (resident_bytes - self.base_bytes)

    def observe(self, resident_bytes: int, now: float) -> None:
        """Judge one reading of the watcher."""
        if self.kinds is None:
            self.guard.baseline(self)
        left = self.headroom(resident_bytes)
        if left >= 0:
            self.last_under = now
            self.guard.note_nearness(self, resident_bytes, watched=True)
            if not self.stop_wanted:
                return
        elif self.breach is None:
            self.guard.breached(self, resident_bytes, now, "watcher")
        elif (
            self.landed_at is not None
            and not self.stop_wanted
            and resident_bytes > self.landed_bytes + _AGAIN_SHARE * self.limit_bytes
        ):
            # something swallowed the interruption and went on allocating
            self.stop_wanted = True
        if self.stop_wanted:
            self.landed_bytes = max(self.landed_bytes, resident_bytes)
            self.interrupt(now)

    def interrupt(self, now: float) -> None:
        """Try to stop the call, once more; any thread."""
        if self.interrupted_at is None:
            self.interrupted_at = now
        sent = self.signalled and self.guard.services.main_thread.send()
        if self.task is not None:
            sent = cancel_task(self) or sent
        if not sent and self.guard.limit.interrupt_threads and not self.is_main:
            sent = self.guard.raise_in_thread(self)
        if not sent:
            self.stop_wanted = False

    def landed(self) -> None:
        """The interruption is about to be raised, in the call's own thread."""
        self.stop_wanted = False
        self.landed_at = self.guard.services.readings.clock()

    def why_not_interruptible(self) -> str | None:
        """Why this call cannot be stopped where it stands, in words; None if it can."""
        if self.signalled or self.task is not None or not self.watched:
            return None
        if not self.is_main and self.in_own_wrapper:
            return None
        if not self.is_main:
            return "could not be interrupted: it does not run in the main thread"
        return "could not be interrupted: no signal is free for it"

    def current_stack(self) -> list[str]:
        """Where the call stands, innermost first."""
        with loading.of("meminstr.limits.breach"):
            from .breach import stack_from, stack_of

        if self.task is not None:
            frames = self.task.get_stack()
            if frames and not _is_running(frames[0]):
                return [row for frame in reversed(frames) for row in stack_from(frame)[:1]]
        if self.thread_id == threading.get_ident():
            return stack_from(sys._getframe(1))
        return stack_of(self.thread_id)

    def is_near(self, resident_bytes: int) -> bool:
        """Whether 80 % of the limit are used."""
        return resident_bytes - self.base_bytes > NEAR_SHARE * self.limit_bytes


def _is_running(frame: FrameType) -> bool:
    return any(frame is f for top in sys._current_frames().values() for f in _outwards(top))


def _outwards(frame: FrameType | None) -> list[FrameType]:
    rows: list[FrameType] = []
    while frame is not None and len(rows) < 200:
        rows.append(frame)
        frame = frame.f_back
    return rows
