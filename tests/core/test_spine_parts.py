"""The small pure parts of the spine: what a result owns, sampled deltas, the budget, shares, one-time growth, rates."""

import collections
import math
import sys
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.attribution import Share, attribute, explained, nnls
from meminstr.calibration import blocks_of_an_idle_call, references_of_a_fresh_result
from meminstr.deltas import EARLY, Deltas
from meminstr.diagnosis.figures import Room, finding_of
from meminstr.diagnosis.reckoning import Reckoned, reckon
from meminstr.owned import owned
from meminstr.policy import Judgement
from meminstr.sampling import Budget, Sampler
from meminstr.series import Series
from meminstr.snapshot import DeltaFacts, Snapshot, SubjectRecord, Window
from meminstr.verdict import Interval, Verdict

# ------------------------------------------------------------ what a result owns


def fresh(make):
    """What `owned` says of a new object that only this call holds."""
    return owned(make(), references_here())


def references_here():
    seen = []

    def look(obj, _):
        seen.append(sys.getrefcount(obj))

    look([1.5], 0)
    return seen[0]


def test_nothing_is_owned_of_what_others_hold():
    kept = [1.5]
    assert owned(kept, references_here()) == (0, 0, 0)
    for shared in (None, True, False):
        assert owned(shared, 10**9) == (0, 0, 0)


def test_containers_count_with_their_buffers_and_members():
    assert fresh(lambda: [object(), object()])[0] == 3  # two objects and the list's buffer
    sure, perhaps, heap = fresh(lambda: bytearray(100_000))
    assert (sure, perhaps) == (2, 0)
    assert 100_000 <= heap < 101_000
    assert fresh(lambda: b"x" * 70_000)[2] >= 70_000
    assert fresh(lambda: {i: float(i) for i in range(20)})[1] >= 1


def test_members_that_others_hold_are_not_owned():
    shared = [[1.5] * 3]
    only_list = fresh(lambda: [])
    assert fresh(lambda: [shared[0]]) == (only_list[0] + 1, only_list[1], 0)


def test_an_object_s_attributes_go_with_it():
    class Session:
        def __init__(self):
            self.payload = bytearray(4_000)

    sure, _, heap = fresh(Session)
    assert sure >= 3
    assert 4_000 <= heap < 5_000


def test_what_lies_below_a_shared_member_is_not_owned():
    deep = [bytearray(10_000)]
    middle = [deep]
    assert fresh(lambda: [middle])[2] == 0


def test_too_large_a_result_says_nothing():
    assert fresh(lambda: [[i] for i in range(1_000)]) is None


def test_arrays_that_own_their_data_count_and_views_do_not():
    base = np.zeros(10_000)
    assert fresh(lambda: np.zeros(10_000))[2] == 80_000
    assert fresh(lambda: base[:])[2] == 0


def test_a_type_that_does_not_know_its_size_counts_one_block():
    class Odd(collections.OrderedDict):
        def __sizeof__(self):
            raise RuntimeError("no size")

    assert fresh(Odd)[0] >= 1


def test_calibration_agrees_with_itself():
    assert references_of_a_fresh_result() == references_of_a_fresh_result() >= 2
    assert abs(blocks_of_an_idle_call()) <= 3


# ------------------------------------------------------------ deltas and the budget


def reading(blocks=0.0, heap=0.0, resident=0.0):
    return array("d", [resident, blocks, heap, 0.0, 0.0])


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=300))
def test_recent_deltas_are_those_of_the_last_half_to_whole(changes):
    deltas = Deltas()
    for call, change in enumerate(changes, 1):
        deltas.add(call, reading(blocks=1000), reading(blocks=1000 + change))
    n, mean, error = deltas.recent(1)
    assert min(len(changes), 8) <= n <= len(changes)
    assert mean == pytest.approx(np.mean(changes[-n:]))
    assert error == pytest.approx(np.std(changes[-n:], ddof=1) / math.sqrt(n), abs=1e-6)
    assert deltas.gap_sum[1] == sum(changes)


def test_unknown_readings_are_passed_over_and_few_say_nothing():
    deltas = Deltas()
    assert deltas.recent(1) == (0, 0.0, math.inf)
    assert deltas.slack() == 0.0
    deltas.add(1, reading(blocks=-1, heap=5), reading(blocks=10, heap=7), slack=2.0)
    assert deltas.recent(1) == (0, 0.0, math.inf)
    assert deltas.recent(2) == (1, 2.0, math.inf)


