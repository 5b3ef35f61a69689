"""The record of a breach: what was passed, by how much, who noticed when, where the call stood.

A record is a plain dict that goes to the tracker at once and is completed in place when the call ends (peak, time
it could not be interrupted, action), so that whoever holds it sees the end of the story too.  It holds names and
places, never values of the program.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from ..errors import MemoryLimitExceeded
from ..faults import note_fault
from ..forks import loading
from ..units import format_bytes

logger = logging.getLogger("meminstr")

_MAX_FRAMES = 50
_MAX_CLASSES = 20
_OURS = ("meminstr.limits", "meminstr.decorators", "meminstr.instrument")


def new_record(
    *,
    subject: str,
    limit_bytes: int,
    of: str,
    mode: str,
    mechanism: str,
    observed_bytes: int,
    entry_bytes: int | None,
) -> dict[str, Any]:
    """A breach record with every key of the contract; what is not known yet is None."""
    return {
        "subject": subject,
        "limit_bytes": limit_bytes,
        "of": of,
        "mode": mode,
        "mechanism": mechanism,
        "observed_bytes": observed_bytes,
        "entry_bytes": entry_bytes,
        "peak_bytes": None,
        "peak_exact": False,
        "overshoot_bytes": max(0, observed_bytes - _base(of, entry_bytes) - limit_bytes),
        "noticed_after_seconds": None,
        "uninterruptible_seconds": None,
        "grown_by_kind": None,
        "grown_classes": None,
        "stack": [],
        "recent_calls": [],
        "action": None,
        "note": None,
    }


def complete_peak(record: dict[str, Any], peak_bytes: int, exact: bool) -> None:
    """Put the peak of the ended call in, and what it says of the overshoot."""
    peak_bytes = max(peak_bytes, record["observed_bytes"])
    over = peak_bytes - _base(record["of"], record["entry_bytes"]) - record["limit_bytes"]
    record.update(peak_bytes=peak_bytes, peak_exact=exact, overshoot_bytes=max(0, over))


def _base(of: str, entry_bytes: int | None) -> int:
    return (entry_bytes or 0) if of == "call" else 0


def sentence(record: Mapping[str, Any]) -> str:
    """The breach in words, for the exception and the log."""
    observed = record["observed_bytes"] - _base(record["of"], record["entry_bytes"])
    whose = "the process held" if record["of"] == "process" else "the call had added"
    text = f"{record['subject']}: {whose} {format_bytes(observed)}, limit {format_bytes(record['limit_bytes'])}"
    if record["action"] == "refused":
        text += "; refused at its start"
    if record["note"]:
        text += f"; {record['note']}"
    return text


def error_from(record: dict[str, Any], cause: BaseException | None) -> MemoryLimitExceeded:
    """The exception that carries a breach record."""
    error = MemoryLimitExceeded(
        sentence(record),
        subject=record["subject"],
        limit_bytes=record["limit_bytes"],
        observed_bytes=record["observed_bytes"],
        peak_bytes=record["peak_bytes"],
        breach=record,
    )
    error.__cause__ = cause
    return error


def stack_of(thread_id: int) -> list[str]:
    """Where a thread stands, innermost frame first: ``function (file:line)``.  Empty when it is gone."""
    return stack_from(sys._current_frames().get(thread_id))


def stack_from(frame: FrameType | None) -> list[str]:
    """The frames from ``frame`` outwards, those of this package left out."""
    rows: list[str] = []
    while frame is not None and len(rows) < _MAX_FRAMES:
        code = frame.f_code
        if not _is_ours(frame):
            rows.append(f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})")
        frame = frame.f_back
    return rows


def stack_of_error(error: BaseException | None) -> list[str]:
    """Where an exception was raised, innermost frame first, as far as it has come by now."""
    rows: list[str] = []
    place = None if error is None else error.__traceback__
    while place is not None and len(rows) < 10 * _MAX_FRAMES:
        code = place.tb_frame.f_code
        if not _is_ours(place.tb_frame):
            rows.append(f"{code.co_qualname} ({code.co_filename}:{place.tb_lineno})")
        place = place.tb_next
    return rows[: -_MAX_FRAMES - 1 : -1]


def _is_ours(frame: FrameType) -> bool:
    # frames of the general wrapper have the globals of the function that they wrap
    return str(frame.f_globals.get("__name__", "")).startswith(_OURS) or frame.f_code.co_filename.startswith(
        "<meminstr"
    )


def memory_kinds() -> dict[str, int]:
    """Resident bytes by kind: ``anonymous`` (heaps, arrays) and ``file_and_shared`` (mappings); {} where unknown.

    Source: Linux, Documentation/filesystems/proc.rst, "statm" (the third field counts file and shared pages).
    """
    try:
        with loading.of("mmap"):
            import mmap

        with open("/proc/self/statm", "rb") as file:
            fields = file.read().split()
        resident, shared = int(fields[1]) * mmap.PAGESIZE, int(fields[2]) * mmap.PAGESIZE
    except (OSError, ValueError, IndexError, ImportError):
        return {}
    return {"anonymous": resident - shared, "file_and_shared": shared}


def grown(before: Mapping[str, int] | None, after: Mapping[str, int] | None) -> dict[str, int] | None:
    """What rose between two counts, largest first; None when one of them is missing."""
    if not before or not after:
        return None
    rows = {key: value - before.get(key, 0) for key, value in after.items() if value > before.get(key, 0)}
    return dict(sorted(rows.items(), key=lambda item: -item[1])[:_MAX_CLASSES])


class RecentCalls:
    """The last guarded calls that took longer than a reading is old; bounded."""

    def __init__(self, size: int = 16) -> None:
        self._calls: deque[tuple[str, float, float, int]] = deque(maxlen=size)

    def add(self, subject: str, ended_at: float, seconds: float, peak_bytes: int) -> None:
        """Remember one ended call (``ended_at`` on the clock that `rows` is asked with)."""
        self._calls.append((subject, ended_at, seconds, peak_bytes))

    def rows(self, now: float) -> list[dict[str, Any]]:
        """The calls, last first: ``subject``, ``seconds_ago``, ``seconds``, ``peak_bytes``."""
        return [
            {"subject": s, "seconds_ago": max(0.0, now - at), "seconds": seconds, "peak_bytes": peak}
            for s, at, seconds, peak in reversed(tuple(self._calls))
        ]


class Notices:
    """Log lines about limits, one a subject and event in so many seconds."""

    def __init__(self, clock: Callable[[], float], interval_seconds: float = 60.0) -> None:
        self._clock = clock
        self._interval = interval_seconds
        self._last: dict[tuple[str, str], float] = {}
        self._suppressed: dict[tuple[str, str], int] = {}
        self._lock = threading.RLock()

    def warn(self, event: str, subject: str, text: str, facts: Mapping[str, Any]) -> bool:
        """Log ``event: text`` at WARNING with the facts in ``extra``, unless it was said a moment ago."""
        key, now = (event, subject), self._clock()
        with self._lock:
            last = self._last.get(key)
            if last is not None and now - last < self._interval:
                self._suppressed[key] = self._suppressed.get(key, 0) + 1
                return False
            if len(self._last) > 1000:
                self._last.clear()
                self._suppressed.clear()
            self._last[key] = now
            unsaid = self._suppressed.pop(key, 0)
        try:
            logger.warning(
                "%s: %s%s", event, text, f" ({unsaid} more before this)" if unsaid else "",
                extra={"meminstr": {"event": event, "subject": subject, "suppressed": unsaid, **facts}},
            )  # fmt: skip
        except Exception as error:  # a handler of the user's that raises
            note_fault("limit notice", error)
        return True
