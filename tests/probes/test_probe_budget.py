"""The budget of a probe: what it costs over a simulated hour, failures, and clocks that misbehave."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.errors import UsageError
from meminstr.faults import clear_faults, faults
from meminstr.probes import ResidentProbe, TimedProbe, UserProbe


@pytest.fixture(autouse=True)
def no_faults_left():
    clear_faults()
    yield
    clear_faults()


class World:
    """A clock that only a reading, or the test, moves on."""

    def __init__(self, costs, value=7):
        self.now = 1000.0
        self.costs = iter(costs) if not callable(costs) else None
        self.cost = costs if callable(costs) else lambda: next(self.costs)
        self.value = value
        self.times: list[float] = []
        self.spent: list[float] = []

    def read(self):
        self.times.append(self.now)
        self.spent.append(self.cost())
        self.now += self.spent[-1]
        return self.value() if callable(self.value) else self.value

    def probe(self, **extras) -> TimedProbe:
        return TimedProbe(UserProbe("scripted", self.read, unit="count"), clock=lambda: self.now, **extras)


def test_first_reading_is_due_and_the_next_is_earned():
    world = World(lambda: 0.0001)
    probe = world.probe()
    assert probe.read_if_due() == 7
    assert probe.read_if_due() is None
    world.now = probe.next_at - 1e-6
    assert probe.read_if_due() is None
    world.now = probe.next_at
    assert probe.read_if_due() == 7
    assert probe.reads == 2


def test_cheap_probe_is_read_often():
    world = World(lambda: 1.5e-6)
    probe = world.probe()
    for _ in range(10_000):
        probe.read_if_due()
        world.now += 0.001
    assert probe.reads > 4000  # one in 1.5 ms is what the budget allows


@pytest.mark.parametrize("cost", [0.012, 0.207])
def test_dear_probe_keeps_the_budget_over_an_hour_and_is_still_read(cost):
    world = World(lambda: cost)
    probe = world.probe()
    start = world.now
    while world.now < start + 3600:
        probe.read_if_due()
        world.now += 0.05
    elapsed = world.now - start
    assert sum(world.spent[:-1]) <= 0.001 * elapsed
    assert probe.reads >= math.floor(0.9 * 3600 * 0.001 / cost)
    assert probe.over_cap
    assert probe.cost_seconds == pytest.approx(cost)
    assert probe.total_cost_seconds == pytest.approx(sum(world.spent))


def test_heap_that_becomes_dear_in_the_middle():
    phase = [1e-6]
    world = World(lambda: phase[0])
    probe = world.probe()
    start = world.now
    while world.now < start + 3600:
        if world.now > start + 60:
            phase[0] = 0.207
        probe.read_if_due()
        world.now += 0.05
    assert sum(world.spent[:-1]) <= 0.001 * (world.now - start)


def test_one_unlucky_reading_does_not_silence_a_cheap_probe():
    """5 ms lost to another thread: paid off in steps, not by five seconds of silence."""
    world = World(iter([1e-6] * 20 + [0.005] + [1e-6] * 10_000).__next__)
    probe = world.probe()
    gaps = []
    for _ in range(60):
        while probe.read_if_due() is None:
            world.now += 0.0005
        if len(world.times) > 1:
            gaps.append(world.times[-1] - world.times[-2])
    assert max(gaps) < 1.0
    assert sum(world.spent[:-1]) <= 0.001 * (world.now - 1000) + 7 * 0.001


@given(
    costs=st.lists(st.floats(1e-7, 0.3), min_size=2, max_size=60),
    fractions=st.lists(st.floats(0, 0.99), min_size=1, max_size=5),
    share=st.sampled_from([0.0001, 0.001, 0.01]),
    cap=st.sampled_from([0.0001, 0.001, 0.01]),
)
def test_budget_is_kept_whatever_the_costs(costs, fractions, share, cap):
    world = World(costs)
    probe = world.probe(budget_share=share, cap_seconds=cap)
    for index in range(len(costs)):
        early = fractions[index % len(fractions)]
        if index:  # ask too early, then at the very first moment it is due: the worst case
            world.now += (probe.next_at - world.now) * early
            assert probe.read_if_due() is None
        world.now = max(world.now, probe.next_at)
        assert probe.read_if_due() == 7
    elapsed = world.times[-1] - world.times[0]
    assert sum(world.spent[:-1]) <= share * elapsed * (1 + 1e-9) + 7 * cap


@given(costs=st.lists(st.floats(1e-7, 0.3), min_size=1, max_size=30))
def test_no_probe_is_starved(costs):
    """The rest after a reading is never longer than its worst cost asks for."""
    world = World(costs)
    probe = world.probe()
    for index in range(len(costs)):
        assert probe.read() == 7
        assert probe.next_at - world.now <= max(costs[: index + 1]) / 0.001 + 1e-6


def test_read_reads_whatever_the_budget():
    world = World(lambda: 0.2)
    probe = world.probe()
    assert [probe.read() for _ in range(5)] == [7] * 5
    assert probe.reads == 5
    assert probe.last == 7
    assert probe.last_at == world.now


def test_callers_own_time_is_used():
    world = World(lambda: 0.001)
    probe = world.probe()
    probe.read()
    assert probe.read_if_due(now=world.now + 0.001) is None
    assert probe.read_if_due(now=world.now + 10) == 7


def test_clock_that_goes_back_does_not_starve_the_probe():
    world = World(lambda: 0.01)
    probe = world.probe()
    probe.read()
    world.now -= 500
    assert probe.read_if_due() == 7
    assert probe.read_if_due() is None


def test_clock_that_goes_back_within_a_reading_costs_nothing():
    world = World(lambda: -5.0)
    probe = world.probe()
    assert probe.read() == 7
    assert probe.total_cost_seconds == 0.0


def test_reading_from_within_a_reading_is_refused():
    """A collector's callback may come back into the probe that is being read."""
    inner = []
    world = World(lambda: 0.0, value=lambda: inner.append(probe.read_if_due()) or 3)
    probe = world.probe()
    assert probe.read_if_due() == 3
    assert inner == [None]


