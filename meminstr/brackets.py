"""`Brackets`: whatever is allocated and kept between two readings is meminstr's own, and is taken off all later ones.

An analysis inside the process would otherwise see itself.  Covers brackets that overlap in threads, garbage, free
lists, a bracket torn off by an exception, a fork, and what other threads do meanwhile.  How a reading is taken is left
to the sampler, which this is the base of.
"""

from __future__ import annotations

import copy
import gc
import sys
import threading
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .faults import note_fault

_LONGEST_BRACKET = 60.0
_OTHERS_SECONDS = 0.001
_REMEMBERED_SECONDS = 1.0
"""CPU seconds between brackets whose growth is remembered in full: with looks every few milliseconds, as at first where
many functions are guarded, those of a few intervals alone would be too few to tell a rate."""
_of_nothing = [0]
_MOST_BLOCKS = 1_000_000
"""A bracket in a heap with more blocks than this leaves the interpreter's free lists alone."""
_TURN_SECONDS = 20e-6
"""How long another thread keeps the interpreter while one analyses.  Each file that an import opens, and each of the
larger operations of numpy, gives the lock away; beside three busy threads, and with the usual turns of 5 ms, 0.1 s of
imports take two seconds and a look of 3 ms takes 0.2, in which nothing is sampled."""


