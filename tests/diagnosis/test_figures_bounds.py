"""What is said of bytes holds whatever the size of the blocks: intervals, and the leak that is excluded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.diagnosis import suspecting
from meminstr.diagnosis.figures import _bytes_per_call, _excluded
from meminstr.diagnosis.latching import Latch, still
from meminstr.diagnosis.reckoning import _without_garbage
from meminstr.judgement import Judgement, SignalJudgement
from meminstr.series import Series
from meminstr.snapshot import SubjectRecord
from meminstr.verdict import Interval, Verdict


def record(series=None):
    return SubjectRecord("f", "function", 10_000, 500, 0, series or {}, {})


def judged(**rates):
    return Judgement(Verdict.LEAKING, "", rates=rates)


def exact(value):
    return Interval(value, value, value)


@given(st.floats(0.01, 10), st.integers(17, 100_000), st.integers(0, 100))
def test_the_interval_of_bytes_holds_for_blocks_of_any_size(per_call, size, buffer):
    """One block of `size` bytes is lost per event: a small one is no byte of the C heap, a large one is there too."""
    small = size <= 512
    heap = buffer + (0.0 if small else per_call * size)
    found = _bytes_per_call(record(), judged(blocks=exact(per_call), heap=exact(heap)), None, 0.0)
    truth = buffer + per_call * size
    assert found.low * 0.999 <= truth <= found.high * 1.001
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("heap", [None, Interval(65_000.0, None, None)])
def test_a_heap_whose_growth_is_unknown_is_not_taken_for_nought(heap):
    signals = (SignalJudgement("blocks", "block", "", Verdict.LEAKING, "", rate=exact(1.0)),)
    if heap is not None:
        signals += (SignalJudgement("heap", "byte", "", Verdict.INCONCLUSIVE, "", rate=heap),)
    found = _bytes_per_call(
        record(), Judgement(Verdict.LEAKING, "", signals=signals, rates={"blocks": exact(1.0)}), None, 0.0
    )
    assert found.high is None
    assert found.low == 16
    assert found.value == 64 + (heap.value if heap is not None else 0)


def test_garbage_at_the_end_lowers_the_rate_and_widens_its_interval():
    signal = SignalJudgement("blocks", "block", "", Verdict.LEAKING, "", growth=10_000, onset_x=0.0)
    found = Judgement(Verdict.LEAKING, "", signals=(signal,), rates={"blocks": exact(1.0)})
    told = _without_garbage(found, {"blocks": 1_000.0}, 10_000.0)
    assert told.verdict is Verdict.LEAKING
    assert told.rates["blocks"] == Interval(0.95, 0.9, 1.0)
    assert _without_garbage(found, {"blocks": 6_000.0}, 10_000.0).verdict is Verdict.WARMING_UP


def says(name, excluded):
    return SignalJudgement(name, "block", "", Verdict.CLEAN, "", excluded_rate=excluded)


def test_what_is_excluded_allows_for_the_largest_small_blocks():
    found = Judgement(Verdict.CLEAN, "", signals=(says("blocks", 0.1), says("heap", 3.0)))
    assert _excluded(found, record(), 0.0) == pytest.approx(0.1 * 512 + 3.0)


@pytest.mark.parametrize("unknown", ["blocks", "heap"])
def test_nothing_is_excluded_where_one_signal_excludes_nothing(unknown):
    signals = tuple(says(name, None if name == unknown else 1.0) for name in ("blocks", "heap"))
    assert _excluded(Judgement(Verdict.CLEAN, "", signals=signals), record(), 0.0) is None


def series_of(values, every=20.0):
    series = Series()
    for i, value in enumerate(values, 1):
        series.add(every * i, 0.01 * i, value)
    return series.view()


def test_a_leak_that_stays_is_told_by_all_since_its_onset():
    """The later half is a single tooth of garbage, whose rate says nothing."""
    view = series_of([6.0 * i + (1500.0 * (i % 2) if i > 450 else 0.0) for i in range(1, 901)])
    latch = Latch("blocks", 20.0, 6000.0, 1800.0, judged(blocks=exact(0.3)))
    loose = Judgement(Verdict.GROWING, "pace", rates={"blocks": Interval(0.3, -5.0, 5.0)})
    told = still(loose, record({"blocks": view}), latch)
    assert told.verdict is Verdict.LEAKING
    assert told.rates["blocks"].value == pytest.approx(0.3, rel=0.02)
    assert told.rates["blocks"].low > 0


@pytest.mark.parametrize(("late", "stays"), [(1.0, True), (0.1, False)])
def test_a_leak_that_was_found_stays_while_it_goes_on(late, stays):
    view = series_of([float(min(i, 300) + late * max(0, i - 300)) for i in range(1, 901)])
    latch = Latch("blocks", 20.0, 6000.0, 299.0, judged(blocks=exact(0.05)))
    found = still(Judgement(Verdict.GROWING, "pace"), record({"blocks": view}), latch)
    assert (found.verdict is Verdict.LEAKING) is stays


def test_a_leak_stays_when_samples_became_rare():
    """The last slot is as long as all before it, and still filling."""
    series = Series()
    x, gap = 0.0, 20.0
    while x < 100_000:
        x += gap
        series.add(x, x, x)
        gap = max(20.0, 0.1 * x) if x > 10_000 else 20.0
    latch = Latch("blocks", 20.0, 6000.0, 5980.0, judged(blocks=exact(1.0)))
    found = still(Judgement(Verdict.WARMING_UP, "shape"), record({"blocks": series.view()}), latch)
    assert found.verdict is Verdict.LEAKING


def asked(mean, error, *, spent=10.0, looked=0.0, samples=20):
    tracker = SimpleNamespace(sampler=SimpleNamespace(cost_seconds=lambda: spent), cpu_seconds=lambda: 1.0)
    deltas = SimpleNamespace(recent=lambda index: (samples, mean, error))
    return suspecting.may_look(tracker, SimpleNamespace(state={"looked": looked}, deltas=deltas))


def test_looks_beyond_the_budget_are_for_those_whose_calls_leave_something_behind():
    assert asked(0.0, 1.0, spent=0.0)
    assert asked(1.0, 0.1)
    assert not asked(0.1, 1.0)
    assert not asked(-1.0, 0.1)
    assert not asked(1.0, 0.1, samples=3)
    assert not asked(1.0, 0.1, looked=5.0)
