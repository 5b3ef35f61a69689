"""Followed classes, from construction to the finding: who leaks, who is settled, what is said of them."""

import gc
import logging
import sys

import pytest

import meminstr
from meminstr import LeakDetected, UsageError, Verdict, report, track_instantiations
from meminstr.diagnosis import looking
from meminstr.faults import faults


def make(tracker, name=None, **options):
    """A followed class with a cleanup, made anew for each test."""

    @track_instantiations(name, tracker=tracker, **options)
    class Controller:
        def __init__(self, gain=1.0):
            self.gain = gain

        def cleanup(self):
            self.gain = 0.0

    return Controller


BUS = []


@pytest.fixture(autouse=True)
def empty_bus():
    BUS.clear()
    looking._last_logs.clear()
    yield
    BUS.clear()


def build(world, cls, n, *, keep=0, clean=True):
    """Construct and drop n instances, keeping one in `keep` on the bus."""
    for i in range(n):
        one = cls()
        if keep and i % keep == 0:
            BUS.append(one)
        if clean:
            one.cleanup()
        world.time += 1e-3


def test_retained_after_cleanup_leaks_after_500_constructions(world, tracker):
    cls = make(tracker, "adaptive")
    build(world, cls, 700, keep=1)
    finding = report(tracker=tracker).finding("adaptive")
    assert finding.verdict is Verdict.LEAKING
    assert finding.subject_kind == "class"
    assert finding.live_per_call.value == pytest.approx(1.0, rel=0.05)
    assert finding.counts.retained == finding.counts.alive == 700
    assert finding.counts.cleaned == finding.counts.constructed == finding.calls == 700
    assert any("BUS" in h.path for h in finding.holders)
    assert finding.birth_sites[0].file.endswith("test_class_verdicts.py")
    assert finding.birth_sites[0].function == "build"
    assert finding.culprit_type.endswith("Controller")
    assert finding.extra["cleanup"] == "cleanup"
    assert finding.mb_per_1000 > 0


def test_below_the_horizon_it_is_not_yet_leaking(world, tracker):
    cls = make(tracker, "adaptive")
    build(world, cls, 300, keep=1)
    assert report(tracker=tracker).finding("adaptive").verdict is not Verdict.LEAKING


def test_one_in_ten_retained_is_found_with_its_rate(world, tracker):
    cls = make(tracker, "adaptive")
    build(world, cls, 4_000, keep=10)
    finding = report(tracker=tracker).finding("adaptive")
    assert finding.verdict is Verdict.LEAKING
    assert finding.live_per_call.value == pytest.approx(0.1, rel=0.1)


def test_a_class_that_lets_go_is_clean_with_its_bound(world, tracker):
    cls = make(tracker, "classical")
    build(world, cls, 6_000)
    finding = report(tracker=tracker).finding("classical")
    assert finding.verdict is Verdict.CLEAN
    assert finding.counts.died == 6_000
    assert finding.counts.alive == 0
    assert finding.holders == ()


def test_holders_of_the_retained_are_shown_whatever_the_verdict(world, tracker):
    cls = make(tracker, "classical")
    build(world, cls, 2_000)
    BUS.append(cls())
    BUS[0].cleanup()
    result = report(tracker=tracker)
    finding = result.finding("classical")
    assert finding.verdict is not Verdict.LEAKING
    assert finding.counts.retained == 1
    assert any("BUS" in h.path for h in finding.holders)
    assert "outlived cleanup()" in str(result)


def test_a_cycle_that_awaits_the_collector_is_not_retained(world, tracker):
    cls = make(tracker, "classical")
    gc.disable()
    try:
        for _ in range(450):  # not yet past the horizon: with its collector off a program keeps its cycles
            one = cls()
            one.me = one
            one.cleanup()
        del one
    finally:
        gc.enable()
    finding = report(tracker=tracker).finding("classical")
    assert finding.counts.retained == 0
    # by where the last look fell it is garbage that was given back, or a level that varies
    assert finding.verdict in (Verdict.WARMING_UP, Verdict.INCONCLUSIVE)
    assert finding.reason.startswith(("garbage: a collection gave back 100%", "instances alive vary"))


@pytest.fixture
def collector_that_never_comes():
    old = gc.get_threshold()
    gc.set_threshold(10**9)
    yield
    gc.set_threshold(*old)


def test_cycles_are_collected_before_a_class_is_accused(world, tracker, collector_that_never_comes):
    """With a big heap the collector comes late; a look must not take what awaits it for retained."""
    told = []
    cls = make(tracker, "classical", on_leak=told.append)
    for _ in range(5_000):
        one = cls()
        one.me = one
        one.cleanup()
    assert not told
    assert tracker.classes["classical"].follower.counts().retained < 4_000  # a look has collected


