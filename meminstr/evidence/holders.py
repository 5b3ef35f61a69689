"""Why objects are still alive: the shortest chain of strong references from a root to each, grouped.

Two walks that meet: `forward` maps what lies near the roots, `backward` goes from a few suspects up to that map;
`patterns` then finds the other suspects that are held the same way.  Because the first level of the map that is
met is the nearest one, the chain is a shortest one.  What nothing reaches is said to be held from outside
Python, by a suspended coroutine or generator, by a stored traceback, or to be a cycle that waits for the
collector.  Everything the walks make is dropped at the end: no object lives longer because it was looked at.
"""

from __future__ import annotations

import functools
import gc
import itertools
import sys
import time
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..verdict import Holder
from . import addresses
from .backward import BackwardWalk
from .chains import Chains
from .forward import ForwardMap
from .grouping import group
from .paths import Memo, Path, end_kind, path_of
from .patterns import alike
from .retained import retained_bytes
from .roots import Root, atexit_functions, find_roots
from .safe import is_a, type_name

_OF_FORWARD = 0.7
"""Share of the time for the walk downwards."""
_REPRESENTATIVES = 16
_LONGEST_PAUSE = 0.15
_OF_BACKWARD = 0.6
"""Share of the time left, for the first walk upwards."""
_ENOUGH_SCANS = 12
_OVERTIME = 0.05
"""Seconds beyond the deadline, for naming what was reached already."""
_HANDLERS = (types.FunctionType, types.MethodType, functools.partial)
_FROZEN_BY_PYTHON = 1_000
"""Python 3.12 itself starts with some hundred objects frozen; `gc.freeze` freezes tens of thousands."""
_SCAN_SECONDS_PER_BLOCK = 25e-9
"""First guess of a scan's time, from `sys.getallocatedblocks`; the first scan replaces it."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What `find_holders` found."""

    groups: tuple[Holder, ...]
    examined: int
    """Objects whose holder is known, out of those asked for."""
    complete: bool
    """Every object has its path; False when the budget ended before."""
    seconds: float
    note: str | None = None


