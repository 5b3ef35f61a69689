"""Judgement: every state, every gate, and the properties that must hold for any history."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meminstr.judgement import BoundedFill, Policy, Signal, eta, judge, judge_signal, prime
from meminstr.series import Series
from meminstr.verdict import Interval, Verdict

T = np.arange(400.0)
RNG = np.random.default_rng(11)
NOISE = RNG.integers(0, 5, 400)


def history(values, every=20.0, name="blocks", unit="block", seconds=0.1):
    series = Series()
    for i, value in enumerate(values):
        series.add((i + 1) * every, i * seconds, float(value))
    return Signal(name, unit, series.view(), "scripted")


def verdict_of(values, policy=None, **kw):
    return judge_signal(history(values, **kw), policy or Policy())


# ---------------------------------------------------------------- the six states


def test_leaking_with_onset_rate_and_evidence():
    found = verdict_of(1000 + 20 * T)
    assert found.verdict is Verdict.LEAKING
    assert found.gates == ()
    assert found.rate == Interval(1.0, 1.0, 1.0)
    assert found.onset_x == 20.0
    assert found.log10_evidence > 5
    assert "past the horizon of 5,000 calls" in found.reason


def test_growing_before_the_horizon():
    found = verdict_of(1000 + 20 * T[:60])
    assert found.verdict is Verdict.GROWING
    assert found.gates == ("horizon",)
    assert found.rate is not None
    assert found.rate.value == 1.0
    assert "horizon of 5,000 calls" in found.reason


def test_growing_is_noticed_within_twelve_samples_of_the_start_and_of_a_late_onset():
    assert verdict_of(1000 + 20 * T[:12]).verdict is Verdict.GROWING
    assert verdict_of(1000 + 20 * T[:7]).verdict is Verdict.INSUFFICIENT_DATA
    late = np.concatenate([np.full(90, 1000.0), 1020 + 20 * T[:13]])
    assert verdict_of(late).verdict is Verdict.GROWING


def test_a_surge_is_noticed_behind_a_long_history():
    values = np.concatenate([1000 + np.tile([0.0, 3, 1, 2], 1200), 1100 + 20 * T[:16]])
    found = verdict_of(values)
    assert found.verdict is Verdict.GROWING
    assert found.onset_x == pytest.approx(4801 * 20)
    assert "above all of its history" in found.reason


def test_clean_always_states_what_it_excludes():
    found = verdict_of(1000 + NOISE)
    assert found.verdict is Verdict.CLEAN
    assert found.excluded_rate is not None
    # what stays below the floor of 64 blocks over the history is not looked at, and so not excluded
    assert found.excluded_rate == pytest.approx(64 / (20 * (len(NOISE) - 1)))
    assert "excluded at 99 %" in found.reason
    assert found.one_time_growth is None


def test_settled_tells_the_one_time_growth():
    # 13.6 MB in the first hundred cycles, then flat for ever
    values = np.minimum(np.arange(1, 1201), 50) / 50 * 13.6e6 + np.tile(NOISE, 3)
    found = verdict_of(values, name="heap", unit="byte", every=2.0)
    assert found.verdict is Verdict.CLEAN
    assert found.reason.startswith("settled")
    assert found.one_time_growth is not None
    amount, until = found.one_time_growth
    assert amount == pytest.approx(13.6e6, rel=0.05)
    assert 90 <= until <= 130
    assert found.excluded_rate is not None


def test_a_single_early_step_is_settled():
    found = verdict_of(np.where(T < 5, 0, 9000) + NOISE)
    assert found.verdict is Verdict.CLEAN
    assert found.reason.startswith("settled")
    assert found.one_time_growth == (pytest.approx(9000, abs=5), pytest.approx(140, abs=80))


def test_a_recent_step_is_warming_up():
    found = verdict_of(np.where(T < 350, 0, 9000) + NOISE)
    assert found.verdict is Verdict.WARMING_UP
    assert found.onset_x is None


@pytest.mark.parametrize(
    "fill", [9000 * (1 - np.exp(-T / 150)), 500 * np.sqrt(T), 2000 * np.log1p(T / 20)], ids=["exp", "power", "log"]
)
def test_saturating_growth_is_warming_up_and_says_so(fill):
    found = verdict_of(fill // 1)
    assert found.verdict is Verdict.WARMING_UP
    assert "shape" in found.gates
    assert found.reason.startswith("saturating")


def test_noise_above_the_tolerance_is_inconclusive_with_its_bound():
    found = verdict_of(1000 + np.random.default_rng(5).normal(0, 400, 400))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.excluded_rate is not None
    assert found.excluded_rate > 0
    assert "excluded" in found.reason


def test_few_samples_are_insufficient_but_tell_what_is_known():
    for n in range(8):
        found = verdict_of(np.full(n, 5.0))
        assert found.verdict is Verdict.INSUFFICIENT_DATA
        assert f"{n} sample" in found.reason
    known = verdict_of([0, 6e6, 13.6e6, *[13.6e6] * 9], name="heap", unit="byte", every=1.0)
    assert known.verdict is Verdict.INSUFFICIENT_DATA
    assert known.one_time_growth == (13.6e6, 3.0)
    assert "13 MiB" in known.reason


# ---------------------------------------------------------------- the gates, one by one


def gates(values, **kw):
    return verdict_of(values, **kw).gates


def test_gate_evidence():
    assert "evidence" in gates(1000 + np.random.default_rng(8).normal(0, 300, 400) + T * 0.3)


def test_gate_material():
    assert gates(1000 + T // 8) == ("material",)
    assert verdict_of(1000 + T // 8).verdict is Verdict.GROWING
    assert "material" in gates(1000 + T // 60)
    assert verdict_of(1000 + T // 60).verdict is Verdict.CLEAN


def test_gate_events():
    stairs = 1000 + np.floor(T / 80) * 3000
    found = verdict_of(stairs)
    assert "events" in found.gates or "shape" in found.gates or "evidence" in found.gates
    assert found.verdict is not Verdict.LEAKING


def test_gate_random_walk_is_left_out_for_what_has_an_owner():
    wanders = [1e5 + np.cumsum(np.random.default_rng(k).normal(2, 20, 1200)) for k in range(40)]
    blocks = [verdict_of(w).gates for w in wanders]
    live = [verdict_of(w, name="live", unit="instance").gates for w in wanders]
    assert any("random-walk" in failed for failed in blocks)
    assert not any("random-walk" in failed for failed in live)


def test_gate_given_back():
    tooth = np.concatenate([np.arange(150) * 20.0, np.arange(200) * 20.0 + 5])
    found = verdict_of(1000 + tooth)
    assert found.verdict is not Verdict.LEAKING
    assert "given-back" in verdict_of(1000 + np.concatenate([np.arange(300) * 20.0, np.arange(400) * 20.0])).gates


def test_gate_stalled_or_shape_when_a_fill_ends():
    ramp = 1000 + np.minimum(T, 330) * 20
    found = verdict_of(ramp)
    assert found.verdict is not Verdict.LEAKING


def test_a_fill_that_ends_just_before_the_horizon_does_not_cross_it_by_waiting():
    values = 1000 + np.minimum(np.arange(1.0, 80), 48) * 100
    for n in range(49, 80):
        assert verdict_of(values[:n], every=100.0).verdict is not Verdict.LEAKING


def test_gate_horizon_by_clock_and_by_samples():
    leak = 1000 + 20 * T
    assert gates(leak, policy=Policy(min_seconds_horizon=3600.0)) == ("horizon",)
    assert gates(leak, policy=Policy(min_seconds_horizon=30.0)) == ()
    assert gates(leak, policy=Policy(min_samples_horizon=500)) == ("horizon",)
    process = Policy(horizon=600.0, x_unit="second", min_samples_horizon=200)
    assert gates(1000 + 20 * T[:300], policy=process, every=1.0) == ("horizon",)
    assert gates(1000 + 20 * T, policy=process, every=2.0) == ()


def test_a_nightly_job_needs_days_not_five_thousand_calls():
    nights = 1e6 + 5e4 * np.arange(40) + NOISE[:40]
    found = verdict_of(nights, every=1.0, seconds=86_400.0, name="heap", unit="byte")
    assert found.verdict is Verdict.LEAKING
    assert "runs rarely" in found.reason
    assert "without a trend the odds of this are below 1e-" in found.reason
    assert verdict_of(nights[:20], every=1.0, seconds=86_400.0, name="heap", unit="byte").verdict is Verdict.GROWING
    never = Policy(rare_seconds=None)
    assert gates(nights, policy=never, every=1.0, seconds=86_400.0, name="heap", unit="byte") == ("horizon",)


def test_retained_after_cleanup_needs_five_hundred_constructions():
    found = verdict_of(T[:40], name="retained", unit="instance", every=15.0)
    assert found.verdict is Verdict.LEAKING
    assert verdict_of(T[:40], name="live", unit="instance", every=15.0).verdict is Verdict.GROWING


def test_the_slow_leak_behind_a_large_warm_up_is_found():
    t = np.arange(1600.0)
    values = 850 * (1 - np.exp(-t / 30)) + t * 0.1 // 1
    assert verdict_of(values).verdict is Verdict.LEAKING
    assert verdict_of(850 * (1 - np.exp(-t / 30))).verdict is Verdict.CLEAN


def test_a_last_reading_that_gives_all_back_acquits():
    series = Series()
    for i in range(400):
        series.add(20.0 * i, i, 1000.0 + 20 * i)
    assert judge_signal(Signal("blocks", "block", series.view())).verdict is Verdict.LEAKING
    series.add(8001.0, 401.0, 1000.0)
    assert judge_signal(Signal("blocks", "block", series.view())).verdict is not Verdict.LEAKING


# ---------------------------------------------------------------- properties


@st.composite
def shapes(draw):
    kind = draw(st.sampled_from(["noise", "leak", "fill", "step", "saw"]))
    n = draw(st.integers(4, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    t = np.arange(float(n))
    base = {
        "noise": rng.integers(0, 2000, n),
        "leak": t * 32,
        "fill": 4096 * (1 - np.exp(-t / 40)) // 1,
        "step": np.where(t < n / 3, 0, 4096),
        "saw": t % 13 * 64,
    }[kind]
    return 8192 + base + rng.integers(0, 8, n)


@given(shapes(), st.sampled_from([1 / 4, 4.0, 1024.0]), st.sampled_from([0.5, 8.0]))
@settings(max_examples=60, deadline=None)
def test_units_of_amount_and_of_x_do_not_matter(values, scale, stretch):
    plain = judge_signal(history(values, name="heap", unit="byte"), Policy(floors={"heap": 64.0}))
    scaled = judge_signal(
        history(values * scale, every=20 * stretch, name="heap", unit="byte"),
        Policy(floors={"heap": 64.0 * scale}, horizon=5000 * stretch),
    )
    assert (scaled.verdict, scaled.gates, scaled.shape) == (plain.verdict, plain.gates, plain.shape)
    assert scaled.growth == pytest.approx(plain.growth * scale)


@given(shapes(), st.sampled_from([-4096.0, 65536.0]))
@settings(max_examples=40, deadline=None)
def test_a_level_does_not_make_or_hide_a_leak(values, shift):
    here, there = verdict_of(values), verdict_of(values + shift)
    assert here.gates == there.gates
    assert (here.verdict is Verdict.LEAKING) == (there.verdict is Verdict.LEAKING)


@given(st.integers(0, 800), st.floats(0, 1e9), st.integers(1, 1000))
@settings(max_examples=60, deadline=None)
def test_flat_never_leaks(n, level, every):
    found = verdict_of(np.full(n, level), every=float(every))
    assert found.verdict in (Verdict.CLEAN, Verdict.INSUFFICIENT_DATA)
    assert found.growth == 0


@given(st.floats(0.02, 1e5), st.integers(20, 250), st.floats(0, 0.2), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_steady_growth_past_the_horizon_always_leaks(rate, every, noise, seed):
    n = math.ceil(max(5000, 80 / rate) * 1.2 / every) + 16
    assume(n < 3000)
    jitter = np.random.default_rng(seed).uniform(0, noise * rate * every, n)
    found = verdict_of(1e5 + rate * every * np.arange(n) + jitter, every=float(every))
    assert found.verdict is Verdict.LEAKING, found
    assert found.rate is not None
    assert found.rate.low is not None
    assert found.rate.high is not None
    assert found.rate.low * 0.999 <= rate <= found.rate.high * 1.001


@given(shapes(), st.integers(1, 16))
@settings(max_examples=60, deadline=None)
def test_never_leaking_before_the_horizon(values, every):
    assume(len(values) * every < 5000)
    assert verdict_of(values, every=float(every)).verdict is not Verdict.LEAKING


@given(st.lists(st.floats(-1e300, 1e300), max_size=120), st.sampled_from(["blocks", "heap", "mine"]))
@settings(max_examples=60, deadline=None)
def test_no_history_breaks_the_judge(values, name):
    with np.errstate(all="ignore"):
        found = judge([history(values, name=name)])
    assert isinstance(found.verdict, Verdict)
    assert found.reason


def test_permuted_readings_do_not_alarm():
    rng = np.random.default_rng(21)
    leak = 1000 + 20 * np.arange(150.0)
    for _ in range(60):
        assert verdict_of(rng.permutation(leak), every=100.0).verdict not in (Verdict.LEAKING, Verdict.GROWING)


# ---------------------------------------------------------------- bad input


def test_a_reset_counter_gives_insufficient_data_with_the_reason():
    series = Series()
    for i in range(100):
        series.add(1e6 + i, i, 1000.0 + 20 * i)
    for i in range(12):
        series.add(float(i), 100.0 + i, 1000.0)
    found = judge_signal(Signal("blocks", "block", series.view()))
    assert found.verdict is Verdict.INSUFFICIENT_DATA
    assert "began anew" in found.reason


def test_refused_samples_are_told():
    series = Series()
    for i in range(5):
        series.add(i, i, math.nan)
    found = judge_signal(Signal("blocks", "block", series.view()))
    assert found.verdict is Verdict.INSUFFICIENT_DATA
    assert "5 refused" in found.reason


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.0}, {"alpha": 1.0}, {"horizon": -1.0}, {"horizon": math.nan}, {"horizon": math.inf}]
)
def test_a_policy_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="is allowed"):
        Policy(**wrong)


# ---------------------------------------------------------------- fusion


LEAK, FLAT = 1e6 + 1000 * T, 1e6 + NOISE
FILL = 1e8 * (1 - np.exp(-T / 100))


def fused(**signals):
    units = {"blocks": "block", "live": "instance", "retained": "instance"}
    names = [history(v, name=k, unit=units.get(k, "byte")) for k, v in signals.items()]
    return judge(names)


@pytest.mark.parametrize(
    ("signals", "verdict", "kind"),
    [
        ({"live": LEAK, "blocks": LEAK, "heap": FLAT, "resident": FLAT}, "leaking", "python_objects"),
        ({"blocks": LEAK, "heap": LEAK, "resident": FLAT}, "leaking", "python_objects"),
        ({"blocks": FLAT, "heap": LEAK, "resident": FLAT}, "leaking", "native_heap"),
        ({"blocks": FLAT, "heap": FLAT, "resident": LEAK * 1000}, "leaking", "mapping"),
        ({"blocks": FLAT, "heap": FLAT, "resident": FILL}, "warming_up", "fragmentation"),
        ({"blocks": FLAT, "descriptors": T}, "leaking", "descriptors"),
        ({"blocks": FLAT, "threads": T}, "leaking", "threads"),
        ({"blocks": FLAT, "tasks": T}, "leaking", "tasks"),
        ({"blocks": FLAT, "heap": FLAT, "resident": FLAT}, "clean", None),
        ({"resident": LEAK * 1000}, "leaking", None),
    ],
)
def test_the_kind_follows_from_which_signals_grow(signals, verdict, kind):
    found = fused(**signals)
    assert (found.verdict, found.memory_kind) == (verdict, kind)
    assert len(found.signals) == len(signals)


def test_rates_are_kept_by_signal():
    found = fused(blocks=LEAK, heap=FLAT)
    assert found.rates["blocks"].value == pytest.approx(50.0)
    assert found.onset_x == 20.0


def test_nothing_to_judge():
    assert judge([]).verdict is Verdict.INSUFFICIENT_DATA


def test_a_filling_cache_holds_the_alarm_and_a_full_one_does_not():
    signals = [history(LEAK)]
    fill = BoundedFill("lru_cache app.load", True, 800, 10_000, 2_000)
    held = judge(signals, bounded_fill=fill)
    assert held.verdict is Verdict.WARMING_UP
    assert held.reason.startswith("bounded cache 8,000/10,000: lru_cache app.load")
    full = BoundedFill("lru_cache app.load", False, 0, 10_000, 0)
    assert judge(signals, bounded_fill=full).verdict is Verdict.LEAKING
    clean = judge([history(FLAT)], bounded_fill=fill)
    assert clean.verdict is Verdict.CLEAN


# ---------------------------------------------------------------- time left


def test_time_left_with_its_interval():
    left = eta(Interval(2.0, 1.0, 4.0), 1000.0, 10.0)
    assert left == Interval(50.0, 25.0, 100.0)
    assert eta(Interval(2.0, -1.0, None), 1000.0, 10.0) == Interval(50.0, None, None)
    assert eta(Interval(2.0, 1.0, 4.0), -5.0, 10.0) == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("rate", "room", "speed"),
    [(0.0, 10.0, 1.0), (-1.0, 10.0, 1.0), (1.0, 10.0, 0.0), (1.0, math.inf, 1.0), (math.nan, 1.0, 1.0)],
)
def test_no_time_is_stated_where_there_is_none(rate, room, speed):
    assert eta(Interval(rate, rate, rate), room, speed) is None


def test_priming_runs_the_whole_analysis():
    prime()