def test_early_growth_is_kept_singly_and_bounded():
    deltas = Deltas()
    for call in range(10, 10 * 3 * EARLY, 10):
        deltas.add(call, reading(), reading(heap=1.0))
    early = deltas.early_growth(2)
    assert len(early) == EARLY
    assert early[0] == (10, 10.0)  # stands for the ten calls since the start
    assert early[-1][0] == 10 * EARLY


def test_a_budget_is_a_credit_and_then_a_share_of_time():
    budget = Budget(0.05, credit=1.0)
    assert budget.left(100.0) == 1.0
    budget.spent = 1.5
    assert budget.left(100.0) == pytest.approx(-0.5)
    assert budget.left(200.0) == pytest.approx(0.5)  # a fifth of the share is for samples


def test_events_must_grow_by_little_at_first_by_more_later_and_double_when_the_budget_is_overdrawn():
    budget = Budget(0.0)
    assert [budget.growth(0.0, events) for events in (10, 5_000, 10**6)] == [0.01, 0.01, 0.1]
    budget.spent = 1.0
    assert budget.growth(0.0, 5_000) == 1.0


# ------------------------------------------------------------ a sampler whose probes are dear or gone


class Probe:
    unit, kind, source, floor = "blocks", "memory", "scripted", None

    def __init__(self, name, values):
        self.name, self.values = name, iter(values)

    def read(self):
        value = next(self.values)
        if isinstance(value, Exception):
            raise value
        return value


def test_dear_probes_are_read_when_due_and_failed_ones_are_unknown():
    from meminstr.probes.budget import TimedProbe

    now = [0.0]

    class Dear(Probe):
        def read(self):
            now[0] += 0.01
            return super().read()

    probes = {
        "blocks": TimedProbe(Dear("blocks", range(100, 200)), clock=lambda: now[0]),
        "heap": TimedProbe(Probe("heap", [OSError("gone")] * 1000), clock=lambda: now[0]),
    }
    sampler = Sampler(probes, clock=lambda: now[0])
    into = sampler.buffer()
    for _ in range(200):
        sampler.read(into)
    assert into[0] == -1.0  # there is no such probe
    assert into[2] == -1.0
    assert 1 <= probes["blocks"].reads <= 20  # 10 ms each against a share of a thousandth
    values = sampler.now()
    assert "blocks" in values
    assert "heap" not in values


def test_a_sampler_says_where_it_reads():
    sampler = Sampler()
    assert sampler.source("blocks")
    assert sampler.source("nothing") == ""
    assert any(s.startswith("blocks (") for s in sampler.sources())


# ------------------------------------------------------------ attribution


def windows(rates, n=60, drift=0.0, noise=0.0, calls=None):
    """Windows in which each function leaves its rate; calls(i, name) says how often it ran."""
    rng = np.random.default_rng(1)
    calls = calls or (lambda i, name: int(rng.integers(5, 200)))
    total, level, out = dict.fromkeys(rates, 0), 1e6, []
    for i in range(n):
        for name, rate in rates.items():
            k = calls(i, name)
            total[name] += k
            level += rate * k
        level += drift + noise * rng.normal()
        out.append(Window(float(i), {"blocks": level}, dict(total)))
    return out


def test_of_fifty_functions_the_leaking_one_is_found():
    rates = {f"f{i}": 0.0 for i in range(20)} | {"guilty": 3.0}
    shares = attribute(windows(rates, n=128, drift=50.0, noise=20.0), "blocks")
    assert shares["guilty"].low <= 3.0 <= shares["guilty"].high
    assert explained(shares, "guilty", 3.0) == "this"
    assert {explained(shares, f"f{i}", 3.0) for i in range(20)} == {"another"}
    assert explained(shares, "unknown", 3.0) == "unclear"


def test_functions_called_in_step_cannot_be_told_apart():
    rng = np.random.default_rng(3)
    counts = rng.integers(5, 200, size=60)

    def calls(i, name):
        return int(rng.integers(5, 200)) if name == "c" else int(counts[i]) * (2 if name == "b" else 1)

    shares = attribute(windows({"a": 2.0, "b": 0.0, "c": 0.0}, calls=calls), "blocks")
    assert shares["a"].collinear_with == ("b",)
    assert explained(shares, "a", 2.0) == "collinear"
    assert shares["c"].collinear_with == ()


