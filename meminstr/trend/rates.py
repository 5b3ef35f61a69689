"""How fast: the Theil-Sen slope with Sen's interval, widened for autocorrelation."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .sequential import PAIRS_I, PAIRS_J, Floats

Z_99 = 2.5758
Z_ONE_SIDED = 2.3263  # 99 %
Z_CHOSEN = 2.9
_MIN_GROUPS = 8
_FALLEN = 0.03
_COHERENT = 0.15


class Slope(NamedTuple):
    """A slope and its confidence limits, all per x."""

    value: float
    low: float
    high: float


def lag1(residuals: Floats) -> float:
    """First autocorrelation; 0.0 for constants."""
    r = residuals - float(residuals.sum()) / len(residuals)  # a third of the price of mean()
    power = float(r @ r)
    return float(r[1:] @ r[:-1]) / power if power > 0 else 0.0


def monotone(y: Floats) -> bool:
    """It rises, and all falls together are under 3 % of the net growth."""
    net = float(y[-1] - y[0])
    return net > 0 and -float(np.minimum(np.diff(y), 0.0).sum()) < _FALLEN * net


def ols_slope(x: Floats, y: Floats) -> float:
    """Least-squares slope; 0.0 when x does not vary."""
    centred = x - float(x.sum()) / len(x)
    power = float(centred @ centred)
    return float(centred @ y) / power if power > 0 else 0.0


def theil_sen(x: Floats, y: Floats, z: float = Z_99) -> Slope:
    """Median of the pairwise slopes (Theil 1950) with its interval, for at most 96 points.

    Noise about a line: Sen's (1968) interval, the variance of S inflated by (1 + r1)/(1 - r1), r1 the
    first autocorrelation of the residuals, in the manner of Hamed and Rao (1998).  Residuals that wander, as
    those of a count whose increments are random: the interval of the mean increment.  Which of the two
    is told by the ratio of variances over long and short differences (Lo and MacKinlay 1988).  Pairs with equal x are
    left out; fewer than three pairs leave the interval unbounded.
    """
    n = len(x)
    pairs_below = n * (n - 1) // 2
    i, j = PAIRS_I[:pairs_below], PAIRS_J[:pairs_below]
    dx = x[j] - x[i]
    keep = dx > 0
    slopes = (y[j] - y[i])[keep] / dx[keep]
    slopes.sort()
    pairs = len(slopes)
    if pairs < 3:
        return Slope(float(slopes.mean()) if pairs else 0.0, -math.inf, math.inf)
    middle = float(slopes[pairs // 2]) if pairs % 2 else float(slopes[pairs // 2 - 1 : pairs // 2 + 1].mean())
    residuals = y - middle * x
    adds_up, width = _increment_error(residuals, z) if n >= _MIN_GROUPS else (False, math.inf)
    width /= float(x[-1] - x[0])
    if adds_up:
        return Slope(middle, middle - width, middle + width)
    r1 = max(0.0, min(0.9, lag1(residuals)))
    half_width = z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18 * (1 + r1) / (1 - r1))
    low = math.floor((pairs - half_width) / 2)
    high = math.ceil((pairs + half_width) / 2)
    if slopes[0] == slopes[-1]:
        return Slope(middle, middle, middle)
    if low < 0 or high >= pairs:  # too few pairs for this confidence: the increments set wider limits
        return Slope(middle, middle - width, middle + width)
    return Slope(middle, float(slopes[low]), float(slopes[high]))


def floor_slope(x: Floats, low: Floats) -> Slope:
    """`theil_sen` on the minima of groups of 1, 2, 4 and 8 points, the narrowest interval of these.

    The minima of groups as long as a sawtooth lie on its floor, where the rate can be seen; the quantile is
    widened for the choice.
    """
    best: Slope | None = None
    group = 1
    # a count that only rises has no floor to look for, and grouping would hide that its increments are random
    coarsest = 1 if len(low) > 1 and monotone(low) else 8
    while best is None or (group <= coarsest and len(x) // group >= _MIN_GROUPS):
        n = len(x) // group * group
        xs, ys = x[len(x) - n :][group - 1 :: group], low[len(x) - n :].reshape(-1, group).min(axis=1)
        slope = theil_sen(xs, ys, Z_CHOSEN)
        if best is None or slope.high - slope.low < best.high - best.low:
            best = slope
        if best.low == best.high:
            break
        group *= 2
    return best


def wanders(residuals: Floats) -> bool:
    """Whether what chance gave stays: differences over many points are as large, for each point, as those over one.

    The ratio of variances of Lo and MacKinlay (1988).
    """
    n = len(residuals)
    # regular stairs look like a wander over less than a step; over more they turn out to stay
    longest = max(3, n // 4)
    coherent = max(_COHERENT, 1.5 / longest)  # white noise has 1 / lag
    long = min(_lagged_variance(residuals, max(2, n // 8)), _lagged_variance(residuals, longest))
    return long > coherent * _lagged_variance(residuals, 1)


def _increment_error(residuals: Floats, z: float) -> tuple[bool, float]:
    # whether residuals wander, and the limits of the sum of n increments, with Student's quantile for the number
    # of independent differences there are
    n = len(residuals)
    short = _lagged_variance(residuals, 1)
    lag = max(2, n // 8)
    long = _lagged_variance(residuals, lag)
    independent = max(2.0, n / lag - 1) if long > short else float(n - 1)
    student = z * (1 + 2.1 / independent)
    return wanders(residuals), student * math.sqrt(n * max(short, long))


def _lagged_variance(residuals: Floats, lag: int) -> float:
    # of one increment, from differences over `lag` of them
    steps = residuals[lag:] - residuals[:-lag]
    return float(steps @ steps) / len(steps) / lag
