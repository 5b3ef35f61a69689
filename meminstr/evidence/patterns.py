"""One chain explained, the others like it found: down from the container where they fan out.

Of a thousand suspects in one listener list a few are traced; the rest is reached forward from that list by the
same named steps, which costs microseconds each and no scan of the heap.  Every step of every object is
checked by its name, so an object is put under a path only if it really is held that way.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from .naming import Edge, Role
from .paths import named
from .safe import children, object_arrays

_PLAIN = (list, tuple, set, frozenset)
_MOST_NODES = 20_000
_CHECK_EVERY = 64
_WIDE_DICT = 256
"""Entries above which `naming` says no more of a dict's entry than that it is one."""


class _OutOfTime(Exception):
    """The deadline passed on the way down."""


def alike(
    chain: list[Any], start_role: Role, wanted: set[int], clock: Callable[[], float], deadline: float, own: set[int]
) -> list[Any]:
    """Objects with ids in `wanted` that are held as the last of `chain` is, along the same named steps.

    Tried from the last container of the chain first: that is where suspects mostly fan out; a container so wide
    that the way down from it would be a walk of its own is left alone.
    """
    roles: list[Role] = [start_role]
    labels = []
    for holder, child in pairwise(chain):
        step = named(holder, child, roles[-1])
        labels.append(step)
        roles.append(step.role)
    found: dict[int, Any] = {}
    own.add(id(found))
    fans = [index for index, step in enumerate(labels) if step.star]
    try:
        for fan in reversed(fans):
            below = _descend(chain, fan, roles, labels, wanted, own, lambda: clock() > deadline)
            if below is None:
                break
            found.update((id(obj), obj) for obj in below)
            if wanted.issubset(found):
                break
    except _OutOfTime:
        pass  # the rest is found by walks of its own, or said to be missing
    return list(found.values())


def _descend(
    chain: list[Any],
    fan: int,
    roles: list[Role],
    labels: list[Edge],
    wanted: set[int],
    own: set[int],
    is_late: Callable[[], bool],
) -> list[Any] | None:
    """The wanted objects below ``chain[fan]``; None when there are too many on the way."""
    arrays = object_arrays()
    frontier: list[tuple[Any, Role]] = [(chain[fan], roles[fan])]
    asked = 0
    for index in range(fan, len(chain) - 1):
        last = index == len(chain) - 2
        cls = type(chain[index + 1])
        label = labels[index]
        following: list[tuple[Any, Role]] = []
        seen: set[int] = set()
        own.update((id(following), id(frontier)))
        for holder, role in frontier:
            members = _members_of_wide(holder, role, label)
            plain = members is not None or (label.star and type(holder) in _PLAIN)
            if members is None:
                members = children(holder, arrays)
            own.add(id(members))
            if not last and len(members) > _MOST_NODES:
                return None
            for child in members:
                key = id(child)
                if key in seen or (key not in wanted if last else type(child) is not cls):
                    continue
                following_role: Role = None
                if not plain:
                    asked += 1
                    if asked % _CHECK_EVERY == 0 and is_late():
                        raise _OutOfTime
                    step = named(holder, child, role)
                    if step.text != label.text:
                        continue
                    following_role = step.role
                seen.add(key)
                following.append((child, following_role))
            own.discard(id(members))
            if len(following) > _MOST_NODES:
                return None
        frontier = following
    return [obj for obj, _ in frontier]


def _members_of_wide(holder: Any, role: Role, label: Edge) -> list[Any] | None:
    """Values or keys of a wide dict: asking of each whether it is a key would cost the square of its length."""
    if type(holder) is not dict or role is not None or len(holder) <= _WIDE_DICT:
        return None
    try:
        if label.text == "[*]":
            return list(holder.values())
        return list(holder) if label.text == ".keys()[*]" else None
    except RuntimeError:  # another thread changes its size
        return None
