"""How much memory would go if an object went: its dominated size, by a sample.

An object below the suspect counts if every reference to it comes from inside (its reference count equals the
references found).  That is the dominated size of a tree; a part shared between two suspects counts for
neither, so the figure is an estimate from below.  Bounded in objects and time.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from .safe import children, is_a, object_arrays, size_of

_MOST_NODES = 4_000
_SAMPLE = 5
_SHARED = (type, types.ModuleType, types.FunctionType, types.CodeType, types.BuiltinFunctionType)
# references to a node that are ours when it is counted: the list of nodes, the loop's name, the argument
_OURS = 4


def retained_bytes(objects: Sequence[Any], *, clock: Callable[[], float], deadline: float) -> int | None:
    """Estimated bytes that all of `objects` keep alive, themselves included; None when there was no time."""
    sizes = []
    step = max(1, len(objects) // _SAMPLE)
    for index in range(0, len(objects), step):
        if clock() > deadline:
            break
        sizes.append(_dominated(objects[index]))
    return round(sum(sizes) / len(sizes) * len(objects)) if sizes else None


def _dominated(top: Any) -> int:
    arrays = object_arrays()
    nodes = [top]
    index = {id(top): 0}
    inside = [0]
    edges: list[list[int]] = []
    position = 0
    while position < len(nodes):
        held: list[int] = []
        edges.append(held)
        for child in children(nodes[position], arrays):
            if is_a(child, _SHARED):
                continue
            at = index.get(id(child))
            if at is None:
                if len(nodes) >= _MOST_NODES:
                    continue
                at = index[id(child)] = len(nodes)
                nodes.append(child)
                inside.append(0)
            inside[at] += 1
            held.append(at)
        position += 1
    child = None
    outside = [False] * len(nodes)
    for at, node in enumerate(nodes):
        outside[at] = at > 0 and sys.getrefcount(node) - _OURS > inside[at]
    queue = [at for at, is_outside in enumerate(outside) if is_outside]
    for at in queue:
        for below in edges[at]:
            if below and not outside[below]:
                outside[below] = True
                queue.append(below)
    return sum(size_of(node) for node, is_outside in zip(nodes, outside, strict=True) if not is_outside)
