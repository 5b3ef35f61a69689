"""`report(diagnose="allocations")`: a window that one report opens and a later one reads."""

import sys
import tracemalloc

import pytest
from world import World

import meminstr
from meminstr.diagnosis import tracing
from meminstr.errors import UsageError
from meminstr.sampling import MEMORY_SIGNALS

KEPT = []


def keep(n):
    KEPT.append(bytearray(500))  # the line


@pytest.fixture
def tracker():
    tracker = World().tracker()
    yield tracker
    tracker.uninstall()
    tracing._windows.pop(tracker, None)
    tracemalloc.stop()
    KEPT.clear()


def ask(tracker):
    return meminstr.report(diagnose="allocations", tracker=tracker)


def sites_of(report):
    return [site for f in report.findings for site in f.extra.get("allocation_sites", ())]


def test_the_second_report_shows_the_lines_that_kept_memory(tracker):
    guarded = tracker.guard(keep, every=10)
    first = ask(tracker)
    assert tracemalloc.is_tracing()
    assert "allocations are traced from here on" in " ".join(first.extra["notes"])
    assert sites_of(first) == []
    for n in range(50):
        guarded(n)
    assert sites_of(meminstr.report(tracker=tracker)) == []
    second = ask(tracker)
    assert not tracemalloc.is_tracing()
    line = keep.__code__.co_firstlineno + 1
    assert (sites_of(second)[0]["file"], sites_of(second)[0]["line"]) == (__file__, line)
    assert sites_of(second)[0]["count"] >= 50
    assert sites_of(meminstr.report(tracker=tracker)) == []


def test_a_window_ends_after_its_calls_and_any_report_shows_it(tracker):
    guarded = tracker.guard(keep, every=10)
    for n in range(1200):  # what the histories take is booked as it is made
        guarded(n)
    own = list(tracker.sampler.own)
    ask(tracker)
    for n in range(1200):
        guarded(n)
    assert not tracemalloc.is_tracing()
    assert tracing._windows[tracker][1].tracer_bytes == 0
    heap = MEMORY_SIGNALS.index("heap")
    assert tracker.sampler.own[heap] == own[heap]
    found = sites_of(meminstr.report(tracker=tracker))
    assert found[0]["file"] == __file__
    assert found[0]["count"] < 2 * 1200


def test_reading_a_window_leaves_nothing_that_looks_like_growth(tracker):
    guarded = tracker.guard(keep, every=10)
    ask(tracker)
    for n in range(900):
        guarded(n)
    tracker.sampler.empty_free_lists()
    before = sys.getallocatedblocks()
    found = tracing.read(tracker, at_once=True)
    assert found[0].count >= 900
    assert sys.getallocatedblocks() - before < 500  # thousands stay in free lists otherwise


def test_a_window_of_the_parent_process_is_nothing_to_the_child(tracker):
    ask(tracker)
    tracker.pid += 1
    tracing.check(tracker)
    assert tracing.read(tracker, at_once=True) is None
    assert not tracemalloc.is_tracing()


def test_a_report_without_diagnosis_leaves_the_window_open(tracker):
    ask(tracker)
    meminstr.report(diagnose=False, tracker=tracker)
    assert tracing._windows[tracker][1].result is None


@pytest.mark.parametrize("wrong", ["alloc", 1, None, []])
def test_another_diagnosis_is_refused(tracker, wrong):
    with pytest.raises(UsageError, match="diagnose="):
        meminstr.report(diagnose=wrong, tracker=tracker)
