"""One history put to every gate: what it kept, since when, how fast, and which gates it fails.

Gates, by the name they bear in a verdict:

- ``evidence``        the e-value of the history, averaged over up to six starting points, reaches 1/alpha;
- ``late-evidence``   so does that of the steady part alone (times 24 for the knot that was searched);
- ``shape``           the growth is steady, not saturating and no single step;
- ``events``          it is made of eight increments or more, none above half of it;
- ``random-walk``     it is drift, not the wander of a unit root (left out for counts of owned things, and
  where blocks are white or growth is deterministic);
- ``given-back``      it outlasted twice the longest growth of this history that was given back;
- ``late-rate``       the 99 % limits of the rate of the later half are above zero (or those of the whole are, and
  the later half keeps up with it);
- ``stalled``         the last quarter grows at 30 % of the rate at least;
- ``pace``          the rate of the later half is surely above half of that of the earlier half, and likelier to be
  the same than 0.7 of it;
- ``material``        it is more than what allocators and interpreters do by themselves;
- ``horizon``         it has persisted for as long as policy asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .envelope import Events, Excursion, drift_z, events, excursions, retained, whiten
from .rates import Z_ONE_SIDED, Slope, floor_slope, theil_sen
from .sequential import Floats, log_mean, log_threshold
from .shapes import Shape, select_shape
from .wander import keeps_pace

MIN_SLOTS = 8
_MIN_EVENTS = 8
_LARGEST_EVENT = 0.5
_DRIFT_Z = 4.5
_DRIFT_Z_KNOT = 5.5
_WHITE_ENOUGH = 0.1  # lag-1 of blocks below which a unit root is out of the question ...
_MANY_BLOCKS = 24  # ... if there are this many of them; detrending hides it in fewer
_SMALL_SAW = 0.2  # of the growth: excursions below this do not ask for more patience
_PATIENCE = 2.0
_STALLED = 0.3
_KEEPS_UP = 0.7
_LAST_BIT = 0.005
_STOOD = 0.5  # of the time a growth took: how long it must have stood still to be called over
_LOG_KNOTS = math.log(24)
NOTICE_SHARE = 1 / 8
"""Share of the material floor from which an early notice is given."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a history is judged by; amounts in the unit of the signal."""

    alpha: float
    floor: float
    tolerance: float
    """Growth over the whole history that is still called none."""
    horizon: float
    horizon_seconds: float = 0.0
    horizon_samples: int = 0
    rare_seconds: float = math.inf
    rare_samples: int = 24
    owned: bool = False
    """A count of things with an owner, which cannot wander as heaps do: no random-walk gate."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Growth that happened once: `amount`, all but 2 % of it by `until_x`."""

    amount: float
    until_x: float
    over: bool
    """Flat since for at least half as long as the growth took."""


@dataclass(frozen=True, slots=True)
class Episode:
    """What the gates said of a history."""

    slots: int
    span_x: float
    span_seconds: float
    failed: tuple[str, ...]
    log_e: float
    log_threshold: float
    shape: Shape
    onset_x: float | None
    """Where the steady growth began; None when there is none."""
    persisted_x: float
    persisted_seconds: float
    samples: int
    """Samples since the onset."""
    rate: Slope
    """Current rate per x, of the later half."""
    excluded: float
    """Upper 99 % limit of a steady rate: the smallest that is excluded."""
    growth: float
    """Retained growth: since the onset when there is one, else of the whole history."""
    notable: bool
    """Enough growth for an early notice."""
    quiet: bool
    """The excluded rate over the whole span stays within the tolerance."""
    settled: Settled | None
    excursion: Excursion
    steps: Events
    short_horizon: bool = False
    """The horizon was met by days instead of calls: the subject runs rarely."""