def test_constant_counts_are_collinear_with_each_other():
    shares = attribute(windows({"a": 1.0, "b": 0.0}, calls=lambda i, n: 10), "blocks")
    assert shares["a"].collinear_with == ("b",)


def test_a_wide_share_is_unclear():
    assert explained({"a": Share(1.0, 0.0, 9.0)}, "a", 1.0) == "unclear"


def test_too_few_windows_say_nothing():
    assert attribute(windows({"a": 1.0}, n=5), "blocks") == {}
    assert attribute(windows({"a": 1.0}, n=50), "heap") == {}
    assert attribute(windows({f"f{i}": 1.0 for i in range(20)}, n=30), "blocks") == {}


def test_windows_over_a_restarted_counter_are_left_out():
    rows = windows({"a": 2.0, "b": 0.0}, n=60)
    rows = [w if i < 30 else Window(w.seconds, w.reading, {n: max(0, c - 2_000) for n, c in w.calls.items()})
            for i, w in enumerate(rows)]  # fmt: skip
    assert attribute(rows, "blocks")["a"].rate == pytest.approx(2.0, rel=0.05)


@given(st.integers(0, 10_000))
def test_nnls_is_never_negative_and_no_worse_than_nought(seed):
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(20, 4)) + (rng.random() < 0.5)
    target = rng.normal(size=20)
    x = nnls(design, target)
    assert (x >= 0).all()
    residual = target - design @ x
    assert residual @ residual <= target @ target + 1e-9
    gradient = design.T @ residual
    assert (gradient <= 1e-6).all()  # the Kuhn-Tucker conditions
    assert (abs(gradient[x > 1e-9]) <= 1e-6).all()


# ------------------------------------------------------------ reckoning and figures


def view(values, step=20.0, t=0.02):
    series = Series()
    for i, value in enumerate(values):
        series.add(step * i, t * i, float(value))
    return series.view()


def facts(mean=0.0, samples=2_000, error=0.0, slack=0.0, early=(), total=0.0):
    return DeltaFacts(samples=samples, mean=mean, error=error, estimated_total=total, slack=slack, early=tuple(early))


def record(series, deltas=None, name="f", **options):
    deltas = {s: facts() for s in ("blocks", "heap", "resident")} | (deltas or {})
    x = max(v.x[-1] for v in series.values())
    options = {"kind": "function", "calls": int(x), "samples": 500, "failures": 0} | options
    return SubjectRecord(name=name, series=series, deltas=deltas, **options)


def snapshot(*records, **options):
    return Snapshot(20.0, {}, {}, {}, records, **options)


LEAK = [1e5 + 20 * i for i in range(600)]
FLAT = [1e5 + i % 3 for i in range(600)]


def verdict_of(reckoning, name="f"):
    return next(r for r in reckoning.subjects if r.record.name == name).judgement.verdict


def test_growth_that_sampled_calls_account_for_is_the_function_s():
    one = record({"blocks": view(LEAK)}, {"blocks": facts(mean=1.0, error=0.01)})
    assert verdict_of(reckon(snapshot(one))) is Verdict.LEAKING


def test_growth_that_a_collection_gave_back_is_garbage():
    one = record({"blocks": view(LEAK)}, {"blocks": facts(mean=1.0, error=0.01)})
    found = reckon(snapshot(one), freed={"blocks": 11_000}).subjects[0].judgement
    assert found.verdict is Verdict.WARMING_UP
    assert found.reason.startswith("garbage")


def test_growth_beside_the_calls_acquits_the_function_and_accuses_the_process():
    one = record({"blocks": view(LEAK)}, {"blocks": facts(mean=0.0, error=0.01)})
    reckoning = reckon(snapshot(one))
    assert verdict_of(reckoning) is Verdict.CLEAN
    assert reckoning.process.judgement.verdict is Verdict.LEAKING
    assert "outside of them" in reckoning.process.judgement.reason


def test_too_few_samples_let_a_lonely_function_answer():
    one = record({"blocks": view(LEAK)}, {"blocks": facts(samples=3, mean=0.0, error=0.01)})
    assert verdict_of(reckon(snapshot(one))) is Verdict.LEAKING


