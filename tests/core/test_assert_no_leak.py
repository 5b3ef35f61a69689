"""`assert_no_leak`: in a second, what leaks is found and named, and what does not is not accused."""

import asyncio
import ctypes
import functools
import gc
import os
import threading
import tracemalloc

import pytest

import meminstr
from meminstr import LeakDetected, UsageError, Verdict, assert_no_leak, assert_no_leak_async
from meminstr.sampling import program_froze

KEPT = []
SECONDS = 0.4


class Event:
    def __init__(self):
        self.payload = [1]


@pytest.fixture(autouse=True)
def nothing_kept():
    KEPT.clear()
    yield
    KEPT.clear()


def leaks(function, *arguments):
    with pytest.raises(LeakDetected) as caught:
        assert_no_leak(function, *arguments, seconds=SECONDS)
    finding = caught.value.finding
    assert finding.verdict is Verdict.LEAKING
    return finding, str(caught.value).replace("\N{NO-BREAK SPACE}", " ")


def passes(function, *arguments, **options):
    finding = assert_no_leak(function, *arguments, seconds=SECONDS, **options)
    assert finding.verdict not in (Verdict.LEAKING, Verdict.GROWING)
    return finding


def test_a_function_that_keeps_nothing_passes_with_its_bound():
    finding = passes(lambda: [Event() for _ in range(5)])
    assert finding.excluded_bytes_per_call is not None
    assert finding.excluded_bytes_per_call < 64


def test_arguments_are_passed_on():
    seen = set()
    passes(lambda a, b=0: seen.add((a, b)), 1, b=2)
    assert seen == {(1, 2)}


def test_a_leaky_append_is_named_with_its_holder_and_rate():
    finding, text = leaks(lambda: KEPT.append(Event()))
    assert finding.culprit_type.endswith("Event")
    assert any("KEPT" in h.path for h in finding.holders)
    assert finding.blocks_per_call.value > 2
    assert text.startswith("LEAKING")
    assert "KEPT" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_one_call_in_a_hundred_is_found():
    calls = iter(range(10**9))

    def step():
        if next(calls) % 100 == 0:
            KEPT.append(Event())

    finding, _ = leaks(step)
    assert finding.blocks_per_call.value == pytest.approx(0.04, rel=0.5)


def test_eight_bytes_a_call_are_found():
    finding, _ = leaks(lambda: KEPT.append(None))
    assert finding.bytes_per_call.value == pytest.approx(8, rel=0.5)


@pytest.mark.skipif(os.name != "posix", reason="the C library by its name")
def test_native_memory_is_found():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    pointers = (ctypes.c_void_p * 2_000_000)()
    index = iter(range(2_000_000))

    def step():
        pointers[next(index)] = libc.malloc(700)

    try:
        finding, text = leaks(step)
    finally:
        for pointer in pointers:
            if not pointer:
                break
            libc.free(pointer)
    assert finding.memory_kind == "native_heap"
    assert finding.bytes_per_call.value == pytest.approx(712, rel=0.1)
    assert "native heap" in text


def test_a_bounded_cache_that_fills_is_not_accused():
    @functools.lru_cache(20_000)
    def cached(i):
        return [i]

    numbers = iter(range(10**9))
    passes(lambda: cached(next(numbers)))


def test_cycles_that_the_collector_frees_are_not_accused():
    def step():
        one = Event()
        one.me = one

    passes(step)


def test_descriptors_are_found():
    opened = []
    try:
        # few calls: a process may have no more than a thousand or so
        with pytest.raises(LeakDetected) as caught:
            trial(lambda: opened.append(os.open(os.devnull, os.O_RDONLY)), opened)
        assert caught.value.finding.memory_kind == "descriptors"
    finally:
        for fd in opened:
            os.close(fd)


def trial(step, made, most=400):
    """A step that works only so often in all, spread over what the assertion calls."""
    calls = iter(range(10**9))

    def sometimes():
        threading.Event().wait(0.002)
        if next(calls) % 1 == 0 and len(made) < most:
            step()

    assert_no_leak(sometimes, seconds=0.3)


def test_threads_are_found():
    stop, made = threading.Event(), []

    def step():
        thread = threading.Thread(target=stop.wait, daemon=True)
        thread.start()
        made.append(thread)

    try:
        with pytest.raises(LeakDetected):
            trial(step, made)
    finally:
        stop.set()
        for thread in made:
            thread.join()