def analyse(
    x: Floats,
    t: Floats,
    low: Floats,
    mean: Floats,
    terms: Terms,
    *,
    epoch: int = 0,
    stride: int = 1,
    starts: Floats | None = None,
    last: float | None = None,
) -> Episode:
    """Put a history to every gate.

    Args:
        x, t, low, mean: columns of at least two slots, x rising.
        terms: what to judge by.
        epoch, stride: of the series.
        starts: position of each slot's first sample, where its low stands when anything grows; None when slots are
            one sample wide.  Samples thin out when their budget is spent: over the ends of slots of unequal width the
            lows of a straight line would have a bend in them.
        last: the latest reading, which may be lower than every slot's and then counts as given back.

    Returns:
        The facts; whether they make a leak is the caller's judgement.
    """
    n = len(x)
    kept = retained(low if last is None else np.append(low, last))[:n]
    ends, x = x, x if starts is None else starts
    begin = float(x[0])
    span = float(ends[-1]) - begin
    growth = float(kept[-1] - kept[0])
    rate, excluded = _rates(x, low)
    threshold = log_threshold(terms.alpha, epoch)
    excursion = excursions(x, low)
    settled = _settled(ends, x, kept, max(terms.floor, 2 * excursion.amplitude))
    failed: list[str] = []
    shape, log_e, onset = Shape("flat", 0, 0.0), 0.0, 0
    steps = events(kept)
    short = False
    quiet = excluded * span < terms.tolerance or excluded <= 0
    if growth < terms.floor * NOTICE_SHARE or n < MIN_SLOTS:
        failed.append("material" if n >= MIN_SLOTS else "evidence")
    else:
        log_e = _evidence(x, low, mean)
        if log_e < threshold:
            failed.append("evidence")
        else:
            shape = select_shape(x, low)
            onset = shape.knot
    if shape.steady:
        growth = float(kept[-1] - kept[onset])
        begin = begin if onset == 0 else float(x[onset])
        steps = events(kept[onset:])
        if onset > n // 2:  # the later half begins before the growth does
            rate = floor_slope(x[onset:], low[onset:])
        failed += _late_gates(x, low, mean, onset, terms, threshold, shape)
        if steps.number < _MIN_EVENTS or steps.largest_share > _LARGEST_EVENT:
            failed.append("events")
        if excursion.amplitude > _SMALL_SAW * growth and x[-1] - begin < _PATIENCE * excursion.length_x:
            failed.append("given-back")
        failed += _rate_gates(x, low, onset, rate, shape, excursion.amplitude, growth)
        since = onset or n // 16  # not what starting up took
        if not failed and not keeps_pace(x[since:], low[since:], Z_ONE_SIDED):
            failed.append("pace")
        rate = steady_rate(x[since:], low[since:], rate)
    elif not failed:
        failed.append("shape")
    # to the last of the growth, not to now: a fill that ended just before the horizon must not cross it by waiting
    persisted = float(ends[int(np.searchsorted(kept, kept[-1] - _LAST_BIT * growth))]) - begin
    seconds = float(t[-1] - t[onset])
    samples = (n - onset) * stride
    if shape.steady:
        if growth < terms.floor:
            failed.append("material")
        met = persisted >= terms.horizon and seconds >= terms.horizon_seconds and samples >= terms.horizon_samples
        short = not met and seconds >= terms.rare_seconds and samples >= terms.rare_samples
        if not (met or short):
            failed.append("horizon")
    return Episode(
        slots=n,
        span_x=span,
        span_seconds=float(t[-1] - t[0]),
        failed=tuple(failed),
        log_e=log_e,
        log_threshold=threshold,
        shape=shape,
        onset_x=begin if shape.steady else None,
        persisted_x=persisted,
        persisted_seconds=seconds,
        samples=samples,
        rate=rate,
        excluded=excluded,
        growth=growth,
        notable=growth >= terms.floor * NOTICE_SHARE,
        quiet=quiet,
        settled=settled,
        excursion=excursion,
        steps=steps,
        short_horizon=short,
    )


