"""The sampling switch: which call of a function enters our Python code, decided without a Python frame.

A switch is a callable without arguments that wrapt's ``enabled=`` asks at every call.  Under the GIL it is the
``__next__`` of an iterator made of C parts only, hence atomic and frameless; on a free-threaded build, where
iterators are not atomic, it is a counter behind a lock.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from itertools import chain, repeat

from ..errors import UsageError
from ..spending import growth_at

MAX_EVERY = 1_000_000
LONGEST = 4_096
"""Calls between two samples at most (or ``every``); what the budget refuses then costs half a nanosecond a call."""


def gil_enabled() -> bool:
    """Whether this interpreter runs with the global lock (always, before 3.13)."""
    check: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return check()


def checked_every(every: object) -> int:
    """``every`` as a whole number from 1 to a million.

    Raises:
        UsageError: anything else.
    """
    if isinstance(every, bool) or not isinstance(every, int) or not 1 <= every <= MAX_EVERY:
        raise UsageError(f"every={every!r} is not allowed: a whole number from 1 to {MAX_EVERY:,} is")
    return every


def early_pattern(every: int) -> bytes:
    """Marks of the first ``every`` calls: dense at first (calls 1, 2, 3, 5, 8, 13, ...), then the ``every``-th.

    Warm-up is paid in the first calls; a switch that waited for call ``every`` would see none of it.
    """
    marks = bytearray(every)
    step, following = 1, 2
    while step <= every:
        marks[step - 1] = 1
        step, following = following, step + following
    marks[every - 1] = 1
    return bytes(marks)


_marks: dict[int, bytes] = {}
_MOST_MARKS, _LARGE = 1024, 16_384
_SMALL_INT = 256


def marks_of(gap: int) -> bytes:
    """``gap - 1`` calls passed over and one sampled; shared by all functions, 100 KB for each ``every`` in use."""
    made = _marks.get(gap)
    if made is None:
        made = bytes(gap - 1) + b"\x01"
        if len(_marks) < _MOST_MARKS:
            _marks[gap] = made
    return made


class Pace:
    """How many calls of one function lie between two samples: ``every`` on average, or more when time is short.

    The switch takes its next stretch of marks from `cell`, in C; whoever is sampled puts another there.  So a function
    that is called a million times a second is sampled by what samples may cost, not by its calls.

    Attributes:
        cell: one item, the marks that the switch will take when those it has are used up.
        base: calls between two samples, on average.
    """

    __slots__ = ("_every", "_state", "base", "cell")

    def __init__(self, every: int) -> None:
        self._every = self.base = every
        self._state = every
        self.cell = [marks_of(every)]

    def sampled(self, short: bool, plenty: bool, calls: int) -> tuple[int, ...]:
        """Choose the next distance; returns the sizes of what was made for it and is kept, in bytes: mostly nothing.

        Args:
            short: the budget does not allow a sample now: twice as far, but never past what `growth_at` says.
            plenty: it allows many: half as far, ``every`` at least.
            calls: so far.
        """
        if short:
            self.base = min(2 * self.base, max(self._every, min(int(calls * growth_at(calls)), LONGEST)))
        elif plenty and self.base > self._every:
            self.base = max(self._every, self.base // 2)
        # Irregular, its mean kept: sampled at every hundredth call exactly, a leak in each tenth call would be seen
        # either always or never.  The same in each run: a congruential generator of its own (Lehmer, 1951).
        self._state = self._state * 48271 % 2147483647
        gap = self.base
        steps = min(8, gap // 2) if gap <= 128 else 4 if gap <= _LARGE else 0
        if steps:
            step = (gap // (2 * steps)) | 1  # odd and no multiple of five, so that all remainders come up
            step += 2 * (step % 5 == 0)
            gap += step * (self._state % (2 * steps + 1) - steps)
        known, table = gap in _marks, _marks.__sizeof__()
        self.cell[0] = marks_of(gap)
        if known or gap not in _marks:
            return ()
        # the marks, the number they are found by where it is no small one, and what the table took to grow
        grown = _marks.__sizeof__() - table
        return (gap + 33, *((32,) if gap > _SMALL_INT else ()), *((grown,) if grown else ()))


def sampling_switch(every: int, pace: Pace | None = None) -> Callable[[], int]:
    """A callable that answers 1 on the calls to sample and 0 on all others.

    Args:
        every: sample one call in so many on average, after the early calls of `early_pattern`.
        pace: where the distances come from; None: always ``every``.
    """
    cell = Pace(every).cell if pace is None else pace.cell
    # all of it C: at the end of a stretch `map` looks into the cell for the next one
    stretches = map(cell.__getitem__, repeat(0))
    marks: Iterator[int] = chain(early_pattern(every), chain.from_iterable(stretches))
    if gil_enabled():
        # measured on CPython 3.11: the whole guarded call adds 0.10 to 0.16 of what a do-nothing wrapt decorator
        # adds, by its kind, and 99 calls in 100, or more, never enter Python (benchmarks/overhead.py)
        return marks.__next__
    return LockedSwitch(marks)


class LockedSwitch:
    """The switch of a free-threaded build: it takes a lock, and counts the calls, as nothing in C does there."""

    __slots__ = ("__weakref__", "_lock", "_marks", "_total")

    def __init__(self, marks: Iterator[int]) -> None:
        self._marks = marks
        self._total = 0
        self._lock = threading.Lock()
        _locked.add(self)

    def __call__(self) -> int:
        """Whether this call is to be sampled."""
        with self._lock:
            self._total += 1
            return next(self._marks)

    def calls(self) -> int:
        """How often it was asked."""
        return self._total

    def after_fork(self) -> None:
        """In a forked child: another thread may have held the lock at the fork."""
        self._lock = threading.Lock()


_locked: weakref.WeakSet[LockedSwitch] = weakref.WeakSet()


def _forked() -> None:
    for switch in list(_locked):
        switch.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
