"""`MemoryMonitor`: each line of the seeds' list, then the extensions."""

from __future__ import annotations

import inspect
import logging
import mmap
import types

import pytest

from meminstr.errors import MemoryLimitExceeded, UsageError
from meminstr.faults import clear_faults, faults
from meminstr.monitors import GuardRecord, MemoryAlert, MemoryMonitor
from meminstr.probes import Limit, PeakMeter

GIB = 1 << 30
LOGGER = "meminstr.monitors"


@pytest.fixture(autouse=True)
def quiet_faults():
    clear_faults()
    yield
    clear_faults()


@pytest.fixture(autouse=True)
def all_levels(caplog):
    caplog.set_level(logging.INFO, logger=LOGGER)


def gb(value: float) -> int:
    return round(value * GIB)


class Memory:
    """Readings that a test sets."""

    def __init__(self, start: float = 0.25):
        self.now = start

    def __call__(self) -> int:
        return gb(self.now)


def lines(caplog) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == LOGGER]


# the seeds' list


def test_signature_of_the_seeds():
    parameters = list(inspect.signature(MemoryMonitor).parameters.values())
    assert (parameters[0].name, parameters[0].default) == ("limit_gb", 4.0)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters[1:])


def test_attributes():
    monitor = MemoryMonitor(2.0)
    assert monitor.limit_bytes == 2 * GIB
    assert MemoryMonitor().limit_bytes == 4 * GIB
    assert monitor.process.pid > 0
    assert monitor.process.memory_info().rss > 0


def test_usage_is_a_float_of_gb():
    usage = MemoryMonitor().get_memory_usage()
    assert isinstance(usage, float)
    assert 0.001 < usage < 100
    assert MemoryMonitor(read=Memory(0.5)).get_memory_usage() == 0.5


@pytest.mark.parametrize(("usage", "below"), [(1.99, True), (2.0, False), (2.01, False)])
def test_check_is_true_while_usage_is_below(usage, below):
    assert MemoryMonitor(2, read=Memory(usage)).check_memory_limit() is below


def test_info_line_of_the_guard(caplog):
    memory = Memory(0.25)
    with MemoryMonitor(2, read=memory).memory_guard():
        memory.now = 0.45
    assert lines(caplog) == [("INFO", "Memory increased during operation: 0.25 GB → 0.45 GB")]


def test_warning_line_of_the_guard(caplog):
    memory = Memory(0.25)
    with MemoryMonitor(2, read=memory).memory_guard():
        memory.now = 2.10
    assert lines(caplog) == [("WARNING", "Memory usage exceeded limit: 2.10 GB (limit: 2.00 GB)")]


@pytest.mark.parametrize("after", [0.25, 0.2501, 0.1])
def test_guard_is_silent_without_a_visible_increase(caplog, after):
    memory = Memory(0.25)
    with MemoryMonitor(2, read=memory).memory_guard():
        memory.now = after
    assert lines(caplog) == []


def test_guard_logs_after_an_exception_and_lets_it_through(caplog):
    memory = Memory(0.25)

    def grows_and_fails() -> None:
        memory.now = 2.10
        raise KeyError("mine")

    with pytest.raises(KeyError), MemoryMonitor(2, read=memory).memory_guard(raise_on_exceed=True):
        grows_and_fails()
    assert lines(caplog) == [("WARNING", "Memory usage exceeded limit: 2.10 GB (limit: 2.00 GB)")]


def test_guard_on_real_memory(caplog):
    # mapped anew: an allocation might be served from what the process has freed but not given back
    with mmap.mmap(-1, 160 << 20) as data:
        with MemoryMonitor().memory_guard() as record:
            for page in range(0, len(data), 4096):
                data[page] = 1
        assert [level for level, _ in lines(caplog)] == ["INFO"]
        assert record.end_bytes - record.start_bytes > 150 << 20


def test_replaced_process_is_read():
    monitor = MemoryMonitor(2)
    monitor.process = types.SimpleNamespace(memory_info=lambda: types.SimpleNamespace(rss=gb(3)))
    assert monitor.get_memory_usage() == 3.0
    assert monitor.check_memory_limit() is False
    with monitor.memory_guard() as record:
        pass
    assert (record.peak_bytes, record.peak_exact) == (gb(3), False)


