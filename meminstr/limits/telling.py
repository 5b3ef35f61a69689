"""Who is told of a breach: the tracker, and the log or the user's callback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..errors import MemoryLimitExceeded
from ..faults import note_fault
from . import breach as records
from .policy import Limit
from .services import Services


class Teller:
    """Passes breach records of one subject on; a fault of whoever is told never reaches the program.

    Args:
        limit: what was broken, and what is to happen then.
        subject: whose limit it is.
        services: for the log and the recent calls.
        tracker: answers with the tracker, or None.
    """

    def __init__(self, limit: Limit, subject: str, services: Services, tracker: Callable[[], Any]) -> None:
        self._limit, self._subject, self._services, self._tracker = limit, subject, services, tracker

    def tell(self, record: dict[str, Any]) -> None:
        """Tell the tracker, and the log or the callback."""
        try:
            note = getattr(self._tracker(), "note_breach", None)
            if note is not None:
                note(record)
        except Exception as error:
            note_fault("recording a breach", error)
        on_exceed = self._limit.on_exceed
        if callable(on_exceed):
            try:
                on_exceed(record)
            except Exception as error:
                note_fault(f"on_exceed callback of {self._subject}", error)
        elif on_exceed == "warn":
            text = records.sentence(record)
            self._services.notices.warn("memory_limit_exceeded", self._subject, text, record)

    def without_call(
        self, limit_bytes: int, entry_bytes: int, observed_bytes: int, mechanism: str, note: str, action: str
    ) -> MemoryLimitExceeded:
        """The exception for a call that never ran here: refused, or run in a worker.  The record is told of."""
        record = records.new_record(
            subject=self._subject,
            limit_bytes=limit_bytes,
            of=self._limit.of,
            mode=self._limit.mode,
            mechanism=mechanism,
            observed_bytes=observed_bytes,
            entry_bytes=entry_bytes,
        )
        if action != "refused":
            records.complete_peak(record, observed_bytes, False)
        record.update(note=note, action=action, stack=records.stack_from(sys._getframe(1)))
        record["recent_calls"] = self._services.recent.rows(self._services.readings.clock())
        self.tell(record)
        return records.error_from(record, None)

    def live_counts(self) -> dict[str, int] | None:
        """Live instances of each tracked class, where the tracker knows them."""
        try:
            counts = getattr(self._tracker(), "live_counts", None)
            return None if counts is None else dict(counts())
        except Exception as error:
            note_fault("class counts for a breach record", error)
            return None
