"""`assert_no_leak`: in a second, what leaks is found and named, and what does not is not accused."""

import asyncio
import ctypes
import functools
import gc
import mmap
import os
import threading
import tracemalloc
import unittest

import pytest

import meminstr
from meminstr import LeakDetected, UsageError, Verdict, assert_no_leak, assert_no_leak_async
from meminstr.evidence.census import Census
from meminstr.sampling import program_froze
from meminstr.test_mode.readings import FIRST, Readings, is_flat
from meminstr.test_mode.trial import Trial

KEPT = []
SECONDS = 0.2


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


def test_descriptors_are_found_before_they_run_out():
    opened = []
    try:
        finding, text = leaks(lambda: opened.append(os.open(os.devnull, os.O_RDONLY)))
    finally:
        for fd in opened:
            os.close(fd)
    assert finding.memory_kind == "descriptors"
    assert "1 descriptor a call" in text


def test_threads_are_found_before_there_are_many():
    stop, made = threading.Event(), []

    def step():
        thread = threading.Thread(target=stop.wait, daemon=True)
        thread.start()
        made.append(thread)

    try:
        finding, _ = leaks(step)
    finally:
        stop.set()
        for thread in made:
            thread.join()
    assert finding.memory_kind == "threads"
    assert len(made) < 300


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.usefixtures("uncollected")
def test_mappings_outside_of_the_allocators_are_found():
    kept = []
    readings = Readings()
    before = readings.column("mapped", 0)
    readings.read(FIRST)
    kept.append(mmap.mmap(-1, 1 << 20))
    readings.read(FIRST + 1)
    assert not len(before)
    assert readings.gained("mapped", 0) == pytest.approx(1 << 20, abs=256 * 1024)
    kept.pop().close()
    finding = mapped_only(8 * 4096)
    assert finding.memory_kind == "mapping"
    assert finding.bytes_per_call.value == pytest.approx(8 * 4096, rel=0.01)


@pytest.fixture
def uncollected(monkeypatch):
    """Scripted counters need no collections, and no objects are counted."""
    from meminstr.test_mode import trial

    monkeypatch.setattr(trial.census, "take", lambda *_: Census({}, complete=False))
    monkeypatch.setattr(trial.caches, "bounded_containers", lambda **_: [])
    gc.disable()
    yield
    gc.enable()


def mapped_only(each):
    """A trial on scripted readings: everything flat but what is mapped."""
    calls = [0]
    flat = dict.fromkeys(("blocks", "heap", "descriptors", "threads"), lambda: 1000)
    readings = Readings({**flat, "mapped": lambda: calls[0] * each}, lambda: float(calls[0]))
    return driven(Trial("scripted", 1.0, False, iter_clock(), readings), calls)


def iter_clock():
    ticks = iter(range(10**9))
    return lambda: next(ticks) * 1e-6


def driven(trial, calls):
    try:
        for number in trial.steps():
            calls[0] += number
    except LeakDetected as error:
        return error.finding
    return trial.finding


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
        assert_no_leak(keeps, into, seconds=SECONDS)
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
            assert_no_leak(keeps, [], seconds=SECONDS)
        assert tracemalloc.is_tracing()
        assert any(s["file"] == __file__ for s in caught.value.finding.extra["allocation_sites"])
    finally:
        tracemalloc.stop()


def test_no_lines_are_told_when_they_are_not_wanted():
    with pytest.raises(LeakDetected) as caught:
        assert_no_leak(keeps, [], seconds=SECONDS, allocations=False)
    assert "allocation_sites" not in caught.value.finding.extra


def test_the_lines_of_a_coroutine_function_are_told():
    into = []

    async def handler():
        keeps(into)

    with pytest.raises(LeakDetected) as caught:
        asyncio.run(assert_no_leak_async(handler, seconds=SECONDS))
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


# ------------------------------------------------------------ how many calls


def counted(function, *arguments):
    """What became of the assertion, and after how many calls."""
    made = [0]

    def step():
        made[0] += 1
        function(*arguments)

    try:
        return assert_no_leak(step, seconds=2.0), made[0]
    except LeakDetected as error:
        return error.finding, made[0]


def test_few_calls_are_needed():
    # so much time that a busy machine does not make for fewer
    finding, made = counted(lambda: [Event() for _ in range(3)])
    assert finding.verdict is Verdict.CLEAN
    assert made < 1500
    finding, made = counted(lambda: KEPT.append(Event()))
    assert finding.verdict is Verdict.LEAKING
    assert made < 8000


