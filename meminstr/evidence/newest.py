"""Examples of what grew: the newest instances of a type, as suspects for `holders`."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Sequence
from typing import Any

from ..verdict import Grown
from .census import Census
from .safe import type_name


def culprit(grown: Sequence[Grown]) -> str | None:
    """The type to name among those that grew.

    A type of the program or a library comes before a builtin that grew at most three times as much: a leaked session
    leaks its dict and its list too, and they are not what to look for.
    """
    types = [g for g in grown if g.what == "type" and not g.name.startswith("meminstr.")]
    if not types:
        return None
    most = max(g.count for g in types)
    named = [g for g in types if "." in g.name and g.count >= 0.3 * most]
    return max(named or types, key=lambda g: g.count).name


def examples(before: Census, after: Census, name: str, limit: int = 50) -> list[Any]:
    """Instances of a type that grew between two censuses, the latest in the collector's order.

    They are strong references: the caller lets go of them at once.
    """
    gained = after.types.get(name, 0) - before.types.get(name, 0)
    found: deque[Any] = deque(maxlen=max(1, min(limit, gained)))
    if gained <= 0:
        return []
    objects = gc.get_objects()
    obj: Any = None
    try:
        for obj in objects:
            if obj is not found and type_name(type(obj)) == name:
                found.append(obj)
    finally:
        obj = None
        objects.clear()
    return list(found)