def find_holders(
    objects: Sequence[object],
    *,
    budget_seconds: float = 0.5,
    exclude: Iterable[object] = (),
    enough: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Holding:
    """Find what holds `objects`.

    Args:
        objects: the suspects; the sequence itself is not taken for a holder.
        budget_seconds: time after which a partial answer is given.
        exclude: objects that are not holders, such as the caller's own lists.
        enough: so many suffice, those nearest to a root; the others are not spoken of.  None: all.
        clock: seconds, monotonic.

    Returns:
        Groups of objects held in the same way, the largest first.
    """
    addresses.prepare()
    started = clock()
    # what is left pays for naming the rest and for giving the maps back
    search = _Search(objects, exclude, clock, started + 0.9 * budget_seconds, enough)
    try:
        search.run()
        groups = search.groups()
        examined = sum(count for path, count in search.counts().items() if path.root != "unknown")
        return Holding(groups, examined, search.complete, clock() - started, search.note())
    finally:
        search.forget()


def find_paths(
    objects: Sequence[object],
    *,
    budget_seconds: float = 0.5,
    exclude: Iterable[object] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> dict[int, tuple[str, str]]:
    """The path and kind of root of each of a few `objects`, by their ids; those not reached in time are left out."""
    addresses.prepare()
    search = _Search(objects, exclude, clock, clock() + 0.9 * budget_seconds)
    try:
        search.run()
        return {
            id(obj): (path.text, path.root)
            for path, held in search.found.items()
            if path.root != "unknown"
            for obj in held
        }
    finally:
        search.forget()


class _Search:
    """One diagnosis; all that it keeps is dropped by `forget`."""

    def __init__(
        self,
        objects: Sequence[Any],
        exclude: Iterable[Any],
        clock: Callable[[], float],
        deadline: float,
        enough: int | None = None,
    ) -> None:
        self.enough = enough
        self.clock = clock
        self.deadline = deadline
        self.started = clock()
        self.suspects = {id(obj): obj for obj in objects}
        self.left = dict(self.suspects)
        self.found: dict[Path, list[Any]] = {}
        self.own: set[int] = {id(objects), id(exclude), *map(id, exclude)}
        self.own.update(map(id, (self.suspects, self.left, self.found, self.own, self.__dict__)))
        self.roots = find_roots(self.own)
        self.map = ForwardMap(self.roots, self.suspects, self.own, clock)
        self.chains = Chains(self.map, clock)
        self.walked_all = False
        self.atexit: Root | None = None
        """The functions registered with `atexit`, once one of them holds something."""
        self.complete = True
        self.frozen = gc.get_freeze_count()

    def run(self) -> None:
        """Find a path for every suspect, or as many as the budget allows."""
        now = self.clock()
        self.walked_all = self.map.expand(now + _OF_FORWARD * (self.deadline - now), self.enough)
        if self.enough is not None and self.map.hits:
            nearest = list(itertools.islice(self.map.hits, self.enough))
            self.left = {key: self.map.hits[key] for key in nearest}
            self.own.add(id(self.left))
        self._take_from_map()
        if self.enough is not None and self.found:
            self.left.clear()
        scan_seconds = sys.getallocatedblocks() * _SCAN_SECONDS_PER_BLOCK
        while self.left and self.clock() < self.deadline and scan_seconds <= _LONGEST_PAUSE:
            self._round(scan_seconds)
        if not self.walked_all and self.left:
            self._walk_on(self.left, 1.0)
        for obj in list(self.left.values()):
            self._settle(obj, path_of([obj], self.roots, "unknown"))
            self.complete = False

    def counts(self) -> dict[Path, int]:
        """How many suspects each path holds."""
        return {path: len(held) for path, held in self.found.items()}

    def groups(self) -> tuple[Holder, ...]:
        """The result; sizes are estimated in what is left of the budget, and a tenth of a second at least."""
        retained: dict[Path, int | None] = {}
        until = max(self.deadline, self.clock() + 0.02)
        for path, held in sorted(self.found.items(), key=lambda item: -len(item[1])):
            if path.root == "unknown":
                continue
            retained[path] = retained_bytes(held, clock=self.clock, deadline=until)
        return group(self.counts(), retained)

    def note(self) -> str | None:
        """What the reader must know to believe the answer as far as it goes, and no further."""
        notes = []
        if not self.complete:
            notes.append("the time budget ended before every path was found")
        if self.frozen > _FROZEN_BY_PYTHON:
            notes.append(f"{self.frozen} objects are frozen (gc.freeze): chains through them may be missing")
        return "; ".join(notes) or None

    def forget(self) -> None:
        """Drop every reference to objects of the program."""
        self.__dict__.clear()

    # ---- the two walks

    def _round(self, scan_seconds: float) -> None:
        chosen = self._representatives()
        self.own.add(id(chosen))
        now = self.clock()
        # a way of thousands of steps is none for this walk: time must be left for the other one
        share = _OF_BACKWARD * (self.deadline - now)
        until = self.deadline if self.walked_all or share < _ENOUGH_SCANS * scan_seconds else now + share
        walk = BackwardWalk(self.map, self.own, self.clock, until, scan_seconds)
        walk.run(chosen)
        lost = [obj for obj in chosen if not walk.solved(obj)]
        self.own.add(id(lost))
        if lost and not self.walked_all:
            self._walk_on([*self.left, *walk.known], 0.7)
        known = self.atexit
        for obj in chosen:
            if id(obj) in self.left:
                self._conclude(obj, walk)
        if self.atexit is not None and self.atexit is not known:
            self.map.add_table(self.atexit)  # what else it holds is found in one walk down
            self._walk_on(self.left, 0.7)

    def _representatives(self) -> list[Any]:
        by_type: dict[type, list[Any]] = {}
        for obj in self.left.values():
            by_type.setdefault(type(obj), []).append(obj)
        chosen: list[Any] = []
        share = max(1, _REPRESENTATIVES // len(by_type))
        for objects in by_type.values():
            chosen.extend(objects[:: max(1, len(objects) // share)][:share])
        return chosen[: 2 * _REPRESENTATIVES]

    def _conclude(self, obj: Any, walk: BackwardWalk) -> None:
        above = walk.above(obj)
        self.own.add(id(above))
        if walk.solved(obj) or any(id(holder) in self.map for holder in above):
            if id(obj) in walk.up:
                up = walk.chain_up(obj)
                up.reverse()
            else:
                up = walk.chain_between(next(o for o in above if id(o) in self.map), obj)
            down = self.chains.chain(up[0], self.deadline)
            if down is not None:
                chain = down + up[1:]
                self._settle_alike(chain, path_of(chain, self.roots))
                return
            if self.clock() < self.deadline:  # the program changed the way meanwhile
                self.complete = False
                self._settle(obj, path_of([obj], self.roots, "unknown"))
        elif not (walk.stopped and self.clock() >= self.deadline):
            chain, kind = self._end(obj, above, walk)
            self._settle_alike(chain, path_of(chain, self.roots, kind))

    def _walk_on(self, wanted: Iterable[int], share: float) -> None:
        self.map.want(wanted)
        now = self.clock()
        self.walked_all = self.map.expand(now + (self.deadline - now) * share)
        self._take_from_map()

    def _end(self, obj: Any, above: list[Any], walk: BackwardWalk) -> tuple[list[Any], str]:
        """A chain that begins at no root: from the object that nothing known refers to."""
        tops = set(map(id, walk.tops))
        ends = [holder for holder in above if id(holder) in tops]
        for top in sorted(ends, key=lambda end: end_kind(end) == "outside"):
            chain = walk.chain_between(top, obj)
            for index, holder in enumerate(chain[:-1]):
                if end_kind(holder) != "outside":
                    return chain[index:], end_kind(holder)
            if type(top) in _HANDLERS:
                if self.atexit is None:
                    self.atexit = atexit_functions()
                if any(value is top for _, value in self.atexit.values):
                    return [self.atexit, *chain], "atexit"
            return chain, end_kind(top)
        if walk.stopped:
            self.complete = False
            return [obj], "unknown"
        for holder in above:
            if end_kind(holder) in ("generator", "coroutine", "frame"):
                return walk.chain_between(holder, obj), end_kind(holder)
        return [above[-1], *walk.chain_between(above[-1], obj)[1:]], "cycle"

    # ---- what is known

    def _take_from_map(self) -> None:
        until = self.deadline + _OVERTIME
        hits = [obj for key, obj in self.left.items() if key in self.map.hits]
        self.own.add(id(hits))
        self.chains.resolve(hits, until)
        by_holder: dict[tuple[int, type], Path] = {}
        memo: Memo = {}
        for obj in hits:
            if self.clock() > until:
                return
            chain = self.chains.chain(obj, until)
            if chain is None:
                continue
            holder = chain[-2] if len(chain) > 1 else None
            place = (id(holder), type(obj))
            path = by_holder.get(place) if is_a(holder, (list, tuple, dict, set, frozenset)) else None
            if path is None:
                path = path_of(chain, self.roots, memo=memo)
                if path.text.endswith(("[*]", "{*}")):
                    by_holder[place] = path
            self._settle(obj, path)

    def _settle(self, obj: Any, path: Path) -> None:
        if self.left.pop(id(obj), None) is not None:
            held = self.found.get(path)
            if held is None:
                held = self.found[path] = []
                self.own.add(id(held))
            held.append(obj)

    def _settle_alike(self, chain: list[Any], path: Path) -> None:
        self._settle(chain[-1], path)
        if not self.left:
            return
        for other in alike(chain, None, set(self.left), self.clock, self.deadline, self.own):
            same = path if path.type == type_name(type(other)) else path_of([*chain[:-1], other], self.roots)
            self._settle(other, same)
