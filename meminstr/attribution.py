"""Attribution: which of many callers a growth belongs to.  Pure maths, numpy on first use.

Two kinds of equation say what one call of each function leaves behind, its rate:

* over a window the growth is a sum of what each function's calls left (calls may overlap in threads and tasks):
  ``growth(w) = sum over f of rate(f) * calls(f, w) + drift * seconds(w)``;
* a sampled call's own change is the rate of its function, with those of the guarded functions it called:
  ``change(f) = rate(f) + sum over g of calls of g inside one of f * rate(g)``.

All are solved together by weighted non-negative least squares (Lawson and Hanson 1974, ch. 23, active sets, here on
the normal equations), with intervals from the unrestricted covariance (Gauss-Markov) and a refusal for functions whose
call counts are collinear (Belsley, Kuh and Welsch 1980) and whose changes are not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .snapshot import Window

MIN_WINDOWS = 16
_COLLINEAR = 0.995
_SURE = 2.576
_MOST_COLUMNS = 96
_OUTLIER = 5.0
"""Of their own spread: windows beyond are left out (a cache that was dropped, a collection)."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one function's calls leave behind."""

    rate: float
    """Units of the signal per call."""
    low: float
    high: float
    collinear_with: tuple[str, ...] = ()
    """Functions whose calls cannot be told from this one's: the rate is then of all of them together."""
    told: bool = False
    """Whether its own sampled calls say so, not only how the growth follows its calls."""


@dataclass(frozen=True, slots=True)
class Change:
    """What sampled calls of a function changed on average, guarded functions called inside included."""

    mean: float
    error: float
    """Standard error; not nought."""


def attribute(
    windows: Sequence[Window],
    signal: str,
    changes: Mapping[str, Change] | None = None,
    inside: Mapping[str, Mapping[str, float]] | None = None,
    sure: float = _SURE,
) -> dict[str, Share]:
    """The share of each function in the growth of one signal.

    Args:
        windows: cumulative readings and call counts, oldest first.
        signal: name of the reading to explain.
        changes: by function, what its sampled calls changed, where that is known.
        inside: by function, how many calls of each guarded function one call of it makes, on average.
        sure: standard errors below the estimate that ``low`` lies; more than usual where many are asked at once.

    Returns:
        A share per function that has a change or was called in at least three windows; empty where there are neither
        `MIN_WINDOWS` windows nor changes, or fewer than two equations for each function.
    """
    import numpy as np

    changes, inside = changes or {}, inside or {}
    names, steps, growth, seconds = _steps_of(windows, signal)
    called = (steps > 0).sum(axis=0) >= 3
    keep = [i for i, name in enumerate(names) if called[i] or name in changes]
    names, steps = [names[i] for i in keep], steps[:, keep]
    known = set(names)
    extra = [name for name in changes if name not in known]
    names += extra
    steps = np.column_stack([steps, np.zeros((len(steps), len(extra)))]) if extra else steps
    if len(growth) < MIN_WINDOWS - 1:
        steps, growth, seconds = steps[:0], growth[:0], seconds[:0]
    if len(names) > _MOST_COLUMNS:
        return _each_by_itself(changes, sure)
    if not names or len(growth) + 2 * len(changes) < 2 * len(names):
        return {}
    groups = _collinear_groups(steps, [name in changes for name in names])
    leaders = sorted({min(g) for g in groups})
    rows, values = _change_rows([names[i] for i in leaders], changes, inside)
    # a long window has the spread of many calls
    weight = 1.0 / np.sqrt(0.1 + steps.sum(axis=1) / max(1.0, float(steps.sum()) / max(1, len(steps))))
    design = np.column_stack([steps[:, leaders], seconds]) * weight[:, None]
    shares = _solve(design, growth * weight, rows, values)
    out: dict[str, Share] = {}
    for column, leader in enumerate(leaders):
        group = next(g for g in groups if leader in g)
        members = [names[i] for i in sorted(group)]
        rate, error = shares[column]
        low = rate - sure * error
        own = changes.get(names[leader])
        if own is not None and not inside.get(names[leader]):  # its calls alone may say more than all of them together
            low = max(low, own.mean - sure * own.error)
        rate = max(rate, low)
        for name in members:
            others = tuple(m for m in members if m != name)
            out[name] = Share(rate, low, rate + _SURE * error, others, own is not None)
    return out


