"""What outlives its cleanup or its `watch` by more than the grace time, confirmed in the background."""

import gc
import logging
import os

import pytest
from world import World

from meminstr.diagnosis import overdue
from meminstr.diagnosis.overdue import Overdue
from meminstr.evidence.expected_dead import Watchlist


class Session:
    def close(self):
        self.open = False


class Hour:
    """A clock, and a collection that takes a time of its own."""

    def __init__(self, seconds=0.01):
        self.now = 0.0
        self.seconds = seconds
        self.collections = 0
        self.switched_on = True

    def clock(self):
        return self.now

    def collect(self):
        self.collections += 1
        self.now += self.seconds
        gc.collect()


@pytest.fixture
def hour():
    return Hour()


@pytest.fixture
def tracker(hour):
    world = World()
    tracker = world.tracker()
    tracker.watchlist = Watchlist(clock=hour.clock)
    yield tracker
    tracker.uninstall()


@pytest.fixture
def background(tracker, hour):
    return Overdue(tracker, clock=hour.clock, collect=hour.collect, collects=lambda: hour.switched_on)


@pytest.fixture
def followed(tracker):
    class Followed(Session):
        def close(self):
            super().close()

    tracker.follow(Followed, name="followed")
    return Followed


def advance(hour, background, seconds, step=1.0):
    for _ in range(int(seconds / step)):
        hour.now += step
        background.check()


def test_a_watched_object_is_told_once_after_its_grace_time(tracker, hour, background, caplog):
    kept = [Session(), Session()]
    for session in kept:
        tracker.watchlist.watch(session, "session closed", grace=5)
    advance(hour, background, 4)
    assert hour.collections == 0
    assert not caplog.records
    advance(hour, background, 3)
    assert hour.collections == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "2 objects of type test_overdue.Session expected dead (session closed)" in record.getMessage()
    assert record.meminstr == {"subject": "test_overdue.Session", "retained": 2, "reason": "session closed"}
    advance(hour, background, 600)
    assert len(caplog.records) == 1
    assert hour.collections == 1


def test_a_watched_object_in_a_cycle_dies_of_the_collection_and_is_not_told(tracker, hour, background, caplog):
    gc.disable()
    try:
        session = Session()
        session.me = session
        tracker.watchlist.watch(session, "closed", grace=1)
        del session
        advance(hour, background, 5)
    finally:
        gc.enable()
    assert hour.collections == 1
    assert tracker.watchlist.pending == 0
    assert not caplog.records


def test_a_program_that_switched_its_collector_off_is_not_collected(tracker, hour, background, caplog):
    hour.switched_on = False
    kept = Session()
    tracker.watchlist.watch(kept, "closed", grace=1)
    advance(hour, background, 100)
    assert hour.collections == 0
    assert not caplog.records


def test_an_instance_that_outlived_its_cleanup_is_confirmed_after_the_grace_time(
    tracker, hour, background, followed, caplog
):
    caplog.set_level(logging.INFO, "meminstr")
    kept = followed()
    advance(hour, background, 20)
    assert hour.collections == 0
    kept.close()
    advance(hour, background, 4)
    assert hour.collections == 0
    advance(hour, background, 6)
    assert hour.collections == 1
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "an instance of followed outlived close() by more than 5 s" in record.getMessage()
    assert tracker.classes["followed"].state["retained_confirmed"] == 1
    advance(hour, background, 600)
    assert hour.collections == 1


def test_garbage_that_was_cleaned_up_is_collected_and_not_told(tracker, hour, background, followed, caplog):
    caplog.set_level(logging.INFO, "meminstr")
    gc.disable()
    try:
        session = followed()
        session.me = session
        session.close()
        del session
        advance(hour, background, 20)
    finally:
        gc.enable()
    assert hour.collections == 1
    assert not caplog.records
    assert tracker.classes["followed"].follower.counts().retained == 0
    assert "retained_confirmed" not in tracker.classes["followed"].state


def test_collections_stay_within_half_a_percent_of_the_time(tracker, hour, background, followed):
    hour.seconds = 1.0
    gc.disable()
    try:
        for _ in range(3600):
            session = followed()
            session.me = session
            session.close()
            del session
            hour.now += 1.0
            background.check()
    finally:
        gc.enable()
    assert hour.collections >= 5
    assert background.spent <= 0.1 + 0.005 * hour.now + 1.0
    assert tracker.sampler.analysis_seconds == pytest.approx(background.spent, abs=1e-3)


def test_no_instance_lives_longer_because_it_is_followed(tracker, hour, background, followed):
    session = followed()
    session.close()
    advance(hour, background, 2)
    del session
    assert tracker.classes["followed"].follower.counts().alive == 0


def test_a_fault_of_the_check_stays_in_it(tracker, hour, caplog):
    def broken():
        raise OSError("no collector")

    kept = Session()
    tracker.watchlist.watch(kept, "closed", grace=0)
    background = Overdue(tracker, clock=hour.clock, collect=broken, collects=lambda: True)
    advance(hour, background, 1)
    assert "no collector" in caplog.text


def test_each_tracker_has_one_check_and_a_forked_child_its_own(tracker):
    overdue.check(tracker)
    first = overdue._checks[tracker]
    overdue.check(tracker)
    assert overdue._checks[tracker] is first
    tracker.pid = os.getpid() + 1
    overdue.check(tracker)
    assert overdue._checks[tracker] is not first
