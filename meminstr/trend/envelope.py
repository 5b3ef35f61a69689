"""What a history kept: the retained series, white blocks, excursions, growth events, drift.

The least reading of a slot is the floor after whatever was collected or flushed inside it; the suffix minimum
of those is what was *never given back*.  Everything here works on that lower envelope, with the slot means as
a second channel where noise is symmetric.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .rates import lag1, monotone, ols_slope
from .sequential import Floats, log_evalue, log_mean

MIN_BLOCKS = 8
_WHITE = 0.35  # lag-1 autocorrelation below which blocks pass as exchangeable under no trend
_DETERMINISTIC = 0.1  # residual range over growth below which growth needs no whitening


def retained(low: Floats) -> Floats:
    """R_k = min over j >= k of low_j: never given back later."""
    return np.minimum.accumulate(low[::-1])[::-1]


def block_minima(y: Floats, group: int) -> Floats:
    """Least of each `group` neighbours, aligned at the end."""
    if group == 1:
        return y
    blocks = len(y) // group
    minima: Floats = y[len(y) - blocks * group :].reshape(blocks, group).min(axis=1)
    return minima


def block_means(y: Floats, group: int) -> Floats:
    """Mean of each `group` neighbours, aligned at the end."""
    if group == 1:
        return y
    blocks = len(y) // group
    means: Floats = y[len(y) - blocks * group :].reshape(blocks, group).mean(axis=1)
    return means


class White(NamedTuple):
    """The coarsest grouping needed for blocks to be white, and the evidence there."""

    log_e: float
    group: int
    blocks: int
    lag1: float
    deterministic: bool
    """The residuals about the line are small against the growth: rank tests need no whitening."""


def whiten(x: Floats, low: Floats, mean: Floats) -> White | None:
    """Group slots by 1, 2, 4 ... until the detrended block minima are white; None when under 8 blocks are left.

    The evidence is averaged over the first white grouping and all coarser ones, since a sawtooth may look
    white before its teeth are gone.  The e-values of minima and means are averaged: the minimum is the better
    statistic for one-sided noise (garbage on a floor), the mean for symmetric noise.
    """
    group = 1
    while True:
        y = block_minima(low, group)
        blocks = len(y)
        if blocks < MIN_BLOCKS:
            return None
        xb = x[len(x) - blocks * group :][group - 1 :: group]
        slope = ols_slope(xb, y)
        residuals = y - slope * xb
        r1 = lag1(residuals)
        deterministic = _deterministic(y, residuals, slope * float(xb[-1] - xb[0]))
        if r1 < _WHITE or deterministic:
            break
        group *= 2
    logs = [log_evalue(y), log_evalue(block_means(mean, group))]
    coarser = group * 2
    while not (deterministic and group == 1) and len(low) // coarser >= MIN_BLOCKS:
        logs += [log_evalue(block_minima(low, coarser)), log_evalue(block_means(mean, coarser))]
        coarser *= 2
    return White(log_mean(logs), group, blocks, r1, deterministic)


def _deterministic(y: Floats, residuals: Floats, growth: float) -> bool:
    # a bend makes residuals of a line hang together though there is no noise: then nothing ever falls
    return float(np.ptp(residuals)) < _DETERMINISTIC * abs(growth) or monotone(y)


class Excursion(NamedTuple):
    """The largest growth that was later given back."""

    length_x: float
    """Longest stay above a level that was returned to."""
    amplitude: float


def excursions(x: Floats, low: Floats) -> Excursion:
    """Stays of the envelope above the retained series: how long and how high the program's own sawtooth is."""
    above = low - retained(low)
    up = above > 0
    if not up.any():
        return Excursion(0.0, 0.0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], up.astype(np.int8), [0]])))
    begin, end = edges[0::2], edges[1::2]
    stay = x[np.minimum(end, len(x) - 1)] - x[np.maximum(begin - 1, 0)]
    return Excursion(float(stay.max()), float(above.max()))


class Events(NamedTuple):
    """Separate increments of the retained series."""

    number: int
    largest_share: float
    """The largest increment over all of them."""


def events(low: Floats) -> Events:
    """How many steps the growth is made of: one big step is an initialisation, not a leak."""
    steps = np.diff(retained(low))
    total = float(steps.sum())
    return Events(int((steps > 0).sum()), float(steps.max()) / total if total > 0 else 0.0)


def drift_z(low: Floats, mean: Floats) -> float:
    """Growth over what a driftless random walk with these steps would wander, the better of both channels.

    z = (y_n - y_1) / sqrt(n Var(y_{k+L} - y_k) / L) with L = n/6, so that noise around a line, whose differences
    do not grow with L, counts little, and a unit root counts in full.
    """
    best = 0.0
    for y in (low, mean):
        n = len(y)
        lag = max(2, n // 6)
        steps = y[lag:] - y[:-lag]
        if len(steps) > 2:
            wander = math.sqrt(n * float(steps.var(ddof=1)) / lag)
            growth = float(y[-1] - y[0])
            best = max(best, growth / wander if wander > 0 else math.inf if growth > 0 else 0.0)
    return best
