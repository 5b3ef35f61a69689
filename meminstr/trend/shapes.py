"""Which shape a growth has: steady (linear, or linear after a knot, a jump or a warm-up) or one that ends.

Model selection by Akaike's criterion (1974) on fixed grids, every fit closed-form least squares in at most two
regressors and so a few matrix products for all grid points at once.  n in the criterion is the
effective number n (1 - r1)/(1 + r1) of the best model's residuals, and residuals are floored at 0.2 % of the
range: below that resolution models are not told apart.

`select_shape` looks at the whole history and, when a steady part follows a knot, again at that part alone: a
cache that begins to fill late looks like a knot until its own bend is seen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rates import lag1, wanders
from .sequential import Floats
from .wander import Grid, Noise, choose, noise_of

MIN_TAIL = 8
_TAUS = np.concatenate([np.geomspace(0.002, 0.03, 5)[:-1], np.geomspace(0.03, 5, 20)])
_DELAYS = np.linspace(0.1, 0.7, 7)
_DELAYED_TAUS = np.geomspace(0.05, 0.6, 6)
_POWERS = np.linspace(0.1, 0.8, 8)
_LOGS = np.geomspace(0.003, 0.5, 10)
_RESOLUTION = 0.002
_ENOUGH = 16  # points: the noise of fewer cannot be taken apart
_ODDS = math.log(1e4)
_WARMUP = 0.1  # of the window: a longer one cannot be told from a power
_SLIGHT = 0.1  # of the growth: a jump or a warm-up below this does not begin it
_ALIKE = 0.6  # of the late rate, or the other way round: a bend between these is none
_SETTLED = 3.0  # an exponential is over, to 5 %, after three time constants


class Shape(NamedTuple):
    """The shape chosen for a growth."""

    name: str
    """flat, linear, hinge, jump, warmup+linear, step, exponential, power or logarithm."""
    knot: int
    """Index from which the growth is steady (or, for a step, at which it stood); 0 when from the start."""
    slope: float
    """Late slope per x of a steady shape, else 0.0."""

    @property
    def steady(self) -> bool:
        """Growth that shows no sign of an end."""
        return self.name in STEADY


STEADY = frozenset(("linear", "hinge", "jump", "warmup+linear"))


_GRIDS: dict[str, Grid] = {
    "exponential": (_TAUS, lambda t, tau: 1 - np.exp(-t / tau)),
    "power": (_POWERS, lambda t, a: t**a),
    "logarithm": (_LOGS, lambda t, since: np.log1p(t / since)),
}
_ENDING: tuple[str, ...] = ("exponential", "delayed", "power", "logarithm")


class _Fit(NamedTuple):
    residuals: Floats
    parameters: int
    early: float
    late: float
    at: int
    weight: float = 0.0
    """Of what is beside the line, as a share of the range: how high a jump or a warm-up is."""


def _centred(rows: Floats) -> Floats:
    centred: Floats = rows - rows.sum(axis=1, keepdims=True) / rows.shape[1]
    return centred


def _one(rows: Floats, y: Floats, parameters: int) -> _Fit | None:
    """Best rising multiple of one of `rows`, with a constant."""
    rows = _centred(rows)
    power = np.einsum("ij,ij->i", rows, rows) + 1e-30
    product = rows @ y
    gain = np.where(product > 0, product * product / power, -1.0)
    at = int(gain.argmax())
    if gain[at] <= 0:
        return None
    return _Fit(y - product[at] / power[at] * rows[at], parameters, 0.0, 0.0, at)


def _two(rows: Floats, line: Floats, y: Floats, parameters: int) -> tuple[_Fit, float]:
    """Best of `rows` together with a line, by Frisch-Waugh: rows and y are first cleared of the line."""
    rows = _centred(rows)
    line_power = float(line @ line)
    share = rows @ line / line_power
    slope = float(line @ y) / line_power
    cleared = rows - share[:, None] * line
    power = np.einsum("ij,ij->i", cleared, cleared) + 1e-12
    product = cleared @ y
    at = int((product * product / power).argmax())
    weight = float(product[at] / power[at])
    residuals = y - slope * line - weight * cleared[at]
    line_slope = slope - weight * float(share[at])
    return _Fit(residuals, parameters, line_slope, line_slope, at, weight), weight


def _step(y: Floats) -> _Fit | None:
    """Best single rise, over every place it could stand at: two sums tell how much each would explain."""
    n = len(y)
    after = np.arange(n - 1, 0, -1)
    total = np.cumsum(y[::-1])[::-1][1:]
    gain = np.where(total > 0, total * total * n / (after * (n - after)), -1.0)
    at = int(gain.argmax())
    if gain[at] <= 0:
        return None
    residuals = y.copy()
    residuals[: at + 1] -= residuals[: at + 1].mean()
    residuals[at + 1 :] -= residuals[at + 1 :].mean()
    return _Fit(residuals, 4, 0.0, 0.0, at + 1)


def _knots(n: int) -> NDArray[np.intp]:
    inner = np.linspace(0.06 * n, 0.94 * n, 23).astype(int)
    return np.unique(np.concatenate([np.arange(1, 5), inner[(inner > 0) & (inner < n - 1)]]))


def _fit_all(t: Floats, y: Floats) -> tuple[dict[str, _Fit], NDArray[np.intp]]:
    line = t - t.mean()
    slope = float(line @ y) / float(line @ line)
    step = _step(y)
    knots = _knots(len(t))
    if step is not None:  # a jump beside a line is seen only where it really is
        knots = np.unique(np.append(knots, step.at))
    at = t[knots]
    fits = {
        "flat": _Fit(y, 2, 0.0, 0.0, 0),
        "linear": _Fit(y - slope * line, 3, slope, slope, 0),
    }
    hinge, bend = _two(np.maximum(0.0, t[None, :] - at[:, None]), line, y, 5)
    fits["hinge"] = _Fit(hinge.residuals, 5, hinge.early, hinge.early + bend, hinge.at, hinge.weight)
    after = (np.arange(len(t))[None, :] >= knots[:, None]).astype(float)
    fits["jump"] = _two(after, line, y, 5)[0]
    saturating = 1 - np.exp(-t[None, :] / _TAUS[:, None])
    warm, weight = _two(saturating[_TAUS <= _WARMUP], line, y, 5)
    if weight > 0:
        fits["warmup+linear"] = warm
    since = np.maximum(0.0, t[None, :] - _DELAYS[:, None])
    delayed = (1 - np.exp(-since[:, None, :] / _DELAYED_TAUS[None, :, None])).reshape(-1, len(t))
    if step is not None:
        fits["step"] = step
    for name, rows in (
        ("exponential", saturating),
        ("delayed", delayed),
        ("power", t[None, :] ** _POWERS[:, None]),
        ("logarithm", np.log1p(t[None, :] / _LOGS[:, None])),
    ):
        fit = _one(rows, y, 5 if name == "delayed" else 4)
        if fit is not None:
            fits[name] = fit
    return fits, knots


def _select(x: Floats, y: Floats, odds: float) -> Shape:
    n = len(x)
    span = float(x[-1] - x[0])
    scale = float(np.ptp(y))
    if span <= 0 or scale <= 0:
        return Shape("flat", 0, 0.0)
    t = (x - x[0]) / span
    fits, knots = _fit_all(t, (y - y.mean()) / scale)
    floor = n * _RESOLUTION**2
    rss = {name: float(fit.residuals @ fit.residuals) + floor for name, fit in fits.items()}
    best = min(rss, key=rss.__getitem__)
    rough = rss[best] >= 2 * floor
    adds_up = rough and n >= _ENOUGH and best != "flat" and wanders(fits[best].residuals)
    shape, slowed = ("", 0, 0.0), True
    if not adds_up:
        r1 = max(0.0, min(0.9, lag1(fits[best].residuals))) if rough else 0.0
        shape, slowed = _by_levels(t, fits, rss, knots, max(8.0, n * (1 - r1) / (1 + r1)))
    if adds_up or (slowed and rough and n >= _ENOUGH):
        # what ends is what growth is taken for until the opposite is shown: its curve says where chance is large
        ends = [name for name in _ENDING if name in fits]
        curve = -fits[min(ends, key=rss.__getitem__)].residuals + (y - y.mean()) / scale if ends else t
        shape = _by_increments(
            t, (y - y.mean()) / scale, noise_of(fits[best].residuals, curve, np.diff(t)), knots, odds
        )
    name, knot, slope = shape
    return Shape(name, knot, slope * scale / span)


def _by_levels(
    t: Floats, fits: dict[str, _Fit], rss: dict[str, float], knots: NDArray[np.intp], effective: float
) -> tuple[tuple[str, int, float], bool]:
    """By least squares on the levels: name, knot and slope; and whether it is steady behind a faster growth."""
    aic = {name: effective * math.log(rss[name] / len(t)) + 2 * fit.parameters for name, fit in fits.items()}
    ends = {name: aic[name] for name in _ENDING if name in aic}
    end = min(ends, key=ends.__getitem__) if ends else ""
    ending = ends.get(end, math.inf)
    step = aic.get("step", math.inf)
    if aic["flat"] <= aic["linear"] and aic["flat"] <= step:
        return ("flat", 0, 0.0), False
    linear = fits["linear"].late
    if linear > 0 and aic["linear"] <= min(ending + 1, aic["hinge"] + 4, step):
        return ("linear", 0, linear), False
    # a knot must pay for itself against every shape that ends, before it may accuse
    bar = min(ending - 4, step - 4)
    knotted = [name for name in ("hinge", "jump", "warmup+linear") if name in fits and fits[name].late > 0]
    for name in sorted(knotted, key=aic.__getitem__):
        fit = fits[name]
        if aic[name] > bar:
            break
        if name == "hinge" and _ALIKE * fit.late <= fit.early <= fit.late / _ALIKE:
            return ("linear", 0, fit.late), False
        if name != "hinge" and abs(fit.weight) <= _SLIGHT * fit.late:
            # t and y both span one: the line rises by its slope.  It is the same on both sides of the jump, which is
            # no onset if it is small beside what grows
            return ("linear", 0, fit.late), False
        if name == "warmup+linear":
            knot = int(np.searchsorted(t, min(1.0, _SETTLED * float(_TAUS[fit.at]))))
        else:
            knot = int(knots[fit.at])
        return (name, knot, fit.late), name != "hinge" or fit.early > fit.late
    if step <= ending and step <= aic["hinge"]:
        return ("step", fits["step"].at, 0.0), False
    return ("exponential" if end == "delayed" else end or "flat", 0, 0.0), False


def _by_increments(t: Floats, y: Floats, noise: Noise, knots: NDArray[np.intp], odds: float) -> tuple[str, int, float]:
    """By least squares on the increments, for noise that adds up: name, knot and slope."""
    found = choose(t, y, noise, _GRIDS, knots, odds, _RESOLUTION**2)
    name, late, knot = found.steady, found.late, 0
    if not name:
        return found.ending, 0, 0.0
    alike = name == "hinge" and _ALIKE * late <= found.early <= late / _ALIKE
    if alike or (name == "jump" and abs(float(y[-1] - y[0]) - late) <= _SLIGHT * late):
        name = "linear"
    elif name in ("hinge", "jump"):
        knot = int(knots[found.at])
    elif name == "warmup+linear":
        # the line is there from the beginning, but told from the warm-up only when that has slowed
        knot = _over(y, late, t)
    return name, knot, late


def _over(y: Floats, slope: float, t: Floats) -> int:
    # the first index at which what is beside the line has all but `_SLIGHT` of its height
    beside = y - slope * t
    height = float(beside[-1] - beside[0])
    if height <= _SLIGHT * slope:
        return 0
    return int(np.flatnonzero(beside - beside[0] >= (1 - _SLIGHT) * height)[0])


def select_shape(x: Floats, y: Floats, odds: float = _ODDS) -> Shape:
    """The shape of `y` over `x`, and the index since which it is steady.

    Args:
        x, y: the history.
        odds: log odds by which a line beside a growth that has slowed must beat all that ends, where chance adds up.

    After a knot the part behind it is judged by itself, twice at most, and must be steady too; a part of fewer
    than eight points is taken as the whole says.
    """
    shape = _select(x, y, odds)
    knot = shape.knot
    for _ in range(2):
        if not shape.steady or knot == 0 or len(x) - knot < MIN_TAIL + 4 or shape.knot == 0:
            break
        tail = _select(x[knot:], y[knot:], odds)
        if not tail.steady:
            return Shape(tail.name, knot + tail.knot, 0.0)
        knot += tail.knot
        shape = Shape(shape.name, tail.knot, tail.slope)
    return Shape(shape.name, knot, shape.slope)
