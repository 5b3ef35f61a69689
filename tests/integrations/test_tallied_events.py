"""Events that overlap: when memory is read among them, and whose the changes are."""

import os
from types import SimpleNamespace

import pytest

from meminstr.probes.budget import TimedProbe
from meminstr.registry import ControllerMemoryTracker
from meminstr.tallied import TalliedSubject, Tally


class Clock:
    now = 0.0

    def __call__(self):
        self.now += 1e-6
        return self.now


class World:
    """A process whose block count a test sets, and one tally in it."""

    def __init__(self, every=1):
        self.blocks, self.reads = 1000, []
        probe = SimpleNamespace(name="blocks", unit="blocks", kind="memory", source="scripted", read=self.read)
        self.clock = Clock()
        timed = TimedProbe(probe, clock=self.clock)
        self.tracker = ControllerMemoryTracker(probes={"blocks": timed}, clock=self.clock)
        self.tally = Tally(self.tracker.sampler, self.subject, every)
        self.refused = False

    def read(self):
        self.reads.append(self.tally.under_way - 1 if hasattr(self, "tally") else 0)
        return self.blocks

    def subject(self, name):
        if self.refused:
            return None
        known = self.tracker.functions.get(name)
        if known is None:
            known = TalliedSubject(name, "route", self.tracker.sampler)
            self.tracker.adopt(known)
        return known

    def one(self, name, leaves=0, error=None):
        number = self.tally.begin()
        self.blocks += 50 + leaves
        self.tally.end(number, name, error)
        self.blocks -= 50  # what served the request goes after its end

    def changes(self, name):
        return self.tracker.functions[name].deltas.recent(1)


def test_an_event_by_itself_owns_its_change_and_no_more():
    world = World()
    for _ in range(40):
        world.one("leaks", 3)
        world.one("clean")
    samples, mean, error = world.changes("leaks")
    assert samples > 10
    assert (mean, error) == (3.0, 0.0)
    assert world.changes("clean")[1:] == (0.0, 0.0)
    assert not world.tracker.functions["leaks"].suspends


def test_events_side_by_side_enter_levels_only():
    world = World()
    first = world.tally.begin()
    for number in range(200):
        second = world.tally.begin()
        world.tally.end(first, "a" if number % 2 else "b")
        first = second
    subject = world.tracker.functions["a"]
    assert subject.samples > 10
    assert subject.deltas.samples == 0
    assert subject.overlapped()


def test_readings_are_taken_where_it_is_calmest():
    world = World()
    # begins at 0, 1, 2, 3, 2, 1 ... others under way
    for _ in range(200):
        numbers = [world.tally.begin() for _ in range(4)]
        for number in numbers:
            world.tally.end(number, "a")
    world.reads.clear()
    for _ in range(200):
        numbers = [world.tally.begin() for _ in range(4)]
        for number in numbers:
            world.tally.end(number, "a")
    assert world.tracker.functions["a"].samples > 50
    assert set(world.reads) <= {0}


def test_what_never_ends_holds_nobody_up():
    world = World()
    world.tally.begin()  # a stream that stays open
    for _ in range(1000):
        world.one("a", 2)
    subject = world.tracker.functions["a"]
    assert subject.calls() == 1000
    assert subject.samples > 50
    assert subject.deltas.samples == 0  # the stream may have been at work meanwhile


def test_counts_and_failures_are_exact():
    world = World(every=1000)
    for number in range(500):
        world.one("a", error=LookupError() if number % 5 == 0 else None)
    subject = world.tracker.functions["a"]
    assert (subject.calls(), subject.failures) == (500, 100)
    assert world.tally.under_way == 0


def test_a_refused_name_is_no_trouble():
    world = World()
    world.refused = True
    for _ in range(100):
        world.one("a")
    world.refused = False
    for _ in range(100):
        world.one("b")
    assert world.tracker.functions["b"].samples > 10


def test_nothing_is_read_while_it_is_disabled():
    world = World()
    world.one("a")
    world.tracker.disable()
    world.one("a")
    world.one("a")
    reads = len(world.reads)
    for _ in range(100):
        world.one("a")
    assert len(world.reads) == reads
    assert world.tracker.functions["a"].calls() == 103


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_counts_from_nought():
    world = World()
    world.one("a")
    world.tally.begin()
    child = os.fork()
    if child == 0:
        world.tally.after_fork()
        subject = world.tracker.functions["a"]
        good = subject.calls() == 0 and world.tally.under_way == 0
        world.one("a")
        os._exit(0 if good and subject.calls() == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
