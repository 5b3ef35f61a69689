"""The series: what a slot holds, what is refused, what is kept through merging and serialising."""

from __future__ import annotations

import json
import math
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meminstr.series import RECENT, Series

values = st.floats(-1e12, 1e12, allow_nan=False)
capacities = st.sampled_from([4, 8, 10, 96])


def filled(readings, capacity=96, x0=0.0):
    series = Series(capacity)
    for i, value in enumerate(readings):
        series.add(x0 + i, float(i), value)
    return series


@given(st.lists(values, min_size=1, max_size=500), capacities)
def test_slots_equal_brute_force_over_any_length(readings, capacity):
    series = filled(readings, capacity)
    view = series.view()
    w = view.stride
    assert w == 2**view.epoch
    assert len(view) == len(readings) // w
    assert len(view) <= capacity
    for k in range(len(view)):
        piece = readings[k * w : (k + 1) * w]
        assert view.low[k] == min(piece)
        assert math.isclose(view.high[k], max(piece), rel_tol=1e-6, abs_tol=1e-30 + 2e-7 * (max(piece) - min(piece)))
        assert math.isclose(view.mean[k], math.fsum(piece) / w, rel_tol=1e-9, abs_tol=1e-2)
        assert view.x[k] == (k + 1) * w - 1
        assert view.begin[k] == k * w
        assert view.t[k] == (k + 1) * w - 1
    assert view.samples == len(readings)
    assert view.first == (0.0, 0.0, readings[0])
    assert view.last == (len(readings) - 1, len(readings) - 1, readings[-1])
    assert list(view.recent) == readings[-RECENT:]
    assert list(view.recent_x) == list(range(len(readings)))[-RECENT:]


@given(st.lists(st.tuples(st.floats(), st.floats(), st.floats()), max_size=300), capacities)
def test_x_rises_and_everything_is_finite_whatever_is_added(samples, capacity):
    series = Series(capacity)
    completed = 0
    for sample in samples:
        completed += series.add(*sample)
    view = series.view()
    assert all(a < b for a, b in zip(view.x, view.x[1:], strict=False))
    assert all(a <= b for a, b in zip(view.t, view.t[1:], strict=False))
    for column in (view.x, view.low, view.mean, view.high, view.begin):
        assert all(math.isfinite(v) for v in column)
    assert all(a <= b for a, b in zip(view.low, view.high, strict=True))
    assert len(view) <= capacity
    assert completed >= len(view)


@given(st.lists(st.floats(0.5, 1e5), min_size=100, max_size=600))
def test_lows_of_a_line_stand_on_it_however_samples_thin_out(gaps):
    series, x = Series(8), 0.0
    for gap in gaps:
        x += gap
        series.add(x, x, 3.0 * x)
    view = series.view()
    assert view.stride > 1
    for low, begin in zip(view.low, view.begin, strict=True):
        assert low == pytest.approx(3.0 * begin, rel=1e-5, abs=1e-5 * x)


def test_add_says_when_a_slot_is_complete():
    series = Series(4)
    assert [series.add(i, i, 1.0) for i in range(12)] == [True] * 4 + [False, True] * 2 + [False] * 3 + [True]
    assert (series.stride, series.epoch, len(series)) == (4, 2, 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_not_finite_is_refused_and_counted(bad, place):
    series = filled([1.0, 2.0])
    sample = [5.0, 5.0, 5.0]
    sample[place] = bad
    assert series.add(*sample) is False
    assert (series.samples, series.refused, series.last) == (2, 1, (1.0, 1.0, 2.0))


def test_x_going_back_is_refused_and_what_follows_is_taken():
    series = filled([1.0, 2.0, 3.0], x0=100.0)
    assert series.add(50.0, 3.0, 9.0) is False
    assert series.add(103.0, 4.0, 4.0) is True
    assert (series.samples, series.refused, series.restarts) == (4, 1, 0)
    assert list(series.view().low) == [1.0, 2.0, 3.0, 4.0]


def test_a_reset_counter_begins_a_new_history_and_says_so():
    series = filled(range(200), x0=1000.0)
    for i in range(20):
        series.add(float(i), 300.0 + i, 7.0)
    view = series.view()
    assert view.restarts == 1
    assert view.refused == 7
    assert view.samples == 13
    assert view.first == (7.0, 307.0, 7.0)
    assert set(view.low) == {7.0}


def test_the_same_x_again_widens_its_slot_and_fills_none():
    series = filled([5.0, 6.0])
    assert series.add(1.0, 2.0, 3.0) is False
    view = series.view()
    assert (view.samples, len(view)) == (2, 2)
    assert (view.low[1], view.mean[1], view.high[1]) == (3.0, 6.0, 6.0)
    assert view.last is not None
    assert view.last[2] == 3.0


def test_the_same_x_in_an_unfinished_slot():
    series = filled(range(5), capacity=4)
    series.add(4.0, 4.0, 99.0)
    series.add(5.0, 5.0, 5.0)
    view = series.view()
    assert (view.low[2], view.high[2], view.mean[2]) == (4.0, 99.0, 4.5)


def test_time_going_back_is_taken_as_standing_still():
    series = Series()
    for x, t in ((0, 10.0), (1, 20.0), (2, 5.0), (3, 21.0)):
        series.add(x, t, 0.0)
    assert list(series.view().t) == [10.0, 20.0, 20.0, 21.0]


def test_clear_forgets_everything():
    series = filled(range(1000))
    series.add(math.nan, 0, 0)
    series.clear()
    assert series.view() == Series().view()
    series.add(0.0, 0.0, 1.0)
    assert series.view().samples == 1


@pytest.mark.parametrize("capacity", [0, 2, 5, -4])
def test_a_capacity_that_cannot_be_halved_is_refused(capacity):
    with pytest.raises(ValueError, match="even number"):
        Series(capacity)


@given(st.lists(values, max_size=300), capacities, st.lists(values, max_size=40))
@settings(max_examples=50)
def test_serialising_loses_nothing(readings, capacity, more):
    series = filled(readings, capacity)
    again = Series.from_dict(json.loads(json.dumps(series.to_dict())))
    assert again.view() == series.view()
    for i, value in enumerate(more):
        x = float(len(readings) + i)
        assert series.add(x, x, value) == again.add(x, x, value)
    assert again.view() == series.view()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("sum"),
        lambda d: d.update(format=9),
        lambda d: d["low"].pop(),
        lambda d: d.update(x=None),
        lambda d: d.update(capacity=4),
        lambda d: d.update(filled=9),
        lambda d: d.update(first=None),
    ],
)
def test_a_broken_record_is_refused(spoil):
    data = filled(range(50)).to_dict()
    spoil(data)
    with pytest.raises(ValueError, match=r"series"):
        Series.from_dict(data)


def test_memory_is_bounded_and_adding_keeps_nothing():
    series = Series()

    def run(begin, count):
        for i in range(begin, begin + count):
            series.add(i + 0.5, i * 0.25, i * 3.25)

    run(0, 5000)
    tracemalloc.start()
    try:
        run(5000, 1000)
        before = tracemalloc.get_traced_memory()[0]
        run(6000, 50_000)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 1024
    assert sum(map(sys.getsizeof, (series, series._columns, series._single))) <= 4096
