"""Sampled constructions: which, in what order, and an observer that fails."""

import itertools
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr import faults
from meminstr.instrument.classes import follow_class
from meminstr.instrument.constructors import FRAME_FILE
from meminstr.instrument.ledger import Ledger
from meminstr.instrument.sampling import DENSE, next_sample


@pytest.fixture
def ledger():
    made = Ledger()
    yield made
    made.undo()


class Log:
    def __init__(self, fail=False):
        self.seen, self.born_things, self.callers, self.fail = [], [], [], fail

    def sampled(self, follower, constructed, phase):
        self.seen.append((constructed, phase))
        if self.fail:
            raise ValueError("broken observer")

    def born(self, follower, instance):
        frame = sys._getframe(1)
        while frame.f_code.co_filename != FRAME_FILE:
            frame = frame.f_back
        self.callers.append(frame.f_back.f_code.co_name)
        self.born_things.append(instance)


class Thing:
    def __init__(self, fail=False):
        if fail:
            raise OSError


class Bare: ...


@given(every=st.integers(1, 400), steps=st.integers(1, 3000))
def test_schedule_is_dense_first_and_about_every_apart_then(every, steps):
    number, seen = 0, []
    while number < steps:
        following = next_sample(number, every)
        assert 1 <= following - number <= every + every // 2
        number = following
        seen.append(number)
    dense = list(range(1, DENSE + 1))
    assert seen[:DENSE] == dense[: len(seen)]


@pytest.mark.parametrize("every", [2, 10, 100])
def test_late_steps_are_irregular_and_every_on_average(every):
    numbers = [100 * every + 10 * DENSE]
    for _ in range(2_000):
        numbers.append(next_sample(numbers[-1], every))
    assert (numbers[-1] - numbers[0]) / 2_000 == pytest.approx(every, rel=0.05)
    for period in (2, 5, 10):  # what comes in turn is met in proportion
        met = Counter(number % period for number in numbers)
        assert min(met[turn] for turn in range(period)) > 0.7 * len(numbers) / period


@pytest.mark.parametrize("cls", [Thing, Bare])
def test_every_scheduled_construction_is_told_before_and_after(cls, ledger):
    log = Log()
    follow_class(cls, ledger=ledger, observer=log, sample_every=20)

    def caller():
        return cls()

    for _ in range(250):
        caller()
    expected, number = [], 0
    while (number := next_sample(number, 20)) <= 250:
        expected += [(number, "before"), (number, "after")]
    assert log.seen == expected
    assert len(log.born_things) == len(expected) // 2
    assert set(log.callers) == {"caller"}


def test_nested_failed_and_repeated_constructions(ledger):
    log = Log()

    class Sub(Thing): ...

    base, sub = Log(), log
    follow_class(Thing, ledger=ledger, observer=base, sample_every=1)
    follow_class(Sub, ledger=ledger, observer=sub, sample_every=1)
    kept = Sub()
    kept.__init__()
    assert base.seen == []
    assert sub.seen == [(1, "before"), (1, "after")]
    with pytest.raises(OSError):
        Sub(fail=True)
    Sub()
    Sub()
    assert sub.seen[2] == (2, "before")
    assert sub.seen[-1] == (3, "after")
    assert sub.seen.count((2, "after")) <= 1


def test_an_observer_that_fails_is_a_fault_of_ours(ledger):
    faults.clear_faults()
    follower = follow_class(Thing, ledger=ledger, observer=Log(fail=True))
    kept = [Thing() for _ in range(30)]
    assert follower.counts().constructed == len(kept)
    found = [row for row in faults.faults() if row["where"] == "observer of Thing"]
    assert found[0]["count"] > 30
    faults.clear_faults()


def test_observer_can_come_and_go(ledger):
    follower = follow_class(Thing, ledger=ledger)
    for _ in range(50):
        Thing()
    log = Log()
    follower.set_observer(log)
    for _ in range(200):
        Thing()
    assert log.seen[0][0] > 50
    last = log.seen[-1][0]
    assert next_sample(last, 100) > 250 >= last
    follower.sampler.set_every(10)
    for _ in range(50):
        Thing()
    late = [n for n, phase in log.seen if phase == "after" and n > 250]
    assert 3 <= len(late) <= 10
    assert all(b - a <= 15 for a, b in itertools.pairwise(late))
    told = len(log.seen)
    follower.set_observer(None)
    for _ in range(300):
        Thing()
    assert len(log.seen) == told


def test_a_child_process_samples_densely_again(ledger):
    log = Log()
    follower = follow_class(Thing, ledger=ledger, observer=log, sample_every=100)
    for _ in range(500):
        Thing()
    follower.after_fork_in_child()
    log.seen.clear()
    for _ in range(5):
        Thing()
    assert [n for n, phase in log.seen if phase == "after"] == [1, 2, 3, 4, 5]