def _evidence(x: Floats, low: Floats, mean: Floats) -> float:
    # Shiryaev-Roberts in the small: the mean over starting points finds a late onset without a search
    n = len(x)
    starts = [0]
    if n >= 16:
        starts += [s for s in (n // 4, n // 2, 5 * n // 8, 3 * n // 4, 7 * n // 8) if n - s >= 10]
    logs = []
    for s in starts:
        white = whiten(x[s:], low[s:], mean[s:])
        logs.append(0.0 if white is None else white.log_e)
    return log_mean(logs)


def _late_gates(
    x: Floats, low: Floats, mean: Floats, onset: int, terms: Terms, threshold: float, shape: Shape
) -> list[str]:
    failed = []
    white = whiten(x[onset:], low[onset:], mean[onset:])
    if white is None or white.log_e < threshold + (_LOG_KNOTS if onset else 0.0):
        failed.append("late-evidence")
    rooted = white is None or not (
        (white.deterministic and white.group == 1) or (white.lag1 <= _WHITE_ENOUGH and white.blocks >= _MANY_BLOCKS)
    )
    # a knot is chosen where a wander is lowest, which lends it drift
    needed = _DRIFT_Z_KNOT if onset else _DRIFT_Z
    if rooted and not terms.owned and drift_z(low[onset:], mean[onset:]) < needed:
        failed.append("random-walk")
    return failed


def _rate_gates(x: Floats, low: Floats, onset: int, rate: Slope, shape: Shape, saw: float, growth: float) -> list[str]:
    n = len(x)
    if rate.low <= 0:
        # a few regular stairs in the later half leave its rate open: then the whole must rise beyond doubt, and
        # the later half not fall behind it
        whole = floor_slope(x[onset:], low[onset:])
        if whole.low <= 0 or rate.value < _KEEPS_UP * whole.value:
            return ["late-rate"]
    quarter = max(8, n // 4)
    tellable = saw <= _SMALL_SAW * growth and onset < n - quarter
    if tellable and theil_sen(x[-quarter:], low[-quarter:]).value <= _STALLED * shape.slope:
        return ["stalled"]
    return []


def steady_rate(x: Floats, low: Floats, late: Slope) -> Slope:
    """Of growth that is steady all points since its onset tell the rate, unless the later half speaks against it.

    The limits stay those of the later half, which allow for a rate that has changed, while they say anything at all.
    """
    if len(x) < MIN_SLOTS:
        return late
    whole = floor_slope(x, low)
    agree = late.low <= whole.value <= late.high and whole.low <= late.value <= whole.high
    if not agree or whole.high - whole.low >= late.high - late.low:
        return late
    return whole if late.low <= 0 else Slope(whole.value, late.low, late.high)


def _rates(x: Floats, low: Floats) -> tuple[Slope, float]:
    half = len(x) // 2 if len(x) >= 16 else 0
    rate = floor_slope(x[half:], low[half:])
    whole = floor_slope(x, low) if half else rate
    return rate, min(rate.high, whole.high)


def _settled(x: Floats, starts: Floats, kept: Floats, floor: float) -> Settled | None:
    amount = float(kept[-1] - kept[0])
    if amount < floor:
        return None
    slack = max(0.02 * amount, min(floor / 4, 0.1 * amount))
    at = int(np.searchsorted(kept, kept[-1] - slack))
    slots_since = len(x) - 1 - at
    over = slots_since >= 4 and float(x[-1] - x[at]) >= _STOOD * float(x[at] - x[0])
    # all of that slot stands high: the growth was over by its first sample
    return Settled(amount, float(starts[at]), over)


def columns(*slots: Sequence[float]) -> tuple[Floats, ...]:
    """Copies of slot columns as arrays, slots at an equal x (possible at one only by merging) left out."""
    arrays = tuple([np.array(column, dtype=float) for column in slots])
    keep = np.append(np.diff(arrays[0]) > 0, True)
    return arrays if keep.all() else tuple([a[keep] for a in arrays])