def scripted(blocks, heap=lambda calls: 0):
    """A trial on scripted counters of a function that takes no time."""
    calls = [0]
    readers = {"blocks": lambda: 10_000 + blocks(calls[0]), "heap": lambda: 10**6 + heap(calls[0])}
    trial = Trial("scripted", 1.0, False, iter_clock(), Readings(readers, iter_clock()))
    return driven(trial, calls), calls[0]


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("blocks", "leaking"),
    [
        (lambda n: 0, False),
        (lambda n: n, True),
        (lambda n: n // 10, True),
        (lambda n: n // 100, True),
        (lambda n: min(n, 300), False),
        (lambda n: min(n, 2000), False),
        (lambda n: min(n, 4500), False),
        (lambda n: n % 700, False),
        (lambda n: n % 3000, False),
        (lambda n: 20_000 if n > 500 else 0, False),
        (lambda n: (20_000 if n > 500 else 0) + n // 4, True),
        (lambda n: n % 500 + n // 4, True),
        (lambda n: 900 * n // (n + 900), False),
    ],
)
def test_verdicts_on_scripted_counters(blocks, leaking):
    finding, calls = scripted(blocks)
    assert (finding.verdict in (Verdict.LEAKING, Verdict.GROWING)) is leaking, finding.reason
    assert calls < 17_500


@pytest.mark.usefixtures("uncollected")
def test_readings_are_spliced_and_counted_in_their_own_terms():
    now = [0]
    readings = Readings({"blocks": lambda: now[0]}, iter_clock())
    readings.read(FIRST)
    now[0] = 5
    readings.read(FIRST + 10)
    now[0] = 500  # between rounds: the look at objects, not the function
    readings.resume(FIRST + 10)
    now[0] = 507
    readings.read(FIRST + 20)
    assert list(readings.column("blocks", 0)) == [0, 5, 12]
    assert list(readings.calls(0)) == [0, 10, 20]
    assert readings.gained("blocks", 0) == 12
    assert readings.gained("heap", 0) == 0.0


@pytest.mark.usefixtures("uncollected")
def test_flat_is_flat_to_the_block():
    for last, flat in ((0, True), (1, False)):
        values = iter([0] * 2 + [0] * 20 + [last] * 3)
        readings = Readings({"blocks": lambda: next(values)}, iter_clock())
        for n in range(23):
            readings.read(FIRST + n)
        assert is_flat(readings) is flat


@pytest.mark.usefixtures("uncollected")
def test_a_reader_that_fails_keeps_its_last_value():
    values = iter([7, 7, 7, None, 9])

    def read():
        value = next(values)
        if value is None:
            raise OSError("no descriptor left")
        return value

    readings = Readings({"blocks": read}, iter_clock())
    for n in range(3):
        readings.read(FIRST + n)
    assert list(readings.column("blocks", 0)) == [7, 7, 9]


@pytest.mark.usefixtures("uncollected")
def test_memory_that_runs_out_ends_the_trial_early():
    calls = [0]
    readers = {"blocks": lambda: 5, "heap": lambda: calls[0] * (600 << 20)}
    finding = driven(Trial("hungry", 1.0, False, iter_clock(), Readings(readers, iter_clock())), calls)
    assert finding.verdict is Verdict.LEAKING
    assert finding.memory_kind == "native_heap"
    assert calls[0] < 20


# ------------------------------------------------------------ what cannot be checked, and odd functions


def a_generator():
    yield 1


async def an_async_generator():
    yield 1


async def a_coroutine():
    pass


class AsyncCallable:
    async def __call__(self):
        pass


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (a_generator, "is a generator function: calling it runs nothing"),
        (functools.partial(a_generator), r"lambda: list\(a_generator\(\)\)"),
        (an_async_generator, "is an async generator function"),
        (AsyncCallable(), "is a coroutine function: await assert_no_leak_async"),
        (lambda: a_coroutine(), "returned a coroutine: await assert_no_leak_async"),
    ],
)
def test_what_would_run_nothing_is_refused(function, match):
    with pytest.raises(UsageError, match=match):
        assert_no_leak(function)


@pytest.mark.parametrize("function", [lambda: None, an_async_generator, a_generator])
def test_the_twin_refuses_what_cannot_be_awaited(function):
    with pytest.raises(UsageError, match="cannot be awaited"):
        asyncio.run(assert_no_leak_async(function))


def test_an_error_says_in_which_call_and_leaves_nothing_frozen():
    calls = iter(range(1, 10**9))

    def fails():
        if next(calls) == 101:
            raise ValueError("the hundred and first")

    for check in (lambda: assert_no_leak(fails), lambda: asyncio.run(assert_no_leak_async(fails_async))):
        calls = iter(range(1, 10**9))

        async def fails_async():
            fails()

        with pytest.raises(ValueError, match="hundred and first") as caught:
            check()
        assert caught.value.__notes__ == [
            f"in call 101 of {'fails' if check.__code__.co_names[0] == 'assert_no_leak' else 'fails_async'} "
            "by assert_no_leak; it must be repeatable"
        ]
        assert not program_froze()


def test_a_stop_iteration_of_the_function_is_its_own():
    def ends():
        raise StopIteration("mine")

    with pytest.raises(StopIteration, match="mine"):
        assert_no_leak(ends)


def test_nested_use():
    inner = []

    def outer():
        if not inner:
            inner.append(assert_no_leak(lambda: None, seconds=0.05).verdict)

    passes(outer)
    assert inner == [Verdict.CLEAN]
    assert not program_froze()


def test_threads_that_end_are_no_leak():
    def step():
        thread = threading.Thread(target=len, args=("",))
        thread.start()
        thread.join()

    passes(step)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_function_that_forks_and_waits_passes():
    def step():
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    finding = assert_no_leak(step, seconds=0.05)
    assert finding.verdict not in (Verdict.LEAKING, Verdict.GROWING)


@pytest.mark.usefixtures("uncollected")
def test_a_child_that_comes_back_is_told(monkeypatch):
    pids = iter([1, 1, 1, 2])
    trial = Trial("forks", 1.0, False, iter_clock(), Readings({"blocks": lambda: 1}, iter_clock()), pid=1)
    monkeypatch.setattr(os, "getpid", lambda: next(pids, 2))
    with pytest.raises(UsageError, match="forks returned in a process forked by it"):
        for _ in trial.steps():
            pass


def test_isolated_test_cases_from_outside_and_inside():
    class Leaky(unittest.IsolatedAsyncioTestCase):
        async def test_it(self):
            KEPT.extend(Event() for _ in range(50))

        async def test_inside(self):
            await assert_no_leak_async(self.keeps, seconds=SECONDS, allocations=False)

        async def keeps(self):
            KEPT.append(Event())

    def repeat():
        Leaky("test_it").run(unittest.TestResult())

    with pytest.raises(LeakDetected) as caught:
        assert_no_leak(repeat, seconds=0.1, allocations=False)
    assert caught.value.finding.culprit_type.endswith("Event")
    outcome = unittest.TestResult()
    Leaky("test_inside").run(outcome)
    assert len(outcome.failures) == 1
    assert "LEAKING" in outcome.failures[0][1]


@pytest.mark.usefixtures("uncollected")
def test_a_step_amid_few_calls_hides_no_leak():
    # as a log record kept by whoever captures logs, which cost the verdict on a slow function
    calls = [0]
    readers = {"blocks": lambda: 1000 + 85 * calls[0] + (20_000 if calls[0] > 30 else 0)}
    ticks = [0.0]
    trial = Trial("slow", 0.2, False, lambda: ticks[0], Readings(readers, lambda: ticks[0]))
    finding = None
    try:
        for number in trial.steps():
            calls[0] += number
            ticks[0] += 0.01 * number
    except LeakDetected as error:
        finding = error.finding
    assert finding is not None, trial.finding.reason


def test_a_large_tracer_of_the_user_is_not_read_twice(monkeypatch):
    from meminstr.test_mode import kept_lines

    monkeypatch.setattr(kept_lines, "_FEW_TRACES_BYTES", 0)
    monkeypatch.setattr(tracemalloc, "take_snapshot", None)
    tracemalloc.start(1)
    try:
        into = []
        with pytest.raises(LeakDetected) as caught:
            assert_no_leak(keeps, into, seconds=SECONDS)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    sites = caught.value.finding.extra["allocation_sites"]
    assert (sites[0]["file"], sites[0]["line"]) == (__file__, keeps.__code__.co_firstlineno + 1)


def test_bytes_per_call_come_from_the_blocks_that_were_traced():
    finding, _ = leaks(lambda: KEPT.append([None]))
    # a list with room for one: 56 bytes, its header included, and 8 that are rounded to 16; 8 more in KEPT
    assert finding.bytes_per_call.low <= 88 <= finding.bytes_per_call.high
    assert finding.bytes_per_call.high < 2 * finding.bytes_per_call.low
