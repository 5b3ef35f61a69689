"""Not one event is lost: threads, forks under load, and removal while others are at work."""

import os
import subprocess
import sys
import textwrap
import threading

import pytest

import meminstr
from meminstr import ControllerMemoryTracker, leak_guard, track_instantiations

THREADS, EVENTS = 16, 100_000


@pytest.fixture
def tracker():
    made = ControllerMemoryTracker()
    yield made
    made.uninstall()


@pytest.fixture
def hasty():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def in_threads(work, count=THREADS):
    errors = []

    def guarded_work():
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded_work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_calls_of_sixteen_threads(tracker, hasty):
    @leak_guard(every=1000, tracker=tracker)
    def step(x):
        return x

    def work():
        for i in range(EVENTS):
            step(i)

    in_threads(work)
    (subject,) = tracker.functions.values()
    assert subject.calls() == THREADS * EVENTS
    assert subject.failures == 0


def test_constructions_cleanups_and_deaths_of_sixteen_threads(tracker, hasty):
    @track_instantiations("Thing", tracker=tracker)
    class Thing:
        def __init__(self, x):
            self.x = x

        def close(self):
            self.x = None

    def work():
        for i in range(EVENTS):
            thing = Thing(i)
            if not i % 4:
                thing.close()

    in_threads(work)
    counts = tracker.classes["Thing"].follower.counts()
    assert (counts.constructed, counts.died, counts.alive) == (THREADS * EVENTS, THREADS * EVENTS, 0)
    assert counts.cleaned == THREADS * EVENTS // 4


def test_failed_constructions_are_told_from_others_under_threads(tracker, hasty):
    @track_instantiations("Picky", tracker=tracker)
    class Picky:
        def __init__(self, x):
            if x % 2:
                raise ValueError(x)

    def work():
        for i in range(2_000):
            try:
                Picky(i)
            except ValueError:
                pass

    in_threads(work)
    counts = tracker.classes["Picky"].follower.counts()
    assert (counts.constructed, counts.failed) == (THREADS * 1_000, THREADS * 1_000)


def test_uninstall_while_threads_call_and_construct(hasty):
    tracker = ControllerMemoryTracker()

    class Thing:
        def __init__(self, x):
            self.x = x

        def close(self):
            return self.x

    before = dict(vars(Thing))
    track_instantiations("Thing", tracker=tracker)(Thing)
    step = leak_guard(every=3, tracker=tracker)(lambda x: Thing(x).close())
    begun, removed = threading.Barrier(9), threading.Event()

    def work():
        begun.wait()
        i = 0
        while not removed.is_set() or i % 1000:
            assert step(i) == i
            i += 1

    def remove():
        begun.wait()
        while tracker.functions[next(iter(tracker.functions))].calls() < 20_000:
            pass
        tracker.uninstall()
        removed.set()

    threads = [threading.Thread(target=remove)]
    threads[0].start()
    in_threads(work, 8)
    threads[0].join()
    assert {name: value for name, value in vars(Thing).items() if name != "__weakref__"} == {
        name: value for name, value in before.items() if name != "__weakref__"
    }
    assert step(7) == 7
    assert meminstr.tracker.functions == {}


FORKS = """
    import os, signal, sys, threading, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    import meminstr

    @meminstr.leak_guard(every=2)
    def step(x):
        return x

    @meminstr.track_instantiations("Thing")
    class Thing:
        def __init__(self, x):
            self.x = x
        def close(self):
            self.x = None

    tracker = meminstr.tracker
    sys.setswitchinterval(1e-5)
    stop = threading.Event()

    def load():
        i = 0
        while not stop.is_set():
            step(i)
            Thing(i).close()
            meminstr.faults.note_fault("load", ValueError("on purpose"))
            i += 1

    threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    def child():
        signal.alarm(15)
        subject, follower = tracker.functions["step"], tracker.classes["Thing"].follower
        before = follower.counts()
        for i in range(50):
            step(i)
        kept = [Thing(i) for i in range(7)]
        counts = follower.counts()
        seen = (subject.calls() - subject.calls_before, before.constructed, before.alive, counts.constructed,
                counts.alive, meminstr.faults.faults())
        tracker.read_now()
        return 0 if seen == (50, 0, 0, 7, 7, []) else 1

    bad = []
    for number in range(80):
        pid = os.fork()
        if not pid:
            code = 2
            try:
                code = child()
            finally:
                os._exit(code)
        status = os.waitpid(pid, 0)[1]
        if status:
            bad.append((number, status))
    stop.set()
    for thread in threads:
        thread.join()
    print(bad)
"""


def without_coverage():
    # a tracer in every thread and child is no part of what these programs show
    return {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}


def run_script(script, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        env={**without_coverage(), **environment},
        timeout=110,
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_eighty_forks_under_load_count_their_own_and_hang_never():
    done = run_script(FORKS)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forks_count_their_own_once_the_analysis_is_loaded():
    ready = FORKS.replace("    threads = [", "    meminstr.report()\n    threads = [", 1).replace(
        "range(80)", "range(40)"
    )
    assert ready != FORKS
    done = run_script(ready)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")
