"""Guarded functions inside guarded functions: the inner one is accused, not the one around it."""

import asyncio

import pytest

from meminstr import Verdict, leak_guard, memory_limited, report, track_instantiations
from meminstr.attribution import Change, attribute
from meminstr.calibration import calibrate
from meminstr.nesting import Nesting
from meminstr.subjects import FunctionSubject


@pytest.fixture(autouse=True)
def no_idle_blocks(monkeypatch):
    calibrate()  # of this machine's readings; the scripted ones need none
    monkeypatch.setattr(FunctionSubject, "idle_blocks", 0)
    monkeypatch.setattr(FunctionSubject, "idle_blocks_of_streams", 0)


CALLS = 12_000


def accused(tracker):
    return {f.subject for f in report(tracker=tracker).findings if f.verdict in (Verdict.LEAKING, Verdict.GROWING)}


def test_the_inner_function_is_accused_and_not_the_outer(world, tracker):
    @leak_guard(every=10, tracker=tracker)
    def inner(i):
        world.grow(blocks=1)

    @leak_guard(every=10, tracker=tracker)
    def outer(i):
        inner(i)

    for i in range(CALLS):
        outer(i)
        world.time += 1e-3
    assert accused(tracker) == {"inner"}


def test_the_outer_function_is_accused_where_it_leaks_itself(world, tracker):
    @leak_guard(every=10, tracker=tracker)
    def inner(i):
        return None

    @leak_guard(every=10, tracker=tracker)
    def outer(i):
        inner(i)
        world.grow(blocks=1)

    for i in range(CALLS):
        outer(i)
        world.time += 1e-3
    assert accused(tracker) == {"outer"}


def test_a_coroutine_inside_a_coroutine(world, tracker):
    @leak_guard(every=10, tracker=tracker)
    async def inner(i):
        world.grow(blocks=1)

    @leak_guard(every=10, tracker=tracker)
    async def outer(i):
        await inner(i)

    async def run():
        for i in range(CALLS):
            await outer(i)
            world.time += 1e-3

    asyncio.run(run())
    assert accused(tracker) == {"inner"}


def test_what_the_consumer_of_a_generator_keeps_is_not_the_generator_s(world, tracker):
    @leak_guard(every=10, tracker=tracker)
    def items():
        yield 1
        yield 2

    @leak_guard(every=10, tracker=tracker)
    def keep(item):
        world.grow(blocks=1)

    for _ in range(CALLS):
        for item in items():
            keep(item)
        world.time += 1e-3
    assert accused(tracker) == {"keep"}


def test_a_recursive_function_answers_for_all_its_levels(world, tracker):
    @leak_guard(every=7, tracker=tracker)
    def down(n):
        world.grow(blocks=1)
        if n:
            down(n - 1)

    @leak_guard(every=7, tracker=tracker)
    def beside(i):
        return None

    for i in range(CALLS // 4):
        down(3)
        beside(i)
        world.time += 1e-3
    assert accused(tracker) == {"down"}


def test_guard_limit_and_tracking_together(world, tracker):
    @track_instantiations(tracker=tracker)
    class Thing:
        pass

    @leak_guard(every=10, tracker=tracker)
    @memory_limited(gb=64, tracker=tracker)
    def inner(i):
        Thing()
        world.grow(blocks=1)

    @memory_limited(gb=64, tracker=tracker)
    @leak_guard(every=10, tracker=tracker)
    def outer(i):
        inner(i)

    for i in range(6_000):
        outer(i)
        world.time += 1e-3
    assert accused(tracker) == {"inner"}
    assert tracker.classes[next(iter(tracker.classes))].follower.counts().alive == 0


def test_other_tasks_are_not_part_of_a_suspended_call(world, tracker):
    @leak_guard(every=10, tracker=tracker)
    async def waits(i):
        await asyncio.sleep(0)

    @leak_guard(every=10, tracker=tracker)
    async def leaks(i):
        await asyncio.sleep(0)
        world.grow(blocks=1)

    async def many(function):
        for i in range(CALLS // 2):
            await function(i)
            world.time += 1e-3

    async def run():
        await asyncio.gather(many(waits), many(leaks), many(leaks), many(waits))

    asyncio.run(run())
    assert accused(tracker) == {"leaks"}
    assert tracker.functions["waits"].deltas.recent(1)[1] == pytest.approx(0.0)
    assert tracker.functions["leaks"].deltas.recent(1)[1] == pytest.approx(1.0)


# ------------------------------------------------------------ the parts


def test_frames_above_are_counted_with_recursion_and_same_code_is_told_of_nobody():
    nesting = Nesting()

    def inner():
        return None

    def outer(n):
        inner()
        nesting.sampled("inner")
        if n:
            outer(n - 1)

    nesting.add("inner", inner)
    nesting.add("outer", outer)
    outer(1)
    assert nesting.inside({"inner": 2, "outer": 2}) == {"outer": {"inner": 1.5}}

    def made():
        return lambda: nesting.sampled("inner")

    one, two = made(), made()
    nesting.add("one", one)
    nesting.add("two", two)
    one()
    assert set(nesting.inside({"inner": 3, "outer": 2, "one": 1, "two": 1})) == {"outer"}


def test_changes_of_an_outer_function_are_divided_among_those_inside():
    changes = {"outer": Change(2.0, 0.01), "inner": Change(1.0, 0.01)}
    shares = attribute((), "blocks", changes, {"outer": {"inner": 2.0}})
    assert shares["inner"].rate == pytest.approx(1.0, abs=0.02)
    assert shares["outer"].rate == pytest.approx(0.0, abs=0.02)
