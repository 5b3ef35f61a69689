"""What grew: types and large containers counted at two moments and compared.

A census holds numbers, names and addresses, no object.  An address may be reused between two censuses: a
container is the same one only if its type is the same and it did not shrink below a sensible size.

Of a heap too large for the budget only the large containers near the roots are counted (`nearby`): such a census is
partial, and of two of which one is partial only the containers are compared that both of them know.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..verdict import Grown
from . import addresses, nearby, untracked
from .caches import is_too_large
from .safe import size_of, type_name

_LARGE = 200
"""Entries from which a container is followed by itself."""
_OURS = __name__.partition(".")[0] + ".evidence."
_SLICE = 20_000
_SIZED_PER_TYPE = 5
_MOST_NOISE = 64 * 1024
"""A buffer that gained less, in bytes, is not told."""
_MEASURED: frozenset[type] = frozenset((list, dict, set))


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
    hidden: dict[int, Container] | None = None
    """Those that the collector does not list (`untracked`); None when there was no time to look for them."""
    objects: int = 0
    marks: dict[str, float] = field(default_factory=dict)
    """Readings of the process at that moment, where the taker noted them: ``heap`` in bytes, ``blocks``."""
    at: float = 0.0
    """When it was begun, seconds of `time.monotonic`."""
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
    at = time.monotonic()
    if objects is None and is_too_large(budget_seconds):
        return _partial(budget_seconds, large, clock)
    deadline = clock() + budget_seconds
    everything: list[Any] = gc.get_objects() if objects is None else list(objects)
    counts: Counter[type] = Counter()
    sizes: dict[type, list[int]] = {}
    containers: dict[int, Container] = {}
    hidden: dict[int, Container] | None = None
    skipped = {id(everything), id(counts), id(sizes), id(containers)}
    complete, done = True, 0
    try:
        for start in range(0, len(everything), _SLICE):
            part = everything[start : start + _SLICE]
            skipped.add(id(part))
            counts.update(map(type, part))
            # exact types only, so `len` is theirs and runs no code of the program
            for obj in addresses.large(part, _MEASURED, large):
                if id(obj) not in skipped:
                    containers[id(obj)] = Container(id(obj), type(obj).__name__, len(obj), size_of(obj))
            for obj in part[:: max(1, len(part) // 2_000)]:
                row = sizes.setdefault(type(obj), [])
                if len(row) < _SIZED_PER_TYPE:
                    row.append(size_of(obj))
            done += len(part)
            if clock() > deadline and done < len(everything):
                complete = False
                break
        if complete and objects is None:
            rows, all_seen = untracked.find(everything, large, deadline, clock)
            if all_seen:
                hidden = {id(o): Container(id(o), type(o).__name__, entries, size) for o, entries, size in rows}
            rows.clear()
    finally:
        obj, part = None, []
        del everything
    if not complete and objects is None:
        return _partial(budget_seconds, large, clock)
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
    return Census(types, bytes_each, containers, hidden, done, at=at, complete=complete, note=note)


def _partial(budget_seconds: float, large: int, clock: Callable[[], float]) -> Census:
    rows = nearby.containers(_MEASURED, large, clock() + budget_seconds, clock)
    return Census(
        {},
        containers={ident: Container(ident, kind, entries, size) for ident, kind, entries, size in rows},
        at=time.monotonic(),
        complete=False,
        note="the heap is too large to count every object in the time budget: only large containers near the roots are",
    )


def compare(
    before: Census,
    after: Census,
    *,
    at_least: int = 10,
    name_of: Callable[[int], str | None] | None = None,
) -> tuple[Grown, ...]:
    """What gained between two censuses, containers and types, the largest gain first.

    Of two censuses of which one is partial only the containers that both know are compared.

    Args:
        at_least: smallest gain that is reported.
        name_of: the path of a container by its address, as `container_name` finds it; asked for few.
    """
    grown = list(type_gains(before, after, at_least))
    for gained, size, container in container_gains(before, after, at_least):
        path = name_of(container.ident) if name_of is not None else None
        grown.append(Grown(path or container.type, "container", gained, max(0, size)))
    return tuple(sorted(grown, key=lambda g: (-g.count, g.what, g.name)))


def type_gains(before: Census, after: Census, at_least: int) -> list[Grown]:
    """Types that gained instances; of a partial census nothing is known of types."""
    grown: list[Grown] = []
    if not (before.complete and after.complete):
        return grown
    for name, count in after.types.items():
        gained = count - before.types.get(name, 0)
        if gained >= at_least:
            each = after.bytes_each.get(name)
            grown.append(Grown(name, "type", gained, None if each is None else round(gained * each)))
    return grown


def container_gains(before: Census, after: Census, at_least: int, most: int = 5) -> list[tuple[int, int, Container]]:
    """Containers that gained entries, the largest gain first, then buffers: each with the entries and bytes gained."""
    if not (before.complete and after.complete):
        earlier = {**before.containers, **(before.hidden or {})}
        now = {**after.containers, **(after.hidden or {})}
        both = {ident: c for ident, c in now.items() if ident in earlier and earlier[ident].type == c.type}
        return sorted(_gains(earlier, both, at_least), key=lambda row: -row[0])[:most]
    rows = _gains(before.containers, after.containers, at_least)
    buffers: list[tuple[int, int, Container]] = []
    if before.hidden is not None and after.hidden is not None:
        # a dict is listed from the moment that an object of the collector's is put into it
        earlier = {**before.containers, **before.hidden}
        rows = _gains(earlier, {**after.hidden, **after.containers}, at_least)
        # of buffers only one that was there before and grew: a new one may be anything that was loaded
        buffers = [r for r in rows if r[2].type in untracked.BUFFERS and r[2].ident in earlier and r[1] >= _MOST_NOISE]
        rows = [row for row in rows if row[2].type not in untracked.BUFFERS]
    rows.sort(key=lambda row: -row[0])
    buffers.sort(key=lambda row: -row[1])
    return rows[:most] + buffers[:2]


def _gains(
    before: dict[int, Container], after: dict[int, Container], at_least: int
) -> list[tuple[int, int, Container]]:
    rows = []
    for ident, container in after.items():
        earlier = before.get(ident)
        same = earlier is not None and earlier.type == container.type
        gained = container.entries - (earlier.entries if earlier is not None and same else 0)
        if gained >= at_least:
            size = container.bytes - (earlier.bytes if earlier is not None and same else 0)
            rows.append((gained, size, container))
    return rows


def containers_at(idents: Collection[int], *, budget_seconds: float = 0.2, near: bool = False) -> dict[int, Any]:
    """Containers by their addresses, those that are still there.  Strong references: let go of them at once.

    Args:
        near: look near the roots only, not at everything.
    """
    if near or is_too_large(budget_seconds):
        found = nearby.at(idents, time.perf_counter() + budget_seconds, time.perf_counter)
        return {ident: obj for ident, obj in found.items() if type(obj) in _MEASURED}
    everything = gc.get_objects()
    found = {}
    obj: Any = None
    try:
        for obj in everything:
            if type(obj) in _MEASURED and id(obj) in idents:
                found[id(obj)] = obj
        if len(found) < len(idents):
            deadline = time.perf_counter() + budget_seconds
            rows, _ = untracked.find(everything, _LARGE, deadline, time.perf_counter)
            found.update((id(obj), obj) for obj, _, _ in rows if id(obj) in idents)
            rows.clear()
        return found
    finally:
        everything.clear()
        obj = None


def container_name(ident: int, *, budget_seconds: float = 0.2) -> str | None:
    """The path of a large container, found by `holders.find_holders`; None when it is gone or not reached."""
    from .holders import find_holders

    found = list(containers_at({ident}, budget_seconds=budget_seconds).values())
    try:
        holding = find_holders(found, budget_seconds=budget_seconds)
    finally:
        found.clear()
    group = holding.groups[0] if holding.groups else None
    return group.path if group is not None and group.root not in ("unknown", "cycle") else None
