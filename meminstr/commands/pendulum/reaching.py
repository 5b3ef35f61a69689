"""Tables of how the super-twisting law reaches its surface, computed once per region of gains and kept.

A sampled super-twisting controller that applies the value of its law at the start of a period overshoots
the surface, because the law falls like a square root while the force is held: the remedy used here is to
apply the *mean* of the law along the trajectory that it would follow in the period.  Those trajectories
depend on the two gains and on the start only, so they are computed for a grid of gains and starts and
looked up.

The table is filled region by region: a construction that asks while regions are missing computes its own,
or, where that stands already, the next missing one, so that no single construction pays for the whole grid.
After as many constructions as there are regions the table is complete, and its size never changes again.
That is a large one-time growth which looks like a leak for a hundred constructions and is none.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

STARTS = 33
STEPS = 270
STEP_S = 0.0005
FARTHEST = 2.0
"""Largest distance from the surface that the table covers, in N s; the starts are spaced quadratically."""

# plain floats, for a look-up in every sampling period of every controller
_START_AT = tuple(FARTHEST * (i / (STARTS - 1)) ** 2 for i in range(STARTS))


@dataclass(frozen=True, slots=True)
class Region:
    """The trajectories of one cell of gains, one row per start."""

    k1: float
    """Proportional gain at the centre of the cell, in N / sqrt(N s)."""
    k2: float
    """Integral gain at the centre of the cell, in N/s."""
    distance: npt.NDArray[np.float64]
    """Distance from the surface (N s) after each step of `STEP_S`; shape (`STARTS`, `STEPS`)."""
    mean_action: npt.NDArray[np.float64]
    """Mean of the law (N) from the start to the end of each step; the same shape."""

    def mean_actions(self, period_s: float, k1: float) -> tuple[float, ...]:
        """The mean action over a sampling period for every start, scaled from the cell's k1 to this one."""
        column = min(STEPS, max(1, round(period_s / STEP_S))) - 1
        scale = k1 / self.k1
        return tuple((self.mean_action[:, column] * scale).tolist())

    def reaching_time_s(self) -> float:
        """Time in which the farthest start comes within 5 % of its distance; infinity beyond the table."""
        inside = np.flatnonzero(np.abs(self.distance[-1]) < 0.05 * FARTHEST)
        return float(inside[0] + 1) * STEP_S if inside.size else float("inf")


def compute_region(k1: float, k2: float) -> Region:
    """Integrate ``s' = -k1 sqrt(|s|) sign(s) + v``, ``v' = -k2 sign(s)`` from every start (Levant 1993)."""
    s = np.array(_START_AT)
    v = np.zeros(STARTS)
    total = np.zeros(STARTS)
    distance = np.zeros((STARTS, STEPS))
    mean_action = np.zeros((STARTS, STEPS))
    for step in range(STEPS):
        sign = np.sign(s)
        action = v - k1 * np.sqrt(np.abs(s)) * sign
        total += action
        s = s + STEP_S * action
        v -= STEP_S * k2 * sign
        distance[:, step] = s
        mean_action[:, step] = total / (step + 1)
    return Region(k1, k2, distance, mean_action)


def interpolate(actions: tuple[float, ...], distance: float) -> float:
    """The mean action at a distance from the surface, from the values at the starts; odd in the distance."""
    size = abs(distance)
    if size >= FARTHEST:
        action = actions[-1] * sqrt(size / FARTHEST)
    else:
        right = bisect_right(_START_AT, size)
        low, high = _START_AT[right - 1], _START_AT[right]
        share = (size - low) / (high - low)
        action = actions[right - 1] * (1.0 - share) + actions[right] * share
    return action if distance >= 0.0 else -action


class ReachingTable:
    """A square grid of regions over the two gains, complete after ``per_side ** 2`` requests.

    Args:
        k1_range: smallest and largest proportional gain; what lies outside uses the nearest region.
        k2_range: the same for the integral gain.
        per_side: cells along each gain.
    """

    def __init__(self, k1_range: tuple[float, float], k2_range: tuple[float, float], per_side: int = 10) -> None:
        self._k1_range = k1_range
        self._k2_range = k2_range
        self._per_side = per_side
        self._regions: dict[int, Region] = {}
        self._next = 0

    @property
    def complete(self) -> bool:
        """Whether every region has been computed."""
        return len(self._regions) == self._per_side**2

    @property
    def table_bytes(self) -> int:
        """Bytes of all trajectories held at present."""
        return sum(r.distance.nbytes + r.mean_action.nbytes for r in self._regions.values())

    def __len__(self) -> int:
        return len(self._regions)

    def region(self, k1: float, k2: float) -> Region:
        """The region of these gains; while the table is incomplete, this computes one region more."""
        wanted = self._cell(k1, self._k1_range) * self._per_side + self._cell(k2, self._k2_range)
        if wanted not in self._regions:
            self._compute(wanted)
        elif not self.complete:
            while self._next in self._regions:
                self._next += 1
            self._compute(self._next)
        return self._regions[wanted]

    def clear(self) -> None:
        """Drop all regions (between two demonstrations in one process)."""
        self._regions.clear()
        self._next = 0

    def _cell(self, gain: float, span: tuple[float, float]) -> int:
        share = (gain - span[0]) / (span[1] - span[0])
        return min(self._per_side - 1, max(0, int(share * self._per_side)))

    def _compute(self, index: int) -> None:
        row, column = divmod(index, self._per_side)
        self._regions[index] = compute_region(
            _centre(row, self._k1_range, self._per_side), _centre(column, self._k2_range, self._per_side)
        )


def _centre(cell: int, span: tuple[float, float], per_side: int) -> float:
    return span[0] + (cell + 0.5) / per_side * (span[1] - span[0])