def test_where_a_collection_takes_long_the_interpreter_s_own_is_waited_for(
    world, tracker, collector_that_never_comes, monkeypatch
):
    from meminstr.diagnosis import confirming

    monkeypatch.setattr(confirming, "is_too_large", lambda seconds: True)
    told = []
    cls = make(tracker, "adaptive", on_leak=told.append)
    build(world, cls, 3_000, keep=1)
    assert not told
    gc.collect()  # as the interpreter would
    build(world, cls, 6_000, keep=1)
    assert [f.subject for f in told] == ["adaptive"]


def test_a_fault_in_confirming_accuses_nobody(world, tracker, monkeypatch):
    from meminstr.diagnosis import looking

    monkeypatch.setattr(looking, "confirmed", lambda *a: 1 / 0)
    told = []
    build(world, make(tracker, "adaptive", on_leak=told.append), 1_500, keep=1)
    assert not told
    assert any("confirming a leak of adaptive" in f["where"] for f in faults())


def test_one_time_growth_of_a_class_is_settled_with_size_and_moment(world, tracker):
    built = []

    @track_instantiations("super_twisting", tracker=tracker)
    class Warm:
        def __init__(self):
            if len(built) < 100:
                world.grow(heap=130_000, resident=130_000)
            built.append(1)

        def cleanup(self):
            pass

    build(world, Warm, 8_000)
    result = report(tracker=tracker)
    finding = result.finding("super_twisting")
    assert finding.verdict is Verdict.CLEAN
    assert finding.reason.startswith("settled")
    assert finding.one_time_growth.bytes == pytest.approx(13_000_000, rel=0.05)
    assert 90 <= finding.one_time_growth.until_call <= 110


def test_the_name_of_the_cleanup_is_in_the_words(world, tracker):
    @track_instantiations("session", tracker=tracker, cleanup="hang_up")
    class Session:
        def hang_up(self):
            pass

    for _ in range(700):
        one = Session()
        BUS.append(one)
        one.hang_up()
    result = report(tracker=tracker)
    assert result.finding("session").verdict is Verdict.LEAKING
    assert result.finding("session").extra["cleanup"] == "hang_up"
    assert "not released by hang_up()" in " ".join(str(result).replace("\N{NO-BREAK SPACE}", " ").split())


def test_instances_without_weak_references_say_so(world, tracker):
    @track_instantiations("point", tracker=tracker)
    class Point:
        __slots__ = ("x",)

        def __init__(self):
            self.x = 1

    for _ in range(100):
        BUS.append(Point())
    finding = report(tracker=tracker).finding("point")
    assert finding.calls == 100
    assert "no weak reference" in finding.reason


def test_nodes_built_at_start_up_and_kept_are_settled(world, tracker):
    cls = make(tracker, "node")
    for _ in range(20_000):
        BUS.append(cls())
        world.time += 1e-4
    assert report(tracker=tracker).finding("node").verdict is Verdict.LEAKING  # the building goes on, for all we know
    began = tracker.classes["node"].began[1]
    while tracker.cpu_seconds() + tracker.started_cpu - began < 1.3 * (tracker.classes["node"].active[1] - began):
        sum(range(1000))  # the program works on
    world.time += 60.0
    finding = report(tracker=tracker).finding("node")
    assert finding.verdict is Verdict.CLEAN
    assert finding.reason.startswith("settled: 20,000 instances built in the first 2")
    assert finding.live_per_call is None
    assert finding.eta_seconds is None
    # built again, it is suspected again
    for _ in range(2_000):
        BUS.append(cls())
        world.time += 1e-4
    assert report(tracker=tracker).finding("node").verdict is Verdict.LEAKING


def test_a_pause_does_not_excuse_what_outlived_its_cleanup(world, tracker):
    cls = make(tracker, "adaptive")
    build(world, cls, 2_000, keep=1)
    began = tracker.classes["adaptive"].began[1]
    while tracker.cpu_seconds() + tracker.started_cpu - began < 1.3 * (tracker.classes["adaptive"].active[1] - began):
        sum(range(1000))
    world.time += 600.0
    assert report(tracker=tracker).finding("adaptive").verdict is Verdict.LEAKING


def test_failed_constructions_and_deaths_without_cleanup_are_counted(world, tracker):
    @track_instantiations("fragile", tracker=tracker)
    class Fragile:
        def __init__(self, fail):
            if fail:
                raise KeyError("no")

        def close(self):
            pass

    for i in range(100):
        if i % 4 == 0:
            with pytest.raises(KeyError):
                Fragile(True)
        else:
            Fragile(False)
    counts = report(tracker=tracker).finding("fragile").counts
    assert (counts.constructed, counts.failed, counts.died_without_cleanup) == (75, 25, 75)


