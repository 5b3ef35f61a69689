"""`ControllerMemoryTracker` by the seeds' list in DESIGN.md: names, defaults, keys, and whom it accuses."""

import gc
import inspect
import threading

import pytest

from meminstr import ControllerMemoryTracker, UsageError, track_instantiations
from meminstr.units import MIB


class Controller:
    def __init__(self, payload=0):
        self.payload = bytearray(payload)


@pytest.fixture
def tracker():
    one = ControllerMemoryTracker()
    yield one
    one.uninstall()


def announce(tracker, name, n, keep=None, payload=0):
    for _ in range(n):
        one = Controller(payload)
        tracker.track_instantiation(name, one)
        if keep is not None:
            keep.append(one)


def test_it_is_made_without_arguments_and_its_methods_have_the_seeds_signatures():
    ControllerMemoryTracker()
    track = inspect.signature(ControllerMemoryTracker.track_instantiation)
    assert list(track.parameters) == ["self", "controller_type", "controller"]
    assert list(inspect.signature(ControllerMemoryTracker.get_report).parameters) == ["self"]
    check = inspect.signature(ControllerMemoryTracker.check_leak_threshold)
    assert list(check.parameters) == ["self", "threshold_mb_per_1000"]
    assert check.parameters["threshold_mb_per_1000"].default == 1.0


def test_get_report_has_the_seeds_keys(tracker):
    announce(tracker, "classical", 250)
    result = tracker.get_report()
    assert {
        "initial_memory_mb",
        "current_memory_mb",
        "total_growth_mb",
        "total_instantiations",
        "by_controller",
    } <= result.keys()
    assert result["total_instantiations"] == 250
    assert result["total_growth_mb"] == pytest.approx(result["current_memory_mb"] - result["initial_memory_mb"])
    one = result["by_controller"]["classical"]
    assert {"count", "memory_per_1000_instantiations_mb", "snapshots"} <= one.keys()
    assert one["count"] == 250
    assert [s["instantiations"] for s in one["snapshots"]] == [1, 101, 201]
    assert {"instantiations", "memory_mb", "timestamp"} <= one["snapshots"][0].keys()


def test_an_empty_report_has_them_too(tracker):
    result = tracker.get_report()
    assert result["by_controller"] == {}
    assert result["total_growth_mb"] == 0.0
    assert result["total_instantiations"] == 0
    assert tracker.check_leak_threshold() == {
        "has_leaks": False,
        "leaks": {},
        "total_instantiations": 0,
        "total_growth_mb": pytest.approx(0.0, abs=5.0),
    }


def test_check_leak_threshold_has_the_seeds_keys_and_the_leaking_type_only(tracker):
    kept = []
    announce(tracker, "leaky", 500, kept, payload=4096)
    announce(tracker, "innocent", 500)
    result = tracker.check_leak_threshold()
    assert result["has_leaks"] is True
    assert list(result["leaks"]) == ["leaky"]
    leak = result["leaks"]["leaky"]
    assert leak["memory_per_1000_mb"] == pytest.approx(4096 * 1000 / MIB, rel=0.15)
    assert leak["threshold_mb"] == 1.0
    assert leak["exceeded_by_mb"] == pytest.approx(leak["memory_per_1000_mb"] - 1.0)
    assert result["total_instantiations"] == 1000
    assert tracker.check_leak_threshold(threshold_mb_per_1000=100.0)["has_leaks"] is False


def test_one_time_warm_up_accuses_nobody(tracker):
    ballast = bytearray(40 * MIB)
    announce(tracker, "warm", 1)
    ballast.extend(bytes(40 * MIB))  # the process grows by 40 MiB while this type is constructed
    announce(tracker, "warm", 999)
    assert tracker.get_report()["by_controller"]["warm"]["memory_per_1000_instantiations_mb"] == 0.0
    assert not tracker.check_leak_threshold()["has_leaks"]
    del ballast


def test_followed_classes_are_in_the_report_beside_announced_ones(tracker):
    kept = []

    @track_instantiations("followed", tracker=tracker)
    class Followed:
        def __init__(self):
            self.payload = bytearray(2048)

        def cleanup(self):
            pass

    for _ in range(300):
        one = Followed()
        one.cleanup()
        kept.append(one)
    announce(tracker, "announced", 100)
    result = tracker.get_report()
    one = result["by_controller"]["followed"]
    assert (one["count"], one["alive"], one["retained"]) == (300, 300, 300)
    assert one["memory_per_1000_instantiations_mb"] == pytest.approx(2048 * 1000 / MIB, rel=0.2)
    assert one["snapshots"][0].keys() >= {"instantiations", "memory_mb", "timestamp"}
    assert result["total_instantiations"] == 400
    assert list(tracker.check_leak_threshold(1.5)["leaks"]) == ["followed"]


def test_deaths_are_seen_and_the_same_object_is_followed_once(tracker):
    kept = []
    announce(tracker, "a", 400, kept)
    for one in kept[:10]:
        tracker.track_instantiation("a", one)
    assert tracker.get_report()["by_controller"]["a"]["alive"] == 400
    kept.clear()
    del one
    gc.collect()
    assert tracker.get_report()["by_controller"]["a"] == {
        **tracker.get_report()["by_controller"]["a"],
        "count": 410,
        "alive": 0,
        "memory_per_1000_instantiations_mb": 0.0,
    }


def test_objects_without_weak_references_are_counted_only(tracker):
    for _ in range(5):
        tracker.track_instantiation("ints", 7)
    one = tracker.get_report()["by_controller"]["ints"]
    assert (one["count"], one["alive"]) == (5, 0)


def test_what_is_kept_of_the_dead_and_of_history_is_bounded(tracker):
    announce(tracker, "many", 20_000)
    assert tracker.size_bytes() < 150_000
    snapshots = tracker.get_report()["by_controller"]["many"]["snapshots"]
    assert 16 <= len(snapshots) <= 64
    assert snapshots[-1]["instantiations"] > 15_000


def test_too_many_types_are_counted_together(tracker):
    for i in range(1_010):
        tracker.track_instantiation(f"type{i}", Controller())
    by_type = tracker.get_report()["by_controller"]
    assert len(by_type) <= 1_001
    assert by_type["<others>"]["count"] == 10
    assert tracker.get_report()["total_instantiations"] == 1_010


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_type_that_is_no_name_is_refused(tracker, name):
    with pytest.raises(UsageError, match="controller_type="):
        tracker.track_instantiation(name, Controller())


@pytest.mark.parametrize("threshold", [-1, float("nan"), float("inf"), "1", None, True])
def test_a_threshold_that_is_no_number_is_refused(tracker, threshold):
    with pytest.raises(UsageError, match="threshold_mb_per_1000="):
        tracker.check_leak_threshold(threshold)


def test_sixteen_threads_are_counted_exactly(tracker):
    start = threading.Barrier(16)

    def work():
        start.wait()
        announce(tracker, "shared", 500)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    one = tracker.get_report()["by_controller"]["shared"]
    assert (one["count"], one["alive"]) == (8_000, 0)


def test_a_size_that_cannot_be_taken_is_nought():
    from meminstr.seed_counts import each_bytes

    assert each_bytes([]) == 0.0
    assert each_bytes([Controller(100_000)]) > 100_000
