"""What a returned object alone keeps alive: the blocks and heap bytes that go when its receiver drops it.

A sampled call is read while its result is still alive.  What the result owns is not left behind by the call, so it is
taken off.  Ownership is by reference counts: an object counts if every reference to it comes from inside the result.
The walk is bounded; a result too large to walk makes the sample tell nothing of this function.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

_MOST = 64
_SMALL = 512
"""Requests up to this size are small-object blocks; larger ones lie in the C heap (CPython, Objects/obmalloc.c)."""

_SHARED = (type, type(sys), type(lambda: None), type(len), type((lambda: None).__code__), str)
_BUFFERED = (list, dict, set, bytearray)
_FREE_LISTED = (list, tuple, dict, float)
_OURS = 2  # the list of nodes, the argument of getrefcount
_GC_HEADER = 16
_NOTHING = (0, 0, 0)


def owned(result: Any, references: int) -> tuple[int, int, int] | None:
    """Blocks, perhaps blocks, and C-heap bytes that ``result`` alone keeps alive.

    Lists, tuples, dicts and floats come from free lists when they can, which no counter sees: their blocks are the
    second figure, taken off only where that favours the function.

    Args:
        result: what a call returned.
        references: its reference count as seen by a caller that holds the only one.

    Returns:
        ``(0, 0, 0)`` for what others hold too; None when there is too much to walk.
    """
    if result is None or result is True or result is False or sys.getrefcount(result) > references:
        return _NOTHING
    nodes: list[Any] = [result]
    index = {id(result): 0}
    inside = [1]
    edges: list[list[int]] = []
    for node in nodes:
        below: list[int] = []
        edges.append(below)
        for child in gc.get_referents(node):
            if isinstance(child, _SHARED[:-1]):
                continue
            at = index.get(id(child))
            if at is None:
                if len(nodes) >= _MOST:
                    return None
                at = index[id(child)] = len(nodes)
                nodes.append(child)
                inside.append(0)
            inside[at] += 1
            below.append(at)
    node = child = None
    # by index: `enumerate` keeps the pair it gave last, and with it one more reference
    outside = [at > 0 and sys.getrefcount(nodes[at]) - _OURS > inside[at] for at in range(len(nodes))]
    queue = [at for at, yes in enumerate(outside) if yes]
    for at in queue:
        for down in edges[at]:
            if down and not outside[down]:
                outside[down] = True
                queue.append(down)
    sure = perhaps = heap = 0
    for node, yes in zip(nodes, outside, strict=True):
        if not yes:
            a, b, c = _size(node)
            sure, perhaps, heap = sure + a, perhaps + b, heap + c
    return sure, perhaps, heap


def _size(obj: Any) -> tuple[int, int, int]:
    """(blocks, perhaps blocks, C-heap bytes) of one object with its own buffers, by CPython's layouts."""
    kind = type(obj)
    if kind.__module__ == "numpy" and hasattr(kind, "nbytes"):
        owns = getattr(getattr(obj, "flags", None), "owndata", False)
        return 1, 0, int(obj.nbytes) if owns else 0
    try:
        total = int(kind.__sizeof__(obj))  # type: ignore[call-arg]  # the type's own, never an attribute
    except Exception:
        return 1, 0, 0
    head = kind.__basicsize__
    buffers = max(0, total - head) if kind in _BUFFERED else 0
    body = (head if buffers else total) + (_GC_HEADER if gc.is_tracked(obj) else 0)
    sure, perhaps = (0, 1) if kind in _FREE_LISTED else (1, 0)
    heap = 0 if body <= _SMALL else body
    if buffers:
        heap += 0 if buffers <= _SMALL else buffers
        if kind is dict:  # its table of keys has a free list too
            perhaps += 1
        else:
            sure += 1
    elif kind.__dictoffset__ and kind.__module__ != "builtins":
        perhaps += 1  # its attribute values: a block of their own, or inside the object (3.13)
    return sure, perhaps, heap
