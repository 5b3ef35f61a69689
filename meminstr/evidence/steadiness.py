"""Which of what grew between two censuses grew all the time: those taken in between tell.

A buffer that fills and is emptied, or a pool that breathes, has gained something at most moments, often more than a
leak has.  A leak gains before each moment and after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..verdict import Grown
from .census import Census, Container

_LEAST_SHARE = 0.1
"""Of the time, that each part must have."""
_STEADY = 0.25
"""Of the whole gain, that the slower part's pace must have made of it."""

Row = tuple[int, int, Container]


def steady(
    before: Census, middles: Iterable[Census], after: Census, types: Sequence[Grown], rows: Sequence[Row]
) -> tuple[list[Grown], list[Row]]:
    """Of the types and containers that gained, those that did so all the time; all of them where none is known to."""
    some, kept = list(types), list(rows)
    for middle in middles:
        share = (middle.at - before.at) / (after.at - before.at) if after.at > before.at else 0.0
        if not _LEAST_SHARE <= share <= 1 - _LEAST_SHARE:
            continue
        kept = [row for row in kept if _is_steady(row[0], _gain_after(middle, row[2]), share)]
        if middle.complete:
            then, now = middle.types, after.types
            some = [g for g in some if _is_steady(g.count, now.get(g.name, 0) - then.get(g.name, 0), share)]
    return (some, kept) if some or kept else (list(types), list(rows))


def _is_steady(gained: int, later: int | None, share: float) -> bool:
    if later is None:
        return True
    return min((gained - later) / share, later / (1 - share)) >= _STEADY * gained


def _gain_after(middle: Census, container: Container) -> int | None:
    """What a container gained since; None when that is not known.  One that was not there yet gained all of it."""
    then = middle.containers.get(container.ident) or (middle.hidden or {}).get(container.ident)
    if then is not None and then.type == container.type:
        return container.entries - then.entries
    return container.entries if middle.complete and middle.hidden is not None else None