# ------------------------------------------------------------ on_leak


def test_on_leak_raise_reaches_the_constructor_s_caller_after_the_construction(world, tracker):
    cls = make(tracker, "adaptive", on_leak="raise")
    with pytest.raises(LeakDetected, match="adaptive leaks") as caught:
        build(world, cls, 3_000, keep=1)
    assert caught.value.finding.verdict is Verdict.LEAKING
    constructed = tracker.classes["adaptive"].follower.counts()
    # the instance that was being constructed is whole, counted, and gone again: nobody received it
    assert constructed.failed == 0
    assert constructed.constructed == len(BUS) + 1 > 500
    build(world, cls, 500, keep=1)  # once per subject: it goes on working, and counting
    assert tracker.classes["adaptive"].follower.counts().constructed == len(BUS) + 1
    assert not [f for f in faults() if "observer" in f["where"]]
    assert report(tracker=tracker).finding("adaptive").verdict is Verdict.LEAKING


def test_on_leak_callable_is_told_once_and_may_fail(world, tracker):
    seen = []

    def tell(finding):
        seen.append(finding)
        raise RuntimeError("broken callback")

    cls = make(tracker, "adaptive", on_leak=tell)
    build(world, cls, 3_000, keep=1)
    assert [f.subject for f in seen] == ["adaptive"]
    assert any("on_leak" in f["where"] for f in report(tracker=tracker).errors)


def test_on_leak_warn_is_one_record(world, tracker, caplog):
    cls = make(tracker, "adaptive")
    with caplog.at_level(logging.WARNING, logger="meminstr"):
        build(world, cls, 3_000, keep=1)
    assert [r.message.split(":")[0] for r in caplog.records] == ["meminstr_leak"]
    assert caplog.records[0].meminstr["subject"] == "adaptive"


def test_announcements_are_rate_limited(world, tracker, caplog):
    with caplog.at_level(logging.WARNING, logger="meminstr"):
        for i in range(12):
            build(world, make(tracker, f"class{i}"), 700, keep=1)
    assert len([r for r in caplog.records if "meminstr_leak" in r.message]) <= 10
    assert len(report(tracker=tracker).leaks) == 12


# ------------------------------------------------------------ names, options, removal


def test_a_class_keeps_its_identity_and_its_vars_come_back_exactly(tracker):
    class Plain:
        def __init__(self, a, *, b=2):
            """Doc."""

        def close(self):
            pass

    before = dict(vars(Plain))
    decorated = track_instantiations(tracker=tracker)(Plain)
    assert decorated is Plain
    assert dict(vars(Plain)) != before
    assert tracker.uninstall() == []
    assert dict(vars(Plain)) == before
    assert list(vars(Plain)) == list(before)


def test_bare_named_and_qualified_names(tracker):
    @track_instantiations
    class Bare:
        pass

    try:
        assert [n for n in meminstr.tracker.classes if n.endswith("Bare")]
    finally:
        meminstr.uninstall()
    make(tracker)
    make(tracker)
    assert len(tracker.classes) == 2
    assert all("Controller" in n for n in tracker.classes)


def test_a_name_taken_twice_is_refused(tracker):
    make(tracker, "classical")
    with pytest.raises(UsageError, match="'classical' is taken"):
        make(tracker, "classical")


def test_decorating_twice_is_once_and_renaming_is_refused(tracker):
    cls = make(tracker, "classical")
    assert track_instantiations("classical", tracker=tracker)(cls) is cls
    assert track_instantiations(tracker=tracker)(cls) is cls
    assert list(tracker.classes) == ["classical"]
    with pytest.raises(UsageError, match="one class has one name"):
        track_instantiations("other", tracker=tracker)(cls)


def test_too_many_classes_are_left_alone_and_the_report_says_so(world):
    tracker = world.tracker(max_subjects=1)
    make(tracker, "first")
    second = make(tracker, "second")
    second()
    assert "second" not in tracker.classes
    result = report(tracker=tracker)
    assert result.extra["subjects_dropped"] == 1
    assert "1 functions or classes are not followed" in str(result)
    tracker.uninstall()


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        ((5,), {}, "name=5"),
        (("  ",), {}, "name='  '"),
        ((), {"cleanup": "not a name"}, "cleanup="),
        ((), {"on_leak": 3}, "on_leak=3"),
        ((), {"tracker": 3}, "tracker=3"),
    ],
)
def test_bad_options_are_refused(arguments, options, match):
    with pytest.raises(UsageError, match=match):
        track_instantiations(*arguments, **options)(type("C", (), {}))


def test_a_function_is_sent_to_the_right_decorator(tracker):
    with pytest.raises(UsageError, match="leak_guard"):
        track_instantiations(tracker=tracker)(len)


