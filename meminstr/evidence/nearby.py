"""Large containers near the roots, of a heap in which there is no time to look at every object.

A walk from the roots in batches (`forward`), in which nothing is looked for: it stops at its deadline, a few
milliseconds late at most, and what it met is what can be told.  Containers wider than some thousand entries are met
long before what is in them is looked into, so the one that leaks is mostly among them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from . import addresses
from .forward import ForwardMap
from .roots import find_roots
from .safe import size_of

_NOTHING = 16
"""An address at which there is no object: as long as it is looked for, the walk goes on."""


def containers(
    kinds: Collection[type], least: int, deadline: float, clock: Callable[[], float] = time.perf_counter
) -> list[tuple[int, str, int, int]]:
    """Address, type, entries and shallow bytes of the containers of exactly these types, of `least` entries on."""
    own: set[int] = set()
    mapped = ForwardMap(find_roots(own), (_NOTHING,), own, clock)
    mapped.expand(deadline)
    rows = {}
    for batch in mapped.known():
        for obj in addresses.large(batch.objects, kinds, least):
            rows[id(obj)] = (id(obj), type(obj).__name__, len(obj), size_of(obj))
    return list(rows.values())


def at(idents: Collection[int], deadline: float, clock: Callable[[], float] = time.perf_counter) -> dict[int, Any]:
    """The objects at these addresses, those that are met in time.  Strong references: let go of them at once."""
    own: set[int] = {id(idents)}
    mapped = ForwardMap(find_roots(own), idents, own, clock)
    mapped.expand(deadline)
    return dict(mapped.hits)
