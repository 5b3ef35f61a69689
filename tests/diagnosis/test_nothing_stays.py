"""After a report the heap has no object of ours that was not there before, and nothing lives longer for it."""

import gc
import weakref
from collections import Counter

import pytest
from world import World

import meminstr


class Bus:
    def __init__(self):
        self.listeners = []


bus = Bus()


class Session:
    def __init__(self):
        bus.listeners.append(self.changed)

    def changed(self):
        pass

    def close(self):
        pass


@pytest.fixture
def world():
    world = World()
    tracker = world.tracker()
    tracker.follow(Session, name="session")
    yield world, tracker
    tracker.uninstall()
    bus.listeners.clear()


def work(world, guarded, calls):
    for _ in range(calls):
        guarded()
        world.grow(blocks=6, heap=300, resident=300)


def guarded_by(tracker):
    def handle():
        session = Session()
        session.close()

    return tracker.guard(handle, every=5, on_leak=lambda finding: None)


def ours():
    gc.collect()
    return Counter(type(o) for o in gc.get_objects() if str(type(o).__module__).startswith("meminstr"))


def test_reports_leave_no_object_of_ours_behind(world):
    world, tracker = world
    guarded = guarded_by(tracker)
    work(world, guarded, 6500)
    report = meminstr.report(tracker=tracker)
    assert report.finding("session").holders[0].path.endswith("bus.listeners[*].__self__")
    del report
    for _ in range(2):
        meminstr.report(tracker=tracker)
    before = ours()
    for _ in range(3):
        meminstr.report(tracker=tracker)
    assert dict((ours() - before).items()) == {}


def test_what_was_held_dies_at_once_when_its_holder_lets_go(world):
    world, tracker = world
    guarded = guarded_by(tracker)
    work(world, guarded, 600)
    watched = [weakref.ref(method.__self__) for method in bus.listeners]
    tracker.watchlist.watch(bus.listeners[0].__self__, "closed")
    kept = meminstr.report(tracker=tracker)
    assert kept.leaks
    gc.disable()  # by reference count alone: nothing of ours may wait for a collection
    try:
        bus.listeners.clear()
        assert sum(ref() is not None for ref in watched) == 0
    finally:
        gc.enable()
    assert tracker.classes["session"].follower.counts().alive == 0
    assert tracker.watchlist.pending == 0
