"""One thread that looks at the resident set while guarded calls run, and at nothing when none does.

Its interval follows the headroom, because memory can only grow so fast; near a limit the interpreter's switch
interval is lowered, so that a busy thread hands over the lock sooner, and set back as soon as nobody is near.
The thread starts with the first watched call and lingers for a moment after the last, because a thread costs
75 us to start.  What a look leads to is decided in `guard`; this file keeps the time.

Short calls of a hot function do not register at all: while their guard has granted them a reading of the last
millisecond, each look searches the stacks of all threads for their wrappers, and from then on watches those that
have outlived the reading.  A search costs some microseconds a thread, once in 5 to 50 ms.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from ..faults import note_fault
from .interrupt import HOT

if TYPE_CHECKING:
    from types import FrameType

    from .call import Call
    from .grants import Granted
    from .guard import Guard
    from .ticker import Ticker

GROWTH_BYTES_PER_SECOND = 8e9
"""How fast a process is assumed to grow at most between two looks."""

SHORTEST_SECONDS = 0.0005
LONGEST_SECONDS = 0.05
RESEND_SECONDS = 0.01
"""How often an interruption that has not landed is sent again."""

LINGER_SECONDS = 0.02
NEAR_SWITCH_SECONDS = 0.0005
_NEAR_BYTES = 64 << 20
_NEAR_SHARE = 0.3


def interval_for(headroom_bytes: float) -> float:
    """Seconds until the next look, from the bytes that are left to the closest limit."""
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, headroom_bytes / GROWTH_BYTES_PER_SECOND))


def is_near(headroom_bytes: float, limit_bytes: float) -> bool:
    """Whether a limit is so close that the switch interval is worth lowering."""
    return headroom_bytes < max(_NEAR_BYTES, _NEAR_SHARE * limit_bytes)


class SwitchInterval:
    """``sys.setswitchinterval`` lowered while somebody needs it, counted, and restored exactly."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 0.0
        self._ours = 0.0

    def lower(self) -> None:
        """One more user."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, NEAR_SWITCH_SECONDS))
                self._ours = sys.getswitchinterval()

    def restore(self) -> None:
        """One user less; the last sets back what was there, unless the program has changed it since."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and sys.getswitchinterval() == self._ours:
                sys.setswitchinterval(self._before)

    def after_fork(self) -> None:
        """In a child, where the user (the watcher) is gone."""
        self._lock = threading.Lock()
        if self._users:
            self._users = 1
            self.restore()


