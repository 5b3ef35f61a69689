"""What goes wrong around a guarded function: failing probes, stepping clocks, moving limits, a fork in a sample."""

import math
import os
from types import SimpleNamespace

import pytest

from meminstr import Verdict, leak_guard, report
from meminstr.calibration import calibrate
from meminstr.diagnosis import reporting
from meminstr.subjects import FunctionSubject


@pytest.fixture(autouse=True)
def no_idle_blocks(monkeypatch):
    calibrate()  # of this machine's readings; the scripted ones need none
    monkeypatch.setattr(FunctionSubject, "idle_blocks", 0)


def run(world, function, calls, each=1e-3):
    for i in range(calls):
        function(i)
        world.time += each


def leaky(world, tracker):
    @leak_guard(every=20, tracker=tracker)
    def step(i):
        world.grow(blocks=1, heap=100, resident=160)

    return step


def steady(world, tracker):
    @leak_guard(every=20, tracker=tracker)
    def step(i):
        pass

    return step


@pytest.mark.parametrize("bad", [OSError("gone"), math.nan, -1, "no number"])
def test_probes_that_never_answer_leave_insufficient_data(world, tracker, bad):
    step = leaky(world, tracker)
    world.grow = lambda **more: None
    world.values = dict.fromkeys(world.values, bad)
    run(world, step, 1_500)
    finding = report(tracker=tracker).finding("step")
    assert finding.verdict is Verdict.INSUFFICIENT_DATA
    assert finding.reason
    assert finding.calls == 1_500


@pytest.mark.parametrize("bad", [OSError("gone"), math.nan, -1])
def test_a_probe_that_fails_for_a_while_hides_no_leak(world, tracker, bad):
    step = leaky(world, tracker)
    run(world, step, 4_000)
    good, grow = dict(world.values), world.grow
    world.values, world.grow = dict.fromkeys(good, bad), lambda **more: None
    run(world, step, 300)
    world.values, world.grow = good, grow
    run(world, step, 8_000)
    assert report(tracker=tracker).finding("step").verdict is Verdict.LEAKING


def test_a_level_that_falls_to_a_fraction_and_stays_flat_is_no_leak(world, tracker):
    step = steady(world, tracker)
    run(world, step, 6_000)
    world.values = {name: value // 4 for name, value in world.values.items()}
    run(world, step, 6_000)
    assert report(tracker=tracker).finding("step").verdict is Verdict.CLEAN


@pytest.mark.parametrize("hours", [-24, 24])
@pytest.mark.parametrize(("make", "verdict"), [(leaky, Verdict.LEAKING), (steady, Verdict.CLEAN)])
def test_a_clock_that_steps_changes_no_verdict(world, tracker, hours, make, verdict):
    step = make(world, tracker)
    run(world, step, 6_000)
    world.time += 3600 * hours
    run(world, step, 8_000)
    finding = report(tracker=tracker).finding("step")
    assert finding.verdict is verdict
    eta = finding.eta_seconds
    assert eta is None or (math.isfinite(eta.value) and eta.value >= 0)


def test_a_limit_that_changes_while_running_is_the_one_that_counts(world, tracker, monkeypatch):
    step = leaky(world, tracker)
    run(world, step, 12_000)
    etas = []
    for limit in (1 << 30, 1 << 29, None):
        found = None if limit is None else SimpleNamespace(bytes=limit, source="scripted")
        monkeypatch.setattr(reporting, "tightest_limit", lambda found=found: found)
        result = report(tracker=tracker)
        etas.append(result.finding("step").eta_seconds)
        assert result.process.limit_bytes == limit
    larger, smaller, none = etas
    assert 0 < smaller.value < larger.value
    assert none is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_sampled_call_starts_the_child_anew_and_leaves_the_parent(world, tracker):
    child = []

    @leak_guard(every=20, tracker=tracker)
    def step(i):
        world.grow(blocks=1)
        if i == 19:  # the twentieth call is a sampled one
            child.append(os.fork())

    try:
        run(world, step, 20)
        subject = tracker.functions["step"]
        if child[0] == 0:
            # the call that was under way is nobody's: its entry was read in the parent
            run(world, lambda i: step(1_000 + i), 100)
            clean = subject.calls() == 100 and report(tracker=tracker).finding("step").verdict is not Verdict.LEAKING
            os._exit(0 if clean and subject.samples <= subject.calls() + 1 else 1)
    except BaseException:
        if child and child[0] == 0:
            os._exit(2)
        raise
    _, status = os.waitpid(child[0], 0)
    assert os.waitstatus_to_exitcode(status) == 0
    run(world, lambda i: step(1_000 + i), 9_000)
    finding = report(tracker=tracker).finding("step")
    assert (finding.calls, finding.verdict) == (9_020, Verdict.LEAKING)
