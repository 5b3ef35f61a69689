"""Containers and buffers that the collector does not list: dicts of plain values, bytearrays, arrays, in-memory files.

A dict of strings and numbers is not tracked until something else is put into it, and most buffers never are; both are
reached through the tracked objects that hold them.
"""

from __future__ import annotations

import array
import gc
import io
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from .safe import size_of

_SLICE = 10_000
_LEAST_BYTES = 16 * 1024
_SIZES: dict[type, Callable[[Any], int]] = {
    dict: dict.__len__,
    bytearray: bytearray.__len__,
    array.array: array.array.__len__,
    io.BytesIO: io.BytesIO.__sizeof__,
    io.StringIO: io.StringIO.__sizeof__,
}
BUFFERS = frozenset(("bytearray", "array", "BytesIO", "StringIO", "ndarray"))
"""Names of the types here that are one buffer, not a container of objects."""


def find(
    tracked: Sequence[object], large: int, deadline: float, clock: Callable[[], float]
) -> tuple[list[tuple[Any, int, int]], bool]:
    """Large containers and buffers held by `tracked` objects: each with its entries and bytes.

    Costs about 300 ns a tracked object, in slices.

    Returns:
        The rows, and whether the deadline left time for all.
    """
    wanted = set(_SIZES)
    arrays = getattr(sys.modules.get("numpy"), "ndarray", None)
    if isinstance(arrays, type):
        wanted.add(arrays)
    rows: list[tuple[Any, int, int]] = []
    seen: set[int] = set()
    for start in range(0, len(tracked), _SLICE):
        if clock() > deadline:
            return rows, False
        # never a module itself: `_asyncio` of Python 3.12 shows dead objects (see `safe.children`), and taking
        # references to those corrupts the interpreter; the namespaces of modules are listed besides
        holders = [o for o in tracked[start : start + _SLICE] if not issubclass(type(o), types.ModuleType)]
        for obj in [o for o in gc.get_referents(*holders) if type(o) in wanted]:
            if id(obj) in seen or (type(obj) is dict and gc.is_tracked(obj)):
                continue
            seen.add(id(obj))
            row = _measured(obj, large)
            if row is not None:
                rows.append(row)
    return rows, True


def _measured(obj: Any, large: int) -> tuple[Any, int, int] | None:
    try:
        if type(obj) is dict:
            entries = len(obj)
            return (obj, entries, size_of(obj)) if entries >= large else None
        measure = _SIZES.get(type(obj))
        entries = measure(obj) if measure is not None else obj.nbytes
        # what it takes now: a buffer grows ahead of its content
        size = max(entries, size_of(obj))
        return (obj, entries, size) if size >= _LEAST_BYTES else None
    except (ValueError, AttributeError):  # a closed file, an array in the making
        return None
