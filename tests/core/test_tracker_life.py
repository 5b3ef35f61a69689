"""The tracker as a whole: switches, watch lists, probes, threads, forks, its own size; and what happens on faults."""

import asyncio
import gc
import logging
import os
import subprocess
import sys
import textwrap
import threading

import pytest

import meminstr
from meminstr import ControllerMemoryTracker, UsageError, Verdict, leak_guard, report, settings, track_instantiations
from meminstr.faults import faults, note_fault
from meminstr.probes.budget import TimedProbe


def python(code, measured=True, **environment):
    """Run a program of its own; its output.  Not ``measured``: without the tracer of a measurement of coverage."""
    inherited = {k: v for k, v in os.environ.items() if measured or not k.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**inherited, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def tracker():
    one = ControllerMemoryTracker()
    yield one
    one.uninstall()


@pytest.fixture
def fresh_settings(monkeypatch):
    monkeypatch.setattr(settings, "_current", None)


class Session:
    pass


# ------------------------------------------------------------ the public switches, on the global tracker


def test_watch_reports_what_should_be_dead_with_its_holder():
    kept = [Session(), Session()]
    for one in kept:
        meminstr.watch(one, "session closed")
    meminstr.watch(Session(), "gone at once")
    try:
        result = report()
        (finding,) = [f for f in result.findings if f.subject_kind == "type"]
        assert finding.verdict is Verdict.LEAKING
        assert finding.reason.startswith("2 objects that were expected dead (session closed) live still")
        assert finding.culprit_type.endswith("Session")
        assert finding.counts.retained == 2
        assert "gone at once" not in str(result)
    finally:
        meminstr.tracker.watchlist.__init__()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((Session(), ""), "reason=''"),
        ((Session(), 5), "reason=5"),
        ((Session(), "closed", -1), "grace=-1"),
        ((Session(), "closed", float("nan")), "grace=nan"),
        ((Session(), "closed", True), "grace=True"),
        ((7, "closed"), "weak reference"),
    ],
)
def test_watch_refuses_what_it_cannot_watch(arguments, match):
    with pytest.raises(UsageError, match=match):
        meminstr.watch(*arguments)


def test_bounded_returns_its_container_or_refuses():
    class Cache(dict):
        pass

    cache = Cache()
    assert meminstr.bounded(cache, 100) is cache
    with pytest.raises(UsageError):
        meminstr.bounded(cache, 0)
    with pytest.raises(UsageError):
        meminstr.bounded(5, 100)


def test_headroom_is_what_is_left_to_the_limit():
    left = meminstr.headroom()
    assert left is None or 0 <= left.bytes <= left.limit_bytes


def test_switches_of_the_global_tracker():
    @leak_guard(every=1)
    def step():
        return 1

    subject = next(iter(meminstr.tracker.functions.values()))
    try:
        step()
        taken = subject.samples
        meminstr.disable()
        step()
        assert subject.samples == taken
        meminstr.enable()
        step()
        assert subject.samples == taken + 1
        meminstr.mark_warm()
        assert subject.samples == 0
        assert subject.calls() == 3
    finally:
        meminstr.enable()
        assert meminstr.uninstall() == []
    assert step() == 1  # a wrapper that is still held goes on working
    assert subject.samples == 0


def test_register_probe_is_judged_and_its_bad_input_refused():
    readings = iter(range(10_000))
    meminstr.register_probe("queue", lambda: next(readings), unit="count", floor=5)
    try:
        result = report()
        assert any(s.startswith("queue") for s in result.process.signals)
        with pytest.raises(UsageError, match="'queue' is a probe already"):
            meminstr.register_probe("queue", lambda: 1)
        with pytest.raises(UsageError):
            meminstr.register_probe("other", lambda: 1, unit="parsecs")
        with pytest.raises(UsageError):
            meminstr.register_probe("other", 5)
    finally:
        del meminstr.tracker.sampler.probes()["queue"]


def test_a_probe_of_the_user_s_that_raises_is_a_fault_and_no_error(tracker):
    tracker.register_probe("queue", lambda: 1 / 0)
    assert tracker.read_now()["blocks"] > 0
    assert any("queue" in f["where"] for f in faults())


