"""`Routes`: the requests of one web application, tallied by route template; what the ASGI and WSGI middlewares share.

Names are bounded: a template is the application's, and what matches none shares one name, as does what comes after the
first 200.  The tag of a request (`meminstr.context`) is wanted before the routing, so it is the path with everything
that looks like an identifier left out.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from ..decorators.guarding import check_on_leak, chosen
from ..errors import UsageError
from ..faults import note_fault
from ..instrument.switches import checked_every
from ..probes.container import Headroom, headroom
from ..registry import ControllerMemoryTracker
from ..tallied import TalliedSubject, Tally

logger = logging.getLogger("meminstr")

UNMATCHED = "<unmatched>"
OTHER = "<other routes>"
NOTED = "meminstr.route"
"""Key under which an application may note the route in a WSGI environment or an ASGI scope."""
MOST_ROUTES = 200
_ROOM_SECONDS = 0.5
"""How old an answer about the room left may be: a full look at the container's files takes 0.3 ms."""

_all: weakref.WeakSet[Routes] = weakref.WeakSet()


class Routes:
    """What is tallied of one application.

    Args:
        every: one request in so many reads memory (and the first 32), as far as the budget allows.
        on_leak: as `leak_guard` takes it, without ``"raise"``: a request is not stopped for what others left.
        horizon: requests that growth must last before it is called a leak; None: the setting.
        shed_above: refuse requests while the memory in use is above this share of the limit; None: never.
        tracker: where routes are registered; None: the global one.
        room: what is left to the limit, for tests.
        clock: seconds, never going back.

    Raises:
        UsageError: an argument that is not allowed.
    """

    def __init__(
        self,
        *,
        every: int = 10,
        on_leak: Any = "warn",
        horizon: float | None = None,
        shed_above: float | None = None,
        tracker: ControllerMemoryTracker | None = None,
        room: Callable[[], Headroom] = headroom,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_on_leak(on_leak)
        if on_leak == "raise":
            raise UsageError('on_leak="raise" is not allowed for requests: "warn" or a callable is')
        self._on_leak, self._horizon = on_leak, horizon
        if shed_above is not None and not (
            isinstance(shed_above, (int, float)) and not isinstance(shed_above, bool) and 0 < shed_above < 1
        ):
            raise UsageError(f"shed_above={shed_above!r} is not allowed: a share of the limit between 0 and 1 is")
        self._shed_above = shed_above
        self._tracker = chosen(tracker)
        self._tally = Tally(self._tracker.sampler, self._subject, checked_every(every))
        self._subjects: dict[str, TalliedSubject] = {}
        self._lock = threading.Lock()
        self._room, self._clock = room, clock
        self._room_until = -1.0
        self._shedding = False
        self.shed = 0
        """Requests that were refused."""
        _all.add(self)

    def begin(self) -> int:
        """A request begins; hand the answer to `end`."""
        return self._tally.begin()

    def end(self, begun: int, method: str, template: str | None, error: Any = None) -> None:
        """A request ends.

        Args:
            begun: what `begin` gave.
            method: ``GET`` and so on; anything unknown to HTTP shares a name.
            template: the route's template, as ``/items/{id}``; None: no route matched.
            error: what the application raised.
        """
        try:
            self._tally.end(begun, route_name(method, template), error)
        except Exception as fault:
            note_fault("tallying a request", fault)

    def _subject(self, name: str) -> TalliedSubject | None:
        known = self._subjects.get(name)
        if known is not None:
            return known
        with self._lock:
            if len(self._subjects) >= MOST_ROUTES:
                name = OTHER
            known = self._subjects.get(name)
            if known is None:
                existing = self._tracker.functions.get(name)
                if isinstance(existing, TalliedSubject):  # two applications in one process that share a route's name
                    known = existing
                else:
                    sampler, horizon = self._tracker.sampler, self._horizon
                    known = TalliedSubject(name, "route", sampler, horizon=horizon, on_leak=self._on_leak)
                    if not self._tracker.adopt(known):
                        known.enabled = False  # counted in `dropped`; asked for no more
                self._subjects[name] = known
        return known

    def is_full(self) -> bool:
        """Whether requests should be refused now: more memory is in use than ``shed_above`` of the limit."""
        if self._shed_above is None:
            return False
        now = self._clock()
        if now >= self._room_until:
            self._room_until = now + _ROOM_SECONDS
            full = False
            try:
                left = self._room()
                if left.bytes is not None and left.limit_bytes:
                    full = left.bytes < (1 - self._shed_above) * left.limit_bytes
            except Exception as error:
                note_fault("room for requests", error)
            if full and not self._shedding:
                logger.warning("meminstr_shed: memory in use is above %.0f%% of the limit", 100 * self._shed_above)
            self._shedding = full
        self.shed += self._shedding
        return self._shedding

    def after_fork(self) -> None:
        """A forked child has no request under way."""
        self._lock = threading.Lock()
        self._tally.after_fork()
        self.shed = 0


_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"})


def route_name(method: str, template: str | None) -> str:
    """``GET /items/{id}``; a client cannot make names: unknown methods and paths without a route have one each."""
    return f"{method if method in _METHODS else 'OTHER'} {UNMATCHED if template is None else template[:200]}"


_IDENTIFIER = re.compile(r"\d|^.{25,}$|[^\w.~-]")


def tag_of(method: str, path: str) -> str:
    """``GET /items/{}``: segments with a digit, a strange character or great length are somebody's, not the route's."""
    parts = ["{}" if _IDENTIFIER.search(part) else part for part in path[:300].split("/")[:9]]
    return f"{method if method in _METHODS else 'OTHER'} {'/'.join(parts)}"


def _forked() -> None:
    for routes in list(_all):
        routes.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
