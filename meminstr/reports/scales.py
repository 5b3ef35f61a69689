"""Round figures for the axes of a chart: where the ticks stand and what is written beside them.

``page.js`` does the same in the browser when a chart is zoomed; without it what is written here stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..units import format_bytes, format_count, format_duration

BYTES, COUNT, SECONDS = "bytes", "count", "seconds"

_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Scale:
    """A span of figures of one kind (`BYTES`, `COUNT` or `SECONDS`), low below high."""

    low: float
    high: float
    kind: str

    def share(self, value: float) -> float:
        """Where `value` stands between low (0) and high (1)."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self, about: int) -> list[float]:
        """Round figures within the span, `about` as many."""
        step = step_of((self.high - self.low) / max(about, 1), self.kind)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)] if last - first < 50 else []


def step_of(rough: float, kind: str) -> float:
    """The round step nearest above `rough`."""
    if kind == SECONDS and rough >= 1:
        for usual in _TIMES:
            if usual >= rough:
                return float(usual)
        return _decimal(rough / _DAY) * _DAY
    if kind == BYTES and rough >= 1:
        unit = 1024.0 ** min(4, int(math.log(rough, 1024)))
        # an eighth of the next unit, in which labels are from here on, and not 0.195 of it
        eighths = (eighth for eighth in (128.0, 256.0, 512.0, 1024.0) if eighth * unit >= rough > 100 * unit)
        return unit * next(eighths, _decimal(rough / unit))
    if kind != SECONDS:
        rough = max(rough, 1.0)  # there are no half instances
    return _decimal(rough)


def _decimal(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    for factor in (1, 2, 5, 10):
        if factor * power >= rough * (1 - 1e-9):
            return factor * power
    return 10 * power


def shown(value: float, kind: str) -> str:
    """A figure in words, as beside a tick."""
    if kind == BYTES:
        return format_bytes(value)
    if kind == SECONDS:
        return format_duration(value).replace(".0 s", " s")
    return format_count(round(value)) if abs(value) >= 10 else format_count(round(value, 2))


def spanning(low: float, high: float, kind: str, *, from_zero: bool = False, least: float = 1.0) -> Scale:
    """A scale around figures with a little air, at least `least` wide, so that noise does not look like a mountain."""
    if from_zero:
        low = min(low, 0.0)
    missing = least - (high - low)
    if missing > 0:
        high += missing if from_zero else missing / 2
        low -= 0 if from_zero else missing / 2
    air = 0.06 * (high - low)
    floor = 0.0 if low >= 0 else -math.inf
    return Scale(max(floor, low - (0 if from_zero else air)), high + air, kind)
