"""What a program leaks of which nothing is instrumented: counts of the sampling thread, compared by the report."""

import sys
import types

import pytest

import meminstr
from meminstr.diagnosis import censuses, explaining, looking
from meminstr.verdict import Verdict


class Session:
    def __init__(self, number):
        self.number = number


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    for module in (censuses, explaining):
        monkeypatch.setattr(module, "census_seconds", lambda: 60.0)


@pytest.fixture
def shop():
    module = sys.modules["shop"] = types.ModuleType("shop")
    yield module
    del sys.modules["shop"]


def test_counts_come_at_the_first_reading_and_each_time_after_four_times_as_many():
    assert [n for n in range(1, 300) if censuses.is_due(n)] == [1, 4, 16, 64, 256]


def test_the_one_compared_with_is_the_later_of_the_first_half(tracker, world):
    sampler = tracker.sampler
    assert censuses.earlier(tracker) is None
    for after in (1.0, 15.0):
        world.time = sampler.started + after
        censuses.take(tracker)
    first, second = (taken for _, taken in censuses._rows(tracker))
    world.time = sampler.started + 20.0
    assert censuses.earlier(tracker) is first
    world.time = sampler.started + 31.0
    assert censuses.earlier(tracker) is second
    world.time = sampler.started + 64.0
    censuses.take(tracker)
    assert len(censuses._rows(tracker)) == 3
    world.time = sampler.started + 256.0
    censuses.take(tracker)
    assert next(taken for _, taken in censuses._rows(tracker)) is second


def test_a_forked_child_has_none_of_its_parents(tracker):
    censuses.take(tracker)
    tracker.pid += 1
    assert censuses.earlier(tracker) is None


def test_where_a_function_is_guarded_nothing_is_counted_in_the_background(tracker):
    looking.tick(tracker, 2)
    tracker.guard(lambda: None, every=10)
    looking.tick(tracker, 1)
    looking.tick(None, 1)
    assert censuses.earlier(tracker) is None


def test_a_leaking_type_that_nobody_decorated_is_named(tracker, world, shop):
    shop.listeners = [Session(n) for n in range(300)]
    looking.tick(tracker, 1)
    shop.listeners.extend(Session(n) for n in range(5000))
    world.grow(blocks=10_000)
    made = meminstr.report(tracker=tracker)
    (finding,) = made.findings
    assert finding.verdict is Verdict.INSUFFICIENT_DATA
    assert finding.culprit_type == "test_censuses.Session"
    assert [(h.path, h.count) for h in finding.holders] == [("shop.listeners[*]", 5000)]
    assert finding.advice is None  # a program of seconds may be for just that
    text = str(made).replace("\N{NO-BREAK SPACE}", " ")
    assert "grew     shop.listeners: +5,000 entries" in text
    assert "grew     test_censuses.Session: +5,000 instances" in text


def test_a_partial_answer_is_said_to_be_one(tracker, shop, monkeypatch):
    from meminstr.evidence import census

    monkeypatch.setattr(census, "is_too_large", lambda seconds: True)
    censuses.take(tracker)
    assert any("told in part" in note for note in meminstr.report(tracker=tracker).extra["notes"])


@pytest.mark.parametrize(
    ("spec", "arguments", "told"),
    [
        (types.SimpleNamespace(name="app.__main__"), ["app"], "-m app"),
        (None, ["where/serve it.py", "--token", "x"], "'serve it.py' ARGUMENTS"),
        (None, ["-c"], None),
    ],
)
def test_the_program_is_told_as_it_is_started_without_its_arguments(monkeypatch, spec, arguments, told):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec, raising=False)
    monkeypatch.setattr(sys, "argv", arguments)
    assert explaining._program() == told


def test_of_what_grows_in_a_function_there_are_counts_in_between(tracker, monkeypatch):
    seconds = iter([0.0, 0.05, 0.3, 0.3, 0.6, 0.95, 0.95])
    monkeypatch.setattr(censuses.time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(
        censuses.census, "take", lambda **_: censuses.census.Census({}, at=censuses.time.monotonic(), marks={})
    )
    censuses.note(tracker)  # nothing grew yet: there is no first one
    assert censuses._rows(tracker) == []
    tracker.first_census = censuses.census.take()
    for _ in range(4):
        censuses.note(tracker)
    assert [taken.at for taken in censuses.since(tracker, tracker.first_census)] == [0.3, 0.95]


def test_each_reading_of_the_sampling_thread_asks_what_is_overdue(tracker, monkeypatch):
    asked = []
    monkeypatch.setattr(looking.overdue, "check", asked.append)
    looking.tick(tracker, 2)
    looking.tick("no tracker", 2)
    assert asked == [tracker]
