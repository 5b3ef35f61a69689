"""mode="check" on a scripted process: who is refused, who raises, what the record says."""

from __future__ import annotations

import logging

import pytest
from scripted_limits import MB, World

from meminstr.errors import MemoryLimitExceeded
from meminstr.faults import clear_faults, faults
from meminstr.limits.relief import Relief


def test_a_call_below_its_limit_returns(world):
    @world.limited(mode="check")
    def call(value):
        world.use(150)
        return value

    assert call(7) == 7
    assert world.breaches == []


def test_above_at_the_start_is_refused_before_the_call_runs(world):
    world.use(300)
    ran = []
    limited = world.limited(mode="check")(lambda: ran.append(1))
    with pytest.raises(MemoryLimitExceeded) as caught:
        limited()
    error = caught.value
    assert ran == []
    assert world.collections == 1
    assert (error.limit_bytes, error.observed_bytes, error.peak_bytes) == (200 * MB, 300 * MB, None)
    assert error.breach["action"] == "refused"
    assert "refused at its start" in str(error)
    assert world.breaches == [error.breach]


def test_a_collection_that_helps_lets_the_call_start(world):
    world.use(300)
    world.collectable = 150 * MB
    assert world.limited(mode="check")(lambda: "ran")() == "ran"
    assert world.breaches == []


def test_above_at_the_end_never_returns_normally(world):
    @world.limited(mode="check")
    def call():
        world.use(250)
        return "result"

    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    breach = caught.value.breach
    assert breach["mechanism"] == "exit"
    assert breach["peak_bytes"] == 250 * MB
    assert breach["peak_exact"] is True
    assert breach["overshoot_bytes"] == 50 * MB
    assert breach["entry_bytes"] == 100 * MB
    assert breach["grown_by_kind"] == {"anonymous": 150 * MB}
    assert caught.value.peak_bytes == 250 * MB


def test_a_peak_that_came_and_went_breaks_the_limit_too(world):
    @world.limited(mode="check")
    def call():
        world.use(500)
        world.use(120)

    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert caught.value.breach["mechanism"] == "peak"
    assert caught.value.breach["peak_bytes"] == 500 * MB
    assert world.collections == 0


def test_garbage_at_the_end_is_collected_before_giving_up(world):
    @world.limited(mode="check")
    def call():
        world.use(250)
        world.collectable = 100 * MB
        return "kept"

    assert call() == "kept"
    assert world.collections == 1


def test_collecting_does_not_excuse_a_higher_peak_before(world):
    @world.limited(mode="check")
    def call():
        world.use(900)
        world.use(250)
        world.collectable = 100 * MB

    with pytest.raises(MemoryLimitExceeded):
        call()


def test_relief_is_not_tried_again_at_once(world):
    world.use(300)
    call = world.limited(mode="check")(lambda: None)
    for _ in range(5):
        with pytest.raises(MemoryLimitExceeded):
            call()
    assert world.collections == 1
    world.now += 1.5
    with pytest.raises(MemoryLimitExceeded):
        call()
    assert world.collections == 2


def test_of_call_counts_growth_only(world):
    world.use(5000)

    @world.limited(mode="check", of="call")
    def call(to):
        world.use(to)
        return "fine"

    assert call(5100) == "fine"
    with pytest.raises(MemoryLimitExceeded) as caught:
        call(5400)
    assert caught.value.breach["overshoot_bytes"] == 100 * MB
    assert "the call had added 300 MiB, limit 200 MiB" in str(caught.value)


def test_its_own_exception_wins_and_the_breach_is_noted(world):
    @world.limited(mode="check")
    def call():
        world.use(400)
        raise KeyError("mine")

    with pytest.raises(KeyError):
        call()
    assert world.breaches[0]["action"] == "raised KeyError of its own"


def test_short_calls_live_on_one_reading_and_no_longer_than_a_millisecond(world):
    reads = []
    world.services.readings._read = lambda: reads.append(1) or world.resident
    call = world.limited(mode="check")(lambda: None)
    call()
    taken = len(reads)
    for _ in range(9):
        world.now += 0.0001
        call()
    assert len(reads) == taken
    world.now += 0.0002
    call()
    assert len(reads) > taken


def test_a_call_that_outlives_the_reading_it_began_on_is_judged(world):
    grow = [False]

    @world.limited(mode="check")
    def call():
        if grow[0]:
            world.use(400, seconds=0.5)

    call()
    grow[0] = True
    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert caught.value.breach["peak_bytes"] == 400 * MB


def test_a_peak_on_a_cached_reading_counts_only_when_it_cannot_be_older(world):
    # within a millisecond a core can add 40 MB: a peak of 30 MB more may have been before the call
    jump = [0.0]

    @world.limited(mode="check", mb=120)
    def call():
        if jump[0]:
            world.use(jump[0], seconds=0.0)
            world.use(90, seconds=0.002)

    world.use(90)
    call()
    jump[0] = 125
    call()
    assert world.breaches == []
    jump[0] = 0
    world.now += 1
    call()
    call()
    jump[0] = 300
    with pytest.raises(MemoryLimitExceeded):
        call()


def test_near_the_limit_no_call_rides_on_an_old_reading(world):
    world.use(190)
    seen = []

    @world.limited(mode="check")
    def call():
        seen.append(world.services.readings._last.window)

    call()
    world.use(199, seconds=0.0011)
    call()
    world.use(201, seconds=0.0011)
    with pytest.raises(MemoryLimitExceeded):
        call()
    assert len(set(seen)) == 2


