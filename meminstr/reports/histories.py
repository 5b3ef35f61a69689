"""The histories of a finding, read with care: what a report file holds may be damaged or another's.

What is no history, or holds no two finite points, is left out; nothing here raises.  Drawing is left to `charts`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..verdict import Finding, Interval
from .escape import safe

MOST = 200
"""The most points that are drawn of one history."""

_HUGE = 1e300


@dataclass(frozen=True, slots=True)
class History:
    """One signal's history: columns of equal length, x rising."""

    name: str
    unit: str
    x_unit: str
    x: tuple[float, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    onset_x: float | None = None
    horizon_x: float | None = None
    rate: Interval | None = None
    """In `unit` per x."""

    def seconds_at(self, x: float) -> float:
        """The time at which `x` was reached; between points, and beyond them, on a straight line."""
        xs, ts = self.x, self.seconds
        if x <= xs[0]:
            return ts[0]
        for i in range(1, len(xs)):
            if x <= xs[i]:
                part = (x - xs[i - 1]) / (xs[i] - xs[i - 1])
                return ts[i - 1] + part * (ts[i] - ts[i - 1])
        return ts[-1] + (x - xs[-1]) / self.speed if self.speed > 0 else ts[-1]

    @property
    def speed(self) -> float:
        """x per second over the later half."""
        half = len(self.x) // 2
        seconds = self.seconds[-1] - self.seconds[half]
        return (self.x[-1] - self.x[half]) / seconds if seconds > 0 else 0.0


def histories(finding: Finding) -> list[History]:
    """The histories in a finding's ``series``, as many as can be drawn."""
    entries = finding.extra.get("series")
    if not isinstance(entries, (list, tuple)):
        return []
    read = [_history(entry) for entry in entries[:20]]
    return [history for history in read if history is not None]


def pairs(values: Any) -> list[tuple[float, float]]:
    """The finite pairs of a list of pairs, as ``history`` of older reports is."""
    if not isinstance(values, (list, tuple)):
        return []
    return [
        (float(p[0]), float(p[1]))
        for p in values[:2000]
        if isinstance(p, (list, tuple, array)) and len(p) == 2 and all(_finite(v) for v in p)
    ]


def sparkline(finding: Finding) -> list[float]:
    """The values of the finding's first history, for a line without axes; empty where there is none."""
    known = [y for _, y in pairs(finding.extra.get("history"))]
    if len(known) > 1:
        return known
    for history in histories(finding):
        return list(history.mean)
    return []


def _history(entry: Any) -> History | None:
    if not isinstance(entry, Mapping):
        return None
    columns = [_column(entry.get(key)) for key in ("x", "seconds", "mean")]
    x, seconds, mean = columns
    low, high = _column(entry.get("low")) or mean, _column(entry.get("high")) or mean
    n = min(len(x), len(mean))
    if n < 2 or len({len(x), len(mean), len(low), len(high)}) != 1:
        return None
    if len(seconds) != n:
        seconds = x
    rows = [
        row
        for row in zip(x, seconds, mean, low, high, strict=True)
        if all(_finite(v) for v in row) and row[3] <= row[4]
    ]
    rising = [row for at, row in enumerate(rows) if not at or row[0] > rows[at - 1][0]]
    rising = rising[:: -(-len(rising) // MOST)] if rising else []
    if len(rising) < 2 or any(b[0] <= a[0] for a, b in pairwise(rising)):
        return None
    x, seconds, mean, low, high = (tuple(column) for column in zip(*rising, strict=True))
    if any(b < a for a, b in pairwise(seconds)):
        seconds = x
    return History(
        name=safe(entry.get("name", "value"), 40),
        unit=safe(entry.get("unit", ""), 20),
        x_unit=safe(entry.get("x_unit", "call"), 20),
        x=x,
        seconds=seconds,
        mean=mean,
        low=low,
        high=high,
        onset_x=_number(entry.get("onset_x")),
        horizon_x=_number(entry.get("horizon_x")),
        rate=_interval(entry.get("rate_per_x")),
    )


def _column(values: Any) -> Sequence[Any]:
    return values[:2000] if isinstance(values, (list, tuple, array)) else ()


def _finite(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _HUGE and math.isfinite(value)
    )


def _number(value: Any) -> float | None:
    return float(value) if _finite(value) else None


def _interval(value: Any) -> Interval | None:
    if isinstance(value, Interval):
        value = {"value": value.value, "low": value.low, "high": value.high}
    if not isinstance(value, Mapping) or not _finite(value.get("value")):
        return None
    return Interval(float(value["value"]), _number(value.get("low")), _number(value.get("high")))
