"""Figures as sentences: ranges keep both units, things are whole, and no figure speaks of a time not seen."""

import pytest

from meminstr.policy import Policy, Signal
from meminstr.reports import wording
from meminstr.reports.escape import NBSP
from meminstr.sentences import bound
from meminstr.series import Series
from meminstr.verdict import Interval


@pytest.mark.parametrize(
    ("low", "high", "show", "text"),
    [
        (6 * 3600, 10 * 86_400 + 9 * 3600, wording.duration, " (6 h to 10 d 9 h)"),
        (6 * 86_400, 10 * 86_400 + 9 * 3600, wording.duration, " (6 d to 10 d 9 h)"),
        (6 * 3600, 9 * 3600, wording.duration, " (6 to 9 h)"),
        (2 * 3600 + 2400, 3 * 3600, wording.duration, " (2 h 40 min to 3 h)"),
        (19.3 * 1024, 19.6 * 1024, wording.size, " (19.3 to 19.6 KiB)"),
        (900, 19.6 * 1024, wording.size, " (900 B to 19.6 KiB)"),
        (5, 5, wording.size, ""),
        (None, 5, wording.size, " (at most 5 B)"),
        (5, float("inf"), wording.size, " (at least 5 B)"),
        (None, None, wording.size, ""),
    ],
)
def test_a_range_drops_the_first_unit_only_where_it_is_the_last_s_only_one(low, high, show, text):
    assert wording.span(Interval(low or 1.0, low, high), show).replace(NBSP, " ") == text


@pytest.mark.parametrize(("value", "text"), [(500.0, "+500"), (0, "+0"), (-12.4, "-12"), (12_000.0, "+12,000")])
def test_things_are_whole(value, text):
    assert wording.signed_count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "more than 2 blocks per second excluded at 99 %"),
        (300, "more than 120 blocks per minute excluded at 99 %"),
        (7_200, "more than 7,200 blocks per hour excluded at 99 %"),
    ],
)
def test_what_is_excluded_is_told_of_a_time_that_was_seen(seconds, text):
    series = Series()
    for i in range(101):
        series.add(seconds * i / 100, float(i), 1000.0)
    assert bound(2.0, Signal("blocks", "block", series.view()), Policy(x_unit="second")) == text


def test_what_is_excluded_of_calls_is_told_per_thousand():
    assert bound(0.002, Signal("blocks", "block", Series().view()), Policy()).startswith(
        "more than 2 blocks per 1,000 calls"
    )
