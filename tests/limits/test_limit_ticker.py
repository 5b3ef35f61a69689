"""The main thread's own look: its timer, when it is set, what it waits for; and a watcher that never gets a turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace

import pytest

from meminstr.errors import MemoryLimitExceeded
from meminstr.faults import faults
from meminstr.limits import interrupt, ticker
from meminstr.limits.interrupt import MainThread
from meminstr.limits.ticker import LONGEST_SECONDS, SHORTEST_SECONDS, KernelTimer, Ticker, may_tick, tick_interval

MB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux" or sys.maxsize < 1 << 32, reason="needs timer_create")


class Scene:
    """A ticker with a scripted memory, one call, and what it asked for."""

    def __init__(self) -> None:
        self.resident = 100 * MB
        self.armed: list[float] = []
        self.waited: list[float] = []
        self.call = SimpleNamespace(
            armed=True, signalled=True, breach=None, headroom=lambda resident: 200 * MB - resident,
            entry=SimpleNamespace(resident_bytes=100 * MB),
        )  # fmt: skip
        self.calls = [self.call]
        self.ticker = Ticker(lambda: self.resident, lambda: self.calls, self.armed.append, self.waited.append)

    def tick(self, mb: float, stoppable: bool = True) -> None:
        self.resident = int(mb * MB)
        self.ticker.tick(None, lambda frame, call: stoppable)


def test_the_interval_follows_the_room_that_is_left():
    assert tick_interval(1 << 40) == LONGEST_SECONDS
    assert tick_interval(-5) == tick_interval(0) == SHORTEST_SECONDS
    assert SHORTEST_SECONDS < tick_interval(10 * MB) < tick_interval(50 * MB) < LONGEST_SECONDS


def test_a_call_with_little_room_gets_its_first_tick_and_one_with_much_does_not():
    scene = Scene()
    scene.ticker.begin(scene.call)
    assert scene.armed == [tick_interval(100 * MB)]
    scene.call.headroom = lambda resident: 1 << 40
    scene.ticker.begin(scene.call)
    assert len(scene.armed) == 1


def test_ticks_go_on_while_memory_grows_and_stop_when_it_is_level():
    scene = Scene()
    scene.ticker.begin(scene.call)
    scene.armed.clear()
    scene.tick(150)
    assert scene.armed == [tick_interval(50 * MB)]
    scene.tick(150)
    assert len(scene.armed) == 1
    scene.ticker.looked(150 * MB)  # the watcher's first look
    scene.ticker.looked(150 * MB)
    assert len(scene.armed) == 2
    scene.ticker.looked(190 * MB)
    assert scene.armed[2:] == [tick_interval(10 * MB)]


def test_above_its_limit_the_main_thread_waits_for_the_watcher():
    scene = Scene()
    scene.tick(199)
    assert scene.waited == []
    scene.tick(201)
    assert scene.waited == [ticker.WAIT_SECONDS]
    scene.call.breach = {}  # it has been seen
    scene.tick(250)
    assert len(scene.waited) == 1


@pytest.mark.parametrize("change", [{"armed": False}, {"signalled": False}])
def test_calls_that_are_not_to_be_stopped_are_passed_over(change):
    scene = Scene()
    vars(scene.call).update(change)
    scene.tick(300)
    scene.ticker.looked(300 * MB)
    assert (scene.waited, scene.armed) == ([], [])


def test_in_our_own_bookkeeping_nobody_waits():
    scene = Scene()
    scene.tick(300, stoppable=False)
    assert scene.waited == []
    assert scene.armed == [SHORTEST_SECONDS]


def test_a_fault_in_a_tick_is_ours():
    scene = Scene()
    scene.ticker.tick(None, None)  # type: ignore[arg-type]
    scene.resident = None  # type: ignore[assignment]
    scene.ticker.tick(None, None)  # type: ignore[arg-type]
    assert any(row["where"] == "looking at a limit from the main thread" for row in faults())


def test_only_a_signal_that_is_ignored_by_default_may_tick():
    assert may_tick(int(signal.SIGURG))
    assert not may_tick(int(signal.SIGRTMAX) - 3)
    assert not may_tick(None)


# ------------------------------------------------------------------ the kernel's timer


def timers() -> int | None:
    try:
        with open("/proc/self/timers") as file:
            return file.read().count("notify:")
    except OSError:
        return None


@linux
def test_the_timer_rings_in_the_main_thread_and_leaves_nothing():
    before = timers()
    main = MainThread(lambda: ())
    ticks = []
    main.tick = lambda frame, stoppable: ticks.append(threading.current_thread())
    assert not main.arm(0.001)  # nobody has taken the signal
    assert main.acquire()
    try:
        thread = threading.Thread(target=lambda: ticks.append(main.arm(0.001)))
        thread.start()
        thread.join()
        assert ticks.pop(0) is True
        gone = threading.Event()
        while not ticks:
            gone.wait(0.001)
        assert main.arm(3600)
    finally:
        main.release()
    assert ticks == [threading.main_thread()]
    assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
    assert timers() == before
    assert not main.arm(0.001)


@linux
def test_no_timer_where_the_signal_is_another_or_the_program_took_it(monkeypatch):
    main = MainThread(lambda: ())
    assert main.acquire()
    try:
        before = signal.signal(signal.SIGURG, signal.SIG_IGN)
        assert not main.arm(0.001)
        signal.signal(signal.SIGURG, before)
    finally:
        main.release()
    monkeypatch.setattr(interrupt, "candidates", lambda: [int(signal.SIGRTMAX) - 5])
    main = MainThread(lambda: ())
    assert main.acquire()
    try:
        assert not main.arm(0.001)
    finally:
        main.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@linux
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_no_timer_of_its_parents():
    timer = KernelTimer()
    before = signal.signal(signal.SIGURG, signal.SIG_IGN)
    try:
        assert timer.set(3600, int(signal.SIGURG))
        child = os.fork()
        if child == 0:
            timer.forget()
            os._exit(7 if timer.set(3600, int(signal.SIGURG)) and timers() in (1, None) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    finally:
        timer.delete()
        timer.delete()
        signal.signal(signal.SIGURG, before)


def test_a_system_without_such_timers_has_the_watcher_alone(monkeypatch):
    monkeypatch.setattr(ticker.sys, "platform", "darwin")
    assert not KernelTimer().set(1, int(signal.SIGURG))
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert not KernelTimer().set(1, int(signal.SIGURG))
    refused = KernelTimer()
    refused._looked_up, refused._library = True, SimpleNamespace(timer_create=lambda *_: -1)
    monkeypatch.undo()
    assert not refused.set(1, int(signal.SIGURG))


# ------------------------------------------------------------------ the two together


def test_waiting_for_a_look_ends_with_it(world):
    watcher = world.watcher
    watcher.have_looked(3600)  # no thread: nobody to wait for
    del watcher._start

    @world.limited(tracker=world)
    def call():
        watcher.have_looked(3600)
        world.resident = 300 * MB
        watcher.have_looked(3600)

    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert caught.value.breach["mechanism"] == "watcher"


@linux
def test_a_watcher_that_never_wakes_by_itself_stops_a_growing_call_nevertheless():
    # its own looks are an hour apart: every look that it takes was asked for by the main thread
    code = textwrap.dedent(
        """
        import json, os, signal, sys
        from meminstr.decorators.limiting import memory_limited
        from meminstr.errors import MemoryLimitExceeded
        from meminstr.limits import watcher
        watcher.interval_for = lambda headroom: 3600.0
        watcher.LONGEST_SECONDS = watcher.RESEND_SECONDS = 3600.0
        caught = []
        @memory_limited(mb=100, of="call")
        def loop():
            keep = []
            while len(keep) < 3000:
                try:
                    keep.append(bytearray(1 << 20))
                except BaseException as error:
                    caught.append(type(error).__name__)
                    raise
        try:
            loop()
            out = {"returned": True}
        except MemoryLimitExceeded as error:
            out = error.breach
        from meminstr.limits.services import process_services
        process_services().watcher.settle()
        out["caught"] = caught
        out["given_back"] = signal.getsignal(signal.SIGURG) == signal.SIG_DFL
        print(json.dumps(out))
        """
    )
    for _ in range(3):  # a busy machine may keep a thread waiting for as long as the loop takes
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        out = json.loads(done.stdout)
        if out.get("mechanism") == "watcher":
            break
    assert out["mechanism"] == "watcher", out
    assert out["caught"][0] == "CallStopped"
    assert out["given_back"]