class Brackets(ABC):
    """What a sampler knows of meminstr's own memory.

    Args:
        signals: how many a reading holds.
        clock: seconds, never going back.
    """

    def __init__(self, signals: int, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.own = array("d", [0.0] * signals)
        """Bytes and blocks that meminstr's own analyses left behind, by signal: subtracted from every reading."""
        self.brackets = 0
        """How many analyses run now: readings taken meanwhile by other threads would see them."""
        self.epoch = 0
        """Moves when one begins or ends: two readings of different epochs have nothing to say together."""
        self.warm = 0
        """The epoch of the last sample: the first one of each fills the free lists anew, and tells nothing else."""
        self._bracket_lock = threading.RLock()  # a collection inside may run a finaliser that is guarded
        self._bracket_ends = 0.0
        self._opening: array[float] | None = None
        self._others = _Others(signals)
        self._collects = False
        self._turns = _Turns()
        self._empty_bracket: float | None = None
        """Blocks that `not_ours` sees around nothing: what it holds itself at the second reading, less the first."""

    @abstractmethod
    def read(self, into: array[float]) -> None:
        """One reading, less what is `own`."""

    @abstractmethod
    def buffer(self) -> array[float]:
        """An array for one reading."""

    @abstractmethod
    def release(self, buffer: array[float]) -> None:
        """Give an array back."""

    @abstractmethod
    def _book(self, purpose: str, seconds: float) -> None:
        """Enter what a bracket took, on the account of its purpose."""

    @contextmanager
    def not_ours(self, purpose: str = "analysis") -> Iterator[None]:
        """Whatever is allocated and kept inside is meminstr's own: it is taken off all later readings.

        Args:
            purpose: which account pays: ``analysis``, ``reporting`` or ``loading``.

        With other threads at work their growth of these milliseconds is estimated, from that between brackets and
        their CPU time, and left to them.
        """
        # The collector is held off meanwhile, so that all garbage made inside is young, and is collected at the end
        # by the youngest generation alone (at the cost of the objects made inside, whatever the heap's size).  Without
        # that, garbage of ours that dies later would be taken off twice: importing numpy makes 60,000 blocks of it.
        if self._empty_bracket is None:
            self._empty_bracket = 0.0
            self._empty_bracket = self._around_nothing()
        began, busy = self.clock(), time.thread_time()
        open_ = [False]  # a signal handler of the program's may raise on any line of these, the first and last included
        try:
            self._open(open_)
            yield
        finally:
            try:
                self._close(open_)
            except BaseException:
                self._tear(open_)
                raise
            # what this thread worked, where the clock went on because the processor was somebody else's
            self._book(purpose, min(self.clock() - began, time.thread_time() - busy))

    def _open(self, open_: list[bool]) -> None:
        # of brackets that overlap, in threads or one inside another, the first to open and the last to close count:
        # each for itself they would take the same growth off twice
        with self._bracket_lock:
            open_[0] = True
            self.brackets += 1
            self.epoch += 1
            if self.brackets > 1:
                return
            self._bracket_ends = self.clock() + _LONGEST_BRACKET
            self._turns.shorten()
            self._opening = self.buffer()
            self._collects = gc.isenabled()
            if self._collects:
                gc.disable()
                gc.collect(0)
                _drop_free_lists()
            self.read(self._opening)
            self._others.begin(self._opening)

    def _close(self, open_: list[bool]) -> None:
        with self._bracket_lock:
            if self.brackets == 1 and open_[0]:
                self._take_off()
            self._tear(open_)

    def _tear(self, open_: list[bool]) -> None:
        # the end of a bracket, also of one that a signal handler's exception cut off: nothing stays switched off
        if open_[0]:
            open_[0] = False
            self.brackets = max(0, self.brackets - 1)
            self.epoch += 1
            if not self.brackets:
                self._as_it_was()

    def _as_it_was(self) -> None:
        self._turns.restore()
        if self._collects:
            self._collects = False
            gc.enable()

    def _take_off(self) -> None:
        before, after = self._opening, self.buffer()
        self._opening = None
        if self._collects:
            gc.collect(0)
            _drop_free_lists()
        self.read(after)
        if before is not None:
            factor = self._others.end()
            for index in range(len(self.own)):
                if before[index] >= 0 and after[index] >= 0:
                    self.own[index] += self._others.left(index, before[index], after[index], factor)
            if before[1] >= 0 and after[1] >= 0 and self._empty_bracket is not None:
                self.own[1] -= self._empty_bracket
            self.release(before)
        self.release(after)

    def analysing(self) -> bool:
        """Whether an analysis runs, in whatever thread; one that was torn off by an exception ends by itself."""
        if not self.brackets:
            return False
        if self.clock() > self._bracket_ends:
            self.brackets, self._opening = 0, None
            self._as_it_was()
            return False
        return True

    def _around_nothing(self) -> float:
        # less than nought, where it lets go of something: taken as nought, each look would raise the level by a block
        seen = []
        for _ in range(9):
            booked = self.own[1]
            with self.not_ours():
                pass
            seen.append(self.own[1] - booked)
            self.own[1] = booked
        return sorted(seen)[len(seen) // 2]

    def empty_free_lists(self) -> None:
        """Have the interpreter drop what it keeps for reuse, and take that off the books.

        A full collection empties free lists.  Much of what is in them comes from looks and was taken off as ours: if it
        simply vanished, the level would seem to fall, as if growth were given back.  With everything frozen a
        collection finds nothing, so that only the free lists go.
        """
        if program_froze():
            return  # thawing ours would thaw its own
        with self.not_ours("reporting"):
            try:
                gc.freeze()
                _of_nothing[0] += 1
                gc.collect()
            finally:
                gc.unfreeze()

    def give_away(self, made: object) -> None:
        """Leave out of meminstr's own what a caller gets and keeps or drops: the size of ``made``, by copying it.

        Without that each report would lower the readings by its size for ever, once it is dropped.
        """
        before, after = self.buffer(), self.buffer()
        try:
            self.read(before)
            twin = copy.deepcopy(made)
            self.read(after)
            del twin
            for index in range(1, len(self.own)):  # pages are not given back to be counted
                if before[index] >= 0 and after[index] >= 0:
                    self.own[index] -= max(0.0, after[index] - before[index])
        except Exception as error:
            note_fault("sizing a report", error)
        finally:
            self.release(before)
            self.release(after)

    def forget_brackets(self) -> None:
        """In a forked child: none is open."""
        self.warm = 0
        """The epoch in which a sample has been taken last; the first one of each fills free lists."""
        self._bracket_lock = threading.RLock()
        if self.brackets:
            self._as_it_was()
        self.brackets, self._opening = 0, None
        self._others.forget()


class _Others:
    """How much of a bracket's growth is other threads': as much as between brackets, by their CPU time.

    A thread that analyses gives the interpreter's lock to others every few milliseconds: with fifty functions looked at
    in turn, half of a leak would be taken off as ours.

    Args:
        signals: how many a reading holds.
    """

    def __init__(self, signals: int) -> None:
        self._signals = signals
        self._process = self._thread = 0.0  # CPU seconds when the open bracket began
        self._ended = 0.0  # of the process, when the last one ended; nought before the first
        self._levels = array("d", [0.0] * signals)  # then
        self._grown = array("d", [0.0] * signals)  # what the levels rose by between brackets, of late
        self._worked = 0.0  # and in how many CPU seconds

    def begin(self, reading: array[float]) -> None:
        """A bracket was opened: what have the program's levels risen by since the last?"""
        self._process, self._thread = time.process_time(), time.thread_time()
        if 0 < self._ended < self._process:
            kept = 0.5 if self._worked > _REMEMBERED_SECONDS else 1.0
            for index in range(self._signals):
                rise = reading[index] - self._levels[index] if reading[index] >= 0 else 0.0
                self._grown[index] = kept * self._grown[index] + rise
            self._worked = kept * self._worked + self._process - self._ended

    def end(self) -> float:
        """It is closed: the factor by which the growth between brackets went on in it.

        Not beyond one: of what was seen to grow in a millisecond nothing follows for the seconds of an import.
        """
        self._ended = time.process_time()
        others = self._ended - self._process - (time.thread_time() - self._thread)
        if others < _OTHERS_SECONDS or self._worked <= 0 or threading.active_count() < 2:
            return 0.0
        return min(1.0, others / self._worked)

    def left(self, index: int, before: float, after: float, factor: float) -> float:
        """Of one signal's change that part which is ours; the level without it is remembered."""
        change = after - before
        theirs = min(max(0.0, change), max(0.0, factor * self._grown[index]))
        self._levels[index] = before + theirs
        return change - theirs

    def forget(self) -> None:
        """In a forked child: no bracket ended yet."""
        self._ended = 0.0


class _Turns:
    """The interpreter's switch interval: short while one thread analyses beside others, then as it was."""

    def __init__(self) -> None:
        self._before: float | None = None

    def shorten(self) -> None:
        """With other threads at work."""
        interval = sys.getswitchinterval()
        if threading.active_count() > 1 and interval > _TURN_SECONDS:
            self._before = interval
            sys.setswitchinterval(_TURN_SECONDS)

    def restore(self) -> None:
        """Unless the program has set another meanwhile."""
        before, self._before = self._before, None
        if before is not None and abs(sys.getswitchinterval() - _TURN_SECONDS) < 1e-6:
            sys.setswitchinterval(before)


def program_froze() -> bool:
    """Whether the program itself used `gc.freeze`; CPython 3.12 keeps some hundred objects frozen on its own."""
    return gc.get_freeze_count() > 1_000


def _drop_free_lists() -> None:
    """Have the interpreter drop the objects it keeps for reuse, before and after an analysis.

    An analysis leaves lists and tuples there, which are booked as ours; the program would take its next ones from
    there, unseen by any counter.  Analyses are frequent at first and rare later, so a growth that slows down would look
    straight: of a cache that grew by 335 blocks 120 were seen.  A collection of all generations empties these lists,
    and with everything frozen it finds nothing to walk.  It also makes the interpreter's next full collection come
    sooner, which a large heap would feel: there it is left.
    """
    if program_froze() or sys.getallocatedblocks() > _MOST_BLOCKS:
        return  # thawing ours would thaw its own
    try:  # around the freezing too: a signal handler's exception may come right after it
        gc.freeze()
        _of_nothing[0] += 1
        gc.collect()
    finally:
        gc.unfreeze()


def full_collections() -> int:
    """Full collections of the program's objects so far: the interpreter's count, less ours that had nothing to walk."""
    return int(gc.get_stats()[-1]["collections"]) - _of_nothing[0]
