"""What grew between two censuses, told as evidence: types and containers by path, the culprit, who holds it.

The collector lists neither strings nor numbers: of a container that fills with those, its newest members stand for
what leaks.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ..verdict import Grown, Holder
from . import census, library, newest, untracked
from .census import Census, Container
from .fingerprint import fingerprint_of
from .holders import find_holders, find_paths
from .retained import retained_bytes
from .safe import type_name
from .steadiness import steady

_OF_CALLS = 0.03
_OF_BYTES = 0.03
_OF_EXAMPLES = 0.05
"""Of the largest group of examples: a smaller one is chance."""
_MEMBERS = 50
_NEWEST = 50
_MOST_ASKED = 50_000
_SHARES = {"paths": 0.3, "holders": 0.5}
"""Of the budget."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What the two censuses say."""

    grown: tuple[Grown, ...] = ()
    culprit: str | None = None
    holders: tuple[Holder, ...] = ()
    container_bytes: int = 0
    """Gained by the containers themselves, without what is in them: lists, dicts, bytearrays, arrays."""


def explain(
    before: Census,
    after: Census,
    *,
    calls: float = 0.0,
    blocks: float = 0.0,
    size: float = 0.0,
    native: bool = False,
    middles: Sequence[Census] = (),
    budget_seconds: float = 1.0,
    exclude: Iterable[Any] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> Growth:
    """Compare two censuses and find who holds what grew.

    Args:
        calls: how many calls or constructions the growth took, 0 where not known.
        blocks: memory blocks gained meanwhile; what grew much less than they is not what leaks.
        size: bytes gained meanwhile.
        native: the growth is seen in the C heap: objects count only if they explain a part of it.
        middles: censuses between the two: what did not gain both before and after each of them is not told.
        budget_seconds: for all of it.
        exclude: objects that are no holders.
    """
    ours = [*exclude, before, before.types, before.bytes_each, before.containers, before.hidden]
    ours += [after, after.types, after.bytes_each, after.containers, after.hidden]
    for middle in middles:
        ours += [middle, middle.types, middle.bytes_each, middle.containers, middle.hidden]
    least = max(10, int(_OF_CALLS * blocks))
    types = [g for g in census.type_gains(before, after, least) if not g.name.startswith("meminstr.")]
    rows = census.container_gains(before, after, least)
    types, rows = steady(before, middles, after, types, rows)
    if native:
        types = [g for g in types if _matters(g.count, g.bytes or 0, calls, size)]
        rows = [r for r in rows if _matters(r[0], r[1], calls, size)]
    partial = not (before.complete and after.complete)
    if partial and not rows:
        return Growth()
    idents = {row[2].ident for row in rows}
    objects = census.containers_at(idents, budget_seconds=budget_seconds * 0.2, near=partial)
    try:
        found = list(objects.values())
        paths = find_paths(
            found, budget_seconds=budget_seconds * _SHARES["paths"], exclude=[*ours, objects, found], clock=clock
        )
        found.clear()
        # what no module, class or frame of the program leads to is an intermediate of somebody, ours mostly
        rows = [r for r in rows if paths.get(r[2].ident, ("", ""))[1] not in ("outside", "cycle")]
        filled = [
            Grown(paths[c.ident][0] if c.ident in paths else c.type, "container", gained, max(0, added))
            for gained, added, c in rows
        ]
        if partial:  # nothing is known of types: what was put in last stands for them
            types = _types_of_members(rows, objects)
        everything = sorted([*types, *filled], key=lambda g: (-g.count, g.what, g.name))
        culprit = newest.culprit(everything)
        groups: tuple[Holder, ...] = ()
        if not partial:
            groups = _held(before, after, culprit, budget_seconds * _SHARES["holders"], [*ours, objects], clock)
        if culprit is not None and not newest.is_telling(culprit):
            # among lists and dicts there are always some that belong to nobody, ours mostly
            groups = tuple(h for h in groups if h.root not in ("outside", "cycle", "unknown")) or groups
        containers = [r for r in rows if r[2].type not in untracked.BUFFERS]
        for gained, _, c in containers:
            if c.ident not in objects or c.ident not in paths:
                continue
            told, root = paths[c.ident]
            star = told + ("{*}" if c.type == "set" else "[*]")
            kind = _kind_of_members(objects[c.ident])
            inside = tuple(h for h in groups if h.path.startswith(star))
            if inside:
                # what was put into the container owns the rest
                culprit = kind if kind is not None and newest.is_telling(kind) else culprit
                most_of_it = gained >= _gain_of(culprit, types) / 2
                inside = tuple(_as_many(h, gained) if h.path == star else h for h in inside)
                groups = inside if most_of_it else inside + tuple(h for h in groups if not h.path.startswith(star))
                break
            is_it = kind is not None and kind == culprit and gained >= _gain_of(culprit, types) / 2
            if (
                not groups
                or is_it
                or (culprit is not None and not newest.is_telling(culprit) and gained >= _most(types) / 2)
            ):
                # examples of plain types are held anywhere
                others = groups if culprit is None or newest.is_telling(culprit) else ()
                groups = (_members_as_holder(objects[c.ident], c, gained, star, kind, root, clock), *others)
                culprit = kind or culprit
                break
        sizes = sum(max(0, added) for _, added, _ in rows)
        return Growth(tuple(everything[:6]), culprit, groups, sizes)
    finally:
        objects.clear()


def _matters(count: int, size: int, calls: float, total: float) -> bool:
    return (calls > 0 and count >= _OF_CALLS * calls) or (total > 0 and size >= _OF_BYTES * total)


def _most(types: Sequence[Grown]) -> int:
    return max((g.count for g in types), default=0)


def _as_many(holder: Holder, count: int) -> Holder:
    """A group of examples with the figures of all that they stand for."""
    size = holder.retained_bytes
    return replace(
        holder, count=count, retained_bytes=None if size is None else round(size / max(1, holder.count) * count)
    )


def _gain_of(name: str | None, types: Sequence[Grown]) -> int:
    return max((g.count for g in types if g.name == name), default=0)


def _types_of_members(rows: Sequence[tuple[int, int, Container]], objects: Mapping[int, Any]) -> list[Grown]:
    gained: Counter[str] = Counter()
    for count, _, container in rows:
        kind = _kind_of_members(objects[container.ident]) if container.ident in objects else None
        if kind is not None and newest.is_telling(kind):
            gained[kind] += count
    return [Grown(kind, "type", count, None) for kind, count in gained.items()]


def _held(
    before: Census,
    after: Census,
    culprit: str | None,
    budget_seconds: float,
    exclude: Sequence[Any],
    clock: Callable[[], float],
) -> tuple[Holder, ...]:
    """The holders of the newest instances; where those are out of reach, of the ones nearest to a root."""
    for most, enough, share in ((_NEWEST, None, 0.5), (_MOST_ASKED, _NEWEST, 0.5)):
        suspects = newest.examples(before, after, culprit, most) if culprit else []
        try:
            groups = find_holders(
                suspects, budget_seconds=budget_seconds * share, exclude=exclude, enough=enough, clock=clock
            ).groups[:5]
            most_held = max((h.count for h in groups), default=0)
            groups = tuple(h for h in groups if h.count >= _OF_EXAMPLES * most_held)
        finally:
            suspects.clear()
        if not groups or any(h.root != "unknown" for h in groups):
            break
    return groups


def _members(container: Any) -> list[Any]:
    """The newest members of a list or dict, some of a set.  Strong references."""
    try:
        if type(container) is list:
            return container[-_MEMBERS:]
        if type(container) is dict:
            values = list(islice(reversed(container.values()), _MEMBERS))
            if values and all(isinstance(value, (type(None), bool, int, float)) for value in values):
                return list(islice(reversed(container), _MEMBERS))  # the keys are the larger part
            return values
        return list(islice(container, _MEMBERS))
    except RuntimeError:  # the program changes it just now
        return []


def _kind_of_members(container: Any) -> str | None:
    members = _members(container)
    try:
        kinds = Counter(map(type, members))
        return type_name(kinds.most_common(1)[0][0]) if kinds else None
    finally:
        members.clear()


def _members_as_holder(
    container: Any,
    facts: Container,
    gained: int,
    path: str,
    kind: str | None,
    root: str,
    clock: Callable[[], float],
) -> Holder:
    members = _members(container)
    try:
        some = retained_bytes(members, clock=clock, deadline=clock() + 0.05)
        each = some / len(members) if some is not None and members else None
    finally:
        members.clear()
    last = path.rpartition(".")[2] if not path.endswith("]") or "." in path else path
    return Holder(
        path=path,
        root=root,
        count=gained,
        retained_bytes=None if each is None else round(each * gained),
        fingerprint=fingerprint_of(path, kind or facts.type),
        suspect=last or path,
        library=library.explain(path),
    )
