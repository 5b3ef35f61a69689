"""What grew: types and large containers counted at two moments and compared.

A census holds numbers, names and addresses, no object.  An address may be reused between two censuses: a
container is the same one only if its type is the same and it did not shrink below a sensible size.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..verdict import Grown
from .caches import is_too_large
from .safe import size_of, type_name

_LARGE = 200
"""Entries from which a container is followed by itself."""
_OURS = __name__.partition(".")[0] + ".evidence."
_SLICE = 20_000
_SIZED_PER_TYPE = 5
_MEASURED: dict[type, Callable[[Any], int]] = {
    list: list.__len__,
    dict: dict.__len__,
    set: set.__len__,
}


@dataclass(frozen=True, slots=True)
class Container:
    """A large list, dict or set: its address, type, length and shallow bytes."""

    ident: int
    type: str
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Census:
    """Counts at one moment."""

    types: dict[str, int]
    bytes_each: dict[str, float] = field(default_factory=dict)
    """Mean shallow bytes of an instance, from a few instances of each type."""
    containers: dict[int, Container] = field(default_factory=dict)
    objects: int = 0
    complete: bool = True
    """False when the heap was too large for the budget or frozen out of sight."""
    note: str | None = None


def take(
    budget_seconds: float = 0.1,
    *,
    objects: Iterable[object] | None = None,
    large: int = _LARGE,
    clock: Callable[[], float] = time.perf_counter,
) -> Census:
    """Count the tracked objects by type, and large containers by themselves.

    Costs about 110 ns an object, in slices; `gc.get_objects` itself is one pause of 30 to 50 ms per million.

    Args:
        budget_seconds: time after which the count stops; what it has is marked incomplete.
        objects: what to count instead of everything the collector tracks.
        large: entries from which a container is followed by itself.
        clock: seconds, monotonic.
    """
    if objects is None and is_too_large(budget_seconds):
        return Census({}, complete=False, note="the heap is too large for a census in the time budget")
    deadline = clock() + budget_seconds
    everything: list[Any] = gc.get_objects() if objects is None else list(objects)
    counts: Counter[type] = Counter()
    sizes: dict[type, list[int]] = {}
    containers: dict[int, Container] = {}
    skipped = {id(everything), id(counts), id(sizes), id(containers)}
    complete, done = True, 0
    try:
        for start in range(0, len(everything), _SLICE):
            part = everything[start : start + _SLICE]
            skipped.add(id(part))
            counts.update(map(type, part))
            for obj in part:
                measure = _MEASURED.get(type(obj))
                if measure is not None and measure(obj) >= large and id(obj) not in skipped:
                    name = type(obj).__name__
                    containers[id(obj)] = Container(id(obj), name, measure(obj), size_of(obj))
            for obj in part[:: max(1, len(part) // 2_000)]:
                row = sizes.setdefault(type(obj), [])
                if len(row) < _SIZED_PER_TYPE:
                    row.append(size_of(obj))
            done += len(part)
            if clock() > deadline and done < len(everything):
                complete = False
                break
    finally:
        del everything
    types: dict[str, int] = {}
    bytes_each: dict[str, float] = {}
    for cls, count in counts.items():
        name = type_name(cls)
        if name.startswith(_OURS):
            continue  # the records of censuses and samples grow with what they tell of
        types[name] = types.get(name, 0) + count
        if sizes.get(cls):
            bytes_each[name] = sum(sizes[cls]) / len(sizes[cls])
    note = None if complete else "the time budget ended before every object was counted"
    if gc.get_freeze_count() > 1_000 and objects is None:
        note = "; ".join(filter(None, (note, "objects frozen by gc.freeze are not counted")))
    return Census(types, bytes_each, containers, done, complete, note)


def compare(
    before: Census,
    after: Census,
    *,
    at_least: int = 10,
    name_of: Callable[[int], str | None] | None = None,
) -> tuple[Grown, ...]:
    """What gained between two censuses, containers and types, the largest gain first.

    Two censuses of which one is incomplete are not comparable: the answer is empty.

    Args:
        at_least: smallest gain that is reported.
        name_of: the path of a container by its address, as `container_name` finds it; asked for few.
    """
    if not (before.complete and after.complete):
        return ()
    grown: list[Grown] = []
    for name, count in after.types.items():
        gained = count - before.types.get(name, 0)
        if gained >= at_least:
            each = after.bytes_each.get(name)
            grown.append(Grown(name, "type", gained, None if each is None else round(gained * each)))
    containers: list[tuple[int, int, Container]] = []
    for ident, container in after.containers.items():
        earlier = before.containers.get(ident)
        same = earlier is not None and earlier.type == container.type
        gained = container.entries - (earlier.entries if earlier is not None and same else 0)
        if gained >= at_least:
            size = container.bytes - (earlier.bytes if earlier is not None and same else 0)
            containers.append((gained, size, container))
    containers.sort(key=lambda row: -row[0])
    for gained, size, container in containers[:5]:
        path = name_of(container.ident) if name_of is not None else None
        grown.append(Grown(path or container.type, "container", gained, max(0, size)))
    return tuple(sorted(grown, key=lambda g: (-g.count, g.what, g.name)))


def container_name(ident: int, *, budget_seconds: float = 0.2) -> str | None:
    """The path of a large container, found by `holders.find_holders`; None when it is gone or not reached."""
    from .holders import find_holders

    found = [obj for obj in gc.get_objects() if id(obj) == ident and type(obj) in _MEASURED]
    if not found:
        return None
    holding = find_holders(found, budget_seconds=budget_seconds)
    group = holding.groups[0] if holding.groups else None
    return group.path if group is not None and group.root not in ("unknown", "cycle") else None
