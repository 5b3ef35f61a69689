"""Examples of what grew: the newest instances of a type, as suspects for `holders`."""

from __future__ import annotations

import builtins
import gc
from collections import deque
from collections.abc import Sequence
from typing import Any

from ..verdict import Grown
from .census import Census
from .safe import type_name

_PLUMBING = frozenset(
    (
        "weakref.ReferenceType",
        "weakref.KeyedRef",
        "weakref.CallableProxyType",
        "_contextvars.Context",
        "_thread.lock",
        "_thread.RLock",
        "_thread._local",
        "functools.partial",
        "collections.deque",
        "collections.OrderedDict",
        "collections.defaultdict",
        "types.SimpleNamespace",
        "_asyncio.Future",
    )
)
"""Types that come along with others and say little by themselves."""


def culprit(grown: Sequence[Grown]) -> str | None:
    """The type to name among those that grew.

    A type of the program or a library comes before a builtin that grew at most three times as much: a leaked session
    leaks its dict and its list too, and they are not what to look for.
    """
    types = [g for g in grown if g.what == "type" and not g.name.startswith("meminstr.")]
    if not types:
        return None
    most = max(g.count for g in types)
    named = [g for g in types if is_telling(g.name) and g.count >= 0.1 * most]
    # the largest of those that grew about as much: what owns the others is mostly larger than they are
    top = max((g.count for g in named), default=0)
    peers = [g for g in named if g.count >= 0.5 * top]
    return max(peers or types, key=lambda g: g.bytes or 0).name


def is_telling(name: str) -> bool:
    """Whether a type says by itself what leaks: one of the program or a library, or an exception."""
    if "." in name:
        return name not in _PLUMBING
    builtin = getattr(builtins, name, None)
    return isinstance(builtin, type) and issubclass(builtin, BaseException)


def examples(before: Census, after: Census, name: str, limit: int = 50) -> list[Any]:
    """Instances of a type that grew between two censuses: half of them the latest in the collector's order.

    A collection leaves the objects in the order in which it reached them, not in that of their birth: so the other half
    is spread evenly over all.  They are strong references: the caller lets go of them at once.
    """
    gained = after.types.get(name, 0) - before.types.get(name, 0)
    most = max(1, min(limit, gained))
    found: deque[Any] = deque(maxlen=max(1, (most + 1) // 2))
    spread: list[Any] = []
    step = max(1, after.types.get(name, 0) // max(1, most // 2))
    if gained <= 0:
        return []
    objects = gc.get_objects()
    obj: Any = None
    seen = 0
    fits: dict[int, bool] = {}  # by the address of a type: a metaclass may hash in its own way
    try:
        for obj in objects:
            fit = fits.get(id(type(obj)))
            if fit is None:
                fit = fits[id(type(obj))] = type_name(type(obj)) == name
            if not fit or obj is found or obj is spread:
                continue
            seen += 1
            if seen % step == 0 and len(spread) < most // 2:
                spread.append(obj)
            found.append(obj)
        latest = set(map(id, found))
        return [obj for obj in spread if id(obj) not in latest] + list(found)
    finally:
        obj = None
        objects.clear()