# ------------------------------------------------------------ the sampling thread


def test_the_sampling_thread_reads_until_it_is_stopped(tracker):
    read = threading.Event()
    keep = tracker.sampler.keep
    tracker.sampler.keep = lambda buffer: (keep(buffer), read.set())
    tracker.start_sampling(0.001)
    tracker.start_sampling(0.001)  # one is enough
    assert read.wait(30)
    (thread,) = [t for t in threading.enumerate() if t.name == "meminstr-sampler"]
    tracker.stop_sampling()
    tracker.stop_sampling()
    thread.join(30)
    assert not thread.is_alive()
    assert tracker.sampler.series["blocks"].last is not None


def test_a_fault_in_the_sampling_thread_does_not_end_it(tracker):
    twice = threading.Semaphore(0)

    def fail(buffer):
        twice.release()
        raise OSError("/proc is gone")

    tracker.sampler.keep = fail
    tracker.start_sampling(0.001)
    (thread,) = [t for t in threading.enumerate() if t.name == "meminstr-sampler"]
    assert twice.acquire(timeout=30)
    assert twice.acquire(timeout=30)
    tracker.uninstall()
    thread.join(30)
    assert any(f["where"] == "sampling thread" for f in faults())


# ------------------------------------------------------------ threads, coroutines, generators


def test_sixteen_threads_lose_no_call_and_no_construction(tracker):
    @leak_guard(every=50, tracker=tracker)
    def step():
        return 1

    @track_instantiations("one", tracker=tracker)
    class One:
        def __init__(self):
            self.x = 1

        def cleanup(self):
            pass

    start = threading.Barrier(16)
    kept = []

    def work():
        start.wait()
        for i in range(1_000):
            step()
            one = One()
            one.cleanup()
            if i % 10 == 0:
                kept.append(one)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert next(iter(tracker.functions.values())).calls() == 16_000
    counts = tracker.classes["one"].follower.counts()
    assert (counts.constructed, counts.cleaned, counts.retained, counts.died) == (16_000, 16_000, 1_600, 14_400)
    assert tracker.live_counts() == {"one": 1_600}


def test_coroutines_are_guarded_and_counted_while_they_overlap(tracker):
    @leak_guard(every=2, tracker=tracker)
    async def step(i):
        await asyncio.sleep(0)
        return i

    async def main():
        return await asyncio.gather(*(step(i) for i in range(200)))

    assert asyncio.run(main()) == list(range(200))
    (subject,) = tracker.functions.values()
    assert subject.calls() == 200
    assert subject.samples >= 50
    assert subject.overlapped()


def test_generators_are_guarded_to_their_end_or_their_close(tracker):
    @leak_guard(every=1, tracker=tracker)
    def numbers(n):
        yield from range(n)

    @leak_guard(every=1, tracker=tracker)
    async def later(n):
        for i in range(n):
            yield i

    assert [sum(numbers(5)) for _ in range(10)] == [10] * 10
    half = numbers(5)
    assert next(half) == 0
    half.close()

    async def main():
        return [i async for i in later(3)]

    assert asyncio.run(main()) == [0, 1, 2]
    by_name = {n.rpartition(".")[2]: s for n, s in tracker.functions.items()}
    assert by_name["numbers"].samples == 11
    assert by_name["numbers"].failures == 0  # a close is no failure
    assert by_name["later"].samples == 1


# ------------------------------------------------------------ forks

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

_FORK = """
    import json, os, sys, warnings
    import meminstr
    from meminstr.faults import note_fault, faults

    warnings.simplefilter("ignore")  # of forking with threads
    KEPT = []

    @meminstr.leak_guard(every=5)
    def step():
        return 1

    @meminstr.track_instantiations("one")
    class One:
        def cleanup(self):
            pass

    def work(n):
        for _ in range(n):
            step()
            KEPT.append(One())
            KEPT[-1].cleanup()

    def facts():
        result = meminstr.report(diagnose=False)
        one, process = result.finding("one"), result.process
        return {
            "calls": result.finding("step").calls,
            "constructed": one.counts.constructed, "retained": one.counts.retained,
            "pid": process.pid, "forked_from": result.extra.get("forked_from"), "faults": len(faults()),
            "notes": result.extra.get("notes", []), "breaches": len(result.breaches), "started": process.started_at,
            "seeds": meminstr.tracker.get_report()["total_instantiations"],
        }

    meminstr.tracker.start_sampling(0.01)
    meminstr.tracker.note_breach({"subject": "x"})
    meminstr.tracker.track_instantiation("announced", One())
    work(300)
    note_fault("before the fork", OSError("x"))
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        work(40)
        os.write(write, json.dumps(facts()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    child = json.loads(os.fdopen(read).read())
    work(100)
    json.dump({"child": child, "parent": facts(), "me": os.getpid(), "pid": pid}, sys.stdout)
"""


