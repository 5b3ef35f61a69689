"""`TalliedSubject`: what is counted by whoever serves it, not by a wrapper: routes of a web application, kinds of task.

Its events overlap as a rule, and it is known only at their end which subject they were of.  So a change across one
event means nothing; only levels are entered, after events, and whose the growth is least squares over windows say (see
`attribution`).
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable
from typing import Any

from .faults import settle
from .sampling import BEGAN, MEMORY_SIGNALS, UNKNOWN, Sampler
from .subjects import FunctionSubject

_ALL = 32
"""So many of the first events are all read."""
_SLOTS = len(MEMORY_SIGNALS)


class TalliedSubject(FunctionSubject):
    """One route or kind of task: its exact count, and levels after sampled events.

    Args:
        name: the subject's name in reports.
        kind: ``route`` or ``task``; the report's word for what is counted follows from it.
        sampler: where readings come from.
        horizon: events that growth must last; None: the setting.
        on_leak: as `leak_guard` takes it.
        on_sample: told after each sample.
    """

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
        self.suspends = True
        self._events = 0
        self.calls = lambda: self._events
        self._counting = threading.Lock()

    def ended(self, token: array[float] | None, error: BaseException | None) -> None:
        """Count one event, and enter the level, if this event is sampled.

        Args:
            token: a buffer for the reading, with what was read at the beginning; None when this event is not sampled.
            error: what the event ended with.
        """
        with self._counting:
            self._events += 1
        if token is None:
            self.failures += error is not None
            return
        if not self.samples:
            self._history(float(self._events - 1 - self.calls_before), token)
        for index in range(_SLOTS):
            token[index] = UNKNOWN
        self.leave(token, error)

    def after_fork(self) -> None:
        """A forked child counts from nought."""
        self._counting = threading.Lock()
        self._events = 0
        super().after_fork()
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
        self._lock = threading.Lock()
        self._begun = 0
        self._due = 0.0
        self._wanted = False
        self.under_way = 0

    def begin(self) -> array[float] | None:
        """An event begins; the answer is handed to `end`."""
        with self._lock:
            self._begun += 1
            number = self._begun
            self.under_way += 1
        token = None
        try:
            sampler = self._sampler
            now = sampler.clock()
            budget = sampler.budget
            # whatever the budget says, the first events are read, and then each time there are so many more
            read = number <= _ALL or number >= self._due or (not number % self._every and budget.left(now) > 0)
            if (read or (self._wanted and budget.may_inquire(now))) and not sampler.analysing():
                self._due = number * (1 + budget.growth(now, number))
                token = sampler.buffer()
                sampler.read(token)
                for slot in range(BEGAN + 1, len(token)):
                    token[slot] = 0.0
                token[BEGAN + 1] = sampler.epoch
                token[_SLOTS + 1] = UNKNOWN
        except Exception as error:
            settle("reading memory at the beginning of an event", error)
        return token

    def end(self, token: array[float] | None, name: str, error: BaseException | None = None) -> None:
        """An event ends, and its subject is known.

        Args:
            token: what `begin` gave.
            name: the subject's name.
            error: what it ended with.
        """
        with self._lock:
            self.under_way -= 1
        subject = self._subject(name)
        if subject is None or not subject.enabled:
            if token is not None:
                self._sampler.release(token)
            return
        self._wanted = subject.directed > 0
        subject.ended(token, error)

    def after_fork(self) -> None:
        """A forked child has no event under way."""
        self._lock = threading.Lock()
        self.under_way = 0
