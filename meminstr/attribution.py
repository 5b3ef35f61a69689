"""Attribution: which of many callers a growth belongs to.  Pure maths, numpy on first use.

Where calls overlap (threads, tasks) no reading before and after one call means anything; but over many windows the
growth is a sum of what each function's calls leave behind, and the coefficients of that sum can be estimated:

    growth of window w  =  sum over functions f of  rate_f * calls_f(w)  +  drift * seconds(w),   rate_f >= 0

by non-negative least squares (Lawson and Hanson 1974, ch. 23, active sets), with intervals from a residual bootstrap
(Efron 1979) and a refusal for functions whose call counts are collinear (Belsley, Kuh and Welsch 1980).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .snapshot import Window

MIN_WINDOWS = 16
_COLLINEAR = 0.995
_BOOTSTRAPS = 100


@dataclass(frozen=True, slots=True)
class Share:
    """What one function's calls leave behind, by least squares over windows."""

    rate: float
    """Units of the signal per call."""
    low: float
    high: float
    collinear_with: tuple[str, ...] = ()
    """Functions whose calls cannot be told from this one's: the rate is then of all of them together."""


def attribute(windows: Sequence[Window], signal: str) -> dict[str, Share]:
    """The share of each function in the growth of one signal.

    Args:
        windows: cumulative readings and call counts, oldest first.
        signal: name of the reading to explain.

    Returns:
        A share per function that was called in at least three windows; empty below `MIN_WINDOWS` windows.
    """
    import numpy as np

    usable = [w for w in windows if w.reading.get(signal) is not None]
    if len(usable) < MIN_WINDOWS:
        return {}
    names = sorted(usable[-1].calls)
    counts = np.array([[w.calls.get(n, 0) for n in names] for w in usable], dtype=float)
    steps = np.diff(counts, axis=0)
    keep = (steps >= 0).all(axis=1)  # where a counter began anew the window says nothing
    growth = np.diff(np.array([w.reading[signal] for w in usable], dtype=float))[keep]
    seconds = np.diff(np.array([w.seconds for w in usable], dtype=float))[keep]
    steps = steps[keep]
    called = (steps > 0).sum(axis=0) >= 3
    names = [n for n, yes in zip(names, called, strict=True) if yes]
    steps = steps[:, called]
    if not names or len(growth) < MIN_WINDOWS - 1 or len(growth) < 2 * len(names):
        return {}
    groups = _collinear_groups(steps)
    leaders = sorted({min(g) for g in groups})
    design = np.column_stack([steps[:, leaders], seconds])
    rates = nnls(design, growth)
    fitted = design @ rates
    residual = growth - fitted
    rng = np.random.default_rng(0)
    draws = np.array([nnls(design, fitted + rng.choice(residual, size=len(residual))) for _ in range(_BOOTSTRAPS)])
    low, high = np.quantile(draws, [0.005, 0.995], axis=0)
    out: dict[str, Share] = {}
    for column, leader in enumerate(leaders):
        group = next(g for g in groups if leader in g)
        members = [names[i] for i in sorted(group)]
        for name in members:
            others = tuple(m for m in members if m != name)
            out[name] = Share(float(rates[column]), float(low[column]), float(high[column]), others)
    return out


def _collinear_groups(steps: Any) -> list[set[int]]:
    """Columns grouped where their window counts are (nearly) proportional."""
    import numpy as np

    norms = np.sqrt((steps * steps).sum(axis=0))
    cosines = (steps.T @ steps) / np.outer(norms, norms)
    # proportional counts have cosine 1; counts that differ only in their mean are told apart by what varies
    centred = steps - steps.mean(axis=0)
    spread = np.sqrt((centred * centred).sum(axis=0))
    groups: list[set[int]] = []
    for i in range(steps.shape[1]):
        for group in groups:
            j = min(group)
            varies = spread[i] > 1e-9 * norms[i] and spread[j] > 1e-9 * norms[j]
            correlation = float((centred[:, i] * centred[:, j]).sum() / (spread[i] * spread[j])) if varies else 1.0
            if cosines[i, j] > _COLLINEAR and correlation > _COLLINEAR:
                group.add(i)
                break
        else:
            groups.append({i})
    return groups


def nnls(design: Any, target: Any, iterations: int = 200) -> Any:
    """``x >= 0`` that minimises ``|design @ x - target|`` (Lawson and Hanson's active-set method).

    Args:
        design: matrix (m, n).
        target: vector (m,).
        iterations: bound on the outer loop.

    Returns:
        Vector (n,).
    """
    import numpy as np

    scale = np.sqrt((design * design).sum(axis=0))
    scale[scale == 0] = 1.0
    a = design / scale
    n = a.shape[1]
    x = np.zeros(n)
    passive = np.zeros(n, dtype=bool)
    gradient = a.T @ target
    tolerance = 1e-10 * max(1.0, float(np.abs(gradient).max(initial=0.0)))
    for _ in range(iterations):
        candidates = ~passive & (gradient > tolerance)
        if not candidates.any():
            break
        passive[int(np.argmax(np.where(candidates, gradient, -np.inf)))] = True
        while True:
            z = np.zeros(n)
            z[passive] = np.linalg.lstsq(a[:, passive], target, rcond=None)[0]
            negative = passive & (z <= 0)
            if not negative.any():
                x = z
                break
            ratio = x[negative] / np.maximum(x[negative] - z[negative], 1e-300)
            x = x + float(ratio.min()) * (z - x)
            passive &= x > 1e-12
            if not passive.any():
                x = np.zeros(n)
                break
        gradient = a.T @ (target - a @ x)
    return x / scale


def explained(shares: Mapping[str, Share], name: str, rate: float) -> str:
    """``this``, ``another``, ``unclear`` or ``collinear``: whether ``name`` accounts for ``rate`` per call of it."""
    share = shares.get(name)
    if share is None:
        return "unclear"
    if share.low > 0.3 * rate:
        return "collinear" if share.collinear_with else "this"
    return "another" if share.high < 0.3 * rate else "unclear"
