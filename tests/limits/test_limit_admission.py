"""Usual peaks, reservations, waiting for room."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_limits import MB

from meminstr.errors import MemoryLimitExceeded
from meminstr.limits.admission import Admission


def test_the_first_call_is_always_admitted():
    assert Admission().try_acquire("heavy", lambda: 0) is None


def test_a_usual_peak_that_does_not_fit_is_refused_and_a_release_makes_room():
    admission = Admission()
    admission.learn("heavy", 60)
    assert admission.try_acquire("heavy", lambda: 100) is None
    assert admission.try_acquire("heavy", lambda: 100) == 60
    admission.release("heavy")
    assert admission.try_acquire("heavy", lambda: 100) is None


def test_the_usual_peak_forgets_old_calls():
    admission = Admission()
    admission.learn("f", 1000)
    for _ in range(8):
        admission.learn("f", 10)
    assert admission.usual_peak("f") == 10
    assert admission.usual_peak("g") is None


def test_waiting_ends_when_room_comes_or_time_is_up():
    now = [0.0]
    room = [10]

    def pause(seconds):
        now[0] += seconds
        if now[0] > 5:
            room[0] = 100

    admission = Admission(lambda: now[0], pause)
    admission.learn("f", 50)
    assert admission.acquire("f", lambda: room[0], 3.0) == 50
    assert now[0] == pytest.approx(3.0)
    assert admission.acquire("f", lambda: room[0], 30.0) is None
    assert now[0] < 6


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_reservations_never_exceed_the_room_and_come_back(steps):
    admission = Admission()
    for subject, need in (("a", 10), ("b", 25), ("c", 40)):
        admission.learn(subject, need)
    held = []
    for subject, take in steps:
        if take:
            if admission.try_acquire(subject, lambda: 100) is None:
                held.append(subject)
        elif subject in held:
            held.remove(subject)
            admission.release(subject)
        assert admission.reserved_bytes() <= 100
    for subject in held:
        admission.release(subject)
    assert admission.reserved_bytes() == 0


def test_a_limited_call_learns_its_peak_and_is_refused_when_it_does_not_fit(world):
    @world.limited(mode="check", wait=0, mb=500)
    def call():
        base = world.resident / MB
        world.use(base + 300)
        world.use(base)
        return "ran"

    assert call() == "ran"
    world.use(250, seconds=1)
    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert caught.value.breach["mechanism"] == "admission"
    assert "usually adds 300 MiB, there is room for 250 MiB" in str(caught.value)
    assert caught.value.peak_bytes is None
    assert world.services.admission.reserved_bytes() == 0
    world.use(100, seconds=1)
    assert call() == "ran"
    assert world.services.admission.reserved_bytes() == 0


def test_warn_lets_the_call_run_without_room(world):
    call = world.limited(mode="check", wait=0, mb=500, on_exceed="warn")(lambda: "ran")
    world.services.admission.learn("<lambda>", 450 * MB)
    assert call() == "ran"
    assert world.breaches[0]["action"] == "refused"


def test_the_surroundings_count_too(world):
    world.around = 130 * MB
    call = world.limited(mode="check", wait=0, of="call", mb=500)(lambda: "ran")
    world.services.admission.learn("<lambda>", 50 * MB)
    with pytest.raises(MemoryLimitExceeded):
        call()


def test_coroutines_wait_without_holding_up_the_loop(world):
    log = []

    @world.limited(mode="check", wait=60, mb=500)
    async def call(name):
        log.append(f"{name} begins")
        await asyncio.sleep(0)
        log.append(f"{name} ends")

    world.services.admission.learn(call.__qualname__.rpartition("<locals>.")[2], 250 * MB)

    async def main():
        await asyncio.gather(call("a"), call("b"))

    asyncio.run(main())
    assert log == ["a begins", "a ends", "b begins", "b ends"]
    assert world.services.admission.reserved_bytes() == 0


def test_async_blocks_wait_too(world):
    limited = world.limited(mode="check", wait=0, mb=500)

    async def main():
        async with limited:
            pass
        world.services.admission.learn(limited._guard.subject, 450 * MB)
        async with limited:
            pass

    with pytest.raises(MemoryLimitExceeded):
        asyncio.run(main())
    assert world.services.admission.reserved_bytes() == 0
