"""What others do with the resident set, on the same runs: rules asked again and again while the program runs.

Readings are taken into an array made beforehand, so that the rival's own bookkeeping adds nothing.  An alarm at any
look counts, as an operator would have it; the last look is told apart.
"""

from __future__ import annotations

import math
import os
from array import array
from typing import Any

_WINDOW = 100
_LOOK = 10


class ResidentReader:
    """Resident bytes, by the kernel's page count where there is one."""

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/self/statm", os.O_RDONLY)
            self._page = os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, AttributeError):
            self._file = -1

    def read(self) -> float:
        """Bytes now, or 0 where there is no /proc."""
        return float(int(os.pread(self._file, 64, 0).split()[1]) * self._page) if self._file >= 0 else 0.0


def verdicts(readings: array[float], every: int) -> dict[str, dict[str, Any]]:
    """For each rule: the call of its first alarm (None: never), and whether it alarms at the end."""
    import numpy as np

    y = np.array(readings)
    x = np.arange(len(y), dtype=float) * every
    rules = {
        "polyfit > 0": lambda i: _slope(x[i - _WINDOW : i], y[i - _WINDOW : i]) > 0,
        "polyfit > 10 B/call": lambda i: _slope(x[i - _WINDOW : i], y[i - _WINDOW : i]) > 10,
        "monotonic RSS": lambda i: bool((np.diff(y[i - _WINDOW : i]) >= 0).all() and y[i - 1] > y[i - _WINDOW]),
        "Mann-Kendall p<.001": lambda i: _kendall_z(y[:i]) > 3.09,
    }
    out: dict[str, dict[str, Any]] = {}
    for name, rule in rules.items():
        first, last = None, False
        for i in range(_WINDOW, len(y) + 1, _LOOK if name[0] != "M" else 5 * _LOOK):
            last = bool(rule(i))
            if last and first is None:
                first = int(x[i - 1])
        out[name] = {"first": first, "final": last}
    return out


def _slope(x: Any, y: Any) -> float:
    centred = x - x.mean()
    return float((centred * (y - y.mean())).sum() / (centred * centred).sum())


def _kendall_z(y: Any) -> float:
    import numpy as np

    step = max(1, len(y) // 200)
    y = y[::step]
    n = len(y)
    s = float(np.sign(y[None, :] - y[:, None])[np.triu_indices(n, 1)].sum())
    variance = n * (n - 1) * (2 * n + 5) / 18
    return (s - math.copysign(1, s)) / math.sqrt(variance) if s else 0.0
