"""Each part of the trend package alone, on scripted numbers and by brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.trend.envelope import (
    block_means,
    block_minima,
    drift_z,
    events,
    excursions,
    retained,
    whiten,
)
from meminstr.trend.rates import floor_slope, lag1, ols_slope, theil_sen
from meminstr.trend.sequential import kendall_s, log_evalue, log_mean, log_threshold
from meminstr.trend.shapes import select_shape
from meminstr.trend.surge import find_surge

floats = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3))
columns = st.lists(floats, min_size=4, max_size=40).map(np.array)


def x_of(n):
    return np.arange(1.0, n + 1) * 20


# ---------------------------------------------------------------- sequential


@given(columns)
def test_kendall_s_by_brute_force(y):
    pairs = itertools.combinations(range(len(y)), 2)
    assert kendall_s(y) == sum(int(np.sign(y[j] - y[i])) for i, j in pairs)


@pytest.mark.parametrize("n", [4, 5, 6])
def test_the_e_value_has_mean_one_over_all_orders(n):
    total = [math.exp(log_evalue(np.array(p, dtype=float))) for p in itertools.permutations(range(n))]
    assert math.isclose(sum(total) / len(total), 1.0, rel_tol=1e-9)


@pytest.mark.parametrize("y", [(0, 0, 1, 1, 2), (0, 0, 0, 0, 1), (3, 3, 3, 3, 3)])
def test_ties_only_lower_the_mean(y):
    total = [math.exp(log_evalue(np.array(p, dtype=float))) for p in itertools.permutations(y)]
    assert sum(total) / len(total) <= 1 + 1e-9


@pytest.mark.parametrize(("n", "log10"), [(8, 3.9), (10, 5.8), (12, 7.9), (16, 12.5), (24, 22.9)])
def test_strictly_increasing_blocks_give_the_published_evidence(n, log10):
    assert log_evalue(np.arange(float(n))) / math.log(10) == pytest.approx(log10, abs=0.1)


def test_looking_at_every_block_keeps_the_error_ville_promises():
    rng = np.random.default_rng(7)
    exceeded = {10: 0, 100: 0}
    runs = 600
    for _ in range(runs):
        y = rng.normal(size=32)
        best = max(log_evalue(y[:n]) for n in range(4, 33))
        for bound in exceeded:
            exceeded[bound] += best >= math.log(bound)
    # 600 draws at the promised rate would exceed these with a chance below one in a million
    assert exceeded[10] <= 100
    assert exceeded[100] <= 20


def test_too_few_values_are_no_evidence():
    assert log_evalue(np.arange(3.0)) == 0.0


def test_a_falling_history_is_evidence_of_nothing():
    assert log_evalue(-np.arange(30.0)) < 0


def test_the_threshold_spends_alpha_over_all_epochs():
    spent = sum(math.exp(-log_threshold(1e-4, e)) for e in range(10_000))
    assert spent == pytest.approx(1e-4, rel=1e-3)
    assert log_mean([]) == 0.0
    assert log_mean([1000.0, 0.0]) == pytest.approx(1000 - math.log(2))


# ---------------------------------------------------------------- rates


@given(st.floats(-5, 5), st.floats(-100, 100), st.integers(4, 96))
def test_theil_sen_is_exact_on_a_line(slope, start, n):
    x = x_of(n)
    found = theil_sen(x, start + slope * x)
    assert found.value == pytest.approx(slope, abs=1e-9)
    assert found.low - 1e-9 <= slope <= found.high + 1e-9


def test_theil_sen_is_the_median_of_pairwise_slopes_and_deaf_to_outliers():
    x = x_of(25)
    y = 0.5 * x
    y[[3, 11]] += 1e9
    assert theil_sen(x, y).value == pytest.approx(0.5)


@pytest.mark.parametrize("make", ["white", "counting", "saw"])
def test_the_rate_interval_covers_the_truth(make):
    rng = np.random.default_rng(3)
    x = x_of(48)
    covered = 0
    for _ in range(200):
        if make == "white":
            y = 0.3 * x + rng.normal(0, 40, 48)
        elif make == "counting":
            y = np.cumsum(rng.poisson(6, 48)).astype(float)
        else:
            y = 0.3 * x + (np.arange(48) + rng.integers(0, 6)) % 6 * 30.0
        rate = floor_slope(x, y)
        covered += rate.low <= 0.3 <= rate.high
    assert covered >= 192


def test_too_few_points_leave_the_rate_open():
    rate = theil_sen(np.array([1.0, 2.0]), np.array([0.0, 5.0]))
    assert (rate.value, rate.low, rate.high) == (5.0, -math.inf, math.inf)
    noisy = theil_sen(np.array([1.0, 2.0, 3.0]), np.array([0.0, 5.0, 1.0]))
    assert (noisy.low, noisy.high) == (-math.inf, math.inf)
    same = theil_sen(np.array([1.0, 1.0]), np.array([0.0, 5.0]))
    assert same.value == 0.0


def test_small_helpers_on_constants():
    assert lag1(np.ones(9)) == 0.0
    assert ols_slope(np.ones(9), np.arange(9.0)) == 0.0


# ---------------------------------------------------------------- envelope


@given(columns)
def test_retained_by_brute_force(y):
    assert list(retained(y)) == [min(y[k:]) for k in range(len(y))]


@given(columns, st.sampled_from([1, 2, 4]))
def test_blocks_align_at_the_end(y, group):
    if len(y) < group:
        return
    minima, means = block_minima(y, group), block_means(y, group)
    assert len(minima) == len(means) == len(y) // group
    assert minima[-1] == min(y[-group:])
    assert means[-1] == pytest.approx(np.mean(y[-group:]), abs=1e-6)


def test_whitening_groups_a_sawtooth_until_it_is_gone():
    y = np.arange(96) % 8 * 100.0 + np.arange(96)
    white = whiten(x_of(96), y, y)
    assert white is not None
    assert white.log_e > math.log(1e4)


def test_whitening_gives_up_on_few_blocks_and_spares_what_only_rises():
    assert whiten(x_of(7), np.arange(7.0), np.arange(7.0)) is None
    bent = np.maximum(0.0, np.arange(60.0) - 40)
    white = whiten(x_of(60), bent, bent)
    assert white is not None
    assert white.deterministic
    assert white.group == 1


def test_excursions_measure_what_was_given_back():
    x = x_of(12)
    low = np.array([1, 1, 5, 9, 9, 1, 1, 2, 2, 2, 2, 2.0])
    found = excursions(x, low)
    assert found.amplitude == 8.0
    assert found.length_x == x[5] - x[1]
    assert excursions(x, np.arange(12.0)) == (0.0, 0.0)


def test_events_count_the_steps_of_what_was_kept():
    assert events(np.array([0, 5, 1, 2, 2, 12.0])) == (3, pytest.approx(10 / 12))
    assert events(np.zeros(5)) == (0, 0.0)


def test_drift_tells_a_line_from_a_wander():
    rng = np.random.default_rng(0)
    line = np.arange(96.0)
    assert drift_z(line + rng.normal(0, 1, 96), line) > 4.5
    assert drift_z(line, line) == math.inf
    assert drift_z(np.zeros(20), np.zeros(20)) == 0.0
    wanders = [np.cumsum(np.random.default_rng(k).normal(size=96)) for k in range(40)]
    assert sum(drift_z(w, w) >= 4.5 for w in wanders) <= 1


# ---------------------------------------------------------------- shapes

T = np.arange(80.0)
SHAPES = {
    "linear": (T * 3, "linear", 0),
    "linear in noise": (T * 3 + np.random.default_rng(1).normal(0, 8, 80), "linear", 0),
    "hinge": (np.maximum(0, T - 30) * 5, "hinge", 30),
    "jump": ((T > 20) * 500 + T * 4, "jump", 21),
    "warm-up": (900 * (1 - np.exp(-T / 3)) + T * 4, "warmup+linear", None),
    "step": ((T > 40) * 700.0, "step", 41),
    "exponential": (900 * (1 - np.exp(-T / 25)), "exponential", None),
    "power": (100 * T**0.5, "power", None),
    "logarithm": (100 * np.log1p(T), "logarithm", None),
    "flat": (np.random.default_rng(1).normal(0, 8, 80), "flat", None),
    "constant": (np.ones(80), "flat", 0),
    "idle, then filling": (np.where(T > 20, 900 * (1 - np.exp(-(T - 20) / 20)), 0.0), "exponential", None),
}


@pytest.mark.parametrize("case", SHAPES)
def test_the_shape_is_found(case):
    y, name, knot = SHAPES[case]
    shape = select_shape(x_of(80), y)
    assert shape.name == name
    assert shape.steady == (name in ("linear", "hinge", "jump", "warmup+linear"))
    if knot is not None:
        assert abs(shape.knot - knot) <= 4


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize(("shift", "scale"), [(1e6, 1.0), (-50.0, 1024.0), (0.0, 1 / 64)])
def test_the_shape_does_not_depend_on_units(case, shift, scale):
    y = SHAPES[case][0]
    moved = select_shape(x_of(80) * 8 + 4096, y * scale + shift)
    original = select_shape(x_of(80), y)
    assert (moved.name, moved.knot) == (original.name, original.knot)
    assert moved.slope == pytest.approx(original.slope * scale / 8, rel=1e-5)


def test_no_extent_is_flat():
    assert select_shape(np.ones(10), np.arange(10.0)).name == "flat"


# ---------------------------------------------------------------- surge


def test_a_surge_stands_above_all_history():
    x = x_of(16)
    rising = 100 + 10 * np.arange(16.0)
    found = find_surge(x, rising, 99.0, 8.0, math.log(2e4))
    assert found is not None
    assert found.rate.value == pytest.approx(0.5)
    assert find_surge(x, rising, 200.0, 8.0, math.log(2e4)) is None  # was as high before
    assert find_surge(x, rising, 99.0, 1000.0, math.log(2e4)) is None  # too little
    assert find_surge(x, rising, 99.0, 8.0, 1000.0) is None  # not evident enough
    assert find_surge(x, np.minimum(rising, 220.0), 99.0, 8.0, math.log(2e4)) is None  # over again
    dented = rising.copy()
    dented[8] = 101
    assert find_surge(x, dented, 99.0, 8.0, math.log(2e4)) is None
