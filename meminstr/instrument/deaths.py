"""Who lives: exact counts of births, cleanups and deaths without a lock, and nothing kept of the dead.

A followed instance is one `Ref` in one of two sets, `live` (not cleaned up) and `retained` (cleaned up and
still there).  The callback of a `Ref` is the ``discard`` of its set, a C function: a death runs no Python, and
leaves nothing behind.  What is alive is a length, what has died is a difference.  A `Ref` hashes and compares
by its own identity, so no ``__hash__`` or ``__eq__`` of an instance ever runs.

Measured on 3.11.7, construction and death of a class with a two-argument ``__init__``, as a ratio to what a
do-nothing wrapt wrapper adds (0.48 us), each without numbers and sampling: this way 0.45; the same in a dict,
which would keep the order, 0.55; ``{id: weakref}`` with a C function as death counter 0.70, without callback and
swept later 0.54.  As it stands here, numbered, sampled and looked at, 0.50 to 0.51 (`benchmarks/overhead.py`).

Not seen: a death is reported before ``__del__`` when the cycle collector frees, so an object that its
``__del__`` brings back is counted as dead then (and as alive when it was freed by reference count).
"""

from __future__ import annotations

import heapq
import itertools
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any


class Ref(weakref.ref[Any]):
    """A weak reference with an identity of its own and the number of the construction."""

    __slots__ = ("number",)
    number: int
    # taken as they are, not redefined: the interpreter then keeps the C slots, and no frame runs
    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__


REF_BYTES = 120  # a Ref with its collector header, 88, and the int in it, 32 as allocated (3.11 to 3.13)


class RefSet(set[Ref]):
    """A set of references; pickled as a part of its tally, never with its content."""

    __slots__ = ("role", "tally")
    role: str
    tally: Tally

    def __reduce__(self) -> Any:
        return (getattr, (self.tally, self.role))

    def compact(self) -> None:
        """Give back the table's memory after a mass death: a set shrinks only when it is added to."""
        if sys.getsizeof(self) > 4096 + 256 * len(self):
            # one C call, in which the table is copied and exchanged: no callback can come between
            self.intersection_update(self)


class _AtomicSource(itertools.count):  # type: ignore[type-arg]
    tally: Tally
    role: str

    def __reduce__(self) -> Any:
        return (_source_of, (self.tally, self.role))


