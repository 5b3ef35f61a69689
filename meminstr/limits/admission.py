"""Is there room for another call?  Asked before it starts, from the peak its earlier calls usually had.

The usual peak is the highest of the last few calls: a mean would admit calls that then fail.  Calls that run
hold their usual peak as a reservation, so that ten heavy calls are not admitted on the same free gigabyte: a
byte semaphore.  The first call of a function is always admitted, because nothing is known of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from time import monotonic

_REMEMBERED = 8
_MAX_SUBJECTS = 1000
_PAUSE_SECONDS = 0.02


class Admission:
    """Usual peaks and reservations of one process.

    Args:
        clock: seconds, monotonic.
        pause: waits so many seconds before the room is asked for again.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, pause: Callable[[float], object] | None = None) -> None:
        self._clock = clock
        self._pause = pause
        self._peaks: OrderedDict[str, deque[int]] = OrderedDict()
        self.after_fork()

    def after_fork(self) -> None:
        """In a child (and at first): what was learnt stays, nothing runs."""
        self._changed = threading.Condition(threading.RLock())
        self._reserved: dict[str, list[int]] = {}

    def learn(self, subject: str, added_bytes: int) -> None:
        """One call has ended after adding so much at its peak."""
        with self._changed:
            peaks = self._peaks.get(subject)
            if peaks is None:
                peaks = self._peaks[subject] = deque(maxlen=_REMEMBERED)
                if len(self._peaks) > _MAX_SUBJECTS:
                    self._peaks.popitem(last=False)
            peaks.append(max(0, added_bytes))

    def usual_peak(self, subject: str) -> int | None:
        """Bytes that calls of this subject add at their peak; None before the first has ended."""
        with self._changed:
            peaks = self._peaks.get(subject)
            return max(peaks) if peaks else None

    def reserved_bytes(self) -> int:
        """Sum of the reservations of the calls that run."""
        with self._changed:
            return sum(sum(rows) for rows in self._reserved.values())

    def try_acquire(self, subject: str, room: Callable[[], int]) -> int | None:
        """Reserve the usual peak if it fits into ``room()`` beside the others; else the bytes that it needs."""
        with self._changed:
            need = self.usual_peak(subject) or 0
            # what running calls have already taken is missing from the room *and* reserved: erring on this
            # side delays a call, erring on the other kills it
            if need > room() - self.reserved_bytes() and need > 0:
                return need
            self._reserved.setdefault(subject, []).append(need)
            return None

    def acquire(self, subject: str, room: Callable[[], int], wait_seconds: float) -> int | None:
        """`try_acquire`, again and again for ``wait_seconds``; None when admitted, else the bytes it needs."""
        until = self._clock() + wait_seconds
        while True:
            need = self.try_acquire(subject, room)
            left = until - self._clock()
            if need is None or left <= 0:
                return need
            self._wait(min(left, _PAUSE_SECONDS))

    async def acquire_async(self, subject: str, room: Callable[[], int], wait_seconds: float) -> int | None:
        """`acquire` without holding up the event loop."""
        import asyncio  # whoever awaits this has it loaded

        until = self._clock() + wait_seconds
        while True:
            need = self.try_acquire(subject, room)
            left = until - self._clock()
            if need is None or left <= 0:
                return need
            await asyncio.sleep(min(left, _PAUSE_SECONDS))

    def release(self, subject: str) -> None:
        """A call that was admitted has ended."""
        with self._changed:
            rows = self._reserved.get(subject)
            if rows:
                rows.pop()
                if not rows:
                    del self._reserved[subject]
            self._changed.notify_all()

    def _wait(self, seconds: float) -> None:
        if self._pause is not None:
            self._pause(seconds)
            return
        # memory also comes free without a release, so the wait is short either way
        with self._changed:
            self._changed.wait(seconds)
