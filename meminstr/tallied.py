"""`TalliedSubject`: what is counted by whoever serves it, not by a wrapper: routes of a web application, kinds of task.

Its events overlap as a rule, and it is known only at their end which subject they were of.  While events are under way
they hold memory of their own, so readings are taken where one begins, and of these moments where the fewest others are
under way.  From one such moment to another nothing but what was left behind has changed.  Where a single event lies in
between, the change is its own; whose the growth is otherwise, least squares over windows say (see `attribution`).
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable
from typing import Any

from .faults import settle
from .sampling import Sampler
from .subjects import FunctionSubject, opened

_ALL = 32
"""So many of the first events are all read."""
_CALM_OF = 16
"""Of so many beginnings the calmest tells how calm it has to be for a reading among the next ones."""
_PATIENCE = 256
"""An event that lasts longer than so many others is not waited for: a stream that is open for hours."""


class TalliedSubject(FunctionSubject):
    """One route or kind of task: its exact count, the levels, and the changes of events that were alone.

    Args:
        name: the subject's name in reports.
        kind: ``route`` or ``task``; the report's word for what is counted follows from it.
        sampler: where readings come from.
        horizon: events that growth must last; None: the setting.
        on_leak: as `leak_guard` takes it.
        on_sample: told after each sample.
    """

    weight = 8
    """Each is a window: with no changes of its own to go by, windows are the only witnesses."""

    def __init__(
        self,
        name: str,
        kind: str,
        sampler: Sampler,
        *,
        horizon: float | None = None,
        on_leak: Any = "warn",
        on_sample: Callable[[FunctionSubject], None] | None = None,
    ) -> None:
        super().__init__(name, 1, sampler, horizon=horizon, on_leak=on_leak, on_sample=on_sample)
        self.kind = kind
        self._events = 0
        self._together = 0
        self.calls = lambda: self._events
        self._counting = threading.Lock()

    def ended(self, error: BaseException | None) -> None:
        """Count one event, and what it ended with."""
        with self._counting:
            self._events += 1
            self.failures += error is not None

    def before_first(self, reading: array[float]) -> None:
        """Enter the level before the first sampled event, which has ended by now."""
        if not self.samples:
            self._history(max(0.0, float(self._events - 1 - self.calls_before)), reading)

    def sampled(self, before: array[float], after: array[float], alone: bool) -> None:
        """Enter the level, and the change if it is that of a single event.

        Args:
            before: the reading where the event began, `opened`; it and the other are given back to the sampler.
            after: one taken after its end.
            alone: no other event was under way at either, none came in between.
        """
        self._together += not alone
        # idle blocks are those of a wrapper, which there is none here
        self._left(before, after, None, (-self.idle_blocks, 0, 0) if alone else None)

    def overlapped(self) -> bool:
        """Whether most of its sampled events had others beside them, or threads that worked meanwhile."""
        return 2 * self._together > self.samples or super().overlapped()

    def restart(self) -> None:
        """Begin the histories anew from here."""
        super().restart()
        self._together = 0

    def after_fork(self) -> None:
        """A forked child counts from nought."""
        self._counting = threading.Lock()
        self._events = 0
        super().after_fork()
        self.calls = lambda: self._events
        self.calls_before = 0


class Tally:
    """The events of one server: which are sampled, how many are under way, and whose they turned out to be.

    Args:
        sampler: where readings come from.
        subject: the subject of a name, made when it is first seen; None when there are too many already.
        every: one event in so many is read, besides the first ones, and as far as the budget allows.
    """

    def __init__(self, sampler: Sampler, subject: Callable[[str], TalliedSubject | None], every: int) -> None:
        self._sampler = sampler
        self._subject = subject
        self._every = every
        self._due = 0.0
        self._wanted = False
        self._enabled = True
        self._begun = 0
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self.under_way = 0
        self._calm, self._least = 0, 1 << 30
        # the open sample: the reading before its event, the event's number, its thread, and its subject once it ended
        self._before: array[float] | None = None
        self._number = 0
        self._thread = 0
        self._open: TalliedSubject | None = None

    def begin(self) -> int:
        """An event begins; the answer is handed to `end`."""
        with self._lock:
            self._begun += 1
            number = self._begun
            others = self.under_way
            self.under_way += 1
            self._least = min(self._least, others)
            if not number % _CALM_OF:
                self._calm, self._least = self._least, others
        # one thread at a time: whoever comes meanwhile goes on unread
        if others <= self._calm and self._enabled and self._reading.acquire(blocking=False):
            try:
                self._close(number, others)
                if self._before is None and self._is_due(number) and not self._sampler.analysing():
                    self._start(number, others)
            except Exception as error:
                settle("reading memory between events", error)
            finally:
                self._reading.release()
        return number

    def _is_due(self, number: int) -> bool:
        now, budget = self._sampler.clock(), self._sampler.budget
        # whatever the budget says, the first events are read, and then each time there are so many more
        if number <= _ALL or number >= self._due:
            return True
        if budget.left(now) > 0 and number >= self._number + self._every:
            return True
        return self._wanted and budget.may_inquire(now)

    def _start(self, number: int, others: int) -> None:
        sampler = self._sampler
        self._due = number * (1 + sampler.budget.growth(sampler.clock(), number))
        before = sampler.buffer()
        opened(before, sampler)
        sampler.read(before)
        self._number, self._thread, self._open = number, 0 if others else threading.get_ident(), None
        self._before = before

    def _close(self, number: int, others: int) -> None:
        before, subject = self._before, self._open
        if before is None or (subject is None and number - self._number <= _PATIENCE):
            return
        self._before = self._open = None
        if subject is None:
            self._sampler.release(before)
            return
        if not subject.enabled:
            self._sampler.release(before)
            return
        after = self._sampler.buffer()
        self._sampler.read(after)
        # in another thread it cannot be told what other threads worked
        alone = not others and number == self._number + 1 and self._thread == threading.get_ident()
        subject.sampled(before, after, alone)

    def end(self, number: int, name: str, error: BaseException | None = None) -> None:
        """An event ends, and its subject is known.

        Args:
            number: what `begin` gave.
            name: the subject's name.
            error: what it ended with.
        """
        with self._lock:
            self.under_way -= 1
        subject = self._subject(name)
        before = self._before
        sampled = before is not None and number == self._number
        if subject is None:
            if sampled:
                self._before = None
            return
        subject.ended(error)
        self._enabled = subject.enabled
        self._wanted = subject.directed > 0
        if sampled and before is not None:
            subject.before_first(before)
            self._open = subject

    def after_fork(self) -> None:
        """A forked child has no event under way."""
        self._forget()