class _LockedSource:
    """For interpreters without a GIL, where iterators are not atomic."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.total = 0

    def __next__(self) -> int:
        with self.lock:
            self.total += 1
            return self.total

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.total + 1})"

    def __reduce__(self) -> Any:
        return (_source_of, (self.tally, self.role))

    tally: Tally
    role: str


class Count:
    """A running count: `bump` adds one, is atomic and returns the new raw value; `value` is since `reset`.

    Under the GIL `bump` is ``itertools.count().__next__``: 0.024 us; adding one under a lock costs 0.23.
    """

    __slots__ = ("_source", "base", "bump")

    def __init__(self, tally: Tally, role: str, *, gil: bool) -> None:
        source: Any = _AtomicSource(1) if gil else _LockedSource()
        source.tally, source.role = tally, role
        self._source = source
        self.base = 0
        self.bump: Callable[[], int] = source.__next__

    @property
    def raw(self) -> int:
        """The last value that `bump` returned."""
        # the one way to read a count without taking from it: reducing an iterator is deprecated
        return int(repr(self._source).rpartition("(")[2][:-1]) - 1

    @property
    def value(self) -> int:
        """How often `bump` was called since the last `reset`."""
        return self.raw - self.base

    def reset(self) -> None:
        """Count from nought again (a forked child)."""
        if isinstance(self._source, _LockedSource):
            self._source.lock = threading.Lock()
        self.base = self.raw


def _source_of(tally: Tally, role: str) -> Any:
    return getattr(tally, role)._source


class Level:
    """The followed of one k: each stands for ``weight`` living instances; 1 where all are followed."""

    __slots__ = ("forget", "live", "retained", "weight")

    def __init__(self, tally: Tally, weight: int) -> None:
        self.weight = weight
        self.live, self.retained = RefSet(), RefSet()
        for role, refs in (("live", self.live), ("retained", self.retained)):
            refs.role, refs.tally = role, tally
        # one bound method for all: a new one for each instance would cost 72 bytes each
        self.forget = self.retained.discard

    def followed(self) -> int:
        """How many are followed and alive."""
        return len(self.live) + len(self.retained)


class Tally:
    """The counts of one followed class, and the weak references to its living instances.

    ``base`` holds those of the time when all were followed, which is always, unless there are very many; ``levels``
    those of which one in so many is followed (see `thinning`).
    """

    def __init__(self, link: Any, *, gil: bool | None = None) -> None:
        if gil is None:
            gil = bool(getattr(sys, "_is_gil_enabled", lambda: True)())
        self.link = link
        self.base = Level(self, 1)
        self.live, self.retained = self.base.live, self.base.retained
        self.levels: list[Level] = []
        self.constructed = Count(self, "constructed", gil=gil)
        self.failed = Count(self, "failed", gil=gil)
        self.cleaned = Count(self, "cleaned", gil=gil)

    def __reduce__(self) -> Any:
        return (getattr, (self.link, "tally"))

    def level(self, weight: int) -> Level:
        """The level of this weight, made if there is none; an empty one is dropped."""
        self.levels = [level for level in self.levels if level.weight == weight or level.followed()]
        for level in self.levels:
            if level.weight == weight:
                return level
        made = Level(self, weight)
        self.levels.append(made)
        return made

    def all_levels(self) -> list[Level]:
        """The base and the thinned ones."""
        return [self.base, *self.levels]

    def living(self) -> tuple[int, int]:
        """Instances counted and not yet dead, and how many of them are retained; estimates where not all are
        followed."""
        retained = len(self.retained)
        alive = retained + len(self.live)
        for level in self.levels:
            alive += level.weight * level.followed()
            retained += level.weight * len(level.retained)
        return alive, retained

    def compact(self) -> None:
        """Give back what the tables of dead instances occupy."""
        for level in self.all_levels():
            level.live.compact()
            level.retained.compact()

    def knows(self, instance: Any) -> bool:
        """Whether the instance is counted already: a second ``__init__``, a singleton, a thread-local."""
        if not weakref.getweakrefcount(instance):
            return False
        live, retained = self.live, self.retained
        for ref in weakref.getweakrefs(instance):
            if type(ref) is Ref:
                if ref in live or ref in retained:
                    return True
                if self.levels and any(ref in level.live or ref in level.retained for level in self.levels):
                    return True
        return False

    def fresh(self, instance: Any) -> bool:
        """The opposite of `knows`, for an instance that has weak references of somebody's."""
        return not self.knows(instance)

    def clean(self, instance: Any) -> bool:
        """Move an instance to those cleaned up; False when it is not counted or was there already."""
        for old in weakref.getweakrefs(instance):
            if type(old) is not Ref:
                continue
            for level in self.all_levels() if self.levels else (self.base,):
                if old in level.live:
                    new = Ref(instance, level.forget)
                    new.number = old.number
                    try:
                        level.live.remove(old)  # atomic: of two threads that clean the same object one fails here
                    except KeyError:
                        return False
                    level.retained.add(new)
                    self.cleaned.bump()
                    return True
        return False

    def objects(self, *, retained_only: bool = False, limit: int | None = None) -> list[Any]:
        """Strong references to the living that are followed, oldest construction first (`limit` of them)."""
        tables = [level.retained for level in self.all_levels()]
        if not retained_only:
            tables += [level.live for level in self.all_levels()]
        chosen = [ref for table in tables for ref in list(table)]  # list(): one C call, as callbacks discard
        if limit is None:
            chosen.sort(key=_number)
        else:
            chosen = heapq.nsmallest(limit, chosen, key=_number)
        return [instance for ref in chosen if (instance := ref()) is not None]

    def size_bytes(self) -> int:
        """Own memory: the tables and the references in them."""
        return sum(
            sys.getsizeof(level.live) + sys.getsizeof(level.retained) + REF_BYTES * level.followed()
            for level in self.all_levels()
        )

    def reset(self) -> None:
        """Forget every instance and start all counts at nought (a forked child)."""
        self.live.clear()
        self.retained.clear()
        self.levels = []
        for count in (self.constructed, self.failed, self.cleaned):
            count.reset()


def _number(ref: Ref) -> int:
    return ref.number
