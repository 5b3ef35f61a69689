"""The way from a few suspects up to the map around the roots, level by level, all of them in one walk.

`gc.get_referrers` scans the whole heap at each call and compares every reference with every object asked for,
so a call serves all open objects of a level, but no more than `_BATCH` (measured: 18 ms for one, 30 ms for 32,
500 ms for 1,000 objects, per million objects of heap).  The clock is looked at between calls; the walk does
not begin a call that would not end in time.
"""

from __future__ import annotations

import gc
import types
from collections.abc import Callable
from typing import Any

from .forward import ForwardMap
from .ours import is_our_frame
from .safe import children, is_a

_PACKAGE = __name__.partition(".")[0] + "."
_BATCH = 48
_MOST_PER_TYPE = 24
"""Referrers of one type followed at one level: enough to find a way, few enough for ten thousand children
that all point back to their parent."""
_MOST_PER_LEVEL = 96
_MOST_LEVELS = 64


class BackwardWalk:
    """One walk.  `up` leads from each solved object to the holder through which the map is reached."""

    __slots__ = (
        "_clock",
        "_deadline",
        "_kids",
        "_levels",
        "_longest",
        "_open",
        "known",
        "own",
        "reached",
        "stopped",
        "tops",
        "up",
    )

    def __init__(
        self,
        reached: ForwardMap,
        own: set[int],
        clock: Callable[[], float],
        deadline: float,
        scan_seconds: float,
    ) -> None:
        self.reached = reached
        self.own = own
        self.up: dict[int, Any] = {}
        self.known: dict[int, Any] = {}
        """All objects met on the way, by id."""
        self.tops: list[Any] = []
        """Objects met that no object known to the collector refers to."""
        self.stopped = False
        """The budget ended the walk, not the heap."""
        self._kids: dict[int, list[Any]] = {}
        self._open: set[int] = set()
        self._clock = clock
        self._deadline = deadline
        self._longest = scan_seconds
        self._levels: list[list[Any]] = []  # kept, so that their ids stay theirs
        own.update(map(id, (self.up, self.known, self.tops, self._kids, self._open, self._levels)))

    def run(self, suspects: list[Any]) -> None:
        """Walk up from `suspects`; afterwards `solved` tells for which of them a root was found."""
        for suspect in suspects:
            self.known[id(suspect)] = suspect
            if id(suspect) not in self.reached:
                self._open.add(id(suspect))
        level = [s for s in suspects if id(s) in self._open]
        for _ in range(_MOST_LEVELS):
            self.own.add(id(level))
            self._levels.append(level)
            if not level:
                return
            if (found := self._referrers(level)) is None:
                self.stopped = True
                return
            level = found
        self.stopped = True

    def solved(self, suspect: Any) -> bool:
        """Whether a chain from the map down to `suspect` was found."""
        return id(suspect) in self.up or id(suspect) in self.reached

    def chain_up(self, suspect: Any) -> list[Any]:
        """The objects from `suspect` up to the first one on the map, both included."""
        steps, seen = [suspect], {id(suspect)}
        while id(steps[-1]) not in self.reached and (holder := self.up.get(id(steps[-1]))) is not None:
            if id(holder) in seen:
                break
            seen.add(id(holder))
            steps.append(holder)
        return steps

    def above(self, suspect: Any) -> list[Any]:
        """All objects met from which `suspect` is reached, itself first, nearest first."""
        holders: dict[int, list[int]] = {}
        for holder, kids in self._kids.items():
            for kid in kids:
                holders.setdefault(id(kid), []).append(holder)
        order, queue, seen = [], [id(suspect)], {id(suspect)}
        for key in queue:
            order.append(self.known[key])
            for holder in holders.get(key, ()):
                if holder not in seen and holder in self.known:
                    seen.add(holder)
                    queue.append(holder)
        return order

    def chain_between(self, top: Any, suspect: Any) -> list[Any]:
        """The objects from `top` down to `suspect`, a shortest way within what the walk met."""
        came: dict[int, int] = {id(top): 0}
        queue = [id(top)]
        for key in queue:
            if key == id(suspect):
                break
            for kid in self._kids.get(key, ()):
                if id(kid) not in came:
                    came[id(kid)] = key
                    queue.append(id(kid))
        steps, key = [], id(suspect)
        while key:
            steps.append(self.known[key])
            key = came.get(key, 0)
        steps.reverse()
        return steps

    def _referrers(self, level: list[Any]) -> list[Any] | None:
        """The next level; None when the budget does not allow another scan."""
        following: list[Any] = []
        self._levels.append(following)
        self.own.add(id(following))
        per_type: dict[type, int] = {}
        for start in range(0, len(level), _BATCH):
            batch = [obj for obj in level[start : start + _BATCH] if self._is_wanted(obj)]
            if not batch:
                continue
            before = self._clock()
            if before + self._longest > self._deadline:
                return None
            arguments = tuple(batch)  # made here, so that it can be told from a tuple of the program
            self.own.update((id(batch), id(arguments)))
            found = gc.get_referrers(*arguments)
            self.own.add(id(found))
            self._longest = max(self._clock() - before, self._longest * 0.5)
            self._sort_in(batch, found, following, per_type)
            self.own.difference_update((id(found), id(batch), id(arguments)))
            del found, arguments
        return following

    def _is_wanted(self, obj: Any) -> bool:
        kids = self._kids.get(id(obj))
        return id(obj) in self._open and (kids is None or any(id(kid) in self._open for kid in kids))

    def _sort_in(self, batch: list[Any], found: list[Any], following: list[Any], per_type: dict[type, int]) -> None:
        asked = {id(obj): obj for obj in batch}
        held: set[int] = set()
        followed: dict[type, int] = {}
        for holder in found:
            key = id(holder)
            if key in self.own or (type(holder) is types.FrameType and self._is_ours(holder)):
                continue
            on_map = key in self.reached
            cls = type(holder)
            if not on_map and key not in self.known:
                followed[cls] = followed.get(cls, 0) + 1
                if followed[cls] > 40 * _MOST_PER_TYPE:
                    held.update(asked)  # not looked at one by one: do not call anything of this batch a top
                    continue
            hits = [asked[hit] for hit in set(map(id, children(holder, None))).intersection(asked)]
            if not hits:
                continue
            held.update(map(id, hits))
            self._add_kids(key, hits)
            if on_map or _is_lost_module(holder):
                if not on_map:
                    self.reached.add_root(holder)  # the globals of a module that left `sys.modules`
                self._solve(holder, hits)
            elif key in self.known:
                if key not in self._open and key in self.up:
                    self._solve(holder, hits)
            else:
                self.known[key] = holder
                self._open.add(key)
                if per_type.get(cls, 0) < _MOST_PER_TYPE and len(following) < _MOST_PER_LEVEL:
                    per_type[cls] = per_type.get(cls, 0) + 1
                    following.append(holder)
        self.tops.extend(obj for key, obj in asked.items() if key not in held)

    def _add_kids(self, key: int, hits: list[Any]) -> None:
        kids = self._kids.get(key)
        if kids is None:
            kids = self._kids[key] = []
            self.own.add(id(kids))
        kids.extend(hits)

    def _solve(self, holder: Any, hits: list[Any]) -> None:
        queue = [(holder, hit) for hit in hits]
        for above, obj in queue:
            if id(obj) in self._open:
                self._open.discard(id(obj))
                self.up[id(obj)] = above
                queue.extend((obj, kid) for kid in self._kids.get(id(obj), ()))

    def _is_ours(self, frame: types.FrameType) -> bool:
        return is_our_frame(frame)


def _is_lost_module(holder: Any) -> bool:
    if is_a(holder, types.ModuleType):
        return True
    if type(holder) is not dict or "__builtins__" not in holder:
        return False
    name = holder.get("__name__")
    return type(name) is str and not name.startswith(_PACKAGE)
