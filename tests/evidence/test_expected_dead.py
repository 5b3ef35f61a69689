"""What should be dead and is not."""

import gc
import math
import weakref

import pytest

from meminstr.errors import UsageError
from meminstr.evidence.expected_dead import Watchlist


class Session:
    pass


class Bare:
    __slots__ = ()


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_an_object_that_dies_is_forgotten(clock):
    watchlist = Watchlist(clock)
    session = Session()
    assert watchlist.watch(session, "closed") is None
    assert watchlist.pending == 1
    del session
    assert (watchlist.pending, watchlist.died) == (0, 1)


def test_grace_then_retained(clock):
    collections = []
    watchlist = Watchlist(clock, collect=lambda: collections.append(1))
    session = Session()
    watchlist.watch(session, "closed", grace=5.0)
    clock.now += 4.9
    assert watchlist.settle() == ()
    assert collections == []
    clock.now += 0.2
    (row,) = watchlist.settle()
    assert row.object is session
    assert (row.type, row.reason, row.since, row.grace) == ("test_expected_dead.Session", "closed", 100.0, 5.0)
    assert collections == [1]


def test_a_report_settles_at_once(clock):
    watchlist = Watchlist(clock)
    session = Session()
    watchlist.watch(session, "closed", grace=1e9)
    assert [row.object for row in watchlist.settle(now=math.inf)] == [session]


def test_a_cycle_is_collected_and_not_retained(clock):
    watchlist = Watchlist(clock)
    session = Session()
    session.me = session
    watchlist.watch(session, "closed", grace=0)
    gc.disable()
    try:
        del session
        assert watchlist.pending == 1
        assert len(watchlist.settle(collect=False)) == 1
        assert watchlist.settle(collect=True) == ()
    finally:
        gc.enable()
    assert watchlist.died == 1


def test_nothing_lives_longer(clock):
    watchlist = Watchlist(clock)
    session = Session()
    reference = weakref.ref(session)
    watchlist.watch(session, "closed", grace=0)
    rows = watchlist.settle(collect=False)
    del session
    assert reference() is None
    assert rows[0].object is None


def test_what_takes_no_weak_reference_is_refused_with_a_reason():
    watchlist = Watchlist()
    reason = watchlist.watch(Bare(), "closed")
    assert "Bare" in reason
    assert "__weakref__" in reason
    assert (watchlist.refused, watchlist.pending) == (1, 0)


@pytest.mark.parametrize("grace", [-1, True, "5", float("nan"), None])
def test_a_grace_that_is_none_is_refused(grace):
    with pytest.raises(UsageError):
        Watchlist().watch(Session(), "closed", grace)


def test_the_list_is_bounded():
    watchlist = Watchlist(most=2)
    kept = [Session() for _ in range(3)]
    assert [watchlist.watch(k) is None for k in kept] == [True, True, False]
    assert watchlist.watch(kept[0]) is None
    assert watchlist.refused == 1


def test_watching_again_moves_the_time(clock):
    watchlist = Watchlist(clock)
    session = Session()
    watchlist.watch(session, grace=5.0)
    clock.now += 4
    watchlist.watch(session, grace=5.0)
    clock.now += 4
    assert watchlist.settle() == ()
    assert watchlist.pending == 1


def test_forget(clock):
    watchlist = Watchlist(clock)
    session, other = Session(), Session()
    watchlist.watch(session, grace=0)
    watchlist.watch(other, grace=0)
    watchlist.forget(session)
    assert [row.object for row in watchlist.settle()] == [other]
    watchlist.clear()
    assert watchlist.pending == 0


def test_an_address_that_is_reused_is_another_object(clock):
    watchlist = Watchlist(clock)
    for _ in range(200):
        session = Session()
        watchlist.watch(session, grace=0)
        del session
    assert (watchlist.pending, watchlist.died) == (0, 200)