@needs_fork
def test_a_forked_child_starts_clean_and_the_parent_does_not_notice():
    import json

    got = json.loads(python(_FORK))
    child, parent = got["child"], got["parent"]
    assert (child["calls"], child["constructed"], child["retained"]) == (40, 40, 40)
    assert child["pid"] == got["pid"]
    assert child["forked_from"] == got["me"]
    assert child["notes"] == [f"forked from process {got['me']}: counts and histories begin at the fork"]
    assert child["breaches"] == 0
    assert child["faults"] == 0
    assert child["started"] >= parent["started"]
    assert child["seeds"] == 40
    assert (parent["calls"], parent["constructed"], parent["retained"]) == (400, 401, 400)
    assert parent["forked_from"] is None
    assert (parent["breaches"], parent["faults"]) == (1, 1)


def test_what_a_fork_starts_anew_is_started_anew(tracker):
    """The same in this process, line by line; the test above is the proof."""

    @leak_guard(every=1, tracker=tracker)
    def step(i):
        return i

    @track_instantiations("one", tracker=tracker)
    class One:
        pass

    kept = [One() for _ in range(50)]
    loop(step, 50)
    tracker.note_breach({})
    report(tracker=tracker, diagnose=False)
    tracker.after_fork()
    assert tracker.parent_pid == tracker.pid == os.getpid()
    counts = tracker.classes["one"].follower.counts()
    assert (counts.constructed, counts.alive) == (0, 0)
    assert tracker.breaches == []
    assert tracker.sampler.series == {}
    assert {s.samples for s in tracker.subjects()} == {0}
    assert tracker.sampler.cost_seconds() == 0.0
    loop(step, 10)
    kept.append(One())
    assert tracker.classes["one"].follower.counts().alive == 1
    assert {s.samples for s in tracker.functions.values()} == {10}


# ------------------------------------------------------------ its own size


def test_its_own_memory_is_constant_over_a_million_calls_and_constructions():
    """Measured from outside: blocks of a program that leaves nothing behind, after and before."""
    got = python(
        """
        import gc, sys, meminstr
        tracker = meminstr.tracker

        @meminstr.leak_guard(every=100)
        def step():
            pass

        @meminstr.track_instantiations("one")
        class One:
            __slots__ = ("x", "__weakref__")
            def __init__(self):
                self.x = 1

        def work(n):
            for _ in range(n):
                step()
                One()

        work(300_000)  # by then its tables of constant size are full
        meminstr.report(diagnose=False)
        gc.collect()
        blocks, size = sys.getallocatedblocks(), tracker.size_bytes()
        work(1_000_000 - 300_000)
        gc.collect()
        print(sys.getallocatedblocks() - blocks, tracker.size_bytes() - size, tracker.size_bytes())
        """,
        measured=False,
    )
    gained, reckoned, size = map(int, got.split())
    assert gained < 300
    assert abs(reckoned) < 4_096
    assert size < 80_000


# ------------------------------------------------------------ switched off from outside


def test_disabled_by_the_environment_every_decorator_returns_its_argument():
    got = python(
        """
        import meminstr
        def f(): pass
        async def g(): yield
        class C:
            def __init__(self): pass
        before = dict(vars(C))
        print(meminstr.leak_guard(f) is f, meminstr.leak_guard(every=3)(g) is g,
              meminstr.memory_limited(gb=1)(f) is f, meminstr.memory_limited(mb=5, of="call")(g) is g,
              meminstr.track_instantiations(C) is C, meminstr.track_instantiations("x")(C) is C,
              dict(vars(C)) == before, not meminstr.tracker.functions, not meminstr.tracker.classes)
        """,
        MEMINSTR_DISABLED="1",
    )
    assert set(got.split()) == {"True"}