def test_a_signal_without_deltas_needs_no_witness():
    one = record({"descriptors": view([10 + i for i in range(600)])})
    found = reckon(snapshot(one)).subjects[0].judgement
    assert found.verdict is Verdict.LEAKING
    assert found.memory_kind == "descriptors"


def pair(says, **options):
    """Two overlapping functions and windows in which one of them leaks."""
    one = record({"blocks": view(LEAK)}, {"blocks": facts(mean=1.0, error=5.0)}, "one", overlapped=True, **options)
    two = record({"blocks": view(LEAK)}, {"blocks": facts(mean=1.0, error=5.0)}, "two", overlapped=True, **options)
    return reckon(snapshot(one, two, windows=tuple(says)))


def test_overlapping_functions_are_told_apart_by_windows():
    reckoning = pair(windows({"one": 1.0, "two": 0.0}))
    assert verdict_of(reckoning, "one") is Verdict.LEAKING
    assert verdict_of(reckoning, "two") is Verdict.CLEAN
    assert "others" in next(r for r in reckoning.subjects if r.record.name == "two").judgement.reason


def test_collinear_functions_are_both_named_and_say_so():
    reckoning = pair(windows({"one": 1.0, "two": 0.0}, calls=lambda i, n: 10 + 5 * (i % 7)))
    assert verdict_of(reckoning, "one") is Verdict.LEAKING
    one = next(r for r in reckoning.subjects if r.record.name == "one")
    assert "cannot be told from those of two" in finding_of(one, snapshot(), Room(None, None)).reason


def test_overlapped_calls_that_leave_nothing_are_another_s():
    one = record({"blocks": view(LEAK)}, {"blocks": facts(mean=0.0, error=0.01)}, "one", overlapped=True)
    two = record({"blocks": view(LEAK)}, {"blocks": facts(mean=1.0, error=0.01)}, "two")
    reckoning = reckon(snapshot(one, two))
    assert verdict_of(reckoning, "one") is Verdict.CLEAN
    assert verdict_of(reckoning, "two") is Verdict.LEAKING


def test_own_samples_sharpen_a_rate_that_others_share():
    one = record({"blocks": view(LEAK)}, {"blocks": facts(mean=0.6, error=0.01)}, "one")
    alone = reckon(snapshot(one)).subjects[0].judgement
    assert alone.rates["blocks"].value == pytest.approx(1.0, rel=0.01)  # nobody else to blame
    two = record({"blocks": view(LEAK)}, {"blocks": facts(mean=0.4, error=0.01)}, "two")
    found = reckon(snapshot(one, two)).subjects[0].judgement
    assert found.rates["blocks"].value == pytest.approx(0.6)


def test_one_time_growth_needs_an_end():
    early = [(i, 30_000.0) for i in range(1, 101)]
    once = record({"heap": view([5e7] * 600)}, {"heap": facts(early=early, total=3e6)})
    found = reckon(snapshot(once)).subjects[0]
    assert found.one_time.bytes == 3_000_000
    assert found.one_time.until_call == 95
    on = record({"heap": view([5e7] * 600)}, {"heap": facts(early=early, total=9e6)})
    assert reckon(snapshot(on)).subjects[0].one_time is None
    small = record({"heap": view([5e7] * 600)}, {"heap": facts(early=[(1, 100.0)], total=100.0)})
    assert reckon(snapshot(small)).subjects[0].one_time is None


def nodes(**options):
    live = view(range(0, 12_000, 20))
    return record({"live": live}, name="node", kind="class", **options)


def test_a_class_that_is_still_built_leaks_and_one_long_idle_is_settled():
    assert verdict_of(reckon(snapshot(nodes())), "node") is Verdict.LEAKING
    idle = nodes(idle_seconds=60.0, observed_seconds=70.0, idle_work=0.9)
    found = reckon(snapshot(idle)).subjects[0].judgement
    assert found.verdict is Verdict.CLEAN
    assert found.reason.startswith("settled: 11,980 instances built in the first 10")


@pytest.mark.parametrize(
    "options",
    [
        {"idle_seconds": 30.0, "observed_seconds": 70.0, "idle_work": 0.9},  # not half of the time
        {"idle_seconds": 0.4, "observed_seconds": 0.5, "idle_work": 0.9},  # the time of an import
        {"idle_seconds": 60.0, "observed_seconds": 70.0, "idle_work": 0.01},  # the program waits
    ],
)
def test_a_pause_alone_excuses_nothing(options):
    assert verdict_of(reckon(snapshot(nodes(**options))), "node") is Verdict.LEAKING


