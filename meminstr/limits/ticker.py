"""The main thread's own look at a limit that it nears, when the watcher's thread may not get a core in time.

A one-shot kernel timer sends the main thread the signal that stops calls there (`interrupt`).  Its handler reads the
resident set; above a limit it lets the watcher look and waits for that, so that a call grows no further while another
thread waits to be scheduled.  Below, it sets the timer again as long as memory grows: a program that waits, or whose
memory is level, is left alone, and the watcher sets it once more when it sees growth.

The timer is one of this process's own (``timer_create``), not the program's ``setitimer``.  It is used with SIGURG
only, whose default is to be ignored: unlike the watcher, a timer cannot make sure that the handler is still ours.
Source: timer_create(2), sigevent(3type).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..faults import note_fault
from ..forks import loading

if TYPE_CHECKING:
    from .call import Call

GROWTH_BYTES_PER_SECOND = 8e9
SHORTEST_SECONDS = 0.00025
LONGEST_SECONDS = 0.02
WAIT_SECONDS = 0.05
"""How long the main thread waits for the watcher at most; then it goes on until the next tick."""

_GROWTH_BYTES = 256 << 10
_CLOCK_MONOTONIC = 1
_SIGEV_THREAD_ID = 4
_SIGEV_BYTES = 64


def tick_interval(headroom_bytes: float) -> float:
    """Seconds until the next tick, from the bytes that are left to the closest limit."""
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, headroom_bytes / GROWTH_BYTES_PER_SECOND))


class KernelTimer:
    """One timer of the process whose signal goes to the main thread; where there is none, every call says so."""

    def __init__(self) -> None:
        self._library: Any = None
        self._looked_up = False
        self._id: Any = None
        self._signal = 0
        self._times: Any = None

    def set(self, seconds: float, number: int) -> bool:
        """Send signal ``number`` once after so long; whether it will be."""
        if self._id is None or self._signal != number:
            self.delete()
            if not self._create(number):
                return False
        self._times[2], self._times[3] = int(seconds), max(1, int(seconds % 1 * 1e9))
        return bool(self._library.timer_settime(self._id, 0, self._times, None) == 0)

    def delete(self) -> None:
        """Away with it, and with its signal if that is not delivered yet."""
        made, self._id = self._id, None
        if made is not None:
            self._library.timer_delete(made)

    def forget(self) -> None:
        """In a forked child, which has none of its parent's timers."""
        self._id = None

    def _create(self, number: int) -> bool:
        if not self._looked_up:
            self._looked_up = True
            self._library = _library()
        if self._library is None:
            return False
        with loading.of("ctypes"):
            import ctypes

        event = (ctypes.c_int * (_SIGEV_BYTES // 4))()
        # after the value, which is as long as a pointer; the first thread of a process has the process's own id
        event[2:5] = [number, _SIGEV_THREAD_ID, os.getpid()]
        made = ctypes.c_void_p()
        if self._library.timer_create(_CLOCK_MONOTONIC, event, ctypes.byref(made)) != 0:
            return False
        self._times = (ctypes.c_long * 4)()  # interval and first expiry, each in seconds and nanoseconds
        self._id, self._signal = made, number
        return True


def _library() -> Any:
    if sys.platform != "linux" or sys.maxsize < 1 << 32:
        return None
    try:
        with loading.of("ctypes"):
            import ctypes

        # keeps the interpreter's lock: the calls take a microsecond
        library = ctypes.PyDLL(None)
        _ = library.timer_create, library.timer_settime, library.timer_delete
        return library
    except (ImportError, OSError, AttributeError):
        return None


class Ticker:
    """When to tick, and what to do then.

    Args:
        peek: resident bytes now.
        calls: the watched calls of the main thread.
        arm: sets the timer.
        have_looked: has the watcher look, and waits for it at most so many seconds.
    """

    def __init__(
        self,
        peek: Callable[[], int],
        calls: Callable[[], Iterable[Call]],
        arm: Callable[[float], object],
        have_looked: Callable[[float], object],
    ) -> None:
        self._peek, self._calls, self._arm, self._have_looked = peek, calls, arm, have_looked
        self._at_tick = self._at_look = 0

    def begin(self, call: Call) -> None:
        """A call of the main thread begins: one with little room gets its first tick whatever it does."""
        resident = call.entry.resident_bytes
        self._at_tick = resident
        seconds = tick_interval(call.headroom(resident))
        if seconds < LONGEST_SECONDS:
            self._arm(seconds)

    def looked(self, resident_bytes: int) -> None:
        """The watcher has looked (its thread): tick if memory grows."""
        grew = resident_bytes > self._at_look + _GROWTH_BYTES
        self._at_look = resident_bytes
        if grew:
            rooms = [call.headroom(resident_bytes) for call in self._calls() if call.armed and call.signalled]
            if rooms and min(rooms) >= 0:
                self._arm(tick_interval(min(rooms)))

    def tick(self, frame: FrameType | None, stoppable: Callable[[FrameType | None, Call], bool]) -> None:
        """In the main thread, at the signal; never raises.

        Args:
            frame: what it interrupted.
            stoppable: whether a call can be stopped there; in our own bookkeeping nobody waits for anybody.
        """
        try:
            calls = [call for call in self._calls() if call.armed and call.signalled and call.breach is None]
            if not calls:
                return
            resident = self._peek()
            rooms = [call.headroom(resident) for call in calls]
            if any(room < 0 and stoppable(frame, call) for room, call in zip(rooms, calls, strict=True)):
                self._have_looked(WAIT_SECONDS)
            if resident > self._at_tick + _GROWTH_BYTES:
                self._arm(tick_interval(min(rooms)))
            self._at_tick = resident
        except Exception as error:
            note_fault("looking at a limit from the main thread", error)


def may_tick(number: int | None) -> bool:
    """Whether a stray signal of this number would harm nobody."""
    return number is not None and number == getattr(signal, "SIGURG", None)