def test_the_environment_sets_what_arguments_do_not():
    got = python(
        """
        import meminstr
        from meminstr.settings import current
        f = meminstr.leak_guard(lambda: 1)
        g = meminstr.leak_guard(every=9)(lambda: 1)
        print(*(s.every for s in meminstr.tracker.functions.values()), current().horizon,
              meminstr.tracker.sampler.budget.share, meminstr.tracker.max_subjects,
              *{p.budget_share for p in meminstr.tracker.sampler.probes().values()},
              *{p.cap_seconds for p in meminstr.tracker.sampler.probes().values()})
        """,
        MEMINSTR_EVERY="37",
        MEMINSTR_HORIZON="777",
        MEMINSTR_SAMPLE_BUDGET_SHARE="0.25",
        MEMINSTR_CAP_SECONDS="0.5",
        MEMINSTR_MAX_SUBJECTS="7",
    )
    assert got.split() == ["37", "9", "777", "0.25", "7", "0.25", "0.5"]


# ------------------------------------------------------------ faults of ours


def loop(step, n=300):
    return [step(i) for i in range(n)]


@pytest.mark.parametrize("error", [OSError("gone"), MemoryError(), ValueError("half a line")])
def test_probes_that_fail_in_mid_run_change_no_result(tracker, error):
    @leak_guard(every=1, tracker=tracker)
    def step(i):
        return i * i

    assert loop(step) == [i * i for i in range(300)]

    class Broken:
        name, unit, kind, source, floor = "blocks", "blocks", "memory", "broken", None

        def read(self):
            raise error

    probes = tracker.sampler.probes()
    for name in ("resident", "blocks", "heap"):
        if name in probes:
            probes[name] = TimedProbe(type("B", (Broken,), {"name": name})())
    tracker.sampler._fast = [b.probe.read for b in (probes["resident"], probes["blocks"])] + [None]
    assert loop(step) == [i * i for i in range(300)]
    result = report(tracker=tracker)
    assert result.errors
    assert all(e["count"] >= 1 for e in result.errors)


@pytest.mark.parametrize("place", ["read", "buffer", "keep"])
def test_no_memory_inside_our_own_code_changes_no_result(tracker, place, monkeypatch):
    @leak_guard(every=1, tracker=tracker)
    def step(i):
        return i * i

    @track_instantiations("one", tracker=tracker)
    class One:
        def __init__(self, i):
            self.i = i

    loop(step, 20)

    def no_memory(*arguments):
        raise MemoryError

    monkeypatch.setattr(tracker.sampler, place, no_memory)
    assert loop(step) == [i * i for i in range(300)]
    assert [One(i).i for i in range(300)] == list(range(300))
    monkeypatch.undo()
    assert any(f["error"] == "MemoryError" for f in faults())
    assert next(iter(tracker.functions.values())).calls() == 320
    assert tracker.classes["one"].follower.counts().constructed == 300


def test_the_error_of_the_program_is_never_replaced_by_ours(tracker, monkeypatch):
    @leak_guard(every=1, tracker=tracker)
    def step(i):
        raise KeyError(i)

    with pytest.raises(KeyError):
        step(1)
    monkeypatch.setattr(tracker.sampler, "read", lambda into: 1 / 0)
    with pytest.raises(KeyError):
        step(2)


def test_a_logging_handler_that_raises_does_not_reach_the_program(tracker, monkeypatch):
    class Broken(logging.Handler):
        def emit(self, record):
            raise RuntimeError("handler")

    from meminstr.diagnosis import looking

    logger, handler = logging.getLogger("meminstr"), Broken()
    looking._last_logs.clear()
    monkeypatch.setattr(looking, "may_look", lambda *_: True)  # a tracer that measures coverage uses the credit up
    logger.addHandler(handler)
    kept = []

    @track_instantiations("kept", tracker=tracker)
    class Kept:
        def cleanup(self):
            pass

    try:
        for _ in range(1_500):
            kept.append(Kept())
            kept[-1].cleanup()
    finally:
        logger.removeHandler(handler)
    assert len(kept) == 1_500
    assert any(f["where"] == "on_leak of kept" for f in faults())


