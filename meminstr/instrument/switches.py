"""The sampling switch: which call of a function enters our Python code, decided without a Python frame.

A switch is a callable without arguments that wrapt's ``enabled=`` asks at every call.  Under the GIL it is the
``__next__`` of an iterator made of C parts only, hence atomic and frameless; on a free-threaded build, where
iterators are not atomic, it is a counter behind a lock.
"""

from __future__ import annotations

import functools
import random
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import chain, repeat

from ..errors import UsageError

MAX_EVERY = 1_000_000
_GAPS = 61
_LONGEST = 65_536  # bytes of marks kept for one interval


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


@functools.lru_cache(maxsize=64)
def steady_pattern(every: int) -> bytes:
    """Marks at irregular distances whose mean is ``every``, repeated for ever.

    Sampled at every hundredth call exactly, a leak in each tenth call would be seen either always or never.
    """
    if every == 1:
        return b"\x01"
    gaps = max(1, min(_GAPS, _LONGEST // every))
    draw = random.Random(every)  # its own, and the same in each run
    offsets = [draw.randint(0, every // 2) for _ in range(gaps // 2)]
    # each with its opposite, so that the mean is kept
    offsets = [*offsets, *(-offset for offset in offsets), *[0] * (gaps % 2)]
    draw.shuffle(offsets)
    distances = [every + offset for offset in offsets]
    return b"".join(bytes(distance - 1) + b"\x01" for distance in distances)


def sampling_switch(every: int) -> Callable[[], int]:
    """A callable that answers 1 on the calls to sample and 0 on all others.

    Args:
        every: sample one call in so many on average, after the early calls of `early_pattern`.
    """
    marks: Iterator[int] = chain(early_pattern(every), chain.from_iterable(repeat(steady_pattern(every))))
    if gil_enabled():
        # measured on CPython 3.11 to 3.13: the whole guarded call adds 0.12 to 0.15 of what a do-nothing
        # wrapt decorator adds, and 99 calls in 100 never enter Python (benchmarks/overhead.py)
        return marks.__next__
    lock = threading.Lock()

    def locked() -> int:
        with lock:
            return next(marks)

    return locked