def test_coroutine_functions_have_their_twin():
    async def leaky():
        await asyncio.sleep(0)
        KEPT.append(Event())

    async def clean():
        await asyncio.sleep(0)

    with pytest.raises(LeakDetected, match="LEAKING"):
        asyncio.run(assert_no_leak_async(leaky, seconds=SECONDS))
    assert asyncio.run(assert_no_leak_async(clean, seconds=SECONDS)).verdict is not Verdict.LEAKING
    with pytest.raises(UsageError, match="assert_no_leak_async"):
        assert_no_leak(clean)


def test_tasks_left_running_are_a_leak():
    async def main():
        forever = asyncio.Event()
        tasks = []

        async def leaky():
            tasks.append(asyncio.create_task(forever.wait()))

        try:
            await assert_no_leak_async(leaky, seconds=SECONDS)
        finally:
            forever.set()
            await asyncio.gather(*tasks)

    with pytest.raises(LeakDetected):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("function", "seconds", "match"),
    [
        (5, 1.0, "function=5"),
        (len, 0, "seconds=0"),
        (len, float("nan"), "seconds=nan"),
        (len, float("inf"), "seconds=inf"),
        (len, True, "seconds=True"),
        (len, "1", "seconds='1'"),
    ],
)
def test_bad_arguments_are_refused(function, seconds, match):
    with pytest.raises(UsageError, match=match):
        assert_no_leak(function, seconds=seconds)


def test_the_error_of_the_function_comes_through():
    with pytest.raises(ZeroDivisionError):
        assert_no_leak(lambda: 1 / 0)


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        passes(lambda: None)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_global_tracker_is_not_involved():
    passes(lambda: None)
    assert not meminstr.tracker.functions


def keeps(into):
    into.append(["kept", len(into)])  # the line


def test_the_lines_that_kept_memory_are_told():
    into = []
    with pytest.raises(LeakDetected) as caught:
        assert_no_leak(keeps, into, seconds=0.3)
    sites = caught.value.finding.extra["allocation_sites"]
    line = keeps.__code__.co_firstlineno + 1
    assert (sites[0]["file"], sites[0]["line"]) == (__file__, line)
    assert sites[0]["count"] >= 10
    assert f":{line} (" in str(caught.value)
    assert not tracemalloc.is_tracing()


def test_a_tracer_that_runs_already_goes_on_running():
    tracemalloc.start(2)
    try:
        with pytest.raises(LeakDetected) as caught:
            assert_no_leak(keeps, [], seconds=0.3)
        assert tracemalloc.is_tracing()
        assert any(s["file"] == __file__ for s in caught.value.finding.extra["allocation_sites"])
    finally:
        tracemalloc.stop()


def test_no_lines_are_told_when_they_are_not_wanted():
    with pytest.raises(LeakDetected) as caught:
        assert_no_leak(keeps, [], seconds=0.3, allocations=False)
    assert "allocation_sites" not in caught.value.finding.extra


def test_the_lines_of_a_coroutine_function_are_told():
    into = []

    async def handler():
        keeps(into)

    with pytest.raises(LeakDetected) as caught:
        asyncio.run(assert_no_leak_async(handler, seconds=0.3))
    assert any(s["file"] == __file__ for s in caught.value.finding.extra["allocation_sites"])


@pytest.fixture
def thawed():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_was_there_is_left_out_of_the_collections_and_taken_back(thawed, monkeypatch):
    frozen = [False]  # gc.get_freeze_count goes through all that is frozen, too slow for a function under test
    freeze, unfreeze = gc.freeze, gc.unfreeze

    def freezes():
        freeze()
        frozen[0] = True

    def thaws():
        unfreeze()
        frozen[0] = False

    monkeypatch.setattr(gc, "freeze", freezes)
    monkeypatch.setattr(gc, "unfreeze", thaws)
    seen = set()
    passes(lambda: seen.add(frozen[0]))
    assert True in seen  # while readings are taken; the warm-up before is without
    assert not program_froze()

    def fails():
        if frozen[0]:
            raise KeyError("amid the readings")

    with pytest.raises(KeyError, match="amid"):
        assert_no_leak(fails, seconds=SECONDS)
    assert not program_froze()

    async def asynchronous():
        fails()

    with pytest.raises(KeyError, match="amid"):
        asyncio.run(assert_no_leak_async(asynchronous, seconds=SECONDS))
    assert not program_froze()


def test_what_the_program_froze_stays_frozen(thawed):
    gc.freeze()
    frozen = gc.get_freeze_count()
    passes(lambda: None)
    assert gc.get_freeze_count() == pytest.approx(frozen, rel=0.01)  # of the frozen some may have died


def test_garbage_that_hangs_on_what_was_there_before_is_no_leak(thawed):
    old = Event()
    old.me = old
    holder = [old]

    def step():
        one = Event()
        one.before, one.me = holder[0], one
        holder[0] = None
        holder[0] = one
        one.before = None

    passes(step)
