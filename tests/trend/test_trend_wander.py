"""Growth whose noise adds up: what must not be taken for a line, and what must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meminstr.judgement import judge_signal
from meminstr.policy import Policy, Signal
from meminstr.series import Series
from meminstr.trend.shapes import STEADY, select_shape
from meminstr.trend.wander import Noise, Whitener, keeps_pace, noise_of
from meminstr.verdict import Verdict

SLOTS = 80
T = np.linspace(0.0, 1.0, SLOTS)
Z = 2.3263


def counted(expected, seed, size=1):
    """Levels of a count whose increments are Poisson with these expected totals, in steps of `size`."""
    rng = np.random.default_rng(seed)
    return 1000.0 + size * np.cumsum(rng.poisson(np.diff(expected, prepend=0.0) / size))


def alarms(levels, every=20, horizon=5000.0):
    """Calls at which a look says leaking; looks come as they do live."""
    series, due, out = Series(), 12, []
    for i, value in enumerate(levels, 1):
        series.add(float(i * every), i * 0.01, float(value))
        if i >= due:
            due = i + max(1, i // 7)
            if (
                judge_signal(Signal("blocks", "block", series.view()), Policy(horizon=horizon)).verdict
                is Verdict.LEAKING
            ):
                out.append(i * every)
    return out


@given(st.integers(0, 10**6), st.floats(0.0, 2.0))
@settings(max_examples=30, deadline=None)
def test_whitened_increments_have_the_covariance_of_none(seed, level):
    steps = np.random.default_rng(seed).uniform(0.5, 2.0, 20)
    white = Whitener(Noise(level, steps))
    # the levels that make one increment each: their images are the columns of the whitening matrix
    matrix = white(np.tril(np.ones((21, 21)), -1)[:, :].T).T[:, :-1]
    covariance = np.diag(steps + 2 * level) - level * (np.eye(20, k=1) + np.eye(20, k=-1))
    assert np.allclose(matrix @ covariance @ matrix.T, np.eye(20), atol=1e-8)


def test_noise_is_told_apart():
    rng = np.random.default_rng(1)
    widths = np.full(SLOTS - 1, 1 / (SLOTS - 1))
    white = [noise_of(rng.normal(0, 1.0, SLOTS), T, widths) for _ in range(20)]
    walks = [noise_of(np.cumsum(rng.normal(0, 1.0, SLOTS)), T, widths) for _ in range(20)]
    assert np.mean([noise.level for noise in white]) == pytest.approx(1.0, rel=0.2)
    assert np.mean([noise.steps.mean() for noise in white]) < 0.1
    assert np.mean([noise.steps.mean() for noise in walks]) == pytest.approx(1.0, rel=0.3)
    assert np.mean([noise.level for noise in walks]) < 0.2


def test_chance_is_large_where_growth_is():
    rng = np.random.default_rng(2)
    noise = noise_of(np.cumsum(rng.normal(0, 1.0, SLOTS)), np.sqrt(T), np.full(SLOTS - 1, 1.0))
    assert noise.steps[5] > 2 * noise.steps[-5]


@pytest.mark.parametrize("power", [0.3, 0.5, 0.6])
@pytest.mark.parametrize("total", [1000, 20_000])
def test_a_power_of_the_calls_is_no_line(power, total):
    for seed in range(4):
        assert select_shape(24_000 * T, counted(total * T**power, seed, 3)).name not in STEADY


@pytest.mark.parametrize("tau", [0.1, 0.3, 0.6])
def test_a_growth_that_levels_off_is_no_line(tau):
    for seed in range(4):
        assert select_shape(24_000 * T, counted(6000 * (1 - np.exp(-T / tau)), seed, 3)).name not in STEADY


@given(st.integers(0, 10**6), st.floats(0.05, 5.0))
@settings(max_examples=25, deadline=None)
def test_a_count_of_even_chance_goes_on(seed, rate):
    # one chance in some is to be taken for one that ends, for a look: over the seeds nearly none
    shapes = [select_shape(24_000 * T, counted(24_000 * rate * T, (seed, k))).steady for k in range(3)]
    assert sum(shapes) >= 2


def test_a_line_beside_a_cache_is_found():
    expected = 300 * np.sqrt(T) + 24_000 * T
    shape = select_shape(24_000 * T, counted(expected, 5))
    assert shape.steady
    assert shape.slope == pytest.approx(1.0, rel=0.05)


def test_a_line_behind_a_warm_up_is_found_when_it_has_settled():
    expected = 2000 * (1 - np.exp(-T / 0.02)) + 24_000 * 0.2 * T
    found = [select_shape(24_000 * T, counted(expected, seed)) for seed in range(4)]
    assert sum(shape.steady for shape in found) >= 3


@pytest.mark.parametrize(("late", "keeps"), [(1.0, True), (0.9, True), (0.5, False), (0.3, False)])
def test_pace_of_many_things(late, keeps):
    rates = np.where(T < 0.5, 1.0, late)
    assert keeps_pace(T, counted(20_000 * np.cumsum(rates) / SLOTS, 3), Z) is keeps


def test_pace_of_few_things_is_not_sure():
    assert sum(keeps_pace(T, counted(20 * T, seed), Z) for seed in range(20)) <= 8


def test_pace_of_some_hundred_things_is_told_from_that_of_a_root():
    """A rate that stays is seen in most histories; one that falls as a square root's is never taken for it."""
    assert sum(keeps_pace(T, counted(200 * T, seed), Z) for seed in range(20)) >= 15
    assert not any(keeps_pace(T, counted(200 * np.sqrt(T), seed), Z) for seed in range(20))


def test_pace_without_noise_is_a_matter_of_the_rates():
    assert keeps_pace(T, 10 * T, Z)
    assert not keeps_pace(T, np.sqrt(T), Z)
    assert not keeps_pace(np.zeros(4), np.zeros(4), Z)


def test_distinct_keys_of_a_stream_raise_no_alarm_at_any_look():
    n = 1200
    x = np.arange(1, n + 1) / n
    for seed in range(3):
        assert not alarms(counted(820 * np.sqrt(x), seed, 3))
        assert not alarms(counted(24_000 * (1 - np.exp(-3 * x)), seed, 3))


def test_a_leak_of_chance_is_found_beside_them():
    n = 1200
    x = np.arange(1, n + 1) / n
    for seed in range(2):
        assert alarms(counted(820 * np.sqrt(x) + 24_000 * x, seed, 3))
        assert alarms(counted(24_000 * x, seed, 3))


def test_what_may_slow_down_is_growing_and_says_so():
    held = []
    for seed in range(12):
        series = Series()
        for i, value in enumerate(counted(6.0 * np.arange(1, 401), seed, 30), 1):
            series.add(20.0 * i, 0.01 * i, float(value))
        found = judge_signal(Signal("blocks", "block", series.view()), Policy())
        if found.gates == ("pace",):
            held.append(found)
    assert held
    assert all(found.verdict is Verdict.GROWING and "slowing down" in found.reason for found in held)