class Watcher:
    """Looks at all active calls; a `look` is one call of each ``Call.observe``.

    Args:
        peek: resident bytes now.
        clock: seconds, monotonic.
    """

    def __init__(self, peek: Callable[[], int], clock: Callable[[], float] = monotonic) -> None:
        self._peek = peek
        self._clock = clock
        self.switch = SwitchInterval()
        self.active: dict[int, Call] = {}
        self.lingering: dict[int, Guard] = {}
        """Guards whose hot calls may be running without being registered."""
        self.quiet: Callable[[], None] = lambda: None
        """What to call when no hot call may be running any more."""
        self.ticker: Ticker | None = None
        self.after_fork()

    def after_fork(self) -> None:
        """In a child (and at first): no thread, no calls."""
        self._lock = threading.RLock()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._answer = threading.Lock()
        self._asked = False
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._lowered = False
        self.active.clear()
        for guard in self.lingering.values():
            guard.revoke()  # nobody would look
            guard.promoted.clear()
        self.lingering.clear()
        self.due_at = float("inf")
        """When the next look should happen; one that is much later was kept from it."""

    def add(self, call: Call) -> None:
        """Watch a call from here on; never raises."""
        self.active[id(call)] = call
        if self._thread is None:
            self._start()
        elif self._clock() + interval_for(call.headroom(call.entry.resident_bytes)) < self.due_at:
            self._ring()
        if call.signalled and self.ticker is not None:
            self.ticker.begin(call)

    def have_looked(self, timeout_seconds: float) -> None:
        """Have the thread look now, and return when it has, or after so long (not from the thread itself)."""
        if self._thread is not None:
            self._answer.acquire(blocking=False)
            self._asked = True
            self._ring()
            self._answer.acquire(timeout=timeout_seconds)

    def remove(self, call: Call) -> None:
        """The call has ended."""
        self.active.pop(id(call), None)
        if self._lowered and not self.active:
            self._set_lowered(False)

    def lives_on(self) -> bool:
        """Whether hot calls may be running that are not registered."""
        return bool(self.lingering)

    def running(self) -> bool:
        """Whether the thread is there (it may linger for `LINGER_SECONDS`)."""
        return self._thread is not None

    def settle(self, timeout_seconds: float = 5.0) -> None:
        """End the lingering thread and wait for it, if no call is watched."""
        thread = self._thread
        if thread is threading.current_thread() or self.active:
            return
        for guard in tuple(self.lingering.values()):
            guard.revoke()
        if thread is not None:
            self._stopping = True
            self._ring()
            thread.join(timeout_seconds)
        else:
            self._find_hot(self._clock())
        if not self.lingering:
            self.quiet()

    def look(self) -> float:
        """Read once, let every active call judge the reading; seconds until the next look."""
        calls = tuple(self.active.values())
        resident = self._peek()
        interval = LONGEST_SECONDS
        near = False
        now = self._clock()
        if self.lingering:
            for headroom, limit_bytes in self._find_hot(now, resident):
                near = near or is_near(headroom, limit_bytes)
                interval = min(interval, interval_for(headroom), LINGER_SECONDS)
        for call in calls:
            if id(call) not in self.active:
                continue  # ended, or its wrapper is gone
            try:
                call.observe(resident, now)
                headroom = call.headroom(resident)
                near = near or is_near(headroom, call.limit_bytes)
                interval = min(interval, RESEND_SECONDS if call.stop_wanted else interval_for(headroom))
            except Exception as error:
                note_fault("watching a limit", error)
        self._set_lowered(near and bool(self.active))
        if calls and self.ticker is not None:
            self.ticker.looked(resident)
        return interval

    def _find_hot(self, now: float, resident: int = 0) -> list[tuple[int, int]]:
        """Search the stacks for hot calls; headroom and limit of each guard that may have some.

        Those found are judged at the next look.  One whose wrapper is no longer on a stack, because something
        threw it off outside its handler, is forgotten before that.
        """
        found = _hot_frames(self)
        rows: list[tuple[int, int]] = []
        for key, guard in tuple(self.lingering.items()):
            for frame, call in tuple(guard.promoted.items()):
                if frame not in found and guard.promoted.pop(frame, None) is not None:
                    call.armed = False
                    call.anchor = None
                    self.remove(call)
            granted = guard.granted
            base = granted.sample.resident_bytes if guard.limit.of == "call" else 0
            if granted.limit_bytes:
                rows.append((granted.limit_bytes - (resident - base), granted.limit_bytes))
            if not guard.promoted and now - guard.granted_until > LINGER_SECONDS:
                del self.lingering[key]
                if now - guard.granted_until <= LINGER_SECONDS:  # granted again this moment
                    self.lingering[key] = guard
        for frame, (guard, granted, thread_id) in found.items():
            if frame not in guard.promoted and (now >= granted.until or guard.granted is not granted):
                self.lingering[id(guard)] = guard
                call = guard.promote(frame, granted, thread_id)
                self.active[id(call)] = call
                rows.append((call.headroom(resident), call.limit_bytes))
        if not self.lingering:
            self.quiet()
        return rows

    def _set_lowered(self, lowered: bool) -> None:
        with self._lock:
            if lowered == self._lowered or (lowered and not self.active):
                return
            self._lowered = lowered
            if lowered:
                self.switch.lower()
            else:
                self.switch.restore()

    def _ring(self) -> None:
        _release(self._bell)

    def _start(self) -> None:
        with self._lock:
            # 3.11 waits for ever for a thread that is started while the interpreter ends (by a finaliser, say)
            if self._thread is not None or sys.is_finalizing():
                return
            self._stopping = False
            thread = threading.Thread(target=self._run, name="meminstr-limits", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is ending: checks remain
                self._thread = None
                note_fault("starting the watcher of limits", error)

    def _run(self) -> None:
        idle_since: float | None = None
        while True:
            if self.active or self.lingering:
                idle_since = None
                try:
                    seconds = self.look()
                except Exception as error:
                    note_fault("watching a limit", error)
                    seconds = LONGEST_SECONDS
                if self._asked:
                    self._asked = False
                    _release(self._answer)
            else:
                now = self._clock()
                idle_since = now if idle_since is None else idle_since
                seconds = LINGER_SECONDS - (now - idle_since)
                if (seconds <= 0 or self._stopping) and self._end():
                    return
                seconds = max(seconds, SHORTEST_SECONDS)
            self.due_at = self._clock() + seconds
            self._bell.acquire(timeout=seconds)

    def _end(self) -> bool:
        # the thread takes itself out first and looks again after: a call added in between either sees no
        # thread and starts one, or is seen here
        with self._lock:
            me, self._thread = self._thread, None
            self.due_at = float("inf")
            if self.active or self.lingering:
                self._thread = me
                return False
            return True


def _release(bell: threading.Lock) -> None:
    try:
        bell.release()
    except RuntimeError:  # it rings already
        pass


def _hot_frames(watcher: Watcher) -> dict[FrameType, tuple[Guard, Granted, int]]:
    """The wrappers of hot calls on the stacks of all threads, with guard, grant and thread."""
    found: dict[FrameType, tuple[Guard, Granted, int]] = {}
    frames = sys._current_frames()
    mine = threading.get_ident()
    try:
        for thread_id, top in frames.items():
            frame: FrameType | None = None if thread_id == mine and watcher.running() else top
            while frame is not None:
                if id(frame.f_code) in HOT:
                    local = frame.f_locals
                    guard, granted = local.get("guard"), local.get("granted")
                    if guard is not None and granted is not None and guard.services.watcher is watcher:
                        found[frame] = guard, granted, thread_id
                frame = frame.f_back
        return found
    finally:
        del frames  # it holds this very frame
