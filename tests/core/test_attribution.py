"""Which caller a growth belongs to: least squares with intervals, refusals and invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meminstr.attribution import attribute, explained, nnls
from meminstr.snapshot import Window


def windows(rates, n=40, noise=0.0, drift=0.0, seed=0, counts=None):
    """Cumulative windows of functions called a random number of times each."""
    rng = np.random.default_rng(seed)
    names = [f"f{i}" for i in range(len(rates))]
    total, level, out = np.zeros(len(rates)), 1e6, []
    for w in range(n):
        step = counts(rng) if counts else rng.integers(50, 400, len(rates))
        total = total + step
        level += float(np.dot(rates, step)) + drift + noise * rng.normal()
        out.append(Window(float(w), {"blocks": level}, {k: int(v) for k, v in zip(names, total, strict=True)}))
    return out


def test_the_leaking_one_of_many_is_named_with_its_rate():
    rates = [0.0] * 10
    rates[3] = 0.1
    shares = attribute(windows(rates, n=80, noise=2.0), "blocks")
    assert explained(shares, "f3", 0.1) == "this"
    assert shares["f3"].low <= 0.1 <= shares["f3"].high
    for i in range(10):
        if i != 3:
            assert explained(shares, f"f{i}", 0.1) == "another"


def test_steady_drift_belongs_to_nobody():
    shares = attribute(windows([0.0, 0.0], n=60, drift=50.0, noise=1.0), "blocks")
    assert all(explained(shares, f, 0.3) == "another" for f in shares)


def test_collinear_counts_are_refused_and_say_with_whom():
    def together(rng):
        n = int(rng.integers(50, 400))
        return np.array([n, n, int(rng.integers(50, 400))])

    shares = attribute(windows([1.0, 0.0, 0.0], counts=together), "blocks")
    assert shares["f0"].collinear_with == ("f1",)
    assert explained(shares, "f0", 1.0) == "collinear"
    assert explained(shares, "f2", 1.0) == "another"


def test_too_little_is_no_answer():
    assert attribute(windows([1.0], n=10), "blocks") == {}
    assert attribute(windows([1.0] * 30, n=40), "blocks") == {}
    assert attribute(windows([1.0, 0.0]), "heap") == {}
    assert explained({}, "f0", 1.0) == "unclear"


def test_windows_across_a_reset_are_passed_over():
    first, second = windows([1.0, 0.0], n=30), windows([1.0, 0.0], n=30, seed=1)
    shares = attribute(first + [Window(w.seconds + 30, w.reading, w.calls) for w in second], "blocks")
    assert shares["f0"].rate == pytest.approx(1.0, abs=0.2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(8, 30))
def test_nnls_satisfies_its_optimality_conditions(seed, n, m):
    """Karush-Kuhn-Tucker: x >= 0, gradient <= 0 where x is 0, gradient = 0 where x is positive."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(m, n)), rng.normal(size=m)
    x = nnls(a, b)
    gradient = a.T @ (b - a @ x)
    assert (x >= 0).all()
    assert (gradient <= 1e-6).all()
    assert np.abs(gradient[x > 0]).max(initial=0) < 1e-6


def test_readings_amid_work_do_not_hide_whose_the_growth_is():
    # what is under way at a reading is in its level: neighbouring windows share it with opposite signs
    import random

    chance, level, calls, windows, seconds = random.Random(4), 0.0, dict.fromkeys("abcdefghij", 0), [], 0.0
    for _ in range(200):
        seconds += chance.uniform(0.1, 2.0)
        for _ in range(20):
            name = chance.choice("abcdefghij")
            calls[name] += 1
            level += 40.0 * (name == "d")
        windows.append(Window(seconds, {"blocks": level + chance.gauss(0.0, 300.0)}, dict(calls)))
    shares = attribute(windows, "blocks")
    # taken as independent the windows would leave -24 to 82 for the true 40
    assert 5.0 < shares["d"].low < 40.0 < shares["d"].high < 75.0
    assert all(share.low <= 0.0 for name, share in shares.items() if name != "d")
