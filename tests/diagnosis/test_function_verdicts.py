"""Guarded functions, from scripted memory to the finding: who leaks, who does not, what it costs."""

import gc
import logging

import pytest

import meminstr
from meminstr import LeakDetected, UsageError, Verdict, leak_guard, report
from meminstr.calibration import calibrate
from meminstr.diagnosis import looking
from meminstr.faults import faults
from meminstr.subjects import FunctionSubject


@pytest.fixture(autouse=True)
def no_idle_blocks(monkeypatch):
    calibrate()  # of this machine's readings; the scripted ones need none
    looking._last_logs.clear()  # at most ten leaks a minute are announced: those of other tests count
    monkeypatch.setattr(FunctionSubject, "idle_blocks", 0)


def run(world, function, calls, between=None):
    for i in range(calls):
        function(i)
        if between is not None:
            between(i)
        world.time += 1e-3


def test_a_leak_is_found_with_its_rate_onset_and_eta(world, tracker):
    @leak_guard(every=20, tracker=tracker)
    def step(i):
        world.grow(blocks=1, heap=100, resident=160)

    run(world, step, 12_000)
    finding = report(tracker=tracker).finding("step")
    assert finding.verdict is Verdict.LEAKING
    assert finding.calls == 12_000
    assert finding.blocks_per_call.value == pytest.approx(1.0, rel=0.01)
    assert finding.bytes_per_call.low <= 160 <= finding.bytes_per_call.high
    assert finding.mb_per_1000 == pytest.approx(finding.bytes_per_call.value * 1000 / 2**20)
    assert finding.onset_call < 500
    assert finding.memory_kind == "python_objects"
    assert finding.eta_seconds is None or finding.eta_seconds.value > 0


def test_before_the_horizon_it_is_only_growing(world, tracker):
    @leak_guard(every=20, tracker=tracker)
    def step(i):
        world.grow(blocks=1)

    run(world, step, 2_000)
    result = report(tracker=tracker)
    assert result.finding("step").verdict is Verdict.GROWING
    assert result.leaks == ()


