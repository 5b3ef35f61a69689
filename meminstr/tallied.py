"""`TalliedSubject`: what is counted by whoever serves it, not by a wrapper: routes of a web application, kinds of task.

Its events overlap as a rule, and it is known only at their end which subject they were of.  So a reading is taken at
the beginning by `Tally`, which belongs to all subjects of one server, and handed to the subject at the end.  Of
overlapping events only the levels are entered: whose the growth is, least squares over windows say (see
`attribution`).
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable
from typing import Any

from .faults import settle
from .sampling import MEMORY_SIGNALS, UNKNOWN, Sampler
from .subjects import FunctionSubject

_NOTHING = (0, 0, 0)
_ALL = 32
"""So many of the first events are all read."""
_SLOTS = len(MEMORY_SIGNALS)


class TalliedSubject(FunctionSubject):
    """One route or kind of task: its exact count, levels after sampled events, and changes across those that were
    alone.

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
        self._events = 0
        self.calls = lambda: self._events
        self._counting = threading.Lock()

    def ended(self, token: array[float] | None, error: BaseException | None, *, alone: bool) -> None:
        """Count one event, and enter the reading that was taken at its beginning, if one was.

        Args:
            token: the reading; None when this event was not sampled.
            error: what the event ended with.
            alone: no other event ran meanwhile, so that the change is this one's.
        """
        with self._counting:
            self._events += 1
        if token is None:
            if error is not None:
                self.failures += 1
            return
        if not self.samples:
            self._history(float(self._events - 1 - self.calls_before), token)
        if not alone:
            self.suspends = True  # from here on the changes across its events prove nothing
            for index in range(_SLOTS):
                token[index] = UNKNOWN
        if error is None:
            self.finish(token, None)
        else:
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
        self.under_way = 0

    def begin(self) -> tuple[int, array[float] | None]:
        """An event begins; the answer is handed to `end`."""
        with self._lock:
            self._begun += 1
            number = self._begun
            alone = not self.under_way
            self.under_way += 1
        token = None
        try:
            if number <= _ALL or not (number % self._every or self._sampler.budget.left(self._sampler.clock()) <= 0):
                token = self._sampler.buffer()
                self._sampler.read(token)
                token[_SLOTS + 1] = UNKNOWN
        except Exception as error:
            settle("reading memory at the beginning of an event", error)
        return (number if alone else -number), token

    def end(self, begun: tuple[int, array[float] | None], name: str, error: BaseException | None = None) -> None:
        """An event ends, and its subject is known.

        Args:
            begun: what `begin` gave.
            name: the subject's name.
            error: what it ended with.
        """
        number, token = begun
        with self._lock:
            self.under_way -= 1
            alone = number == self._begun
        subject = self._subject(name)
        if subject is None or not subject.enabled:
            if token is not None:
                self._sampler.release(token)
            return
        subject.ended(token, error, alone=alone)

    def after_fork(self) -> None:
        """A forked child has no event under way."""
        self._lock = threading.Lock()
        self.under_way = 0
