"""Readings of the resident set, shared by all guarded calls: cached for 1 ms, with the peaks between them.

The kernel keeps one high-water mark for the process, which `probes.peak` divides into windows.  Calls overlap
and many are short, so they do not open windows of their own: every fresh reading ends one and begins the next,
and the peak of a call is the highest of the windows since its start.  Only the falling tail of window peaks is
kept, because an earlier, lower peak can never again be the highest since anything: a short list for ever.

Where the mark cannot be restarted the peak is the highest of the readings, and never called exact.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from ..probes.peak import PeakMeter, PeakWindow, process_meter

_MAX_PEAKS = 64
_NEVER = float("-inf")


class Windows(Protocol):
    """The kernel's high-water mark of this process, window after window."""

    def turn(self) -> tuple[int, bool] | None:
        """Begin a window and end the one before: that one's peak and whether it is exact; None if unknown."""
        ...

    def forget(self) -> None:
        """Begin anew in a forked child."""
        ...


class MeterWindows:
    """`Windows` over the process's `PeakMeter`, the one place that sets the kernel's mark back."""

    def __init__(self, meter: PeakMeter = process_meter) -> None:
        self._meter = meter
        self._window: PeakWindow | None = None

    def turn(self) -> tuple[int, bool] | None:
        """The peak of the window that ends; the next begins first, so that there is no gap between them."""
        before, self._window = self._window, self._meter.begin()
        if before is None:
            return None
        peak = self._meter.end(before)
        return peak.bytes, peak.exact

    def forget(self) -> None:
        """The meter has forgotten its windows in the child already."""
        self._window = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading: resident bytes, the time on the readings' clock, the window it opened."""

    resident_bytes: int
    at: float
    window: int


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest resident bytes of a stretch of time; ``exact`` False means: at most (or at least) about this."""

    resident_bytes: int
    exact: bool


class Readings:
    """The resident set now, lately, and at its highest since any earlier sample.

    Args:
        read: resident bytes now.
        windows: the kernel's high-water mark, or None where there is none.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        read: Callable[[], int],
        windows: Windows | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.clock = clock
        self._read = read
        self._windows = windows
        self.after_fork()

    def after_fork(self) -> None:
        """Forget the parent's readings (also the constructor's last step)."""
        # re-entrant: a finaliser that runs in here may itself call a guarded function
        self._lock = threading.RLock()
        self._last = Sample(0, _NEVER, 0)
        self._seen = 0  # highest plain reading in the open window
        self._peaks: list[tuple[int, int, bool]] = []  # (last window, its peak, exact), peaks falling
        if self._windows is not None:
            self._windows.forget()

    def peek(self) -> int:
        """Resident bytes now, without closing the window: the watcher's look (about 1 us)."""
        resident = self._read()
        with self._lock:
            if resident > self._seen:
                self._seen = resident
        return resident

    def fresh(self) -> Sample:
        """A new reading that closes the open window and opens the next (some 50 us)."""
        with self._lock:
            turned = self._windows.turn() if self._windows is not None else None
            resident = self._read()
            peak, exact = turned if turned is not None else (0, False)
            self._close(max(peak, self._seen, resident if turned is None else 0), exact)
            self._seen = resident
            sample = self._last = Sample(resident, self.clock(), self._last.window + 1)
            return sample

    def recent(self, staleness_seconds: float) -> Sample:
        """The last reading if it is young enough, otherwise a fresh one."""
        last = self._last
        if self.clock() - last.at < staleness_seconds:
            return last
        return self.fresh()

    def peak_since(self, window: int) -> Peak:
        """The peak of all closed windows from ``window`` on; call `fresh` first to close the open one."""
        with self._lock:
            for last, peak, exact in self._peaks:
                if last >= window:
                    return Peak(peak, exact)
            return Peak(max(self._seen, self._last.resident_bytes), False)

    def _close(self, peak: int, exact: bool) -> None:
        peaks = self._peaks
        while peaks and peaks[-1][1] <= peak:
            peaks.pop()
        peaks.append((self._last.window, peak, exact))
        if len(peaks) > _MAX_PEAKS:
            # of the two oldest only the higher can be kept: an upper bound from here on for the second
            (_, first, _), (last, _, _) = peaks[0], peaks[1]
            peaks[:2] = [(last, first, False)]
