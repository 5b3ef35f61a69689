"""One collection and a heap trim, before a limit is called broken: memory that nobody needs is no reason to stop.

A collection of a large heap takes seconds, so a second attempt comes only after a while.  The watcher asks for the
first at 80 % of a limit: at the breach itself a fast call would grow on while the watcher catches its breath
(measured: 7 to 16 MB of a loop of 1 MB steps on busy cores, against 0.5 to 2.5 MB).
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..forks import loading

_SHARE = 20

_trim: Callable[[int], Any] | None = None
_trim_looked_up = False


def trim_heap() -> None:
    """Give the C heap's free pages back to the system (glibc only; elsewhere nothing).

    Called with the interpreter lock held, so that Python code does not allocate meanwhile.
    """
    prepare()
    if _trim is not None:
        _trim(0)


def prepare() -> None:
    """Look the trim up beforehand: importing takes milliseconds, in which a call near its limit goes on."""
    global _trim, _trim_looked_up
    if _trim_looked_up:
        return
    _trim_looked_up = True
    if sys.platform == "linux":
        try:
            with loading.of("ctypes"):
                import ctypes

            _trim = ctypes.PyDLL(None).malloc_trim
        except (ImportError, OSError, AttributeError):
            _trim = None


class Relief:
    """A collection and a trim, at most one in ``pause_seconds``, and in twenty times what the last one took."""

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        pause_seconds: float = 1.0,
        collect: Callable[[], Any] = gc.collect,
        trim: Callable[[], Any] = trim_heap,
    ) -> None:
        self._clock, self._pause = clock, pause_seconds
        self._collect, self._trim = collect, trim
        self._next = float("-inf")
        self._busy = threading.Lock()

    def attempt(self) -> bool:
        """Whether anything was done: False when the last attempt is too recent, or one is under way."""
        if self._clock() < self._next or not self._busy.acquire(blocking=False):
            return False
        began = self._clock()
        try:
            self._collect()
            self._trim()
        finally:
            ended = self._clock()
            self._next = ended + max(self._pause, _SHARE * (ended - began))
            self._busy.release()
        return True

    def after_fork(self) -> None:
        """In a child: nothing is under way."""
        self._busy = threading.Lock()