def test_a_fault_before_a_fork_handler_does_not_come_out(monkeypatch):
    from meminstr import registry

    monkeypatch.setattr(ControllerMemoryTracker, "after_fork", lambda self: 1 / 0)
    registry._forked()
    assert any(f["where"] == "after fork" for f in faults())


def test_breaches_are_kept_first_and_last(tracker):
    for i in range(1_000):
        tracker.note_breach({"subject": "f", "number": i})
    result = report(tracker=tracker, diagnose=False)
    numbers = [b["number"] for b in result.breaches]
    assert len(numbers) == 100
    assert numbers[:50] == list(range(50))
    assert numbers[50:] == list(range(950, 1_000))
    assert result.extra["breaches_in_all"] == 1_000
    assert "1,000 limits were broken in all" in str(result)


# ------------------------------------------------------------ reports


def test_a_report_without_diagnosis_collects_nothing(tracker):
    class Cycle:
        def __init__(self):
            self.me = self

    import weakref

    cycle = Cycle()
    dead = weakref.ref(cycle)
    gc.collect()  # now it is old: only a full collection finds it
    del cycle
    result = report(diagnose=False, tracker=tracker)
    assert dead() is not None
    assert result.extra["collected"] is False
    report(tracker=tracker)
    assert dead() is None


def test_a_baseline_marks_holders_as_known(tracker, tmp_path):
    from meminstr.evidence import baseline

    kept = []

    @track_instantiations("kept", tracker=tracker)
    class Kept:
        def cleanup(self):
            pass

    for _ in range(5):
        kept.append(Kept())
        kept[-1].cleanup()
    holders = report(tracker=tracker).finding("kept").holders
    assert holders
    assert not any(h.known for h in holders)
    path = tmp_path / "accepted.json"
    baseline.save(path, holders)
    assert all(h.known for h in report(baseline=path, tracker=tracker).finding("kept").holders)
    path.write_text("{}")
    with pytest.raises(UsageError):
        report(baseline=path, tracker=tracker)


def test_the_cost_tells_samples_from_what_is_paid_once(tracker):
    @leak_guard(every=1, tracker=tracker)
    def step(i):
        return i

    loop(step)
    first = report(tracker=tracker)
    second = report(tracker=tracker)
    assert first.extra["reporting_seconds"] > 0
    assert second.extra["reporting_seconds"] > first.extra["reporting_seconds"]
    # asking again makes the report's account dearer, not that of sampling
    assert second.cost.seconds == pytest.approx(first.cost.seconds, abs=1e-3)


def test_faults_are_in_the_report_and_its_text(tracker):
    note_fault("the test", ValueError("on purpose"))
    assert "in meminstr itself, the test: ValueError: on purpose" in str(report(tracker=tracker, diagnose=False))


def test_closing_hooks_run_at_uninstall(tracker):
    from meminstr import registry

    closed = []
    registry.on_uninstall(closed.append.__self__.clear)
    hook = lambda: closed.append(1)
    registry.on_uninstall(hook)
    registry.on_uninstall(hook)
    try:
        tracker.uninstall()
        assert closed == [1]
    finally:
        registry._on_uninstall.remove(hook)
        registry._on_uninstall.pop()


def test_a_diagnosis_that_cannot_be_loaded_is_a_fault(monkeypatch):
    from meminstr import registry
    from meminstr.decorators import guarding

    monkeypatch.setattr(registry, "_look_hook", guarding._first_look)
    monkeypatch.setitem(sys.modules, "meminstr.diagnosis.looking", None)
    monkeypatch.delattr(sys.modules["meminstr.diagnosis"], "looking")
    tracker = ControllerMemoryTracker()
    try:
        step = leak_guard(every=1, tracker=tracker)(lambda i: i)
        assert loop(step, 50) == list(range(50))
        assert any(f["where"] == "loading the diagnosis" for f in faults())
        assert registry._look_hook is None
    finally:
        tracker.uninstall()
