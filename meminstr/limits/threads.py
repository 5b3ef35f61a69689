"""Stopping a call outside the main thread, on request only: an exception that another thread sets.

The interpreter raises such an exception at any later bytecode of the thread, so what matters is that none is on its
way when the call has ended: it is sent only while the call is armed, `disarm` takes a pending one back, both behind
one lock, and the wrapper catches what lands while it disarms.  At most one is sent for each call.

Where the interpreter itself is known to lose or misplace such exceptions, `policy` refuses.
Source: CPython, Doc/c-api/init.rst, ``PyThreadState_SetAsyncExc``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..forks import loading
from .interrupt import CallStopped

if TYPE_CHECKING:
    from .call import Call

_lock = threading.RLock()
_sent: dict[int, Call] = {}
"""Calls that were sent an exception, by thread."""


class ThreadStopped(CallStopped):
    """The stop as the interpreter raises it: from the class alone, in the thread that is to be stopped."""

    def __init__(self) -> None:
        call = _sent[threading.get_ident()]
        super().__init__(call)
        call.landed()


def raise_in_thread(call: Call) -> bool:
    """Have `ThreadStopped` raised in the call's thread (any thread); False when it was already."""
    with _lock:
        if not call.armed or not call.in_own_wrapper or call.thread_id in _sent:
            return False
        _sent[call.thread_id] = call
        return _set(call.thread_id, True)


def disarm(call: Call) -> None:
    """In the call's own thread, inside a handler for `CallStopped`: from here on nothing is raised."""
    with _lock:
        call.armed = False
        if _sent.get(call.thread_id) is call:
            _set(call.thread_id, False)
    if call.landed_at is None:
        # one that was raised already shows within a few bytecodes
        for _ in range(3):
            pass


def forget(call: Call) -> None:
    """The call's wrapper is past its handler."""
    if _sent.get(call.thread_id) is call:
        del _sent[call.thread_id]


def after_fork() -> None:
    """In a forked child, which has no other threads: one of them may have held the lock at the fork."""
    global _lock
    _lock = threading.RLock()
    for thread_id in list(_sent):
        if thread_id != threading.get_ident():
            del _sent[thread_id]


def _set(thread_id: int, raised: bool) -> bool:
    with loading.of("ctypes"):
        import ctypes

    function = ctypes.pythonapi.PyThreadState_SetAsyncExc
    function.argtypes = (ctypes.c_ulong, ctypes.py_object if raised else ctypes.c_void_p)
    found: int = function(thread_id, ThreadStopped if raised else None)
    return found == 1