def _steps_of(windows: Sequence[Window], signal: str) -> tuple[list[str], Any, Any, Any]:
    import numpy as np

    usable = [w for w in windows if w.reading.get(signal) is not None]
    if len(usable) < 2:
        return [], np.zeros((0, 0)), np.zeros(0), np.zeros(0)
    names = sorted(usable[-1].calls)
    counts = np.array([[w.calls.get(n, 0) for n in names] for w in usable], dtype=float)
    steps = np.diff(counts, axis=0).reshape(len(usable) - 1, len(names))
    growth = np.diff(np.array([w.reading[signal] for w in usable], dtype=float))
    seconds = np.diff(np.array([w.seconds for w in usable], dtype=float))
    keep = (steps >= 0).all(axis=1)  # where a counter began anew the window says nothing
    return names, steps[keep], growth[keep], seconds[keep]


def _change_rows(
    names: list[str], changes: Mapping[str, Change], inside: Mapping[str, Mapping[str, float]]
) -> tuple[Any, Any]:
    """The second kind of equation, each over its standard error; the last column is the drift's."""
    import numpy as np

    at = {name: i for i, name in enumerate(names)}
    rows, values = np.zeros((len(changes), len(names) + 1)), np.zeros(len(changes))
    for row, (name, change) in enumerate(changes.items()):
        if name in at:
            rows[row, at[name]] = 1.0 / change.error
            values[row] = change.mean / change.error
            for callee, calls in inside.get(name, {}).items():
                if callee in at:
                    rows[row, at[callee]] += calls / change.error
    return rows, values


def _solve(design: Any, growth: Any, rows: Any, values: Any) -> list[tuple[float, float]]:
    """Rate and standard error of each column."""
    import numpy as np

    columns = design.shape[1]
    spread, gram, rates = 0.0, np.eye(columns), np.zeros(columns)
    for turn in range(3):  # the windows' own spread is found by fitting them, and weights them from there on
        weight = 1.0 / spread if spread else 1.0 / max(1e-12, _deviation(growth)) if len(growth) else 1.0
        a, b = np.vstack([design * weight, rows]), np.concatenate([growth * weight, values])
        gram, moment = a.T @ a, a.T @ b
        rates = _nnls_of(gram, moment)
        if not len(growth):
            break
        residual = growth - design @ rates
        degrees = max(1.0, len(growth) - float((rates > 0).sum()))
        spread = max(1e-9 * float(np.abs(growth).max(initial=1.0)), _deviation(residual) * len(growth) / degrees)
        fair = np.abs(residual) <= _OUTLIER * spread
        if fair.sum() >= MIN_WINDOWS - 1:
            design, growth, residual = design[fair], growth[fair], residual[fair]
        if not turn:
            design, growth = _independent(design, growth, residual)
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    scaled = gram / np.outer(scale, scale) + 1e-9 * np.eye(columns)
    errors = np.sqrt(np.maximum(np.diag(np.linalg.inv(scaled)), 0.0)) / scale
    return [(float(rates[i]), float(errors[i])) for i in range(columns - 1)]


def _independent(design: Any, growth: Any, residual: Any) -> tuple[Any, Any]:
    """Windows made independent of each other, where one ends high and the next begins high.

    What events under way hold at the moment of a reading is in the window before it and, with the other sign, in the
    one after it.  Generalised least squares (Aitken 1936), by the Cholesky factor of a matrix with one diagonal beside
    the main one, whose size is the correlation of neighbours.
    """
    import numpy as np

    power = float(residual @ residual)
    shared = -float(residual[1:] @ residual[:-1]) / power if power > 0 else 0.0
    if shared < 2.0 / np.sqrt(len(residual)):
        return design, growth
    shared = min(shared, 0.49)
    rows = np.column_stack([design, growth])
    pivot = 1.0
    for i in range(1, len(rows)):
        beside = -shared / pivot
        pivot = np.sqrt(1.0 - beside * beside)
        rows[i] = (rows[i] - beside * rows[i - 1]) / pivot
    return rows[:, :-1], rows[:, -1]


