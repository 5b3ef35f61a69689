"""Containers with a bound: growth that ends by itself, and caches that have no bound at all.

Recognised without importing anything: `functools.lru_cache` wrappers, `collections.deque` with a length,
caches of `cachetools`, the weak containers (bounded by the life of what they refer to), and what the program
declared with `declare_bounded`.  `fill_between` compares two looks and says whether a growth of blocks can be
such a container filling up.
"""

from __future__ import annotations

import collections
import functools
import gc
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UsageError
from .safe import find_in_class, is_a, mro, type_name

_MOST_OBJECTS = 3_000_000
_SECONDS_PER_OBJECT = 110e-9
_MOST_PLAIN = 256
_BLOCKS_PER_ENTRY = 40.0
"""Up to this many blocks gained per entry gained, a filling cache explains the growth (VERDICTS.md 3.7)."""

_LRU: type = type(functools.lru_cache(len))
_WEAK = (weakref.WeakValueDictionary, weakref.WeakKeyDictionary, weakref.WeakSet)


@dataclass(frozen=True, slots=True)
class BoundedContainer:
    """One container at one moment; holds no reference to it."""

    kind: str
    """lru_cache, deque, cachetools, weak, declared."""
    name: str
    entries: int
    capacity: int | None
    """None where no number bounds it: unbounded caches and weak containers."""
    unbounded: bool
    ident: int
    holds_self: bool = False
    """A cache on a method: its keys keep instances alive."""


@dataclass(frozen=True, slots=True)
class FillReport:
    """What happened to the bounded containers between two looks."""

    growing: bool
    """A container with a bound gained entries enough to explain the blocks gained."""
    description: str
    """``lru_cache app.models.embed 1,203/5,000``; empty when none grew."""
    entries_gained: int
    capacity_left: int
    """Entries until all the growing ones are full."""
    full: bool
    """Containers with a bound grew and are now all at it: growth after this is none of theirs."""
    capacity: int = 0
    """Entries that the growing ones may hold together."""


@dataclass(slots=True)
class _Declared:
    reference: Callable[[], Any]
    maxsize: int
    name: str
    owned: bool


_declared: dict[int, _Declared] = {}


def declare_bounded(container: Any, maxsize: int, name: str | None = None) -> None:
    """Say that a home-made cache never has more than `maxsize` entries.

    The container is kept weakly where that is possible.  A plain dict or list takes no weak reference, and a
    dict of numbers is not even tracked by the collector: of these the last 256 declared are kept themselves.

    Raises:
        UsageError: the object has no length, or `maxsize` is no positive whole number.
    """
    if find_in_class(type(container), "__len__") is None:
        raise UsageError(f"bounded() takes a container with a length, not {type_name(type(container))}")
    if isinstance(maxsize, bool) or not isinstance(maxsize, int) or maxsize < 1:
        raise UsageError(f"bounded(): maxsize={maxsize!r}: a positive number of entries is allowed")
    key = id(container)
    label = name or type_name(type(container))

    def on_death(_: object) -> None:
        _declared.pop(key, None)

    try:
        reference: Callable[[], Any] = weakref.ref(container, on_death)
        _declared[key] = _Declared(reference, maxsize, label, True)
    except TypeError:
        plain = [k for k, entry in _declared.items() if not entry.owned]
        for old in plain[: len(plain) - _MOST_PLAIN + 1] if len(plain) >= _MOST_PLAIN else ():
            _declared.pop(old, None)
        _declared[key] = _Declared(lambda: container, maxsize, label, False)


def forget_declared(container: Any) -> None:
    """Take a declaration back."""
    _declared.pop(id(container), None)


def bounded_containers(
    objects: Iterable[object] | None = None,
    *,
    budget_seconds: float = 0.1,
    clock: Callable[[], float] = time.perf_counter,
) -> list[BoundedContainer]:
    """All bounded containers among `objects`, by default among everything the collector tracks.

    The scan costs about 110 ns per tracked object and is one pause for its first third; a heap that would
    not fit the budget is not scanned, and only what was declared comes back (see `is_too_large`).
    """
    found = []
    scanned: Iterable[object] = ()
    if objects is not None:
        scanned = objects
    elif not is_too_large(budget_seconds):
        scanned = gc.get_objects()
    deadline = clock() + budget_seconds
    wanted = _wanted_types()
    for count, obj in enumerate(scanned):
        if type(obj) in wanted or (type(obj) not in _PLAIN and issubclass(type(obj), _FAMILIES)):
            container = _describe(obj)
            if container is not None and container.ident not in _declared:
                found.append(container)
        if count % 20_000 == 19_999 and objects is None and clock() > deadline:
            break
    for key, entry in list(_declared.items()):
        if (target := entry.reference()) is not None:
            found.extend(_declared_now(key, target))
    return found


