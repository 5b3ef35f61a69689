"""Asking for room before a call starts: `Admission` for one limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..settings import current
from ..units import format_bytes
from .policy import Limit
from .services import Services
from .telling import Teller


class Room:
    """What one limit leaves free, and the waiting for it.

    Args:
        limit: the limit; without ``wait_seconds`` nobody is made to wait and nothing is reserved.
        subject: whose usual peak counts.
        services: readings, surroundings and admission.
        teller: is told of refusals.
    """

    def __init__(self, limit: Limit, subject: str, services: Services, teller: Teller) -> None:
        self._limit, self._subject, self._services, self._teller = limit, subject, services, teller
        self._last_fraction: int | None = None

    def limit_bytes(self) -> int:
        """The limit at this moment."""
        limit = self._limit
        if limit.limit_bytes is not None:
            return limit.limit_bytes
        around = self._services.tightest()
        if around is not None and limit.fraction is not None:
            self._last_fraction = int(around * limit.fraction)
        # the surroundings cannot be read: the last that was known, or nothing that could be passed
        return self._last_fraction if self._last_fraction is not None else 1 << 62

    def left_bytes(self) -> int:
        """Bytes that a call may still add: under its limit, and under the tightest limit around."""
        resident = self._services.readings.recent(self._limit.staleness_seconds).resident_bytes
        used_here = resident if self._limit.of == "process" and self._limit.mode != "process" else 0
        rooms = [self.limit_bytes() - used_here]
        around = self._services.tightest()
        if around is not None:
            rooms.append(around - resident)
        return max(0, min(rooms))

    def take(self) -> bool:
        """Wait for room and reserve it; whether anything is reserved.

        Raises:
            MemoryLimitExceeded: no room in the time it may wait.
        """
        wait = self._limit.wait_seconds
        if wait is None or not current().enabled:
            return False
        return self._answer(self._services.admission.acquire(self._subject, self.left_bytes, wait))

    async def take_async(self) -> bool:
        """`take` without holding up the event loop.

        Raises:
            MemoryLimitExceeded: no room in the time it may wait.
        """
        wait = self._limit.wait_seconds
        if wait is None or not current().enabled:
            return False
        return self._answer(await self._services.admission.acquire_async(self._subject, self.left_bytes, wait))

    def give_back(self) -> None:
        """The call that took room has ended."""
        self._services.admission.release(self._subject)

    @contextmanager
    def held(self) -> Iterator[None]:
        """`take` for a block.

        Raises:
            MemoryLimitExceeded: no room in the time it may wait.
        """
        taken = self.take()
        try:
            yield
        finally:
            if taken:
                self.give_back()

    def _answer(self, need: int | None) -> bool:
        if need is None:
            return True
        resident = self._services.readings.fresh().resident_bytes
        left = max(0, self.left_bytes() - self._services.admission.reserved_bytes())
        note = (
            f"a call usually adds {format_bytes(need)}, there is room for {format_bytes(left)}"
            f" after waiting {self._limit.wait_seconds:g} s"
        )
        refusal = self._teller.without_call(self.limit_bytes(), resident, resident, "admission", note, action="refused")
        if self._limit.raises:
            raise refusal
        return False