@pytest.mark.parametrize("cls", [int, type("E", (), {}).__class__])
def test_what_cannot_be_followed_is_refused_with_the_reason(tracker, cls):
    with pytest.raises(UsageError):
        track_instantiations(tracker=tracker)(cls)
    assert not tracker.classes


def test_contexts_of_the_survivors_are_in_the_report(world, tracker):
    cls = make(tracker, "session")
    for i in range(800):
        with meminstr.context(request="POST /upload" if i % 4 else "GET /"):
            one = cls()
            BUS.append(one)
            one.cleanup()
    finding = report(tracker=tracker).finding("session")
    shares = {c.tags["request"]: c.share for c in finding.contexts}
    assert shares["POST /upload"] == pytest.approx(0.75, abs=0.15)


def test_a_fault_in_reading_one_subject_spares_the_others(world, tracker, monkeypatch):
    good, bad = make(tracker, "good"), make(tracker, "bad")
    build(world, good, 100)
    build(world, bad, 100)
    monkeypatch.setattr(tracker.classes["bad"], "level_now", lambda *a: 1 / 0)
    result = report(tracker=tracker)
    assert result.finding("good").calls == 100
    assert any("reading bad" in e["where"] for e in result.errors)


def test_a_fault_in_sizing_leaves_the_counts(world, tracker, monkeypatch):
    from meminstr.diagnosis import reporting

    cls = make(tracker, "adaptive")
    build(world, cls, 700, keep=1)
    monkeypatch.setattr(reporting, "each_bytes", lambda survivors: 1 / 0)
    finding = report(tracker=tracker).finding("adaptive")
    assert finding.verdict is Verdict.LEAKING
    assert finding.bytes_per_call is None


@pytest.mark.parametrize("broken", ["find_holders", "explain_class"])
def test_a_fault_in_explaining_leaves_the_verdict(world, tracker, monkeypatch, broken):
    from meminstr.diagnosis import explaining, reporting

    def boom(*args, **kwargs):
        raise RuntimeError("evidence")

    if broken == "find_holders":
        monkeypatch.setattr(explaining.holders, "find_holders", boom)
    else:
        monkeypatch.setattr(reporting, "explain_class", boom)
    cls = make(tracker, "adaptive")
    build(world, cls, 700, keep=1)
    result = report(tracker=tracker)
    assert result.finding("adaptive").verdict is Verdict.LEAKING
    assert result.finding("adaptive").holders == ()
    assert result.errors


def test_a_fault_inside_a_look_is_counted_and_the_program_goes_on(world, tracker, monkeypatch):
    monkeypatch.setattr(looking, "_judged", lambda *a: (_ for _ in ()).throw(MemoryError("look")))
    cls = make(tracker, "adaptive")
    build(world, cls, 1_500, keep=1)
    assert len(BUS) == 1_500
    result = report(tracker=tracker)
    assert any("looking at adaptive" in e["where"] for e in result.errors)
    assert result.finding("adaptive").verdict is Verdict.LEAKING


def test_a_failing_probe_leaves_constructions_alone(world, tracker):
    cls = make(tracker, "classical")
    for name in world.values:
        world.values[name] = OSError("gone")
    build(world, cls, 500)
    result = report(tracker=tracker)
    assert result.finding("classical").calls == 500
    assert result.process.resident_bytes is None
    assert result.errors


def test_birth_sites_can_be_switched_off(world, monkeypatch):
    from meminstr import settings

    monkeypatch.setattr(settings, "_current", None)
    settings.configure(birth_sites=False)
    tracker = world.tracker()
    try:
        build(world, make(tracker, "adaptive"), 700, keep=1)
        assert report(tracker=tracker).finding("adaptive").birth_sites == ()
    finally:
        tracker.uninstall()


def test_disabled_trackers_count_constructions_and_read_nothing(world, tracker):
    cls = make(tracker, "classical")
    tracker.disable()
    before = world.reads
    build(world, cls, 300)
    assert world.reads == before
    assert tracker.classes["classical"].follower.counts().constructed == 300
    result = report(tracker=tracker)
    assert "sampling is switched off" in str(result)
    tracker.enable()
    build(world, cls, 300)
    assert world.reads > before


def test_the_report_of_a_class_is_readable(world, tracker):
    build(world, make(tracker, "adaptive"), 900, keep=1)
    text = str(report(tracker=tracker)).replace("\N{NO-BREAK SPACE}", " ")
    assert text.splitlines()[0].startswith("1 of 1 subject is leaking: adaptive.")
    line = next(line for line in text.splitlines() if line.startswith("LEAKING"))
    assert "+1.00 instance/construction" in line
    assert all(len(row) <= 100 for row in text.splitlines())
    assert sys.getrefcount(BUS[0]) <= 3  # the bus, this call's argument: the report keeps no instance
