"""One chain explained, the others like it found: down from the container where they fan out.

Of a thousand suspects in one listener list a few are traced; the rest is reached forward from that list by the
same named steps, which costs microseconds each and no scan of the heap.  Every step of every object is
checked by its name, so an object is put under a path only if it really is held that way.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from .naming import Role
from .paths import named
from .safe import children, object_arrays

_MOST_NODES = 200_000
_CHECK_EVERY = 512


def alike(
    chain: list[Any], start_role: Role, wanted: set[int], clock: Callable[[], float], deadline: float, own: set[int]
) -> list[Any]:
    """Objects with ids in `wanted` that are held as the last of `chain` is, along the same named steps."""
    labels = []
    role = start_role
    for holder, child in pairwise(chain):
        step = named(holder, child, role)
        labels.append((step.text, step.star))
        role = step.role
    fan = next((i for i, (_, star) in enumerate(labels) if star), None)
    if fan is None:
        return []
    role = start_role
    for index in range(fan):
        role = named(chain[index], chain[index + 1], role).role
    arrays = object_arrays()
    frontier: list[tuple[Any, Role]] = [(chain[fan], role)]
    for index in range(fan, len(chain) - 1):
        last = index == len(chain) - 2
        cls = type(chain[index + 1])
        text, star = labels[index]
        following: list[tuple[Any, Role]] = []
        seen: set[int] = set()
        own.update((id(following), id(frontier)))
        for count, (holder, holder_role) in enumerate(frontier):
            if count % _CHECK_EVERY == 0 and clock() > deadline:
                return [obj for obj, _ in following] if last else []
            free = star and type(holder) in (list, tuple, set, frozenset)
            for child in children(holder, arrays):
                key = id(child)
                if key in seen or (key not in wanted if last else type(child) is not cls):
                    continue
                if free:
                    seen.add(key)
                    following.append((child, None))
                    continue
                step = named(holder, child, holder_role)
                if step.text == text:
                    seen.add(key)
                    following.append((child, step.role))
            if len(following) > _MOST_NODES:
                break
        frontier = following
    return [obj for obj, _ in frontier]
