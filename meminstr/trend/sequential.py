"""The anytime-valid Mann-Kendall test: an e-value that may be looked at as often as one likes.

Kendall's S = sum over i<j of sign(y_j - y_i) (Mann 1945).  When the order of the readings carries no trend
(exchangeability) the sequential rank R_k of y_k among the first k is uniform on 1..k and independent over k,
and S = sum over k of (2 R_k - k - 1).  So for every rate b > 0

    E_n(b) = exp(b S_n) / prod_{k=2..n} [ sinh(k b) / (k sinh b) ]

is a nonnegative martingale of mean 1 (a conformal test martingale: Vovk, Nouretdinov, Gammerman 2003), and by
Ville (1939) it ever exceeds 1/alpha with probability at most alpha.  Ties score 0, which by Jensen keeps it a
supermartingale.  A mixture over b is used, so no size of trend need be known beforehand.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

MAX_BLOCKS = 96
_RATES = np.array([0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56])


def _log_moments() -> Floats:
    # [rate][n] = sum over k=2..n of log(sinh(k b) / (k sinh b)), in a form that cannot overflow
    k = np.arange(2, MAX_BLOCKS + 1, dtype=float)[None, :]
    b = _RATES[:, None]
    log_sinh_kb = k * b + np.log1p(-np.exp(-2 * k * b)) - math.log(2)
    log_sinh_b = b + np.log1p(-np.exp(-2 * b)) - math.log(2)
    steps = log_sinh_kb - np.log(k) - log_sinh_b
    return np.concatenate([np.zeros((len(_RATES), 2)), np.cumsum(steps, axis=1)], axis=1)


_LOG_MOMENTS = _log_moments()


# all pairs i < j below 96, ordered by j, so that those below any n are a prefix: one table, made once
PAIRS_J, PAIRS_I = np.tril_indices(MAX_BLOCKS, -1)


def kendall_s(y: Floats) -> int:
    """Kendall's S: pairs that rise less pairs that fall, of at most 96 values."""
    pairs = len(y) * (len(y) - 1) // 2
    later, earlier = y[PAIRS_J[:pairs]], y[PAIRS_I[:pairs]]
    return int(np.count_nonzero(later > earlier)) - int(np.count_nonzero(later < earlier))


def log_evalue(y: Floats) -> float:
    """Natural log of the mixture e-value for an upward trend in `y`, of which the last 96 count.

    Fewer than four values are no evidence: 0.0.
    """
    y = y[-MAX_BLOCKS:]
    n = len(y)
    if n < 4:
        return 0.0
    z = _RATES * kendall_s(y) - _LOG_MOMENTS[:, n]
    top = float(z.max())
    return top + math.log(float(np.exp(z - top).mean()))


def log_mean(logs: list[float]) -> float:
    """Log of the mean of e-values given by their logs: a mean of e-values is an e-value."""
    if not logs:
        return 0.0
    top = max(logs)
    return top + math.log(sum(math.exp(v - top) for v in logs) / len(logs))


def log_threshold(alpha: float, epoch: int) -> float:
    """What the log e-value must reach in doubling epoch `epoch`.

    A merged history is another series and so another test: alpha / ((e + 1)(e + 2)) is spent on epoch e, which
    sums to alpha over all of them.
    """
    return -math.log(alpha) + math.log((epoch + 1) * (epoch + 2))