class Broken(Exception):
    pass


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), 1 << 70, "12", None, True])
def test_impossible_readings_are_faults(bad):
    probe = World(lambda: 0.0, value=bad).probe()
    assert probe.read() is None
    assert (probe.reads, probe.failures, probe.last, probe.last_at) == (0, 1, None, None)
    assert faults()[0]["where"] == "probe scripted"


def test_failing_probe_is_asked_less_and_less_and_comes_back():
    broken = [True]

    def value():
        if broken[0]:
            raise Broken("no")
        return 5

    world = World(lambda: 1e-6, value=value)
    probe = world.probe()
    start = world.now
    while world.now < start + 3600:
        probe.read_if_due()
        world.now += 0.1
    assert 15 < probe.failures < 30  # 1, 2, 4 ... 256 s, then every five minutes
    assert faults()[0]["count"] == probe.failures
    broken[0] = False
    world.now += 300
    assert probe.read_if_due() == 5
    world.now += 0.01
    assert probe.read_if_due() == 5


def test_cost_of_failures_is_paid_too():
    def value():
        raise Broken

    world = World(lambda: 0.05, value=value)
    probe = world.probe()
    probe.read()
    assert probe.next_at - world.now == pytest.approx(50)


@pytest.mark.parametrize("name", ["budget_share", "cap_seconds"])
@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), "1", True, None])
def test_bad_budgets(name, bad):
    with pytest.raises(UsageError, match=name):
        TimedProbe(ResidentProbe(), **{name: bad})


def test_names_come_from_the_probe():
    probe = TimedProbe(ResidentProbe())
    assert (probe.name, probe.unit, probe.kind) == ("resident", "bytes", "memory")
    assert probe.source == probe.probe.source
    assert probe.cost_seconds == 0.0
    assert not probe.over_cap