def is_too_large(budget_seconds: float) -> bool:
    """Whether a scan of this process's objects is not done: too many for the budget."""
    objects = sys.getallocatedblocks() / 2.5  # measured: two to three blocks for each tracked object
    return objects > _MOST_OBJECTS or objects * _SECONDS_PER_OBJECT > 4 * budget_seconds


def fill_between(
    before: Iterable[BoundedContainer], after: Iterable[BoundedContainer], blocks_gained: float
) -> FillReport:
    """Whether a container with a bound can be what took `blocks_gained` blocks between two looks."""
    earlier = {(c.ident, c.kind): c.entries for c in before}
    grown = []
    for container in after:
        if container.capacity is None or container.unbounded:
            continue
        gained = container.entries - earlier.get((container.ident, container.kind), 0)
        if gained > 0:
            grown.append((gained, container))
    if not grown:
        return FillReport(False, "", 0, 0, False)
    grown.sort(key=lambda row: -row[0])
    gained = sum(row[0] for row in grown)
    left = sum(max(0, (c.capacity or 0) - c.entries) for _, c in grown)
    bound = sum(c.capacity or 0 for _, c in grown)
    top = grown[0][1]
    others = f" and {len(grown) - 1} more" if len(grown) > 1 else ""
    text = f"{top.kind} {top.name} {top.entries:,}/{top.capacity:,}{others}"
    return FillReport(blocks_gained <= gained * _BLOCKS_PER_ENTRY, text, gained, left, left == 0, bound)


_PLAIN = frozenset((dict, list, tuple, set, type(len), type(lambda: 0), type))
_FAMILIES = (collections.deque, *_WEAK)


def _wanted_types() -> set[type]:
    wanted: set[type] = {_LRU, collections.deque, *_WEAK}
    for name, module in list(sys.modules.items()):
        if name == "cachetools" or (isinstance(name, str) and name.startswith("cachetools.")):
            wanted.update(c for c in vars(module).values() if isinstance(c, type) and c.__module__ == name)
    base = getattr(sys.modules.get("cachetools"), "Cache", None)
    if isinstance(base, type):
        queue = [base]
        for cls in queue:  # caches of the program that derive from one of cachetools
            wanted.add(cls)
            queue.extend(type.__subclasses__(cls))
    return wanted


def _describe(obj: Any) -> BoundedContainer | None:
    try:
        if type(obj) is _LRU:
            return _lru(obj)
        if is_a(obj, collections.deque):
            bound = collections.deque.__dict__["maxlen"].__get__(obj)
            if bound is None:
                return None
            return BoundedContainer("deque", "deque", collections.deque.__len__(obj), bound, False, id(obj))
        if is_a(obj, _WEAK):
            entries = len(object.__getattribute__(obj, "data"))
            return BoundedContainer("weak", type(obj).__name__, entries, None, False, id(obj))
        if any(str(base.__module__).startswith("cachetools") for base in mro(type(obj))):
            # the size of a cache is what its own `getsizeof` says, entries by default
            maxsize, size = obj.maxsize, obj.currsize
            bound = int(maxsize) if maxsize < sys.maxsize else None
            return BoundedContainer("cachetools", type_name(type(obj)), int(size), bound, bound is None, id(obj))
    except Exception:  # half built, or a class with its own ideas: not recognised
        return None
    return None


def _lru(wrapper: Any) -> BoundedContainer | None:
    info = _LRU.__dict__["cache_info"](wrapper)
    if info.maxsize == 0:
        return None  # caches nothing; some wrappers use the type for its speed
    function = getattr(wrapper, "__wrapped__", None)
    name = f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}"
    code = getattr(function, "__code__", None)
    first = code.co_varnames[:1] if code is not None and code.co_argcount else ()
    return BoundedContainer(
        "lru_cache", name, info.currsize, info.maxsize, info.maxsize is None, id(wrapper), first == ("self",)
    )


def _declared_now(key: int, container: Any) -> list[BoundedContainer]:
    entry = _declared.get(key)
    if entry is None:
        return []
    try:
        made = BoundedContainer("declared", entry.name, len(container), entry.maxsize, False, key)
    except Exception:
        return []
    # a declaration that is broken is no excuse for growth
    return [made if made.entries <= entry.maxsize else replace(made, capacity=None, unbounded=True)]
