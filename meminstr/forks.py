"""Importing late in a program that forks: one lock for all of it, and what a child must not import any more.

A child that is forked while another thread imports inherits that module's import lock, held for ever by a thread it
does not have: the first import of the module in the child waits without end.  So everything that meminstr imports on
first use is imported under `loading`, and a fork waits for it (for a limited time: the thread that loads may itself
wait for an import of the thread that forks).  What threads of the program import at a fork is not ours to hold up;
`cannot_finish` then names it in the child, where nothing is loaded any more.  The locks of other modules are re-made
by their own hooks.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from importlib import _bootstrap  # the interpreter's own importing, frozen
from typing import Any

_LOADING_WAITS = 1.0
_FORK_WAITS = 5.0


class Loading:
    """A re-entrant lock that a fork waits for; as a context it is given up after a second rather than waited for."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._forking: set[int] = set()

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock; with ``blocking`` wait up to a second for it.  Whether it is taken."""
        return self._lock.acquire(timeout=_LOADING_WAITS) if blocking else self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Give it back, if this thread has it."""
        if self._lock._is_owned():  # type: ignore[attr-defined]
            self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def of(self, name: str) -> AbstractContextManager[None]:
        """The lock, where importing ``name`` would load it; nothing, where it is loaded."""
        return nullcontext() if name in sys.modules else self

    def before_fork(self) -> None:
        """In the thread that forks."""
        if self._lock.acquire(timeout=_FORK_WAITS):
            self._forking.add(threading.get_ident())

    def after_fork_in_parent(self) -> None:
        """In the thread that forked."""
        if threading.get_ident() in self._forking:
            self._forking.discard(threading.get_ident())
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """In the only thread left."""
        mine = threading.get_ident() in self._forking
        self._forking.clear()
        if mine:
            self._lock.release()
        else:
            self._lock = threading.RLock()
        _note_what_is_stuck()


loading = Loading()
_stuck: frozenset[str] = frozenset()


def cannot_finish() -> frozenset[str]:
    """Modules that another thread was importing when this process was forked: importing one here waits for ever."""
    return _stuck


def _note_what_is_stuck() -> None:
    global _stuck
    importing: Any = _bootstrap
    try:
        # an entry lives as long as some thread is at that import; the threads of the parent never get further here
        locks = [(name, reference()) for name, reference in list(importing._module_locks.items())]
        me = threading.get_ident()
        _stuck = frozenset(name for name, lock in locks if lock is not None and lock.owner != me)
    except Exception:  # an interpreter whose imports work another way
        _stuck = frozenset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=loading.before_fork,
        after_in_parent=loading.after_fork_in_parent,
        after_in_child=loading.after_fork_in_child,
    )
