"""A fixed number of live instances, spread over all ages: who is old, and where the old were born.

Every `stride`-th instance is a candidate.  When the places are taken by live instances, every second of them
by age is given up and the stride doubles, so the sample stays spread evenly over the construction count.  Only
weak references are kept; places of the dead are reused first.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sampled:
    """One instance in the sample."""

    reference: weakref.ref[Any]
    ordinal: int
    """Its number in the order of construction, from 1."""
    born: float
    """Seconds of the tracker's clock."""
    site: int = 0
    """A number of `birth_sites.capture`; 0 is elsewhere."""
    tags: tuple[tuple[str, str], ...] = ()
    weight: float = 1.0
    """Of how many instances it is one, beside the others in the sample."""


class Reservoir:
    """Constant memory: at most `capacity` records, whatever the number of instances."""

    __slots__ = ("_lock", "_rows", "_stride", "capacity")

    def __init__(self, capacity: int = 256) -> None:
        if capacity < 2:
            raise ValueError(f"capacity={capacity}: 2 or more is allowed")
        self.capacity = capacity
        self._rows: list[Sampled] = []
        self._stride = 1
        self._lock = threading.Lock()

    @property
    def stride(self) -> int:
        """One in this many instances is a candidate."""
        return self._stride

    def wants(self, ordinal: int) -> bool:
        """Whether `offer` would look at the instance with this number: ask before paying for its site."""
        return ordinal % self._stride == 0

    def offer(
        self,
        obj: object,
        ordinal: int,
        born: float,
        site: int = 0,
        tags: tuple[tuple[str, str], ...] = (),
        weight: float = 1.0,
    ) -> bool:
        """Sample an instance; False when it is not a candidate or cannot be referred to weakly."""
        if not self.wants(ordinal):
            return False
        try:
            row = Sampled(weakref.ref(obj), ordinal, born, site, tags, weight)
        except TypeError:
            return False
        with self._lock:
            if len(self._rows) >= self.capacity:
                self._make_room()
            if ordinal % self._stride:
                return False
            self._rows.append(row)
        return True

    def living(self) -> tuple[Sampled, ...]:
        """The sampled instances that are alive, the oldest first."""
        with self._lock:
            rows = [row for row in self._rows if row.reference() is not None]
        return tuple(sorted(rows, key=lambda row: row.ordinal))

    def older_than(self, ordinal: int) -> tuple[Sampled, ...]:
        """Sampled instances alive that were constructed before number `ordinal`: the survivors."""
        return tuple(row for row in self.living() if row.ordinal < ordinal)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._rows.clear()
            self._stride = 1

    def _make_room(self) -> None:
        self._rows = [row for row in self._rows if row.reference() is not None]
        while len(self._rows) >= self.capacity:
            self._stride *= 2
            kept = [row for row in self._rows if row.ordinal % self._stride == 0]
            self._rows = kept if len(kept) < len(self._rows) else self._rows[::2]

    def __len__(self) -> int:
        return len(self._rows)


def objects_of(rows: Sequence[Sampled]) -> list[Any]:
    """The instances themselves, for `holders.find_holders`; drop the list when done."""
    found = (row.reference() for row in rows)
    return [obj for obj in found if obj is not None]
