"""Which lines allocated the memory that is kept: `tracemalloc` for a bounded window, on request only.

All that a window holds at its end was allocated inside of it and is still there.  A tracer that the program started
itself is used as it is, with the frames it keeps, and never stopped; the window is then the difference
between two readings.  Tracing makes the program two to four times slower, so a window ends by itself: after its
calls, its seconds, or when the tracer's own memory passes a bound, whichever is first.
"""

from __future__ import annotations

import sysconfig
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .ours import is_our_file

_FRAMES = 8
_CALLS = 1_000
_SECONDS = 60.0
_TRACER_BYTES = 32 * 1024 * 1024
_MOST_SITES = 10
_OF_LARGEST = 0.01
_STANDARD = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})

Site = tuple[str, int]


@dataclass(frozen=True, slots=True)
class AllocationSite:
    """A line of the program and what is left of its allocations."""

    file: str
    line: int
    count: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As in a finding's ``allocation_sites``."""
        return {"file": self.file, "line": self.line, "bytes": self.bytes, "count": self.count}


class Window:
    """One tracing of allocations.

    Args:
        calls: after so many `tick`-ed calls it closes.
        seconds: or after so long.
        clock: seconds, never going back.
    """

    def __init__(
        self, *, calls: float = _CALLS, seconds: float = _SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.calls_wanted = calls
        self.seconds_wanted = seconds
        self.result: tuple[AllocationSite, ...] | None = None
        """What was kept, when the window is closed."""
        self.tracer_bytes = 0
        """Memory of the tracer we started, at the last `tick`; nought when it is another's."""
        self._clock = clock
        self._began = clock()
        self._first_calls: float | None = None
        self._ours = not tracemalloc.is_tracing()
        self._before: dict[Site, tuple[int, int]] = {}
        if self._ours:
            tracemalloc.start(_FRAMES)
        else:
            self._before = _kept()

    def tick(self, calls: float) -> int:
        """Close the window if it is over; `calls` is a running count.

        Returns:
            By how many bytes the tracer's own memory changed since the last tick.
        """
        if self.result is None and self.is_over(calls):
            self.close()
        before, self.tracer_bytes = self.tracer_bytes, self._tracer()
        return self.tracer_bytes - before

    def is_over(self, calls: float) -> bool:
        """Whether it has seen enough, at a running count of `calls`."""
        if self._first_calls is None:
            self._first_calls = calls
        late = self._clock() - self._began >= self.seconds_wanted
        return late or calls - self._first_calls >= self.calls_wanted or self._tracer() > _TRACER_BYTES

    def close(self) -> tuple[AllocationSite, ...]:
        """Read what was kept, and stop the tracer if it is ours."""
        if self.result is None:
            if not tracemalloc.is_tracing():  # somebody stopped it meanwhile
                self.result = ()
                return self.result
            try:
                after = _kept()
            finally:
                if self._ours:
                    tracemalloc.stop()
            rows = []
            for (file, line), (count, size) in after.items():
                earlier = self._before.get((file, line), (0, 0))
                if size > earlier[1]:
                    rows.append(AllocationSite(file, line, count - earlier[0], size - earlier[1]))
            rows.sort(key=lambda row: (-row.bytes, row.file, row.line))
            self.result = tuple(row for row in rows[:_MOST_SITES] if row.bytes >= _OF_LARGEST * rows[0].bytes)
            self._before = {}
        return self.result

    def _tracer(self) -> int:
        return tracemalloc.get_tracemalloc_memory() if self._ours and tracemalloc.is_tracing() else 0


def _kept() -> dict[Site, tuple[int, int]]:
    found: dict[Site, tuple[int, int]] = {}
    for row in tracemalloc.take_snapshot().statistics("traceback"):
        site = _site([(frame.filename, frame.lineno) for frame in reversed(row.traceback)])
        if site is not None:
            count, size = found.get(site, (0, 0))
            found[site] = (count + row.count, size + row.size)
    return found


def _site(frames: list[Site]) -> Site | None:
    """Of the frames of an allocation, the innermost first, the one to show; None when it is meminstr's."""
    if is_our_file(frames[0][0]) or frames[0][0] == tracemalloc.__file__:
        return None
    # the program's own line rather than that of a library it called
    for foreign in (_STANDARD + _INSTALLED, _STANDARD):
        for file, line in frames:
            if not file.startswith((*foreign, "<frozen", "<string", "<unknown")) and not is_our_file(file):
                return file, line
    return frames[0]