def test_limit_may_be_set():
    monitor = MemoryMonitor(2, read=Memory(1))
    monitor.limit_bytes = GIB // 2
    assert not monitor.check_memory_limit()


# extensions


def test_raising():
    memory = Memory(0.25)
    with pytest.raises(MemoryLimitExceeded, match=r"2\.10 GB") as caught:
        with MemoryMonitor(2, read=memory).memory_guard(raise_on_exceed=True):
            memory.now = 2.10
    error = caught.value
    assert (error.subject, error.limit_bytes, error.observed_bytes) == ("memory_guard", 2 * GIB, gb(2.1))
    assert error.peak_bytes == gb(2.1)
    assert isinstance(error, MemoryError)


def test_raising_only_above():
    with MemoryMonitor(2, read=Memory(1.9)).memory_guard(raise_on_exceed=True) as record:
        pass
    assert record == GuardRecord(gb(1.9), 2 * GIB, gb(1.9), gb(1.9), False, "two readings", False)


class ScriptedMeter(PeakMeter):
    def __init__(self, tmp_path, memory: Memory, high: list[float]):
        super().__init__(str(tmp_path), resident=memory, mark=lambda: (gb(max(high[0], memory.now)), "scripted mark"))


def test_peak_inside_the_guard(tmp_path, caplog):
    memory, high = Memory(0.25), [0.25]
    monitor = MemoryMonitor(2, read=memory, meter=ScriptedMeter(tmp_path, memory, high))
    with monitor.memory_guard() as record:
        assert record.peak_bytes is None
        high[0] = 1.5
    assert (record.peak_bytes, record.peak_exact, record.peak_source) == (gb(1.5), True, "scripted mark")
    assert not record.exceeded
    assert lines(caplog) == []


def test_peak_above_the_limit_is_told_and_raised(tmp_path, caplog):
    memory, high = Memory(0.25), [0.25]
    monitor = MemoryMonitor(2, read=memory, meter=ScriptedMeter(tmp_path, memory, high))
    with pytest.raises(MemoryLimitExceeded) as caught, monitor.memory_guard(raise_on_exceed=True) as record:
        high[0], memory.now = 2.5, 0.5
    assert record.exceeded
    assert caught.value.observed_bytes == caught.value.peak_bytes == gb(2.5)
    assert lines(caplog) == [
        ("INFO", "Memory increased during operation: 0.25 GB → 0.50 GB"),
        ("WARNING", "Memory peak exceeded limit: 2.50 GB (limit: 2.00 GB)"),
    ]


def test_real_peak_is_measured():
    # mapped anew and given back: an allocation might be served from what the process has freed and kept
    with MemoryMonitor().memory_guard() as record, mmap.mmap(-1, 60 << 20) as data:
        for page in range(0, len(data), 4096):
            data[page] = 1
    if not record.peak_exact:
        pytest.skip("this system has no mark to set back")
    assert record.peak_bytes - record.start_bytes > 50 << 20
    assert record.end_bytes - record.start_bytes < 30 << 20


def test_meter_that_fails_costs_only_the_peak():
    class BrokenMeter(PeakMeter):
        def begin(self):
            raise OSError("gone")

    with MemoryMonitor(read=Memory(0.25), meter=BrokenMeter()).memory_guard() as record:
        pass
    assert record.peak_source == "two readings"
    assert faults()[0]["where"] == "peak of a memory guard"

    class HalfBroken(PeakMeter):
        def end(self, window):
            raise OSError("gone")

    with MemoryMonitor(read=Memory(0.25), meter=HalfBroken()).memory_guard() as record:
        pass
    assert record.peak_bytes == gb(0.25)


@pytest.mark.parametrize(("usage", "severity"), [(2.5, "warning"), (3.0, "warning"), (3.1, "critical")])
def test_callback_gets_an_alert(usage, severity):
    heard: list[MemoryAlert] = []
    memory = Memory(1)
    monitor = MemoryMonitor(2, on_exceed=heard.append, read=memory, clock=lambda: 99.0)
    with monitor.memory_guard():
        memory.now = usage
    (alert,) = heard
    assert (alert.timestamp, alert.threshold_mb, alert.severity) == (99.0, 2048.0, severity)
    assert alert.rss_mb == pytest.approx(usage * 1024)
    assert alert.growth_mb == pytest.approx((usage - 1) * 1024)
    assert alert.message.startswith("Memory usage exceeded limit: ")