def _deviation(values: Any) -> float:
    """A standard deviation that outliers do not move, nor many zeros hide."""
    import numpy as np

    centred = np.abs(values - np.median(values))
    return float(max(1.4826 * np.median(centred), 0.5 * np.sort(centred)[: max(1, int(0.95 * len(centred)))].std()))


def _each_by_itself(changes: Mapping[str, Change], sure: float) -> dict[str, Share]:
    return {
        name: Share(max(0.0, c.mean), c.mean - sure * c.error, c.mean + _SURE * c.error, told=True)
        for name, c in changes.items()
    }


def _collinear_groups(steps: Any, told: Sequence[bool]) -> list[set[int]]:
    """Columns grouped where their window counts are (nearly) proportional; `told` ones stand alone."""
    import numpy as np

    norms = np.sqrt((steps * steps).sum(axis=0))
    norms[norms == 0] = 1.0
    cosines = (steps.T @ steps) / np.outer(norms, norms)
    # proportional counts have cosine 1; long windows have many calls of all, so that what tells functions apart is how
    # their share of the calls varies
    total = steps.sum(axis=1)
    centred = steps - np.outer(total, steps.sum(axis=0) / max(1.0, float(total.sum())))
    spread = np.sqrt((centred * centred).sum(axis=0))
    groups: list[set[int]] = []
    for i in range(steps.shape[1]):
        for group in groups:
            j = min(group)
            if told[i] or told[j]:
                continue
            varies = spread[i] > 1e-9 * norms[i] and spread[j] > 1e-9 * norms[j]
            correlation = float((centred[:, i] * centred[:, j]).sum() / (spread[i] * spread[j])) if varies else 1.0
            if cosines[i, j] > _COLLINEAR and correlation > _COLLINEAR:
                group.add(i)
                break
        else:
            groups.append({i})
    return groups


def nnls(design: Any, target: Any, iterations: int = 400) -> Any:
    """``x >= 0`` that minimises ``|design @ x - target|`` (Lawson and Hanson's active-set method).

    Args:
        design: matrix (m, n).
        target: vector (m,).
        iterations: bound on the outer loop.

    Returns:
        Vector (n,).
    """
    return _nnls_of(design.T @ design, design.T @ target, iterations)


def _nnls_of(gram: Any, moment: Any, iterations: int = 400) -> Any:
    """The same from the normal equations, which are small whatever the number of windows."""
    import numpy as np

    scale = np.sqrt(np.diag(gram)).copy()
    scale[scale == 0] = 1.0
    gram, moment = gram / np.outer(scale, scale), moment / scale
    n = len(moment)
    x = np.zeros(n)
    passive = np.zeros(n, dtype=bool)
    gradient = moment.copy()
    tolerance = 1e-10 * max(1.0, float(np.abs(gradient).max(initial=0.0)))
    for _ in range(iterations):
        candidates = ~passive & (gradient > tolerance)
        if not candidates.any():
            break
        passive[int(np.argmax(np.where(candidates, gradient, -np.inf)))] = True
        while True:
            z = np.zeros(n)
            at = np.flatnonzero(passive)
            z[at] = np.linalg.lstsq(gram[np.ix_(at, at)], moment[at], rcond=1e-13)[0]
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
        gradient = moment - gram @ x
    return x / scale


def explained(shares: Mapping[str, Share], name: str, rate: float) -> str:
    """``this``, ``another``, ``unclear`` or ``collinear``: whether ``name`` accounts for ``rate`` per call of it.

    A twentieth of the growth, beyond doubt, is worth a name.  Windows alone say so of whoever is called when others are
    (their counts are never quite independent), so that without samples a larger part is asked for.
    """
    share = shares.get(name)
    if share is None:
        return "unclear"
    if share.low > 0.05 * rate and (share.told or share.rate > 0.3 * rate):
        return "collinear" if share.collinear_with else "this"
    return "another" if share.high < 0.3 * rate else "unclear"
