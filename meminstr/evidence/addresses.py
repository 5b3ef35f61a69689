"""Many objects at once, by their addresses: ids, types and sizes as arrays, and a byte of notes for each object.

A walk over a million objects may spend some 50 ns on each, which no loop of Python keeps to.  So the ids of a list's
members are read where the list has them, and types where the objects have them.  Both are checked on a few objects
of known answers first; where the layout is another one, the same is asked in the slow way.  Only ever read, and only
of objects that somebody holds.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
import types
from collections import deque
from collections.abc import Collection
from typing import Any

from .safe import ATOMS, is_a, mro

SEEN, LEAF, OWN, TARGET, WANTED = 1, 2, 4, 8, 128
"""Notes on an object."""
_KIND = 4
_KIND_BITS = 0x70
PLAIN, ATOM, SIZED, SPECIAL = 0x10, 0x20, 0x30, 0x40
"""Notes on a type: what its instances are to a walk."""

_REGION = 22
_PER_REGION = 1 << (_REGION - 4)
_SIZED_TYPES = (list, tuple, dict, set, frozenset, deque)
_LOWEST = 0x1000
_MANY = 100
_HAS_REFERENTS = 1 << 14  # Py_TPFLAGS_HAVE_GC
_FLAGS: Any = type.__dict__["__flags__"]


def _numpy() -> Any:
    import numpy

    return numpy


@functools.cache
def _memory() -> Any:
    """The address space as words; None where objects are not laid out as a plain CPython of 64 bits does it."""
    if sys.maxsize < 2**32 or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    try:
        np = _numpy()
        words = np.frombuffer((ctypes.c_int64 * 2**44).from_address(_LOWEST), dtype=np.int64)
        known: list[Any] = [None, "a", [1, 2, 3], (4,), {5: 6}, {7, 8}, deque([9, 10])]
        at = (np.array([id(o) for o in known]) - _LOWEST) >> 3
        told = (words[at + 1].tolist(), words[at[2:] + 2].tolist(), words[words[at[2] + 3] - _LOWEST >> 3])
        is_plain = told == ([id(type(o)) for o in known], [len(o) for o in known[2:]], id(1))
        return words if is_plain else None
    except Exception:
        return None


def prepare() -> None:
    """Import and try out what is needed, before any budget of time begins."""
    _numpy()
    _memory()


def ids_of(found: list[Any]) -> Any:
    """The ids of the members of a list that nobody changes, as an array of integers; not to be used after the list."""
    np = _numpy()
    if not found:
        return np.empty(0, np.int64)
    words = _memory()
    if words is None:
        return np.fromiter(map(id, found), np.int64, len(found))
    items = words.item((id(found) - _LOWEST >> 3) + 3)
    return np.frombuffer((ctypes.c_int64 * len(found)).from_address(items), dtype=np.int64)


def _types_of(found: list[Any], ids: Any, chosen: Any) -> Any:
    words = _memory()
    if words is None:
        np = _numpy()
        return np.fromiter((id(type(found[index])) for index in chosen.tolist()), np.int64, len(chosen))
    return words[(ids[chosen] - (_LOWEST - 8)) >> 3]


def lengths_of(found: list[Any], chosen: Any) -> Any:
    """Entries of containers of `SIZED` types among `found`, those at the indices `chosen`; of a set somewhat more."""
    np = _numpy()
    words = _memory()
    if words is None:
        return np.fromiter((length(found[index]) for index in chosen.tolist()), np.int64, len(chosen))
    return words[((ids_of(found)[chosen] - _LOWEST) >> 3) + 2]


def large(found: list[Any], exact: Collection[type], least: int) -> list[Any]:
    """Containers among `found` of exactly these types, with so many entries or more."""
    np = _numpy()
    if _memory() is None or not found:
        return [obj for obj in found if type(obj) in exact and length(obj) >= least]
    kinds = _types_of(found, ids_of(found), slice(None))
    of_types = np.flatnonzero(np.isin(kinds, [id(cls) for cls in exact]))
    chosen = of_types[lengths_of(found, of_types) >= least].tolist()
    return [obj for obj in map(found.__getitem__, chosen) if length(obj) >= least]


def length(obj: Any) -> int:
    """Entries of a container of a `SIZED` type, past any ``__len__`` of the program."""
    for base in _SIZED_TYPES:
        if is_a(obj, base):
            return int(base.__len__(obj))
    return 0


def _zeros(size: int) -> Any:
    # mapped by itself: pages that nobody writes to take no memory, and none of it stays with the allocator
    return _numpy().frombuffer(mmap.mmap(-1, size), dtype=_numpy().uint8)


class Table:
    """A byte for each 16 bytes of memory in which objects lie: less than a tenth of the heap."""

    __slots__ = ("_base", "_keys", "_shifts", "_used", "arrays", "notes")

    def __init__(self, arrays: type | None) -> None:
        np = _numpy()
        self.arrays = arrays
        self.notes = _zeros(128 * _PER_REGION)
        self._base: dict[int, int] = {}
        self._used = 0
        self._keys = np.full(4096, -1, np.int64)
        self._shifts = np.zeros(4096, np.int64)

    def offset(self, ident: int) -> int:
        """Where in `notes` one object has its byte."""
        region = ident >> _REGION
        base = self._base.get(region)
        if base is None:
            base = self._add(region)
        return base + (ident >> 4)

    def offsets(self, ids: Any) -> Any:
        """The same of many, as an array."""
        regions = ids >> _REGION
        while True:
            slots = regions & (len(self._keys) - 1)
            missing = self._keys[slots] != regions
            if not missing.any():
                return self._shifts[slots] + (ids >> 4)
            for region in set(regions[missing].tolist()):
                if region not in self._base:
                    self._add(region)

    def note(self, idents: Any, bits: int) -> None:
        """Set bits of some objects."""
        idents = list(idents)
        if len(idents) > _MANY:
            offsets = self.offsets(_numpy().array(idents, dtype=_numpy().int64))
            self.notes[offsets] |= bits
            return
        for ident in idents:
            at = self.offset(ident)  # first: it may put a larger array in the place of `notes`
            self.notes[at] |= bits

    def clear(self, idents: Any, bits: int) -> None:
        """Take bits off some objects."""
        for ident in idents:
            at = self.offset(ident)
            self.notes[at] &= ~bits & 0xFF

    def has(self, ident: int, bits: int) -> bool:
        """Whether an object has one of the bits."""
        at = self.offset(ident)
        return bool(self.notes[at] & bits)

    def of(self, ids: Any) -> Any:
        """The notes on many, as an array."""
        at = self.offsets(ids)
        return self.notes[at]

    def kinds(self, found: list[Any], ids: Any, chosen: Any) -> Any:
        """What some of the objects found, those at the indices `chosen`, are to a walk, by their types."""
        at = self.offsets(_types_of(found, ids, chosen))
        kinds = self.notes[at] & _KIND_BITS
        if not kinds.all():
            unknown = _numpy().flatnonzero(kinds == 0)
            for index in _numpy().unique(at[unknown], return_index=True)[1]:
                self.kind(found[int(chosen[unknown[index]])])
            kinds = self.notes[at] & _KIND_BITS
        return kinds

    def kind(self, obj: Any) -> int:
        """The same of one."""
        cls = type(obj)
        at = self.offset(id(cls))
        found = int(self.notes[at]) & _KIND_BITS
        if not found:
            found = self._classify(cls)
            self.notes[at] |= found
        return found

    def _classify(self, cls: type) -> int:
        line = mro(cls)
        if types.ModuleType in line or (self.arrays is not None and self.arrays in line):
            return SPECIAL
        if cls in ATOMS or not int(_FLAGS.__get__(cls)) & _HAS_REFERENTS:
            return ATOM
        return SIZED if any(base in line for base in _SIZED_TYPES) else PLAIN

    def _add(self, region: int) -> int:
        np = _numpy()
        if self._used == len(self.notes) // _PER_REGION:
            larger = _zeros(2 * len(self.notes))
            larger[: len(self.notes)] = self.notes
            self.notes = larger
        base = self._base[region] = self._used * _PER_REGION - (region << (_REGION - 4))
        self._used += 1
        size = len(self._keys)
        while True:
            keys = np.full(size, -1, np.int64)
            regions = np.fromiter(self._base, np.int64, len(self._base))
            slots = regions & (size - 1)
            keys[slots] = regions
            if (keys[slots] == regions).all():
                break
            size *= 2  # two regions in one place
        shifts = np.zeros(size, np.int64)
        shifts[slots] = np.fromiter(self._base.values(), np.int64, len(self._base))
        self._keys, self._shifts = keys, shifts
        return base