def test_one_time_warm_up_is_clean_settled_with_size_and_moment(world, tracker):
    """The story: 13.6 MB in the first hundred calls, then flat for ever."""

    @leak_guard(every=20, tracker=tracker)
    def step(i):
        if i < 100:
            world.grow(heap=13_600_000 // 100, resident=13_600_000 // 100)

    run(world, step, 12_000)
    finding = report(tracker=tracker).finding("step")
    assert finding.verdict is Verdict.CLEAN
    assert finding.reason.startswith("settled")
    assert finding.one_time_growth.bytes == pytest.approx(13_600_000, rel=0.1)
    assert 80 <= finding.one_time_growth.until_call <= 120
    assert finding.excluded_bytes_per_call is not None


def test_of_two_functions_called_together_the_leaking_one_is_named(world, tracker):
    @leak_guard(every=20, tracker=tracker)
    def guilty(i):
        if i % 10 == 0:
            world.grow(blocks=1, resident=64)

    @leak_guard(every=20, tracker=tracker)
    def innocent(i):
        return None

    def both(i):
        guilty(i * 7 + 3)
        innocent(i)

    run(world, both, 20_000)
    result = report(tracker=tracker)
    assert [f.subject for f in result.leaks] == ["guilty"]
    assert "elsewhere" in result.finding("innocent").reason


def test_growth_between_the_calls_is_the_process_s(world, tracker):
    @leak_guard(every=20, tracker=tracker)
    def step(i):
        return None

    run(world, step, 12_000, between=lambda i: world.grow(blocks=1))
    result = report(tracker=tracker)
    assert result.finding("step").verdict is Verdict.CLEAN
    assert "between the calls" in result.finding("step").reason
    process = result.finding("process")
    assert process.verdict is Verdict.LEAKING
    assert "outside of them" in process.reason


def test_what_is_returned_is_not_left_behind(world, tracker):
    kept = []

    @leak_guard(every=20, tracker=tracker)
    def step(i):
        return [i] * 50

    tracker.sampler.probes()["blocks"].probe.read = lambda: 100_000 + len(kept)  # the result is not in the script
    run(world, step, 1000)
    subject = tracker.functions["step"]
    # the result's own buffer was taken off: a scripted level that does not move shows a loss of it
    assert subject.deltas.recent(1)[1] == pytest.approx(-1.0)


def test_on_leak_raise_comes_from_the_call_after_it_finished(world, tracker):
    done = []

    @leak_guard(every=20, on_leak="raise", tracker=tracker)
    def step(i):
        world.grow(blocks=1)
        done.append(i)

    with pytest.raises(LeakDetected, match="step leaks") as caught:
        run(world, step, 20_000)
    assert caught.value.finding.verdict is Verdict.LEAKING
    assert 5_000 <= len(done) <= 7_500
    run(world, step, 10)  # once per subject: it goes on working


def test_on_leak_callable_and_its_fault(world, tracker):
    seen = []

    def tell(finding):
        seen.append(finding)
        raise RuntimeError("broken callback")

    @leak_guard(every=20, on_leak=tell, tracker=tracker)
    def step(i):
        world.grow(blocks=1)

    run(world, step, 12_000)
    assert len(seen) == 1
    assert seen[0].subject == "step"
    assert any("on_leak" in f["where"] for f in faults())


def test_on_leak_warn_is_one_record_on_the_logger(world, tracker, caplog):
    @leak_guard(every=20, tracker=tracker)
    def step(i):
        world.grow(blocks=1)

    with caplog.at_level(logging.WARNING, logger="meminstr"):
        run(world, step, 12_000)
    assert [r.message.split(":")[0] for r in caplog.records] == ["meminstr_leak"]


def test_a_failing_probe_is_a_fault_and_no_verdict(world, tracker):
    @leak_guard(every=20, tracker=tracker)
    def step(i):
        world.grow(blocks=1)
        return i

    run(world, step, 100)
    world.grow = lambda **_: None
    world.values["blocks"] = OSError("gone")
    assert [step(i) for i in range(1000)] == list(range(1000))
    assert any("blocks" in f["where"] for f in faults())
    world.values["blocks"] = 100_000
    result = report(tracker=tracker)
    assert result.finding("step").verdict is not Verdict.LEAKING
    assert result.errors


def test_failures_of_sampled_calls_are_counted_and_calls_exactly(world, tracker):
    @leak_guard(every=1, tracker=tracker)
    def step(i):
        raise KeyError(i)

    for i in range(50):
        with pytest.raises(KeyError):
            step(i)
    subject = tracker.functions["step"]
    assert subject.calls() == 50
    assert subject.failures == subject.samples == 50


def test_disabled_guards_take_no_samples_but_count(world, tracker):
    @leak_guard(every=1, tracker=tracker)
    def step(i):
        return i

    tracker.disable()
    before = world.reads
    for i in range(100):
        step(i)
    assert world.reads == before
    assert tracker.functions["step"].calls() == 100
    tracker.enable()
    step(1)
    assert world.reads > before


def test_mark_warm_begins_anew(world, tracker):
    @leak_guard(every=20, tracker=tracker)
    def step(i):
        if i < 3_000:
            world.grow(blocks=3)

    run(world, step, 3_000)
    tracker.mark_warm()
    run(world, lambda i: step(10**6), 12_000)
    assert report(tracker=tracker).finding("step").verdict is Verdict.CLEAN


def test_names_do_not_collide(tracker):
    def make():
        def step():
            return None

        return leak_guard(tracker=tracker)(step)

    make(), make(), make()
    names = sorted(tracker.functions)
    assert len(names) == 3
    assert names[0].endswith("step")


def test_too_many_subjects_are_dropped_and_said(world):
    tracker = world.tracker(max_subjects=2)
    functions = [leak_guard(tracker=tracker)(lambda: 1) for _ in range(4)]
    assert [f() for f in functions] == [1] * 4
    assert tracker.dropped == 2
    assert report(tracker=tracker).extra["subjects_dropped"] == 2


def test_guarding_twice_is_once(tracker):
    f = leak_guard(tracker=tracker)(lambda: 1)
    assert leak_guard(tracker=tracker)(f) is f


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"every": 0}, "every=0"),
        ({"every": "often"}, "every='often'"),
        ({"on_leak": "explode"}, "on_leak='explode'"),
        ({"horizon": 0}, "horizon=0"),
        ({"horizon": float("nan")}, "horizon=nan"),
        ({"tracker": "mine"}, "tracker='mine'"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(UsageError, match=match):
        leak_guard(**options)(lambda: None)


def test_a_class_is_sent_to_the_right_decorator(tracker):
    with pytest.raises(UsageError, match="track_instantiations"):
        leak_guard(tracker=tracker)(int)


def test_the_own_cost_and_the_signals_are_in_the_report(world, tracker):
    @leak_guard(every=1, tracker=tracker)
    def step(i):
        return None

    run(world, step, 100)
    result = report(tracker=tracker)
    assert result.cost.seconds > 0
    assert result.cost.bytes > 0
    assert any("scripted blocks" in s for s in result.process.signals)


def test_a_program_with_its_collector_off_keeps_its_cycles(tracker):
    class Cycle:
        def __init__(self):
            self.me = self

    import weakref

    gc.disable()
    try:
        ref = weakref.ref(Cycle())
        report(tracker=tracker)
        assert ref() is not None
        assert not gc.isenabled()
    finally:
        gc.enable()
    gc.collect()


def test_report_refuses_what_is_no_tracker():
    with pytest.raises(UsageError, match="tracker="):
        report(tracker=5)


def test_the_global_tracker_is_the_default():
    f = leak_guard(lambda: 1)
    try:
        assert f() == 1
        assert len(meminstr.tracker.functions) == 1
    finally:
        meminstr.uninstall()
