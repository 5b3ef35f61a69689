"""What the demonstration claims of its own memory, measured without meminstr."""

import gc
import sys
import weakref
from itertools import pairwise

import pytest

from meminstr.commands import demo
from meminstr.commands.pendulum import controllers, loop
from meminstr.commands.pendulum.bus import BUS, TelemetryBus
from meminstr.commands.pendulum.reaching import ReachingTable
from meminstr.units import MIB

SETUP = loop.Setup(duration_s=0.05)


@pytest.fixture(autouse=True)
def _nothing_left():
    demo.forget_demo()
    yield
    demo.forget_demo()


def survivors(cls, evaluations):
    """Instances alive after a search, without any help of the cycle collector."""
    born = []

    def build(gains):
        controller = cls(gains)
        born.append(weakref.ref(controller))
        return controller

    build.bounds = cls.bounds
    gc.disable()
    try:
        loop.search_gains(build, evaluations=evaluations, seed=1, setup=SETUP)
    finally:
        gc.enable()
    assert len(born) == evaluations
    return sum(ref() is not None for ref in born)


@pytest.mark.parametrize("cls", [controllers.ClassicalSMC, controllers.SuperTwistingSMC, controllers.HybridAdaptiveSMC])
def test_a_clean_controller_dies_when_its_evaluation_ends(cls):
    assert survivors(cls, 60) == 0
    assert len(BUS) == 0


def test_every_adaptive_controller_survives_its_cleanup_until_the_bus_forgets():
    ref = weakref.ref(controllers.AdaptiveSMC([1.0] * 8))
    assert survivors(controllers.AdaptiveSMC, 60) == 60
    assert len(BUS) == 61
    assert ref() is not None
    BUS.clear()
    assert ref() is None


def test_the_line_named_as_missing_is_all_that_is_missing():
    class Repaired(controllers.AdaptiveSMC):
        def cleanup(self):
            super().cleanup()
            self.bus.unsubscribe(self.on_sample)

    assert survivors(Repaired, 60) == 0


def test_a_leaked_controller_costs_one_to_three_kilobytes():
    def leak(count):
        for _ in range(count):
            loop.evaluate(controllers.AdaptiveSMC, [1.0] * 8, SETUP)

    leak(1)
    one = BUS._listeners[0].__self__
    buffer_bytes = sys.getsizeof(one._samples)
    assert 1024 <= buffer_bytes <= 2048
    assert buffer_bytes + sys.getsizeof(one) + sys.getsizeof(vars(one)) < 3072


@pytest.mark.parametrize(
    ("cls", "grows"),
    [
        (controllers.ClassicalSMC, False),
        (controllers.SuperTwistingSMC, False),
        (controllers.AdaptiveSMC, True),
        (controllers.HybridAdaptiveSMC, False),
    ],
)
def test_blocks_after_the_first_hundred_constructions(cls, grows):
    gains = [[(low + high) / 2 for low, high in cls.bounds], [low for low, _ in cls.bounds]]

    def batch():
        for index in range(100):
            loop.evaluate(cls, gains[index % 2], SETUP)
        gc.collect()
        return sys.getallocatedblocks()

    batch()
    start = batch()
    growth = batch() - start
    if grows:
        assert growth > 3 * 100  # the instance, its dictionary, its buffer, ...
    else:
        assert abs(growth) < 50


def test_the_table_is_complete_after_a_hundred_constructions_and_stays():
    sizes = []

    def build(gains):
        controller = controllers.SuperTwistingSMC(gains)
        sizes.append(controllers.TABLE.table_bytes)
        return controller

    build.bounds = controllers.SuperTwistingSMC.bounds
    loop.search_gains(build, evaluations=160, seed=3, setup=SETUP)
    assert all(later > earlier for earlier, later in pairwise(sizes[:100]))
    assert controllers.TABLE.complete
    assert sizes[99] == sizes[159]
    assert sizes[99] == pytest.approx(13.6 * MIB, rel=0.005)


def test_the_table_is_memory_that_was_written():
    """Zero pages that nobody touched would not be resident."""
    region = controllers.TABLE.region(5.0, 5.0)
    assert (region.distance[1:] != 0.0).mean() > 0.99
    assert (region.mean_action[1:] != 0.0).mean() > 0.99


def test_an_incomplete_table_grows_by_one_region_a_request_and_answers_with_the_right_one():
    table = ReachingTable((0.0, 10.0), (0.0, 20.0), per_side=2)
    for count in range(1, 5):
        region = table.region(7.0, 3.0)
        assert (region.k1, region.k2) == (7.5, 5.0)
        assert len(table) == count
    assert table.complete
    assert table.region(99.0, -1.0) is region  # outside: the nearest
    assert len(table) == 4
    table.clear()
    assert len(table) == 0
    assert table.table_bytes == 0


def test_a_construction_that_needs_a_missing_region_gets_that_one():
    table = ReachingTable((0.0, 10.0), (0.0, 20.0), per_side=3)
    centres = [(k1, k2) for k1 in (9.0, 5.0, 1.0) for k2 in (18.0, 10.0, 2.0)]
    for k1, k2 in centres:
        assert table.region(k1, k2).k1 == pytest.approx(k1, abs=5 / 3)
        assert table.region(k1, k2).k2 == pytest.approx(k2, abs=10 / 3)
    assert table.complete


def test_adaptive_telemetry_keeps_the_latest_samples_only():
    controller = controllers.AdaptiveSMC([1.0] * 8, bus=TelemetryBus())
    for value in range(controllers.KEPT_SAMPLES + 5):
        controller.bus.publish("cost", float(value))
    assert len(controller._samples) == controllers.KEPT_SAMPLES
    assert controller._samples[4] == controllers.KEPT_SAMPLES + 4
    assert controller._samples[5] == 5.0


def test_the_bus_passes_on_to_all_and_forgets_on_request():
    bus, seen = TelemetryBus(), []

    def first(topic, value):
        seen.append(("first", topic, value))

    def second(topic, value):
        seen.append(("second", topic, value))

    bus.subscribe(first)
    bus.subscribe(second)
    bus.publish("cost", 1.0)
    bus.unsubscribe(first)
    bus.unsubscribe(first)
    bus.publish("cost", 2.0)
    assert seen == [("first", "cost", 1.0), ("second", "cost", 1.0), ("second", "cost", 2.0)]
    assert len(bus) == 1
