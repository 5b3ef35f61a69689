"""How much memory is left and for how long: the black box's arithmetic, on readings that come in.  No clock of its own.

The rate is a plain one, between the middle of the first and of the last third of the readings kept (half a minute or
so): robust against single leaps, and known after a second.  It is a projection for whoever looks at a wreck; verdicts
are made elsewhere.  Where several processes share a limit, the room shrinks faster than one of them grows: the faster
of the two rates counts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

from ..units import MIB
from .format import BlackBox

KEPT = 120
_LEAST_READINGS = 3
_KNOWN_READINGS = 8
_LEAST_GROWTH = MIB
_LEVELS = (0.75, 0.9, 0.95, 0.98)
"""Shares of the limit at whose crossing a shard is written at once."""
_SOON_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """Memory at one moment."""

    at: float
    """Seconds, of any clock that does not go back."""
    resident_bytes: int
    left_bytes: int | None = None
    limit_bytes: int | None = None
    limit_source: str | None = None


class Room:
    """The last readings of a process, and what they say."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque(maxlen=KEPT)
        self._level = 0

    def add(self, reading: Reading) -> bool:
        """Take one reading; True when it wants to be told at once: a level of the limit was crossed upwards."""
        self._readings.append(reading)
        share = _share(reading)
        level = sum(share >= bound for bound in _LEVELS)
        crossed = level > self._level
        self._level = level
        return crossed

    def pressing(self) -> bool:
        """Whether to look more often: memory is about to run out, or too little is known to tell."""
        if len(self._readings) < _KNOWN_READINGS:
            return True
        left = self.box().seconds_left
        return _share(self._readings[-1]) >= _LEVELS[0] or (left is not None and left < _SOON_SECONDS)

    def box(self) -> BlackBox:
        """What the readings say now."""
        if not self._readings:
            return BlackBox()
        last = self._readings[-1]
        growth = _rate([(r.at, float(r.resident_bytes)) for r in self._readings])
        same = [
            (r.at, -float(r.left_bytes))
            for r in self._readings
            if r.left_bytes is not None and r.limit_source == last.limit_source and r.limit_bytes == last.limit_bytes
        ]
        rates = [rate for rate in (growth, _rate(same)) if rate is not None]
        fastest = max(rates) if rates else None
        return BlackBox(
            resident_bytes=last.resident_bytes,
            left_bytes=last.left_bytes,
            limit_bytes=last.limit_bytes,
            limit_source=last.limit_source,
            bytes_per_second=growth,
            seconds_left=last.left_bytes / fastest if fastest and last.left_bytes is not None else None,
            over_seconds=last.at - self._readings[0].at,
        )


def _share(reading: Reading) -> float:
    if reading.left_bytes is None or not reading.limit_bytes:
        return 0.0
    return 1.0 - reading.left_bytes / reading.limit_bytes


def _rate(points: list[tuple[float, float]]) -> float | None:
    """Growth per second; None below what is worth a word."""
    if len(points) < _LEAST_READINGS:
        return None
    third = len(points) // 3
    first, last = points[:third], points[-third:]
    seconds = median(t for t, _ in last) - median(t for t, _ in first)
    gained = median(v for _, v in last) - median(v for _, v in first)
    if seconds <= 0 or gained < _LEAST_GROWTH:
        return None
    return gained / seconds