def test_callback_that_fails_is_noted_only():
    def fails(alert):
        raise KeyError("user's own")

    assert MemoryMonitor(1, on_exceed=fails, read=Memory(2)).check() is not None
    assert faults()[0]["where"] == "on_exceed callback of MemoryMonitor"


def test_callback_may_ask_for_the_end():
    def stops(alert):
        raise MemoryLimitExceeded(alert.message)

    monitor = MemoryMonitor(1, on_exceed=stops, read=Memory(2))
    with pytest.raises(MemoryLimitExceeded):
        monitor.check()
    with pytest.raises(KeyError), monitor.memory_guard():
        raise KeyError("the block's own comes first")


def test_check_below_the_limit_says_nothing(caplog):
    assert MemoryMonitor(2, read=Memory(1)).check() is None
    assert lines(caplog) == []


def test_equal_alerts_cool_down(caplog):
    now, memory, heard = [0.0], Memory(2.1), []
    monitor = MemoryMonitor(2, on_exceed=heard.append, cooldown_seconds=60, read=memory, clock=lambda: now[0])
    for now[0] in (0.0, 1.0, 59.0):
        assert monitor.check() is not None
    assert len(heard) == len(lines(caplog)) == 1
    memory.now = 3.5  # worse is not equal
    monitor.check()
    assert [alert.severity for alert in heard] == ["warning", "critical"]
    memory.now, now[0] = 2.1, 60.0
    monitor.check()
    assert len(heard) == 3
    now[0] = 10.0  # a clock that was set back must not silence anything
    monitor.check()
    assert len(heard) == 4


def test_without_a_cooldown_all_alerts_are_given(caplog):
    monitor = MemoryMonitor(1, read=Memory(2), clock=lambda: 5.0)
    for _ in range(3):
        monitor.check()
    assert len(lines(caplog)) == 3


def test_limit_of_the_container_is_read_at_use():
    allowed: list[Limit | None] = [Limit(2 * GIB, "cgroup")]
    monitor = MemoryMonitor(limit_gb=None, read=Memory(1.5), container=lambda: allowed[0])
    assert monitor.limit_bytes == 2 * GIB
    assert monitor.check_memory_limit()
    allowed[0] = Limit(GIB, "cgroup")
    assert not monitor.check_memory_limit()
    allowed[0] = None  # the files went away: the last known limit holds
    assert monitor.limit_bytes == GIB


def test_container_that_fails_later():
    answers = iter([Limit(GIB, "cgroup")])
    monitor = MemoryMonitor(limit_gb=None, read=Memory(), container=lambda: next(answers))
    assert monitor.limit_bytes == GIB
    assert faults()[0]["where"] == "container limit"


def test_no_limit_known():
    with pytest.raises(UsageError, match="limit_gb=None"):
        MemoryMonitor(limit_gb=None, container=lambda: None)


def test_real_container_limit():
    monitor = MemoryMonitor(limit_gb=None)
    assert monitor.limit_bytes > 1 << 20
    assert monitor.check_memory_limit()


def test_reading_that_fails_leaves_the_last_one():
    answers = iter([GIB])
    monitor = MemoryMonitor(2, read=lambda: next(answers))
    assert [monitor.get_memory_usage() for _ in range(3)] == [1.0] * 3
    assert monitor.check_memory_limit()
    assert faults()[0]["where"] == "monitor reading"


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), "2", True])
def test_bad_limits(limit):
    with pytest.raises(UsageError, match="limit_gb"):
        MemoryMonitor(limit)
    with pytest.raises(UsageError, match="limit_bytes"):
        MemoryMonitor().limit_bytes = limit


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_exceed", 5),
        ("cooldown_seconds", -1),
        ("cooldown_seconds", float("nan")),
        ("cooldown_seconds", "1"),
        ("read", 7),
    ],
)
def test_bad_arguments(name, value):
    with pytest.raises(UsageError, match=name):
        MemoryMonitor(**{name: value})
