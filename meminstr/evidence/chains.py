"""The way from the roots down to an object that the map of `forward` reached, found from below.

The map knows through which batch an object was reached, not through which object of the batch.  That one is looked for
in the batch, part by part, for as many objects at once as are asked about: those held in the same way share the way up.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from .addresses import WANTED, ids_of
from .forward import Batch, ForwardMap

_LONG = 150
"""Steps kept of each end of a very long way."""
_PARTS = 16
_ONE_BY_ONE = 16
_FEW = 200

_Place = tuple[Batch, ...]


class Gap:
    """Stands in a chain for the many steps that were left out."""

    __slots__ = ()


GAP = Gap()


class Chains:
    """Ways through one map."""

    def __init__(self, mapped: ForwardMap, clock: Callable[[], float]) -> None:
        self._map = mapped
        self._clock = clock
        self._above: dict[int, tuple[Any, _Place]] = {}
        """By the id of an object, its holder and where that one was reached."""
        self._kept: list[Any] = []  # what has its id above

    def resolve(self, objects: Iterable[Any], deadline: float) -> None:
        """Find the holders of many targets that were reached, and theirs, in one way up.

        What there was no time for is looked for by `chain`.
        """
        places = {id(obj): (obj, self._map.hit_in.get(id(obj), ())) for obj in objects if id(obj) not in self._above}
        while places:
            together: dict[_Place, dict[int, Any]] = {}
            for key, (obj, place) in places.items():
                together.setdefault(place, {})[key] = obj
            places = {}
            for place, wanted in together.items():
                if not self._find(place, wanted, deadline):
                    return
                for key in wanted:
                    holder, upper = self._above.get(key, (None, ()))
                    if upper and id(holder) not in self._above:
                        places[id(holder)] = (holder, upper)

    def chain(self, obj: Any, deadline: float) -> list[Any] | None:
        """The objects from the root down to `obj`, both included; of a very long way both ends, with `GAP` between.

        None when the program changed the way meanwhile, or the deadline passed.
        """
        if id(obj) in self._map.lost:
            return [obj]
        found = self._place_of(obj)
        if found is None:
            return None
        place = found
        below, above = [obj], deque[Any](maxlen=_LONG)
        step, left_out = obj, 0
        while place:
            if id(step) not in self._above:
                self._find(place, {id(step): step}, deadline)
            if id(step) not in self._above:
                return None
            step, place = self._above[id(step)]
            if len(below) < _LONG:
                below.append(step)
                continue
            left_out += len(above) == _LONG
            above.append(step)
        steps = below + ([GAP] if left_out else []) + list(above)
        steps.reverse()
        return steps

    def _place_of(self, obj: Any) -> _Place | None:
        if id(obj) in self._map.hit_in:
            return self._map.hit_in[id(obj)]
        for batch in self._map.known():
            if (ids_of(batch.objects) == id(obj)).any():
                return batch.parents
        return None

    def _find(self, place: _Place, wanted: dict[int, Any], deadline: float) -> bool:
        """Note for each wanted object which one holds it, the first where several do; False when the time ended."""
        if len(place) == 1 and len(place[0].objects) == 1:
            for obj in wanted.values():
                self._note(obj, place[0].objects[0], place[0])
            return True
        missing = dict(wanted)
        table = self._map.table
        table.note(missing, WANTED)
        try:
            return all(self._find_in(batch, missing, deadline) for batch in place if missing)
        finally:
            table.clear(wanted, WANTED)

    def _find_in(self, batch: Batch, missing: dict[int, Any], deadline: float) -> bool:
        spans = [(0, len(batch.objects))]
        while spans and missing:
            if self._clock() > deadline:
                return False
            start, end = spans.pop()
            if end - start > _ONE_BY_ONE:
                if self._wanted(self._map.held_by(batch, start, end)):
                    step = max(1, (end - start) // _PARTS)
                    spans += [(at, min(end, at + step)) for at in reversed(range(start, end, step))]
                continue
            for index in range(start, end):
                for obj in self._wanted(self._map.held_by(batch, index, index + 1)):
                    if missing.pop(id(obj), None) is not None:
                        self._note(obj, batch.objects[index], batch)
        return True

    def _wanted(self, held: list[Any]) -> list[Any]:
        table = self._map.table
        if len(held) <= _FEW:
            return [obj for obj in held if table.has(id(obj), WANTED)]
        notes = table.of(ids_of(held))
        return list(itertools.compress(held, ((notes & WANTED) != 0).tobytes()))

    def _note(self, obj: Any, holder: Any, batch: Batch) -> None:
        self._above[id(obj)] = (holder, batch.parents)
        self._kept.append(obj)
