"""A leak that was found stays found, until half of it is given back or the later half slows down."""

import pytest

from meminstr.diagnosis.latching import Latch, still
from meminstr.judgement import Judgement
from meminstr.series import Series
from meminstr.snapshot import SubjectRecord
from meminstr.verdict import Interval, Verdict

LEAK = Judgement(Verdict.LEAKING, "blocks grew steadily", rates={"blocks": Interval(10.0, 9.0, 11.0)})
LATCH = Latch("blocks", onset_x=1000.0, at_x=2000.0, growth=10_000.0, judgement=LEAK)


def record(level, end=4000.0):
    series = Series()
    for i in range(96):
        x = end * (i + 1) / 96
        series.add(x, x / 100, float(level(x)))
    return SubjectRecord("step", "function", int(end), 96, 0, {"blocks": series.view()}, {})


def steady(x):
    return 500 + max(0.0, 10 * (x - 1000))


def after(level, found=None, latch=LATCH, end=4000.0):
    found = found or Judgement(Verdict.INCONCLUSIVE, "varies too much", rates={"heap": Interval(1.0)})
    return still(found, record(level, end), latch)


def test_growth_that_goes_on_is_the_leak_that_was_found_with_the_newest_rates():
    judged = after(steady)
    assert (judged.verdict, judged.reason) == (Verdict.LEAKING, LEAK.reason)
    assert set(judged.rates) == {"blocks", "heap"}


@pytest.mark.parametrize(
    "level",
    [
        lambda x: steady(min(x, 2000)) - (8000 if x > 2200 else 0),  # given back
        lambda x: steady(min(x, 2000)),  # flat since
        lambda x: steady(min(x, 2000)) + 3 * max(0, x - 2000),  # goes on at a third of the rate
    ],
    ids=["given back", "over", "slower"],
)
def test_it_is_taken_back_when_the_history_speaks_against_it(level):
    assert after(level).verdict is Verdict.INCONCLUSIVE


def test_a_leak_that_is_seen_now_and_one_that_a_census_explains_are_as_they_are():
    seen = Judgement(Verdict.LEAKING, "another")
    assert after(steady, seen) is seen
    explained = Judgement(Verdict.WARMING_UP, "bounded cache 3/10")
    assert after(steady, explained) is explained


def test_nothing_is_said_without_a_history_beyond_the_look():
    found = Judgement(Verdict.CLEAN, "no growth")
    assert after(steady, found, latch=None) is found
    assert after(steady, found, end=1900.0) is found
    assert still(found, record(steady), Latch("heap", 1.0, 2.0, 3.0, LEAK)) is found
