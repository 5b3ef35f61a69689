"""Objects that should be dead by now: a session that was closed, a controller after its cleanup.

`Watchlist.watch` takes a weak reference and nothing else, so no object lives longer because it is watched.
What is still alive after its grace time, and after a collection, is *retained*: that is a leak without any
growth or repetition.  Who holds it is for `holders` to say.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from .birth_sites import ELSEWHERE, Tags
from .safe import type_name

_MOST_WATCHED = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Retained:
    """One object that outlived its expected death."""

    reference: weakref.ref[Any]
    type: str
    reason: str
    """Why it should be dead, in the words of the one who asked."""
    since: float
    """When it was expected to die, seconds of the watchlist's clock."""
    grace: float
    """Seconds allowed after `since`."""
    site: int = ELSEWHERE
    tags: Tags = ()

    @property
    def object(self) -> Any:
        """The object, or None when it has died meanwhile."""
        return self.reference()


class Watchlist:
    """Objects expected to die soon, by weak reference."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        collect: Callable[[], object] = gc.collect,
        most: int = _MOST_WATCHED,
    ) -> None:
        self._clock = clock
        self._collect = collect
        self._most = most
        self._rows: dict[int, Retained] = {}
        self._lock = threading.RLock()  # a collection inside may run our weak reference callbacks
        self.refused = 0
        """Objects that could not be watched: no weak reference possible, or the list was full."""
        self.died = 0
        """Watched objects that died as expected."""

    def watch(
        self, obj: object, reason: str = "", grace: float = 5.0, site: int = ELSEWHERE, tags: Tags = ()
    ) -> str | None:
        """Expect `obj` to be dead within `grace` seconds.

        Watching the same object again moves its time.

        Returns:
            None when it is watched; otherwise why it is not (no weak reference, list full).

        Raises:
            UsageError: `grace` is no number of seconds.
        """
        if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not grace >= 0:
            raise UsageError(f"grace={grace!r}: a number of seconds, 0 or more, is allowed")
        key = id(obj)

        def on_death(_: object) -> None:
            self._on_death(key)

        try:
            reference = weakref.ref(obj, on_death)
        except TypeError:
            self.refused += 1
            kind = type_name(type(obj))
            return f"{kind} takes no weak reference: add '__weakref__' to its __slots__, or watch its owner"
        row = Retained(reference, type_name(type(obj)), str(reason), self._clock(), float(grace), site, tags)
        with self._lock:
            if key not in self._rows and len(self._rows) >= self._most:
                self.refused += 1
                return f"{self._most:,} objects are watched already"
            self._rows[key] = row
        return None

    @property
    def pending(self) -> int:
        """Watched objects alive, in their grace time or past it."""
        return len(self._rows)

    def overdue(self, now: float | None = None) -> tuple[Retained, ...]:
        """Those past their grace time, without a collection: cheap, and may hold garbage in cycles."""
        at = self._clock() if now is None else now
        with self._lock:
            return tuple(row for row in self._rows.values() if at - row.since >= row.grace)

    def settle(self, collect: bool = True, now: float | None = None) -> tuple[Retained, ...]:
        """What is retained: past its grace time and, with `collect`, still alive after a collection.

        Args:
            collect: run a collection first, if anything is overdue at all.
            now: judge by this time; ``math.inf`` counts everything whatever its grace.
        """
        if not self.overdue(now):
            return ()
        if collect:
            self._collect()
        return tuple(row for row in self.overdue(now) if row.reference() is not None)

    def forget(self, obj: object) -> None:
        """Expect it no longer."""
        with self._lock:
            row = self._rows.get(id(obj))
            if row is not None and row.reference() is obj:
                del self._rows[id(obj)]

    def clear(self) -> None:
        """Expect nothing any more."""
        with self._lock:
            self._rows.clear()

    def _on_death(self, key: int) -> None:
        # the address may have been taken by a new watched object already: then its reference is alive
        with self._lock:
            row = self._rows.get(key)
            if row is not None and row.reference() is None:
                del self._rows[key]
                self.died += 1
