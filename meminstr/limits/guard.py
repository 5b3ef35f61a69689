"""The decisions about one guarded function or block: at its start, between its steps, at a breach.

`enter`, `step` and `leave` are what the decorator and the context manager call; `ending` has the rest of `leave`.
A call is *above its limit* when a reading says so after one collection and heap trim, or when the exact peak of
the call does and that much could not have been collected.  What follows is one record, one notice, and with
``on_exceed="raise"`` an exception at the latest where the call ends.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from ..faults import note_fault
from ..forks import loading
from ..instrument.switches import gil_enabled
from ..settings import current
from ..units import format_bytes
from . import breach as records
from .call import Call
from .ending import end_breach, failed_allocation, judge_ended
from .grants import NOT_GRANTED, Granted
from .interrupt import CallStopped
from .policy import NEAR_SHARE, Limit
from .relief import prepare
from .room import Room
from .services import Services, process_services
from .telling import Teller

_FAR_SHARE = 0.7  # the notice at 80 % is given again only after the use has been below this share


class Guard:
    """Keeps one `Limit` around the calls of one subject.

    Args:
        limit: what is allowed.
        subject: name in records and messages.
        services: readings and mechanisms.
        tracker: answers with the tracker that is told of breaches, or None.
    """

    def __init__(
        self,
        limit: Limit,
        subject: str,
        services: Services,
        tracker: Callable[[], Any] = lambda: None,
    ) -> None:
        self.limit = limit
        self.subject = subject
        self.services = services
        self.granted = NOT_GRANTED
        self.promoted: dict[FrameType, Call] = {}
        """Calls that began on a grant and were found by the watcher, by their wrapper's frame."""
        self.granted_until = float("-inf")
        """When the last grant ended, also one that was taken back."""
        # the watcher reads other threads' frames, which only the interpreter's lock makes safe
        self._may_grant = limit.wait_seconds is None and not limit.interrupt_threads and gil_enabled()
        self.teller = Teller(limit, subject, services, tracker)
        self.room = Room(limit, subject, services, self.teller)
        self.staleness_seconds = limit.staleness_seconds
        self._long = True  # the last call outlasted a reading: the next gets a window of its own
        self._was_near = False
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        # by value, as cloudpickle sends what is defined in __main__: the other process has services of its own
        return (_rebuilt, (self.limit, self.subject))

    # ------------------------------------------------------------------ the three hooks

    def enter(
        self,
        anchor: CodeType | FrameType | None = None,
        *,
        owner: FrameType | None = None,
        asynchronous: bool = False,
        take_room: bool = True,
        arm: bool = True,
    ) -> Call | None:
        """Before the call.  None when meminstr is switched off, and while the interpreter ends.

        Args:
            anchor: code or frame that is on the stack exactly while the call runs; None for our own wrappers.
            owner: the frame of the wrapper around the code ``anchor``, which tells this call's from another's.
            asynchronous: it can be suspended, and stopped through its task.
            take_room: whether to wait for room; otherwise the caller has.
            arm: whether it may be interrupted from here on; otherwise the caller sets `Call.armed`.

        Raises:
            MemoryLimitExceeded: already above, or no room could be had in the time it may wait.
        """
        if sys.is_finalizing() or not current().enabled:
            return None
        limit, services = self.limit, self.services
        reserved = take_room and self.room.take()
        try:
            now = services.readings.clock()
            fresh = last_was_long = self._long
            sample = services.readings.fresh() if fresh else services.readings.recent(self.staleness_seconds)
            # the window began with the reading: is it this call's own?
            fresh = fresh or sample.at >= now
            call = Call(self, sample, self.room.limit_bytes(), max(now, sample.at), fresh)
            call.reserved = reserved
            if call.headroom(sample.resident_bytes) < 0:
                self._refuse(call)
            call.locate(anchor, owner, asynchronous)
            if call.is_near(call.entry.resident_bytes):
                self.note_nearness(call, call.entry.resident_bytes)
            elif limit.mode == "check":
                self._was_near = False
                self.granted = Granted(sample.at + self.staleness_seconds, sample)
            if limit.mode == "kernel":
                services.kernel.acquire(id(call), call.headroom(call.entry.resident_bytes))
            elif limit.mode == "watch":
                self._watch(call, may_grant=self._may_grant and not last_was_long and not asynchronous)
            if last_was_long or (fresh and limit.mode != "watch"):
                self.baseline(call)  # else the watcher does, should it come to look
        except BaseException:
            if reserved:
                self.room.give_back()
            raise
        call.armed = arm
        return call

    def step(self, call: Call | None) -> None:
        """Between two steps of a generator or coroutine.

        Raises:
            CallStopped: above the limit; `leave` turns it into `MemoryLimitExceeded`.
        """
        if call is None:
            return
        readings = self.services.readings
        if call.breach is None:
            sample = readings.recent(self.staleness_seconds)
            if call.headroom(sample.resident_bytes) < 0:
                self.breached(call, sample.resident_bytes, readings.clock(), "step")
        if call.breach is not None and self.limit.raises and call.landed_at is None:
            call.landed()
            raise CallStopped(call)

    def leave(self, call: Call | None, error: BaseException | None = None) -> None:
        """After the call, with what ended it.

        Raises:
            MemoryLimitExceeded: the call was above its limit and ``on_exceed`` is ``raise``.
        """
        if call is None:
            return
        call.armed = False
        services = self.services
        if call.watched:
            services.watcher.remove(call)
        if call.signalled and not call.promoted:
            services.main_thread.release(services.watcher.lives_on)
        if self.limit.mode == "kernel":
            services.kernel.release(id(call))
        if call.reserved:
            self.room.give_back()
        now = services.readings.clock()
        self._long = now - call.entered_at >= self.staleness_seconds
        outlived = self._long or now - call.entry.at >= self.staleness_seconds
        if outlived or call.breach is not None or failed_allocation(self, error):
            judge_ended(self, call, now, error)
        try:
            if call.breach is not None:
                end_breach(self, call, error)
            elif call.cancelled:
                call.task.uncancel()
        finally:
            call.anchor = call.owner = call.task = call.loop = None

    def late(self, granted: Granted, error: BaseException | None = None) -> None:
        """After a call that began on ``granted`` and outlived it, or was found by the watcher.

        Raises:
            MemoryLimitExceeded: as `leave`.
        """
        call = self.promoted.pop(sys._getframe(1), None) if self.promoted else None
        if call is None:
            if self.services.readings.clock() < granted.until:
                return  # the one that was found is another thread's
            call = self._hot_call(granted, threading.get_ident())
        self.granted = NOT_GRANTED
        self.leave(call, error)

    def _hot_call(self, granted: Granted, thread_id: int) -> Call:
        # when it began is not known: somewhere in the life of the reading
        limit_bytes = granted.limit_bytes or self.room.limit_bytes()
        call = Call(self, granted.sample, limit_bytes, granted.until, False)
        call.last_under = granted.sample.at
        call.thread_id = thread_id
        call.is_main = thread_id == threading.main_thread().ident
        call.watched = self.limit.mode == "watch"
        return call

    def promote(self, frame: FrameType, granted: Granted, thread_id: int) -> Call:
        """A call that began on ``granted`` runs longer than that: from here on it is watched (the watcher's thread).

        Args:
            frame: its wrapper's, which takes the call back by `late`.
            granted, thread_id: what the call rests on, and where it runs.
        """
        call = self._hot_call(granted, thread_id)
        call.anchor, call.promoted = frame, True
        call.signalled = call.is_main and self.services.main_thread.installed_signal is not None
        call.armed = True
        self.promoted[frame] = call
        return call

    def revoke(self) -> None:
        """Every call takes a reading of its own again."""
        self.granted = NOT_GRANTED
        self.granted_until = float("-inf")

    # ------------------------------------------------------------------ what was seen

    def breached(
        self, call: Call, resident_bytes: int, now: float, mechanism: str, error: BaseException | None = None
    ) -> None:
        """A reading above the limit: relief, and if that does not help the record (once a call)."""
        if mechanism == "watcher" and self.services.relief.attempt():
            resident_bytes = self.services.readings.peek()
            if call.headroom(resident_bytes) >= 0:
                return
        with self._lock:
            if call.breach is not None:
                return
            record = records.new_record(
                subject=self.subject,
                limit_bytes=call.limit_bytes,
                of=self.limit.of,
                mode=self.limit.mode,
                mechanism=mechanism,
                observed_bytes=resident_bytes,
                entry_bytes=call.entry.resident_bytes,
            )
            record["noticed_after_seconds"] = max(0.0, now - call.last_under)
            record["action"] = self.limit.on_exceed if isinstance(self.limit.on_exceed, str) else "callback"
            if mechanism == "kernel":
                record["note"] = "an allocation that would have passed it was refused"
            call.breach = record
            self._describe(call, record, now, error, stop=mechanism == "watcher" and self.limit.raises)
        self.teller.tell(record)

    def wait_for_record(self) -> None:
        """Return when nobody is writing a record any more."""
        with self._lock:
            pass

    def _describe(
        self, call: Call, record: dict[str, Any], now: float, error: BaseException | None, stop: bool
    ) -> None:
        try:
            # after a refused allocation the frames are gone: its traceback has them
            record["stack"] = records.stack_of_error(error) + call.current_stack()
            if stop:
                # before the rest is looked up, because the call allocates meanwhile
                record["note"] = call.why_not_interruptible()
                call.stop_wanted = True
                call.landed_bytes = record["observed_bytes"]
                call.interrupt(now)
            record["grown_by_kind"] = records.grown(call.kinds, self.services.kinds())
            record["grown_classes"] = records.grown(call.classes, self.teller.live_counts())
            record["recent_calls"] = self.services.recent.rows(now)
        except Exception as error:
            note_fault("breach record", error)

    def baseline(self, call: Call) -> None:
        """What the process consisted of when the call was first looked at."""
        prepare()
        call.kinds = self.services.kinds()
        call.classes = self.teller.live_counts()

    def note_nearness(self, call: Call, resident_bytes: int, watched: bool = False) -> None:
        """The notice at 80 % of the limit, once until the use has fallen again; from the watcher also relief."""
        used = resident_bytes - call.base_bytes
        if used > NEAR_SHARE * call.limit_bytes:
            if not self._was_near:
                self._was_near = True
                share = used / call.limit_bytes
                text = f"{self.subject}: {format_bytes(used)} of {format_bytes(call.limit_bytes)} used ({share:.0%})"
                if watched:
                    self.services.relief.attempt()
                self.services.notices.warn(
                    "memory_limit_near", self.subject, text, {"used_bytes": used, "limit_bytes": call.limit_bytes}
                )
        elif used < _FAR_SHARE * call.limit_bytes:
            self._was_near = False

    def raise_in_thread(self, call: Call) -> bool:
        """Stop a call outside the main thread (``interrupt_threads``)."""
        with loading.of("meminstr.limits.threads"):
            from .threads import raise_in_thread

        return raise_in_thread(call)

    # ------------------------------------------------------------------ inside

    def _refuse(self, call: Call) -> None:
        """Already above at the start: relief, then the record and the refusal."""
        services = self.services
        if services.relief.attempt():
            call.entry = services.readings.fresh()
            call.base_bytes = call.entry.resident_bytes if self.limit.of == "call" else 0
            if call.headroom(call.entry.resident_bytes) >= 0:
                return
        call.thread_id = threading.get_ident()
        self.breached(call, call.entry.resident_bytes, call.entered_at, "entry")
        if self.limit.raises:
            assert call.breach is not None
            call.breach["action"] = "refused"
            raise records.error_from(call.breach, None)

    def _watch(self, call: Call, may_grant: bool) -> None:
        services = self.services
        if call.is_main:
            call.signalled = services.main_thread.acquire()
        call.watched = True
        services.watcher.add(call)
        if may_grant and services.watcher.running() and not call.is_near(call.entry.resident_bytes):
            # short calls live on this reading, and on a watcher and a signal that are there already
            anywhere = services.main_thread.installed_signal is not None
            self.granted = Granted(
                call.entry.at + self.staleness_seconds,
                call.entry,
                call.limit_bytes,
                None if anywhere else call.thread_id,
            )
            self.granted_until = self.granted.until
            services.watcher.lingering[id(self)] = self


def _rebuilt(limit: Limit, subject: str) -> Guard:
    return Guard(limit, subject, process_services())
