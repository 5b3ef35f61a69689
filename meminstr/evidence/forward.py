"""The map of what lies near the roots: a breadth-first walk that can stop and go on at any moment.

It pays for the first few levels only (modules, their globals, attributes of those); the long way from a
suspect up to this map is walked by `backward`.  Where that is not possible (objects frozen out of the
collector's sight, arrays of objects, heaps so large that one scan would be a noticeable pause) the walk simply
goes on, in steps of a few microseconds, until everything is found or the budget is spent.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .roots import Root, Roots
from .safe import ATOMS, children, object_arrays

_WIDE = 4_000
"""A container with more members than this is expanded only after everything narrower."""
_VERY_WIDE = 50_000
"""A container of more is not even looked into before that: a copy of its members would be a pause."""
_SIZED = (dict, list, tuple, set, frozenset)
_LONG = 150
"""Steps kept of each end of a very long way."""
_CHECK_EVERY = 2_000
"""References looked at between two looks at the clock: some hundred microseconds."""


class Gap:
    """Stands in a chain for the many steps that were left out."""

    __slots__ = ()


GAP = Gap()


class ForwardMap:
    """Objects reached from the roots, each with the object through which it was reached first."""

    __slots__ = ("_arrays", "_clock", "_frontier", "_next", "_through", "_wide", "own", "parent", "reached", "targets")

    def __init__(self, roots: Roots, targets: set[int], own: set[int], clock: Callable[[], float]) -> None:
        self.reached: dict[int, Any] = {}
        """The objects reached, by id; keeping them is what keeps their ids valid."""
        self.parent: dict[int, Any] = {}
        self.targets = targets
        self.own = own
        self._clock = clock
        self._arrays = object_arrays()
        self._frontier: list[Any] = []
        self._next: list[Any] = []
        self._wide: list[Any] = []
        self._through: list[Any] = []
        own.update(map(id, (self.reached, self.parent, targets, self._frontier, self._next, self._wide, roots.order)))
        own.add(id(self._through))
        own.update((id(roots.modules), id(own)))
        for root in roots.order:
            if type(root) is Root:
                own.update((id(root), id(root.values)))
                own.update(map(id, root.values))
            else:
                self.reached[id(root)] = root
        for root in roots.order:
            if type(root) is Root:
                # with the namespaces of the modules, after them: of a name in a module and a local of a
                # running function that lead equally far, the module's is the one to tell
                self._next.append(root)
            else:
                self._adopt(root, children(root, None))

    def expand(self, deadline: float, most: int | None) -> bool:
        """Walk on until all targets are found, `most` objects are known, or the clock passes `deadline`.

        Returns:
            True when there is nothing left to expand.
        """
        work = 0
        while True:
            while self._frontier:
                work += 1 + self._look_into(self._frontier.pop())
                if work > _CHECK_EVERY:
                    work = 0
                    if self._must_stop(deadline, most):
                        return False
            if self._next:
                self._next.reverse()  # `pop` takes from the end; the order of discovery is the order of preference
                self._frontier, self._next = self._next, self._frontier
            elif self._wide and (most is None):
                self._look_into_wide(deadline)
            elif self._through and most is None:
                # nothing else leads to the others: they hang on the suspects found so far, as in a linked list
                self._next, self._through = self._through, self._next
            else:
                return not (self._wide or self._through)
            if self._must_stop(deadline, most):
                return False

    def _must_stop(self, deadline: float, most: int | None) -> bool:
        return not self.targets or (most is not None and len(self.reached) > most) or self._clock() > deadline

    def _look_into(self, holder: Any) -> int:
        """Adopt what `holder` holds; the number of references that were looked at."""
        if type(holder) is Root:
            self._adopt(holder, [value for _, value in holder.values])
            return len(holder.values)
        if type(holder) in _SIZED and len(holder) > _VERY_WIDE:
            self._wide.append(holder)
            return 0
        found = children(holder, self._arrays)
        if len(found) <= _WIDE:
            self._adopt(holder, found)
            return len(found)
        self._wide.append(holder)
        hits = self.targets.intersection(map(id, found))
        if hits:
            for child in found:
                if id(child) in hits and id(child) in self.targets:
                    self._record(id(child), child, holder)
        return len(found)

    def _look_into_wide(self, deadline: float) -> None:
        """One wide container, in slices; what was not reached in time is left out."""
        holder = self._wide.pop(0)
        for part in self._slices(holder):
            self.own.add(id(part))
            self._adopt(holder, part)
            self.own.discard(id(part))
            if self._must_stop(deadline, None):
                self._wide.insert(0, holder)
                return

    def _slices(self, holder: Any) -> Iterator[list[Any]]:
        """The members of a wide container, without a copy of all of them where its type allows that."""
        sources: list[Iterable[Any]]
        if type(holder) is dict:
            sources = [dict.values(holder), dict.keys(holder)]
        elif type(holder) in _SIZED:
            sources = [holder]
        else:
            sources = [children(holder, self._arrays)]
        for source in sources:
            members = iter(source)
            with contextlib.suppress(RuntimeError):  # the program changed its size: the rest is left out
                while part := list(itertools.islice(members, _WIDE)):
                    yield part

    def _adopt(self, holder: Any, found: list[Any]) -> None:
        reached, own, targets, queue = self.reached, self.own, self.targets, self._next
        for child in found:
            key = id(child)
            if key in reached:
                continue
            if key in targets:
                self._record(key, child, holder)
            elif type(child) not in ATOMS and key not in own:
                reached[key] = child
                self.parent[key] = holder
                queue.append(child)

    def _record(self, key: int, child: Any, holder: Any) -> None:
        # a suspect is a leaf as long as there are others to look into: the path to one should not lead through another
        self.reached[key] = child
        self.parent[key] = holder
        self.targets.discard(key)
        self._through.append(child)

    def chain(self, obj: Any) -> list[Any]:
        """The objects from the root down to `obj`, both included; of a very long way both ends, with `GAP` between."""
        below = [obj]
        parent = self.parent
        while len(below) < _LONG and (holder := parent.get(id(below[-1]))) is not None:
            below.append(holder)
        above: deque[Any] = deque(maxlen=_LONG)
        step, left_out = below[-1], 0
        # parents were reached before their children, so this ends
        while (holder := parent.get(id(step))) is not None:
            step = holder
            left_out += len(above) == _LONG
            above.append(step)
        steps = below + ([GAP] if left_out else []) + list(above)
        steps.reverse()
        return steps
