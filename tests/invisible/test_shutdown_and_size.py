"""The interpreter's end with guarded things still in use, and ten thousand subjects in bounded memory."""

import gc
import os
import subprocess
import sys
import textwrap
import tracemalloc

import pytest

from meminstr import ControllerMemoryTracker, leak_guard, track_instantiations

FUNCTION_BYTES, CLASS_BYTES = 32 * 1024, 48 * 1024

# a tracer in every thread is no part of what these programs show
UNTRACED = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}


def run_script(script, **more):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=100, check=False, env={**UNTRACED, **more},
    )  # fmt: skip


SHUTDOWN = """
    import atexit, asyncio, sys, threading

    def early():
        print("early", step(3), Thing(4).close())

    atexit.register(early)  # before meminstr's own: runs after them
    import meminstr

    @meminstr.leak_guard(every=1)
    def step(x):
        return x

    @meminstr.track_instantiations
    class Thing:
        def __init__(self, x):
            self.x = x

        def close(self):
            return self.x

    @meminstr.leak_guard(every=1)
    def numbers():
        try:
            yield 1
            yield 2
        finally:
            sys.stdout.write("generator closed\\n")

    @meminstr.leak_guard(every=1)
    async def waits():
        await asyncio.sleep(0)

    class Last:
        def __init__(self, step=step, thing=Thing, write=sys.stdout.write):
            self.tools = step, thing, write

        def __del__(self):
            step, thing, write = self.tools
            write(f"del {step(5)} {thing(6).close()}\\n")

    @atexit.register
    def late():
        print("late", step(1), Thing(2).close())

    suspended = numbers()
    next(suspended)
    sys.modules["held to the very end"] = Last()
    cyclic = Last()
    cyclic.me = cyclic
    asyncio.run(waits())
    stop = threading.Event()
    def busy():
        while not stop.is_set():
            step(0)
            Thing(0)
    threading.Thread(target=busy, daemon=True).start()
    print("main", step(7))
"""


def test_guarded_things_work_until_the_interpreter_is_gone_as_they_do_without_us():
    bare = run_script(SHUTDOWN, MEMINSTR_DISABLED="1")
    assert bare.stdout.startswith("main 7\nlate 1 2\nearly 3 4\ndel 5 6\n")
    done = run_script(SHUTDOWN)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == bare.stdout


REPORT_AT_THE_END = """
    import meminstr, sys

    @meminstr.leak_guard(every=1)
    def step(x):
        return x

    meminstr.report_at_exit(sys.stderr)
    for i in range(1000):
        step(i)
    raise SystemExit(3)
"""


def test_a_report_at_exit_leaves_the_exit_code_alone():
    done = run_script(REPORT_AT_THE_END)
    assert done.returncode == 3
    assert "step" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def traced():
    gc.collect()
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


def make_function(number):
    def function(a):
        return a

    function.__qualname__ = f"function_{number}"
    return function


@pytest.mark.skipif("MEMINSTR_PLAIN_FRAMES" in os.environ, reason="what coverage notes of each function counts too")
def test_a_guarded_function_takes_bounded_memory(traced):
    tracker = ControllerMemoryTracker(max_subjects=20_000)
    functions = [make_function(i) for i in range(400)]
    leak_guard(tracker=tracker)(make_function(-1))
    before = traced()
    kept = [leak_guard(tracker=tracker)(function) for function in functions]
    assert len(tracker.functions) == 401
    each = (traced() - before) / len(kept)
    assert each <= FUNCTION_BYTES
    assert tracker.size_bytes() / 401 == pytest.approx(each, rel=0.5)
    tracker.uninstall()


def test_a_followed_class_takes_bounded_memory_and_gives_it_back(traced):
    tracker = ControllerMemoryTracker(max_subjects=20_000)
    classes = [type(f"C{i}", (), {"__init__": make_function(i), "close": make_function(i)}) for i in range(200)]
    track_instantiations(tracker=tracker)(type("First", (), {}))
    before = traced()
    for cls in classes:
        track_instantiations(tracker=tracker)(cls)
    each = (traced() - before) / len(classes)
    assert each <= CLASS_BYTES
    tracker.uninstall()
    gc.collect()
    assert (traced() - before) / len(classes) < each / 4


def test_ten_thousand_functions_and_a_refusal_beyond_the_cap():
    tracker = ControllerMemoryTracker(max_subjects=10_000)
    wrappers = [leak_guard(tracker=tracker)(make_function(i)) for i in range(10_010)]
    assert (len(tracker.functions), tracker.dropped) == (10_000, 10)
    assert [wrapper(5) for wrapper in wrappers[::1000]] == [5] * 11
    tracker.uninstall()


def test_following_a_class_asks_nothing_of_the_others(monkeypatch):
    """Ten thousand classes in linear time: none of those there is looked at for a new one."""
    tracker = ControllerMemoryTracker(max_subjects=20_000)
    for i in range(20):
        track_instantiations(tracker=tracker)(type(f"C{i}", (), {}))

    class Counted(dict):
        walks = 0

        def values(self):
            Counted.walks += 1
            return super().values()

    tracker.classes = Counted(tracker.classes)
    track_instantiations(tracker=tracker)(type("Another", (), {}))
    assert Counted.walks == 0
    tracker.uninstall()
