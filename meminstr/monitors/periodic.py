"""Checks that repeat by themselves: in a daemon thread, or as an asyncio task.

Neither keeps its monitor's program alive, and no exception ends either: what a check raises is noted.  A
forked child has no such thread: the monitor is not running there until `start` is called again.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..faults import note_fault
from .alert import finite_number

if TYPE_CHECKING:
    import asyncio


class Periodic:
    """`start`, `stop`, `running`, `watch_async` and `start_async` for a class that has a check to repeat."""

    def __init__(self, check: Callable[[], object]) -> None:
        # weak: a thread must not keep a monitor alive that its program has dropped
        self._check = weakref.WeakMethod(check)
        self._lock = threading.Lock()
        self._stop: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        _all.add(self)

    @property
    def running(self) -> bool:
        """Whether a thread or a task repeats the check in this process."""
        thread, task = self._thread, self._task
        return (thread is not None and thread.is_alive()) or (task is not None and not task.done())

    def start(self, interval: float = 1.0) -> None:
        """Repeat the check every `interval` seconds in a daemon thread, the first at once.

        Raises:
            UsageError: it is running already, or the interval is not a positive number.
        """
        seconds = finite_number(interval, "interval", above=0.0)
        with self._lock:
            self._refuse_second_start()
            stop = threading.Event()
            thread = threading.Thread(
                target=_repeat, args=(self._check, stop, seconds), name="meminstr-monitor", daemon=True
            )
            thread.start()
            self._stop, self._thread = stop, thread

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread and the task, whichever runs; waits at most `timeout` seconds for the thread.

        May be called twice, from any thread, and from within the check.
        """
        with self._lock:
            stop, thread, task = self._stop, self._thread, self._task
            self._stop = self._thread = self._task = None
        if stop is not None:
            stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        if task is not None and not task.done():
            loop = task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

    async def watch_async(self, interval: float = 1.0) -> None:
        """Repeat the check every `interval` seconds until this coroutine is cancelled.

        Raises:
            UsageError: the interval is not a positive number.
        """
        import asyncio

        seconds = finite_number(interval, "interval", above=0.0)
        while _check_once(self._check):
            await asyncio.sleep(seconds)

    def start_async(self, interval: float = 1.0) -> asyncio.Task[None]:
        """Run `watch_async` as a task of the running event loop; the task is kept, `stop` cancels it.

        Raises:
            UsageError: no event loop runs here, it is running already, or the interval is not positive.
        """
        import asyncio

        seconds = finite_number(interval, "interval", above=0.0)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError("start_async needs a running event loop: call it in a coroutine, or use start()") from None
        with self._lock:
            self._refuse_second_start()
            self._task = loop.create_task(self.watch_async(seconds), name="meminstr-monitor")
            return self._task

    def _refuse_second_start(self) -> None:
        if self.running:
            raise UsageError("this monitor is already running: call stop() before it is started again")

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._stop = self._thread = self._task = None


def _check_once(check: weakref.WeakMethod[Callable[[], object]]) -> bool:
    """One check; False when there is nothing left to check."""
    method = check()
    if method is None:
        return False
    try:
        method()
    except Exception as error:  # also a MemoryLimitExceeded of a callback: there is no caller to raise it to
        note_fault("periodic memory check", error)
    return True


def _repeat(check: weakref.WeakMethod[Callable[[], object]], stop: threading.Event, seconds: float) -> None:
    # the interval is counted from the end of a check, so that a slow one never piles up
    while _check_once(check) and not stop.wait(seconds):
        pass


_all: weakref.WeakSet[Periodic] = weakref.WeakSet()


def _stop_all_in_child() -> None:
    for periodic in list(_all):
        periodic._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stop_all_in_child)
