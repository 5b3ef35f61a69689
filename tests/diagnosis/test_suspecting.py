"""What is worth a look: growth that came once is looked into once."""

from types import SimpleNamespace

import pytest

from meminstr.diagnosis import suspecting
from meminstr.series import Series
from meminstr.settings import current


def subject(values):
    series = Series()
    for x, value in enumerate(values, start=1):
        series.add(float(x), float(x), float(value))
    return SimpleNamespace(series={"blocks": series}, state={})


def go_on(one, values):
    series = one.series["blocks"]
    for x, value in enumerate(values, start=series.samples + 1):
        series.add(float(x), float(x), float(value))


def test_growth_that_came_once_is_looked_into_once():
    one = subject([1_000] * 5 + [9_000] * 40)
    assert suspecting.retained_something(one)
    suspecting.clear(one)
    assert not suspecting.retained_something(one)
    go_on(one, [9_000] * 400)
    assert not suspecting.retained_something(one)


@pytest.mark.parametrize("per_sample", [1, 50])
def test_growth_that_goes_on_is_looked_into_again(per_sample):
    one = subject([9_000] * 40)
    suspecting.clear(one)
    go_on(one, [9_000 + per_sample * i for i in range(200)])
    assert suspecting.retained_something(one)


def test_growth_after_a_fall_is_not_hidden_by_the_level_before():
    one = subject([9_000] * 40)
    suspecting.clear(one)
    go_on(one, [1_000] * 40 + [1_000 + 5 * i for i in range(100)])
    assert suspecting.retained_something(one)


def test_histories_that_begin_anew_are_not_cleared():
    one = subject([9_000] * 40)
    suspecting.clear(one)
    one.series = subject([1_000] * 5 + [9_000] * 40).series
    assert suspecting.retained_something(one)


def test_the_credit_for_looks_comes_as_the_program_works():
    def allowed(cost, cpu):
        tracker = SimpleNamespace(sampler=SimpleNamespace(cost_seconds=lambda: cost), cpu_seconds=lambda: cpu)
        return suspecting.may_look(tracker, SimpleNamespace(state={"looked": 1.0}))

    assert allowed(0.1, 0.0)
    assert not allowed(0.25, 0.0)
    assert allowed(0.25, 5.0)
    share = current().cost_budget_share
    assert allowed(0.29 + 1000 * share, 1000.0)
    assert not allowed(0.31 + 1000 * share, 1000.0)
