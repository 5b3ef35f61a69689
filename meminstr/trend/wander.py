"""The shape of a growth whose noise adds up: a count of things that came at random.

The distinct keys of a stream, objects lost now and then: each slot's increment has chance in it, and what chance gave
stays.  About such a curve the residuals wander, and least squares on the levels takes a stretch of the wander for a
knot.  Here shapes are compared by generalised least squares (Aitken 1936) on the increments, which are independent
but for what level noise shares between neighbours; their variance goes with the growth, as a Poisson count's does.

The question put is: must there be a straight part beside a growth that slows down?  Growth that has slowed is a
warm-up until a line beside every shape that ends explains it so much better that the odds are past those asked of the
evidence itself.  Growth that has not slowed is a line as soon as no shape that ends is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .sequential import Floats

_START_SLOTS = 4
"""Within so many slots of the beginning a jump belongs to the start-up, whatever comes after."""
_LEVEL_SHARE = 1e-3
_FINER = 17
_RESOLUTION = 0.002
_SURE_PACE, _LIKELY_PACE = 0.5, 0.85
_LEAST_SHARE = 0.02


class Noise(NamedTuple):
    """What the residuals of a fit are made of."""

    level: float
    """Variance of noise about the level, of each slot."""
    steps: Floats
    """Variance of what each slot adds for good."""


class Chosen(NamedTuple):
    """What the increments say."""

    steady: str
    """The best shape that goes on: linear, jump, hinge or warmup+linear; empty when one that ends is better."""
    ending: str
    """The best shape that ends: step, exponential, power or logarithm."""
    at: int
    """Knot or grid index of the steady shape."""
    late: float
    """Slope of the steady shape at the end, in y per t."""
    early: float
    """Slope before the knot."""


def noise_of(residuals: Floats, curve: Floats, widths: Floats) -> Noise:
    """Split residual noise into that of the level and that of the increments, by differences over one and many slots.

    Var(r_{i+k} - r_i) = 2 level + k step, so two lags give both.

    Args:
        residuals: about a fit.
        curve: the fit; its own increments tell where growth is.
        widths: of the slots but the first, in x.
    """
    n = len(residuals)
    lag = max(2, n // 12)
    later = residuals[_START_SLOTS:]  # what starting up took at once is no noise
    one = np.diff(later)
    many = later[lag:] - later[:-lag]
    short, long = float(one @ one) / len(one), float(many @ many) / len(many)
    step = max(0.0, (long - short) / (lag - 1))
    step = min(step, short)
    level = max(0.0, (short - step) / 2)
    if level < _LEVEL_SHARE * step:
        level = 0.0
    by_x = widths / widths.mean()
    rises = np.maximum(np.diff(curve), 0.0)
    mean = float(rises.mean())
    if mean <= 0:
        return Noise(level, step * by_x)
    shares = np.maximum(rises / mean, _LEAST_SHARE)
    return Noise(level, step * shares / float(shares.mean()))


Grid = tuple[Floats, Callable[[Floats, Floats], Floats]]
"""The parameters a shape is tried with, and the shape: (positions as a row, parameters as a column) -> levels."""


class Whitener:
    """Turns levels into increments that are independent and of variance one.

    The increments' covariance is tridiagonal, so its Cholesky factor has two diagonals and is solved by one step for
    each slot, all rows at once: cheaper than a product with its inverse, which is also large enough for the linear
    algebra library to wake threads of its own in the program.
    """

    def __init__(self, noise: Noise) -> None:
        self._scale = 1 / np.sqrt(noise.steps) if noise.level <= 0 else None
        self._pivots: list[float] = []
        self._carried: list[float] = []
        if self._scale is not None:
            return
        squared = 0.0
        for step in noise.steps.tolist():
            below = noise.level / squared if squared else 0.0
            carried = below * math.sqrt(squared)  # level over the pivot before
            squared = step + 2 * noise.level - below * noise.level
            self._pivots.append(1 / math.sqrt(squared))
            self._carried.append(carried)

    def __call__(self, levels: Floats) -> Floats:
        """Rows of levels to rows of increments, one shorter."""
        steps = np.diff(levels, axis=1)
        if self._scale is not None:
            scaled: Floats = steps * self._scale
            return scaled
        columns = np.ascontiguousarray(steps.T)
        before = np.zeros(len(steps))
        work = np.empty(len(steps))
        for column, pivot, carried in zip(columns, self._pivots, self._carried, strict=True):
            np.multiply(before, carried, out=work)
            column += work
            column *= pivot
            before = column
        out: Floats = np.ascontiguousarray(columns.T)
        return out


class _Fits:
    """The least Akaike criterion for each name, with where and how steep that fit is."""

    def __init__(self, points: int, floor: float) -> None:
        self.points, self.floor = points, floor
        self.best: dict[str, tuple[float, int, float, float]] = {}

    def enter(self, name: str, rss: float, parameters: int, at: int = 0, late: float = 0.0, early: float = 0.0) -> None:
        aic = self.points * math.log(max(rss / self.points, self.floor)) + 2 * parameters
        if name not in self.best or aic < self.best[name][0]:
            self.best[name] = (aic, at, late, early)


def choose(
    t: Floats, y: Floats, noise: Noise, grids: Mapping[str, Grid], knots: NDArray[np.intp], odds: float, floor: float
) -> Chosen:
    """The best steady and the best ending shape of increments that are independent given `noise`.

    Every fit is least squares in at most three regressors: inner products tell its residuals, so that no fit is
    carried out but the sums are.

    Args:
        t, y: positions from 0 to 1, and levels.
        noise: of the levels.
        grids: the shapes that end, by name.
        knots: indices at which a bend or a jump may be.
        odds: log odds by which a steady part of growth that has slowed must beat every shape that ends.
        floor: least mean square of residuals, in units of the noise.
    """
    white = Whitener(noise)
    index = np.arange(len(t))[None, :]
    bends = np.maximum(0.0, t[None, :] - t[knots][:, None])
    jumps = (index >= knots[:, None]).astype(float)
    starts = (index >= np.arange(1, _START_SLOTS + 1)[:, None]).astype(float)
    curves = [shape(t[None, :], values[:, None]) for values, shape in grids.values()]
    parts = [y[None, :], t[None, :], bends, jumps, starts, *curves]
    edges = np.cumsum([len(part) for part in parts])[:-1]
    (target,), (line,), bends, jumps, starts, *curves = np.split(white(np.concatenate(parts)), edges)
    fits = _Fits(len(t) - 1, floor)
    rows: list[Floats] = []
    for (values, shape), group in zip(grids.values(), curves, strict=True):
        # between the grid's best and its neighbours too, or a line would be needed for no more than a coarse grid
        products = group @ target
        at = int(np.where(products > 0, products * products / ((group * group).sum(axis=1) + 1e-30), 0.0).argmax())
        between = np.linspace(values[max(0, at - 1)], values[min(len(values) - 1, at + 1)], _FINER)
        finer = white(shape(t[None, :], between[:, None]))
        rows += [group, finer]
    unit = starts / np.sqrt((starts * starts).sum(axis=1))[:, None]
    _smooth(fits, target, line, unit, np.concatenate(rows), {name: len(values) for name, (values, _) in grids.items()})
    _bent(fits, target, line, unit, bends)
    _jumped(fits, target, line, jumps)
    return _decide(fits.best, tuple(grids), odds)


def _products(a: Floats, b: Floats, unit: Floats) -> Floats:
    # inner products, and what is left of them when each of the `unit` rows is projected out: [none, 1, 2 ..][row of a]
    plain, along, other = a @ b, a @ unit.T, unit @ b
    out: Floats = np.concatenate([plain[None, :], plain[None, :] - (along * other[None, :]).T])
    return out


def _squares(a: Floats, unit: Floats) -> Floats:
    plain, along = (a * a).sum(axis=1), a @ unit.T
    out: Floats = np.concatenate([plain[None, :], plain[None, :] - (along * along).T]) + 1e-30
    return out


def _smooth(fits: _Fits, target: Floats, line: Floats, unit: Floats, rows: Floats, sizes: Mapping[str, int]) -> None:
    """Flat, a line, shapes that end, and these with a line (Frisch and Waugh 1933), each with or without a start.

    `rows` are, for each name, as many as `sizes` says and then the finer ones, which are tried without a line only.
    """
    both = np.stack([target, line])
    yy, yl = _products(both, target, unit).T
    ll = _products(both, line, unit)[:, 1]
    ry, rl, rr = _products(rows, target, unit), _products(rows, line, unit), _squares(rows, unit)
    ends = np.where(ry > 0, ry * ry / rr, 0.0)
    slope = (yl / ll)[:, None]
    clear, power = ry - rl * slope, rr - rl * rl / ll[:, None] + 1e-9 * rr
    weight = clear / power
    late = slope - weight * rl / ll[:, None]
    gain = np.where((weight > 0) & (late > 0), clear * clear / power, -1.0)
    slots, begin = {}, 0
    for name, size in sizes.items():
        slots[name] = (begin, begin + size, begin + size + _FINER)
        begin += size + _FINER
    for start in range(len(yy)):
        extra = 2 if start else 0
        total, rest = float(yy[start]), float(yy[start] - yl[start] ** 2 / ll[start])
        fits.enter("step" if start else "flat", total, 1 + extra)
        if yl[start] > 0:
            fits.enter("linear", rest, 2 + extra, 0, float(slope[start, 0]), float(slope[start, 0]))
        for name, (first, coarse, last) in slots.items():
            fits.enter(name, total - float(ends[start, first:last].max()), 3 + extra)
            at = first + int(gain[start, first:coarse].argmax())
            if gain[start, at] > 0:
                fits.enter(f"{name}+line", rest - float(gain[start, at]), 4 + extra, at, float(late[start, at]))


def _bent(fits: _Fits, target: Floats, line: Floats, unit: Floats, bends: Floats) -> None:
    """A line with a bend: upward, or downward."""
    both = np.stack([target, line])
    yy, yl = _products(both, target, unit).T
    ll = _products(both, line, unit)[:, 1]
    by, bl, bb = _products(bends, target, unit), _products(bends, line, unit), _squares(bends, unit)
    slope = (yl / ll)[:, None]
    clear, power = by - bl * slope, bb - bl * bl / ll[:, None] + 1e-9 * bb
    weight = clear / power
    early = slope - weight * bl / ll[:, None]
    late = early + weight
    gain = clear * clear / power
    for start in range(len(yy)):
        rest = float(yy[start] - yl[start] ** 2 / ll[start])
        for name, wanted in (("hinge-up", weight[start] > 0), ("hinge-down", weight[start] <= 0)):
            allowed = np.where(wanted & (late[start] > 0), gain[start], -1.0)
            at = int(allowed.argmax())
            if allowed[at] > 0:
                rss = rest - float(allowed[at])
                fits.enter(name, rss, 6 if start else 4, at, float(late[start, at]), float(early[start, at]))


def _jumped(fits: _Fits, target: Floats, line: Floats, jumps: Floats) -> None:
    """One rise at once, and a line with one."""
    jy, jl, jj = jumps @ target, jumps @ line, (jumps * jumps).sum(axis=1) + 1e-30
    stepped = float(target @ target) - np.where(jy > 0, jy * jy / jj, 0.0)
    fits.enter("step", float(stepped.min()), 3)
    ly, ll = float(line @ target) - jl * jy / jj, float(line @ line) - jl * jl / jj
    rss = np.where(ly > 0, float(target @ target) - jy * jy / jj - ly * ly / ll, math.inf)
    at = int(rss.argmin())
    if math.isfinite(rss[at]):
        fits.enter("jump", float(rss[at]), 4, at, float(ly[at] / ll[at]), float(ly[at] / ll[at]))


def keeps_pace(t: Floats, y: Floats, z: float) -> bool:
    """Whether the later half goes on as the earlier half did.

    A line bent in the middle, by generalised least squares.  Two things are asked.  late - 0.5 early, over its standard
    error, must be above z: a rate that halves is that of a warm-up.  And keeping the pace must be likelier than falling
    to 0.7 of it, which is what a growth as the 0.75th power does: the estimate must be nearer to 1 than to 0.7.  The
    second decides where there is little noise (a count of distinct things that slows down), the first where there is
    much: to be sure of 0.7 would take four times the history that most leaks have.
    """
    middle = float(t[0] + t[-1]) / 2
    rows = np.stack([t - t[0], np.maximum(0.0, t - middle)])
    centred = rows - rows.mean(axis=1, keepdims=True)
    fit = _solve(centred, y - y.mean())
    if fit is None:
        return False
    residuals = y - y.mean() - fit[0] @ centred
    if float(residuals @ residuals) <= len(t) * (_RESOLUTION * float(np.ptp(y))) ** 2:
        early, bend = fit[0]
        return bool(early + bend > _LIKELY_PACE * early)
    white = Whitener(noise_of(residuals, y.mean() + fit[0] @ centred, np.diff(t)))
    rows, target = white(rows), white(y[None, :])[0]
    fit = _solve(rows, target)
    if fit is None:
        return False
    (early, bend), inverse = fit
    left = target - fit[0] @ rows
    variance = float(left @ left) / max(1, len(target) - 2)
    contrast = np.array([1.0 - _SURE_PACE, 1.0])
    error = math.sqrt(max(0.0, variance * float(contrast @ inverse @ contrast)))
    return bool((1.0 - _SURE_PACE) * early + bend > z * error and early + bend > _LIKELY_PACE * early)


def _solve(rows: Floats, target: Floats) -> tuple[Floats, Floats] | None:
    # two regressors by hand: coefficients and the inverse of the normal matrix
    (a, b), (_, d) = rows @ rows.T
    determinant = float(a * d - b * b)
    if determinant <= 1e-12 * float(a * d):
        return None
    inverse = np.array([[d, -b], [-b, a]]) / determinant
    return inverse @ (rows @ target), inverse


def _decide(best: dict[str, tuple[float, int, float, float]], endings: tuple[str, ...], odds: float) -> Chosen:
    nothing = (math.inf, 0, 0.0, 0.0)
    ending = min((*endings, "step", "flat"), key=lambda name: best.get(name, nothing)[0])
    bar = best[ending][0]
    straight = [("linear", best.get("linear", nothing)), ("jump", best.get("jump", nothing))]
    name, fit = min(straight, key=lambda one: one[1][0])
    bent = best.get("hinge-up", nothing)
    if fit[0] <= bar + 1 and fit[0] <= bent[0] + 4:
        return Chosen(name, ending, fit[1], fit[2], fit[3])
    if bent[0] <= bar - 4:
        return Chosen("hinge", ending, bent[1], bent[2], bent[3])
    slowed = [
        ("hinge", best.get("hinge-down", nothing)),
        *(("warmup+linear", best.get(f"{one}+line", nothing)) for one in endings),
    ]
    name, fit = min(slowed, key=lambda one: one[1][0])
    if fit[0] <= bar - 2 * odds:
        return Chosen(name, ending, fit[1], fit[2], fit[3])
    return Chosen("", ending, 0, 0.0, 0.0)