def test_warn_says_so_once_and_lets_the_call_return(world, caplog):
    @world.limited(mode="check", on_exceed="warn")
    def call():
        world.use(300)
        world.use(100)
        return "result"

    with caplog.at_level(logging.WARNING, logger="meminstr"):
        assert [call() for _ in range(3)] == ["result"] * 3
    said = [r for r in caplog.records if "memory_limit_exceeded" in r.message]
    assert len(said) == 1
    assert said[0].meminstr["peak_bytes"] == 300 * MB or said[0].meminstr["observed_bytes"] == 300 * MB
    assert len(world.breaches) == 3


def test_a_callable_gets_the_record(world):
    got = []

    @world.limited(mode="check", on_exceed=got.append)
    def call():
        world.use(300)
        return "result"

    assert call() == "result"
    assert got[0]["subject"].endswith("call")
    assert got[0] is world.breaches[0]


def test_a_callable_that_raises_is_noted_and_harms_nobody(world):
    clear_faults()

    def callback(record):
        raise RuntimeError("broken callback")

    @world.limited(mode="check", on_exceed=callback)
    def call():
        world.use(300)
        return "result"

    assert call() == "result"
    assert [f for f in faults() if "on_exceed" in f["where"]]
    clear_faults()


def test_a_tracker_that_fails_harms_nobody(world):
    clear_faults()

    class Broken:
        def note_breach(self, record):
            raise RuntimeError("no")

        def live_counts(self):
            raise RuntimeError("no")

    @world.limited(mode="check", on_exceed="warn", tracker=Broken())
    def call():
        world.use(300)
        return "result"

    assert call() == "result"
    assert {f["where"] for f in faults()} >= {"recording a breach", "class counts for a breach record"}
    clear_faults()


def test_the_notice_at_four_fifths_comes_on_the_change_only(world, caplog):
    call = world.limited(mode="check")(lambda: None)
    with caplog.at_level(logging.WARNING, logger="meminstr"):
        for mb in (150, 165, 170, 165):
            world.use(mb, seconds=1)
            call()
        assert [r.message.split(":")[0] for r in caplog.records] == ["memory_limit_near"]
        world.use(100, seconds=100)
        call()
        world.use(165, seconds=1)
        call()
    assert len(caplog.records) == 2


def test_a_fraction_follows_the_surroundings(world):
    world.around = 1000 * MB
    call = world.limited(mode="check", fraction=0.5)(lambda: None)
    world.use(400)
    call()
    world.around = 600 * MB
    world.now += 1
    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert caught.value.limit_bytes == 300 * MB
    world.around = None  # cannot be read any more: the last that was known
    with pytest.raises(MemoryLimitExceeded):
        call()


def test_without_a_high_water_mark_the_peak_is_a_bound_and_says_so(world_without_mark):
    world = world_without_mark

    @world.limited(mode="check")
    def call(*steps):
        for mb in steps:
            world.use(mb)

    call(500, 100)  # nobody looked in between
    with pytest.raises(MemoryLimitExceeded) as caught:
        call(300)
    assert caught.value.breach["peak_exact"] is False


def test_recent_calls_and_grown_classes_are_in_the_record(world):
    quiet = world.limited(mode="check")(lambda: world.use(110))
    quiet()

    @world.limited(mode="check")
    def call():
        world.classes["app.Session"] += 40
        world.use(300)

    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert caught.value.breach["grown_classes"] == {"app.Session": 40}
    assert [row["peak_bytes"] for row in caught.value.breach["recent_calls"]] == [110 * MB]
    assert any("test_recent_calls" in row for row in caught.value.breach["stack"])


def test_nested_calls_are_each_judged_by_their_own_limit(world):
    @world.limited(mode="check", mb=150)
    def inner():
        world.use(180)

    @world.limited(mode="check", mb=400)
    def outer():
        with pytest.raises(MemoryLimitExceeded):
            inner()
        return "outer"

    assert outer() == "outer"
    assert [b["limit_bytes"] for b in world.breaches] == [150 * MB]


def test_the_peak_of_an_outer_call_covers_the_inner(world):
    inner = world.limited(mode="check", mb=1000)(lambda: (world.use(600), world.use(100)))

    @world.limited(mode="check", mb=500)
    def outer():
        inner()
        world.use(110)

    with pytest.raises(MemoryLimitExceeded) as caught:
        outer()
    assert caught.value.breach["peak_bytes"] == 600 * MB


def test_switched_off_settings_let_every_call_through(world, monkeypatch):
    from meminstr import settings

    call = world.limited(mode="check")(lambda: "ran")
    block = world.limited(mode="check")
    world.use(900)
    settings.use(settings.Settings(enabled=False))
    try:
        assert call() == "ran"
        with block:
            pass

        def untouched():
            pass

        assert world.limited()(untouched) is untouched
    finally:
        settings.use(None)


def test_worlds_do_not_share(world):
    assert World().services is not world.services


def test_a_dear_collection_waits_twenty_times_as_long():
    now = [0.0]

    def collect():
        now[0] += 3.0

    relief = Relief(lambda: now[0], collect=collect, trim=lambda: None)
    assert relief.attempt()
    now[0] = 62.0
    assert not relief.attempt()
    now[0] = 63.0
    assert relief.attempt()
