"""The map of what can be reached from the roots: a breadth-first walk in batches that can stop and go on at any moment.

A step asks the collector for everything that some thousand objects refer to, and sorts the new ones out by their
addresses (`addresses`): about 50 ns a reference, and a few milliseconds between two moments at which other threads may
run.  What is kept are the objects, batch by batch; through which of its batch an object was reached is found out
afterwards, for the few that matter.  Wide containers wait until everything narrow was looked into.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .addresses import ATOM, LEAF, OWN, SEEN, SIZED, SPECIAL, TARGET, Table, ids_of, length, lengths_of
from .roots import Root, Roots
from .safe import children, object_arrays

_WIDE = 4_000
"""A container with more members than this is expanded only after everything narrower."""
_VERY_WIDE = 50_000
"""A container of more is not even looked into before that."""
_HUGE = 1_000_000
"""The references of a container of more are not asked for at once: that would be a pause."""
_BATCH = 8_000
"""Objects asked for their references at once, and members of a slice: 1 to 3 ms."""
_SMALL = 1_000
"""Batches of fewer are joined."""
_FEW = 40
"""References that are sorted one by one: arrays cost more for so few."""
_DROP, _TAKE, _HIT, _DEFER, _APART = range(5)
"""What becomes of a reference: nothing, as of one seen before; looked into next; a target; a wide container; one that
is to be looked into by itself."""
_TAKEN = bytes(code == _TAKE for code in range(256))


class Batch:
    """Objects that were reached together.

    Args:
        objects: they themselves; holding them is what keeps their ids valid.
        parents: the batches through which they were reached.
        special: whether each is to be looked into by itself.
    """

    __slots__ = ("objects", "parents", "special")

    def __init__(self, objects: list[Any], parents: tuple[Batch, ...] = (), special: bool = False) -> None:
        self.objects = objects
        self.parents = parents
        self.special = special


class ForwardMap:
    """Objects reached from the roots."""

    def __init__(self, roots: Roots, targets: Iterable[int], own: Iterable[int], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._arrays = object_arrays()
        self.table = Table(self._arrays)
        self.table.note(own, OWN)
        self.targets: set[int] = set()
        """Ids looked for and not reached yet."""
        self.hits: dict[int, Any] = {}
        """Targets reached, by their ids."""
        self.batches: list[Batch] = []
        self.hit_in: dict[int, tuple[Batch, ...]] = {}
        self.lost: dict[int, Any] = {}
        self._next: list[Batch] = []
        self._frontier: list[Batch] = []
        self._wide: list[tuple[Any, tuple[Batch, ...]]] = []
        self._through: list[Batch] = []
        self._slicing: tuple[Batch, Iterator[list[Any]]] | None = None
        self.want(targets)
        tables = [root for root in roots.order if type(root) is Root]
        modules = [root for root in roots.order if type(root) is not Root]
        self._are_ours(tables)
        self.table.note((id(roots.modules),), OWN)
        self.table.note(map(id, modules), SEEN)
        top = Batch(modules, special=True)
        self.batches.append(top)
        for module in modules:
            if id(module) in self.targets:
                self._hit(module, ())
        self._sort_in([children(module, None)[0] for module in modules], top)
        if tables:
            # with the namespaces of the modules, after them: of a name in a module and a local of a
            # running function that lead equally far, the module's is the one to tell
            self._next.append(Batch(tables, special=True))

    def __contains__(self, key: int) -> bool:
        return key in self.lost or (self.table.has(key, SEEN) and not self.table.has(key, OWN))

    def add_root(self, obj: Any) -> None:
        """Take an object for a root that the walk could not know of."""
        self.lost[id(obj)] = obj

    def add_table(self, root: Root) -> None:
        """Walk from a table of the interpreter's too, which turned out to hold something."""
        self._are_ours([root])
        self._next.append(Batch([root], special=True))

    def _are_ours(self, tables: list[Root]) -> None:
        self.table.note((key for root in tables for key in (id(root), id(root.values))), OWN)
        self.table.note((id(entry) for root in tables for entry in root.values), OWN)

    def want(self, targets: Iterable[int]) -> None:
        """Look for these instead."""
        self.table.clear(self.targets, TARGET)
        self.targets = {key for key in targets if key not in self.hits}
        self.table.note(self.targets, TARGET)
        self.table.clear(self.targets, OWN)

    def expand(self, deadline: float, enough: int | None = None) -> bool:
        """Walk on until all targets are found, or `enough` of them, or the clock passes `deadline`.

        Returns:
            True when there is nothing left to expand.
        """
        while self.targets and (enough is None or len(self.hits) < enough):
            if self._frontier:
                self._look_into(self._frontier.pop())
            elif self._next:
                self._next.reverse()  # `pop` takes from the end; the order of discovery is the order of preference
                self._frontier, self._next = self._next, self._frontier
            elif self._slicing is not None:
                holder, parts = self._slicing
                part = next(parts, None)
                if part is None:
                    self._slicing = None
                else:
                    self._sort_in(part, holder)
            elif self._wide:
                wide, parents = self._wide.pop(0)
                batch = Batch([wide], parents)
                self.batches.append(batch)
                self._slicing = (batch, self._slices(wide))
            elif self._through:
                # nothing else leads to the others: they hang on the suspects found so far, as in a linked list
                self._next, self._through = self._through, self._next
            else:
                return True
            if self._clock() > deadline:
                break
        return not (self._frontier or self._next or self._slicing or self._wide or self._through)

    def _look_into(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._sort_in(self.held_by(batch, 0, len(batch.objects)), batch)

    def held_by(self, batch: Batch, start: int, end: int) -> list[Any]:
        """What objects of a batch refer to."""
        some = batch.objects if (start, end) == (0, len(batch.objects)) else batch.objects[start:end]
        if not batch.special:
            return gc.get_referents(*some)
        found = []
        for obj in some:
            found += [value for _, value in obj.values] if type(obj) is Root else children(obj, self._arrays)
        return found

    def _sort_in(self, found: list[Any], holder: Batch) -> None:
        """Adopt what is new among the references of a batch."""
        if len(found) <= _FEW:
            verdicts = bytes([self._verdict(obj) for obj in found])
            self._adopt(found, holder, verdicts, [index for index, verdict in enumerate(verdicts) if verdict > _TAKE])
            return
        for start in range(0, len(found), 4 * _BATCH):
            part = found[start : start + 4 * _BATCH] if len(found) > 4 * _BATCH else found
            self._sort_many(part, holder)

    def _verdict(self, obj: Any) -> int:
        table, at = self.table, self.table.offset(id(obj))
        kind = table.kind(obj)
        notes = int(table.notes[at])
        if notes & (SEEN | LEAF | OWN):
            return _DROP
        if notes & TARGET:
            table.notes[at] |= SEEN
            return _HIT
        table.notes[at] |= LEAF if kind == ATOM else SEEN
        if kind == SIZED and length(obj) > _WIDE:
            return _DEFER
        return _DROP if kind == ATOM else _APART if kind == SPECIAL else _TAKE

    def _sort_many(self, found: list[Any], holder: Batch) -> None:
        import numpy as np

        table = self.table
        ids = ids_of(found)
        at = table.offsets(ids)
        notes = table.notes[at]
        new = np.flatnonzero((notes & (SEEN | LEAF | OWN)) == 0)
        if not len(new):
            return
        at, notes = at[new], notes[new]
        kinds = table.kinds(found, ids, new)
        is_target = (notes & TARGET) != 0
        is_leaf = (kinds == ATOM) & ~is_target
        table.notes[at] = notes | np.where(is_leaf, np.uint8(LEAF), np.uint8(SEEN))
        rest = np.flatnonzero(~is_leaf)
        # of several references to one object the first
        order = np.argsort(at[rest], kind="stable")
        ordered = at[rest[order]]
        first = np.ones(len(rest), bool)
        np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
        rest = rest[order[first]]
        verdicts = np.zeros(len(found), np.uint8)
        chosen, kinds = new[rest], kinds[rest]
        verdicts[chosen] = np.where(is_target[rest], _HIT, np.where(kinds == SPECIAL, _APART, _TAKE))
        sized = chosen[(kinds == SIZED) & ~is_target[rest]]
        verdicts[sized[lengths_of(found, sized) > _WIDE]] = _DEFER
        self._adopt(found, holder, verdicts.tobytes(), np.flatnonzero(verdicts > _TAKE).tolist())

    def _adopt(self, found: list[Any], holder: Batch, verdicts: bytes, others: list[int]) -> None:
        for index in others:
            obj = found[index]
            if verdicts[index] == _HIT:
                self._hit(obj, (holder,))
            elif verdicts[index] == _DEFER:
                self._put_off(obj, holder)
            else:
                self._queue([obj], holder, True)
        if others:
            verdicts = verdicts.translate(_TAKEN)
        self._queue(list(itertools.compress(found, verdicts)), holder, False)

    def known(self) -> Iterator[Batch]:
        """All batches: those looked into, and those that wait."""
        yield from self.batches
        yield from self._next
        yield from self._frontier
        yield from self._through
        for wide, parents in self._wide:
            yield Batch([wide], parents)

    def _queue(self, some: list[Any], holder: Batch, special: bool) -> None:
        last = self._next[-1] if self._next else None
        if not some:
            return
        if last is not None and last.special is special and len(last.objects) + len(some) <= _SMALL and last.parents:
            last.objects += some
            if last.parents[-1] is not holder:
                last.parents = (*last.parents, holder)
            return
        for start in range(0, len(some), _BATCH):
            part = some[start : start + _BATCH] if len(some) > _BATCH else some
            self._next.append(Batch(part, (holder,), special))

    def _hit(self, obj: Any, parents: tuple[Batch, ...]) -> None:
        # a suspect is a leaf as long as there are others to look into: the path to one should not lead through another
        self.targets.discard(id(obj))
        self.hits[id(obj)] = obj
        self.hit_in[id(obj)] = parents
        self._through.append(Batch([obj], parents, self.table.kind(obj) == SPECIAL))

    def _put_off(self, wide: Any, holder: Batch) -> None:
        self._wide.append((wide, (holder,)))
        if length(wide) > _VERY_WIDE:
            return
        held = gc.get_referents(wide)
        notes = self.table.of(ids_of(held))
        direct = (notes & (TARGET | SEEN)) == TARGET
        if direct.any():
            batch = Batch([wide], (holder,))
            for obj in itertools.compress(held, direct.tobytes()):
                if id(obj) in self.targets:
                    self.table.note((id(obj),), SEEN)
                    self._hit(obj, (batch,))

    def _slices(self, holder: Any) -> Iterator[list[Any]]:
        """The references of a wide container; of a huge one without a copy of all of them."""
        sources: list[Iterable[Any]] = []
        if type(holder) is dict:
            sources = [dict.values(holder), dict.keys(holder)]  # keys are mostly plain: what is held is in the values
        elif length(holder) > _HUGE and type(holder) in (list, tuple, set, frozenset, deque):
            sources = [holder]
        with contextlib.suppress(RuntimeError):  # the program changed its size
            for source in sources:
                members = iter(source)
                while part := list(itertools.islice(members, _BATCH)):
                    yield part
            if sources:
                return
        if length(holder) > _HUGE:
            return  # the rest is left out
        held = gc.get_referents(holder)
        yield from (held[start : start + _BATCH] for start in range(0, len(held), _BATCH))
