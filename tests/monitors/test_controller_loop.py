"""`monitor_controller_loop`: the seeds' keys, its calls, and its errors."""

from __future__ import annotations

import gc
import inspect
from typing import ClassVar

import pytest

from meminstr.errors import UsageError
from meminstr.faults import clear_faults, faults
from meminstr.monitors import ProductionMemoryMonitor, monitor_controller_loop

MIB = 1 << 20
SEED_KEYS = ["iterations", "alerts", "final_memory_mb", "growth_mb", "growth_rate_mb_per_hour", "passed"]


class Controller:
    made: ClassVar[list[Controller]] = []

    def __init__(self, gain: float = 1.0):
        self.gain = gain
        self.controls: list[tuple] = []
        self.cleanups: list[int] = []
        Controller.made.append(self)

    def initialize_state(self):
        return ("state",)

    def initialize_history(self):
        return {"history": []}

    def compute_control(self, state, state_vars, history):
        self.controls.append((state, state_vars, history))

    def cleanup(self):
        self.cleanups.append(len(self.controls))


@pytest.fixture(autouse=True)
def fresh():
    clear_faults()
    Controller.made.clear()
    yield
    Controller.made.clear()
    clear_faults()


class World:
    """Memory by the number of readings so far; one reading a millisecond."""

    def __init__(self, megabytes):
        self.count = 0
        self.megabytes = megabytes

    def read(self) -> int:
        self.count += 1
        return round(self.megabytes(self.count - 1) * MIB)  # reading 0 is the baseline

    def monitor(self, threshold: float = 100.0) -> ProductionMemoryMonitor:
        return ProductionMemoryMonitor(
            threshold, alert_callback=lambda alert: None, read=self.read, clock=lambda: self.count / 1000
        )


def test_signature_of_the_seeds():
    parameters = inspect.signature(monitor_controller_loop).parameters
    names = list(parameters)[:4]
    assert names == ["controller_class", "config", "iterations", "cleanup_interval"]
    assert parameters["iterations"].default == 10000
    assert parameters["cleanup_interval"].default == 100
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in list(parameters.values())[4:])


def test_calls_and_keys():
    result = monitor_controller_loop(Controller, {"gain": 2.5}, iterations=50, cleanup_interval=20)
    assert list(result)[:6] == SEED_KEYS
    (controller,) = Controller.made
    assert controller.gain == 2.5
    assert len(controller.controls) == 50
    state, state_vars, history = controller.controls[0]
    assert state.shape == (6,)
    assert (state_vars, history) == (("state",), {"history": []})
    assert controller.cleanups == [21, 41, 50]
    assert result["iterations"] == 50
    assert result["alerts"] == 0
    assert result["passed"] is True
    assert result["final_memory_mb"] > 5
    assert result["growth_mb"] == result["final_memory_mb"] - result["baseline_mb"]


def test_states_are_the_same_in_each_run():
    monitor_controller_loop(Controller, {}, iterations=5)
    monitor_controller_loop(Controller, {}, iterations=5)
    first, second = Controller.made
    assert all((a[0] == b[0]).all() for a, b in zip(first.controls, second.controls, strict=True))


def test_collects_at_each_cleanup(monkeypatch):
    collections = []
    monkeypatch.setattr(gc, "collect", lambda *args: collections.append(args) or 0)
    monitor_controller_loop(Controller, {}, iterations=100, cleanup_interval=10)
    assert len(collections) == 9


def test_steady_growth_fails_with_its_rate():
    world = World(lambda count: 200 + count * 0.1)
    result = monitor_controller_loop(Controller, {}, iterations=2000, monitor=world.monitor())
    assert result["growth_mb"] == pytest.approx(200.0)
    assert result["growth_rate_mb_per_hour"] == pytest.approx(0.1 * 1000 * 3600)
    assert result["alerts"] == 1000  # one for each sample above the threshold
    assert len(result["alert_records"]) == 100
    assert result["alert_records"][0].growth_mb == pytest.approx(100.1)
    assert result["passed"] is False


def test_growth_between_tolerance_and_threshold_fails_without_alert():
    world = World(lambda count: 200 + min(count, 60))
    result = monitor_controller_loop(Controller, {}, iterations=100, monitor=world.monitor())
    assert (result["alerts"], result["growth_mb"], result["passed"]) == (0, 60.0, False)
    world = World(lambda count: 200 + min(count, 60))
    assert monitor_controller_loop(Controller, {}, iterations=100, monitor=world.monitor(), tolerance_mb=70)["passed"]


def test_alert_in_the_middle_fails_the_run():
    world = World(lambda count: 500 if count == 50 else 200)
    result = monitor_controller_loop(Controller, {}, iterations=100, monitor=world.monitor())
    assert (result["alerts"], result["growth_mb"], result["passed"]) == (1, 0.0, False)


def test_rate_is_of_the_whole_run():
    """Large at first, flat later: the monitor's own window would only see the flat end."""
    world = World(lambda count: 200 + min(count, 1500) * 0.001)
    result = monitor_controller_loop(Controller, {}, iterations=3_000, monitor=world.monitor())
    assert result["growth_rate_mb_per_hour"] > 0


def test_few_iterations_have_no_rate():
    result = monitor_controller_loop(Controller, {}, iterations=3)
    assert result["growth_rate_mb_per_hour"] is None
    assert result["passed"] is True


def test_readings_that_fail():
    def read() -> int:
        raise OSError("no reading")

    result = monitor_controller_loop(Controller, {}, iterations=20, monitor=ProductionMemoryMonitor(read=read))
    assert result["final_memory_mb"] == 0.0
    assert result["growth_rate_mb_per_hour"] is None


def test_progress():
    told = []
    monitor_controller_loop(
        Controller, {}, iterations=25, cleanup_interval=10, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(10, 25), (20, 25), (25, 25)]

    def fails(done, total):
        raise OSError("closed terminal")

    assert monitor_controller_loop(Controller, {}, iterations=5, progress=fails)["iterations"] == 5
    assert faults()[0]["where"] == "progress of monitor_controller_loop"


@pytest.mark.parametrize("name", ["initialize_state", "initialize_history", "compute_control", "cleanup"])
def test_missing_method_is_named(name):
    broken = type("Broken", (Controller,), {name: None})
    with pytest.raises(UsageError, match=rf"Broken has no {name}\(\)"):
        monitor_controller_loop(broken, {})


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"controller_class": 5}, "controller_class"),
        ({"config": [1]}, "config"),
        ({"iterations": 0}, "iterations"),
        ({"iterations": 1.5}, "iterations"),
        ({"cleanup_interval": 0}, "cleanup_interval"),
        ({"threshold_mb": -1}, "threshold_mb"),
        ({"tolerance_mb": 0}, "tolerance_mb"),
        ({"progress": 1}, "progress"),
    ],
)
def test_bad_arguments(arguments, word):
    with pytest.raises(UsageError, match=word):
        monitor_controller_loop(**{"controller_class": Controller, "config": {}, **arguments})
    assert Controller.made == []


def test_controller_errors_are_the_controllers():
    class Fails(Controller):
        def compute_control(self, state, state_vars, history):
            raise ArithmeticError("diverged")

    with pytest.raises(ArithmeticError, match="diverged"):
        monitor_controller_loop(Fails, {})