def test_instances_that_a_collection_freed_are_garbage():
    found = reckon(snapshot(nodes()), dead={"node": {"live": 11_900.0}}).subjects[0].judgement
    assert found.verdict is Verdict.WARMING_UP
    assert found.reason.startswith("garbage")


def figure(rates, series=None, verdict=Verdict.LEAKING, room=Room(2**30, 2**31), **options):
    judged = Judgement(verdict, "because", "python_objects", 10.0, (), rates)
    one = record(series or {"blocks": view(LEAK)}, **options)
    return finding_of(Reckoned(one, judged), snapshot(one), room)


def test_bytes_per_call_come_from_heap_blocks_or_the_resident_set():
    both = figure({"blocks": Interval(2.0, 1.9, 2.1), "heap": Interval(1000.0, 990.0, 1010.0)})
    assert both.bytes_per_call.value == pytest.approx(1000 + 2 * 64)
    # the heap's growth could hold all of these blocks, so none of them is sure to be a small one
    assert both.bytes_per_call.low == pytest.approx(990)
    small = figure({"blocks": Interval(2.0, 1.9, 2.1), "heap": Interval(100.0, 90.0, 110.0)})
    assert small.bytes_per_call.low == pytest.approx(90 + (1.9 - 110 / 512) * 16)
    assert figure({"heap": Interval(700.0, 690.0, 710.0)}).bytes_per_call.value == 700
    assert figure({"resident": Interval(4096.0, 4000.0, 4200.0)}).bytes_per_call.value == 4096
    shrinking = figure({"blocks": Interval(2.0, 1.9, 2.1), "heap": Interval(-50.0, -60.0, None)})
    assert shrinking.bytes_per_call.value == pytest.approx(128)
    assert figure({}).bytes_per_call is None


def test_the_size_of_a_block_is_told_by_a_resident_set_that_grew_enough():
    series = {"blocks": view(LEAK), "resident": view([2e8 + 6400 * i for i in range(600)])}
    found = figure({"blocks": Interval(1.0, 0.99, 1.01), "resident": Interval(320.0, 310.0, 330.0)}, series)
    assert found.bytes_per_call.value == pytest.approx(320.0)
    # ten bytes either way is how well the resident set's growth is known; and it tells a size within a half
    assert found.bytes_per_call.low == pytest.approx((320 / 1.5 - 10) * 0.99)
    absurd = figure({"blocks": Interval(1.0, 0.99, 1.01), "resident": Interval(9e4, 8e4, 1e5)}, series)
    assert absurd.bytes_per_call.value == pytest.approx(64.0)


def test_eta_and_hourly_rates_follow_from_the_calls_a_second():
    found = figure({"heap": Interval(1000.0, 900.0, 1100.0)})
    assert found.mb_per_hour.value == pytest.approx(1000 * 1000 * 3600 / 2**20)  # a thousand calls a second
    assert found.eta_seconds.value == pytest.approx(2**30 / 1e6)
    assert figure({"heap": Interval(1000.0)}, room=Room(None, None)).eta_seconds is None
    short = {"heap": view([1.0])}
    assert figure({"heap": Interval(1000.0, 900.0, 1100.0)}, short, calls=1).mb_per_hour.value == 0.0


def test_what_is_quiet_has_a_bound_and_no_rates():
    found = figure({"heap": Interval(1.0, 0.5, 1.5)}, verdict=Verdict.CLEAN)
    assert found.bytes_per_call is None
    assert found.eta_seconds is None
    few = figure({}, verdict=Verdict.INSUFFICIENT_DATA)
    assert few.excluded_bytes_per_call is None
    only_resident = reckon(snapshot(record({"resident": view([2e8 + 4096 * (i % 5) for i in range(600)])})))
    finding = finding_of(only_resident.subjects[0], snapshot(), Room(None, None))
    assert finding.excluded_bytes_per_call is not None


def test_failures_and_limits_of_what_is_seen_are_told():
    found = figure({}, failures=3, note="counted only")
    assert found.extra["failures_of_sampled_calls"] == 3
    assert found.reason == "because; counted only"
