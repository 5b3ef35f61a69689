"""`MemoryAlert` and `ProductionMemoryMonitor`: each line of the seeds' list, then the extensions."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.errors import MemoryLimitExceeded, UsageError
from meminstr.faults import clear_faults, faults
from meminstr.monitors import MemoryAlert, ProductionMemoryMonitor
from meminstr.monitors.production_monitor import robust_slope

MIB = 1 << 20
LOGGER = "meminstr.monitors"


@pytest.fixture(autouse=True)
def quiet_faults():
    clear_faults()
    yield
    clear_faults()


@pytest.fixture(autouse=True)
def all_levels(caplog):
    caplog.set_level(logging.INFO, logger=LOGGER)


class World:
    """A clock and a memory that a test sets."""

    def __init__(self, mb: float = 100.0):
        self.mb = mb
        self.now = 1_700_000_000.0

    def read(self) -> int:
        return round(self.mb * MIB)

    def monitor(self, *args, **extras) -> ProductionMemoryMonitor:
        return ProductionMemoryMonitor(*args, read=self.read, clock=lambda: self.now, **extras)


def lines(caplog) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == LOGGER]


# the seeds' list


def test_alert_fields():
    names = [field.name for field in dataclasses.fields(MemoryAlert)]
    assert names == ["timestamp", "rss_mb", "growth_mb", "threshold_mb", "message", "severity"]
    alert = MemoryAlert(1.0, 2.0, 3.0, 4.0, "text", "warning")
    assert (alert.timestamp, alert.severity) == (1.0, "warning")
    with pytest.raises(dataclasses.FrozenInstanceError):
        alert.severity = "critical"


def test_signature_of_the_seeds():
    parameters = inspect.signature(ProductionMemoryMonitor).parameters
    assert {name: parameters[name].default for name in list(parameters)[:3]} == {
        "threshold_mb": 500.0,
        "alert_callback": None,
        "trend_window": 100,
    }
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in list(parameters.values())[3:])


def test_attributes():
    monitor = World(321.5).monitor(10.0, None, 7)
    assert (monitor.threshold_mb, monitor.trend_window, monitor.baseline_mb) == (10.0, 7, 321.5)
    assert ProductionMemoryMonitor().process.memory_info().rss > 0


@pytest.mark.parametrize(
    ("growth", "severity"),
    [(0, None), (500.0, None), (500.5, "warning"), (750.0, "warning"), (750.5, "critical"), (-50, None)],
)
def test_growth_over_the_baseline(growth, severity):
    world, heard = World(100.0), []
    monitor = world.monitor(alert_callback=heard.append)
    world.mb += growth
    alert = monitor.check_memory()
    if severity is None:
        assert alert is None
        assert heard == []
    else:
        assert heard == [alert]
        assert (alert.timestamp, alert.rss_mb, alert.growth_mb) == (world.now, 100.0 + growth, growth)
        assert (alert.threshold_mb, alert.severity) == (500.0, severity)
        assert f"{growth:.1f} MB" in alert.message


def test_every_check_above_the_threshold_alerts():
    world, heard = World(), []
    monitor = world.monitor(10.0, heard.append)
    world.mb += 11
    assert all(monitor.check_memory() is not None for _ in range(5))
    assert len(heard) == 5


def test_default_alert_levels(caplog):
    world = World()
    monitor = world.monitor(10.0)
    world.mb = 112
    warning = monitor.check_memory()
    world.mb = 120
    critical = monitor.check_memory()
    assert lines(caplog) == [("WARNING", warning.message), ("ERROR", critical.message)]
    caplog.clear()
    monitor._default_alert(critical)
    assert lines(caplog) == [("ERROR", critical.message)]


def test_callback_may_be_replaced():
    world, heard = World(), []
    monitor = world.monitor(10.0)
    monitor.alert_callback = heard.append
    world.mb = 150
    monitor.check_memory()
    assert len(heard) == 1


def test_trend_needs_ten_samples():
    world = World()
    monitor = world.monitor()
    for _ in range(9):
        monitor.check_memory()
    assert monitor.analyze_trend() == {"insufficient_data": True}
    monitor.check_memory()
    assert "insufficient_data" not in monitor.analyze_trend()


def test_trend_keys_and_figures():
    world = World(100.0)
    monitor = world.monitor()
    for _ in range(20):
        monitor.check_memory()
        world.now += 360  # a tenth of an hour
        world.mb += 2
    trend = monitor.analyze_trend()
    assert list(trend) == [
        "current_mb",
        "baseline_mb",
        "growth_mb",
        "growth_rate_mb_per_hour",
        "samples",
        "time_span_hours",
        "monotonic_growth",
    ]
    assert trend == {
        "current_mb": 138.0,
        "baseline_mb": 100.0,
        "growth_mb": 38.0,
        "growth_rate_mb_per_hour": pytest.approx(20.0),
        "samples": 20,
        "time_span_hours": pytest.approx(1.9),
        "monotonic_growth": True,
    }


def test_monotonic_growth_sees_one_fall():
    world = World(100.0)
    monitor = world.monitor()
    for step in range(12):
        world.mb = 100 + step - (3 if step == 6 else 0)
        monitor.check_memory()
    assert monitor.analyze_trend()["monotonic_growth"] is False


def test_one_peak_does_not_bend_the_rate():
    world = World(100.0)
    monitor = world.monitor()
    for step in range(50):
        world.mb = 5000 if step == 48 else 100
        monitor.check_memory()
        world.now += 1
    assert monitor.analyze_trend()["growth_rate_mb_per_hour"] == 0.0


def test_history_is_bounded_by_the_window():
    world = World()
    monitor = world.monitor(trend_window=25)
    for step in range(200):
        world.mb = 100 + step
        monitor.check_memory()
    assert len(monitor.memory_history) == 25
    assert monitor.memory_history[-1] == (world.now, 299.0)
    assert monitor.analyze_trend()["samples"] == 25


def test_reset_baseline(caplog):
    world = World(100.0)
    monitor = world.monitor(50.0)
    for _ in range(12):
        monitor.check_memory()
    world.mb = 400
    monitor.reset_baseline()
    assert monitor.baseline_mb == 400.0
    assert monitor.check_memory() is None
    assert monitor.analyze_trend() == {"insufficient_data": True}


def test_report_is_text_with_the_figures():
    world = World(100.0)
    monitor = world.monitor(500.0)
    assert "0 of the 10 samples" in monitor.get_memory_report()
    for _ in range(11):
        monitor.check_memory()
        world.now += 3600
        world.mb += 5
    text = monitor.get_memory_report()
    for part in ("150.0 MB", "100.0 MB", "+50.0 MB of 500.0 MB", "+5.00 MB/hour", "11 over 10.00 hours", "yes"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100


def test_collection_is_suggested_once_an_hour(caplog):
    world = World()
    monitor = world.monitor()
    for _ in range(7 * 60 + 1):  # seven hours and a minute, by the minute
        monitor.check_memory()
        world.now += 60
    suggestions = [text for level, text in lines(caplog) if level == "INFO" and "garbage collection" in text]
    assert 6 <= len(suggestions) <= 7
    assert lines(caplog) == [("INFO", text) for text in suggestions]


def test_no_suggestion_in_the_first_hour_or_after_the_clock_went_back(caplog):
    world = World()
    monitor = world.monitor()
    world.now += 3600
    monitor.check_memory()
    world.now -= 86_400
    monitor.check_memory()
    assert lines(caplog) == []
    world.now += 3601
    monitor.check_memory()
    assert len(lines(caplog)) == 1


# extensions


def test_cooldown_between_equal_alerts():
    world, heard = World(), []
    monitor = world.monitor(10.0, heard.append, cooldown_seconds=30)
    world.mb = 112
    for _ in range(3):
        assert monitor.check_memory() is not None  # the caller always learns
        world.now += 5
    assert len(heard) == 1
    world.mb = 200
    monitor.check_memory()
    assert [alert.severity for alert in heard] == ["warning", "critical"]
    world.now += 30
    monitor.check_memory()
    assert len(heard) == 3


def test_failing_callback_is_noted():
    def fails(alert):
        raise ZeroDivisionError

    world = World()
    monitor = world.monitor(1.0, fails)
    world.mb += 5
    assert monitor.check_memory() is not None
    assert faults()[0]["where"] == "alert_callback of ProductionMemoryMonitor"


def test_callback_may_raise_the_limit_error():
    def stops(alert):
        raise MemoryLimitExceeded(alert.message)

    world = World()
    monitor = world.monitor(1.0, stops)
    world.mb += 5
    with pytest.raises(MemoryLimitExceeded):
        monitor.check_memory()


def test_failed_reading_is_no_sample_and_no_alarm():
    answers: list[int | None] = [None, 900 * MIB, None, 901 * MIB]

    def read() -> int:
        value = answers.pop(0)
        if value is None:
            raise OSError("out of descriptors")
        return value

    monitor = ProductionMemoryMonitor(10.0, read=read)
    assert [monitor.check_memory() for _ in range(3)] == [None] * 3  # not "900 MB grown" from a failed baseline
    assert monitor.baseline_mb == 900.0
    assert [mb for _, mb in monitor.memory_history] == [900.0, 901.0]
    assert faults()[0]["count"] == 2


def test_replaced_process_is_read():
    monitor = ProductionMemoryMonitor(10.0)
    info = types.SimpleNamespace(rss=round((monitor.baseline_mb + 20) * MIB))
    monitor.process = types.SimpleNamespace(memory_info=lambda: info)
    assert monitor.check_memory().severity == "critical"


def test_clock_that_goes_back_gives_finite_figures():
    world = World()
    monitor = world.monitor()
    for _ in range(15):
        monitor.check_memory()
        world.now -= 10
        world.mb += 1
    trend = monitor.analyze_trend()
    assert trend["growth_rate_mb_per_hour"] == 0.0
    assert trend["time_span_hours"] == 0.0


def test_real_process():
    monitor = ProductionMemoryMonitor()
    for _ in range(10):
        assert monitor.check_memory() is None
    trend = monitor.analyze_trend()
    assert trend["current_mb"] > 5
    assert abs(trend["growth_mb"]) < 100


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold_mb", 0),
        ("threshold_mb", -5),
        ("threshold_mb", float("nan")),
        ("threshold_mb", "500"),
        ("threshold_mb", True),
        ("alert_callback", "print"),
        ("trend_window", 0),
        ("trend_window", 1.5),
        ("trend_window", True),
        ("cooldown_seconds", -1),
        ("read", 3),
    ],
)
def test_bad_arguments(name, value):
    with pytest.raises(UsageError, match=name):
        ProductionMemoryMonitor(**{name: value})


@given(
    slope=st.floats(-100, 100),
    start=st.floats(-1e5, 1e5),
    count=st.integers(2, 400),
)
def test_slope_of_a_line(slope, start, count):
    points = [(float(x), start + slope * x) for x in range(count)]
    assert robust_slope(points) == pytest.approx(slope, abs=1e-6)


WHOLE = st.integers(-(10**6), 10**6)


@given(st.lists(st.tuples(WHOLE, WHOLE), max_size=30), WHOLE, st.integers(1, 1000))
def test_slope_sees_no_shift_and_follows_the_scale(points, shift, scale):
    moved = [(float(x), float(scale * y + shift)) for x, y in points]
    assert robust_slope(moved) == pytest.approx(scale * robust_slope(points), rel=1e-9, abs=1e-9)


def test_slope_without_two_moments():
    assert robust_slope([]) == 0.0
    assert robust_slope([(1.0, 1.0), (1.0, 9.0)]) == 0.0
