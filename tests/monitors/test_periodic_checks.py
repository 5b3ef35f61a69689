"""Checks that repeat in a thread or a task: start, stop, faults, fork, and a monitor that is dropped."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest

from meminstr.errors import MemoryLimitExceeded, UsageError
from meminstr.faults import clear_faults, faults
from meminstr.monitors import MemoryMonitor, ProductionMemoryMonitor

SOON = 1e-6
LONG = 30.0


@pytest.fixture(autouse=True)
def nothing_left_behind():
    clear_faults()
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "meminstr-monitor"] == []
    clear_faults()


class Counted:
    """Readings that count themselves and tell when there were enough."""

    def __init__(self, enough: int, value: int = 1 << 20):
        self.count = 0
        self.enough = enough
        self.value = value
        self.done = threading.Event()

    def __call__(self) -> int:
        self.count += 1
        if self.count >= self.enough:
            self.done.set()
        return self.value


@pytest.mark.parametrize("kind", [MemoryMonitor, ProductionMemoryMonitor])
def test_thread_repeats_the_check_until_stopped(kind):
    read = Counted(5)
    monitor = kind(read=read)
    assert not monitor.running
    monitor.start(SOON)
    assert monitor.running
    assert read.done.wait(LONG)
    monitor.stop()
    assert not monitor.running  # and the fixture sees that the thread is gone
    monitor.stop()  # twice is fine


def test_thread_is_a_daemon_and_is_restarted_at_will():
    read = Counted(1)
    monitor = MemoryMonitor(read=read)
    monitor.start(LONG)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "meminstr-monitor")
    monitor.stop()
    monitor.start(LONG)
    monitor.stop()
    assert read.done.is_set()


def test_second_start_is_refused():
    monitor = MemoryMonitor(read=Counted(1))
    monitor.start(LONG)
    with pytest.raises(UsageError, match="already running"):
        monitor.start(LONG)
    monitor.stop()


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf"), "1", None, True])
def test_bad_intervals(interval):
    monitor = MemoryMonitor(read=Counted(1))
    with pytest.raises(UsageError, match="interval"):
        monitor.start(interval)
    with pytest.raises(UsageError, match="interval"):
        asyncio.run(monitor.watch_async(interval))
    assert not monitor.running


def test_alerts_from_the_thread_and_stop_from_the_callback():
    heard = threading.Event()

    def on_exceed(alert):
        monitor.stop()
        heard.set()

    monitor = MemoryMonitor(1, on_exceed=on_exceed, read=lambda: 2 << 30)
    monitor.start(SOON)
    assert heard.wait(LONG)
    assert not monitor.running


def test_errors_do_not_end_the_thread():
    enough = threading.Event()
    count = [0]

    def on_exceed(alert):
        count[0] += 1
        if count[0] == 3:
            enough.set()
        raise MemoryLimitExceeded("nobody hears this")

    monitor = MemoryMonitor(1, on_exceed=on_exceed, read=lambda: 2 << 30)
    monitor.start(SOON)
    assert enough.wait(LONG)
    monitor.stop()
    assert faults()[0]["where"] == "periodic memory check"
    assert faults()[0]["count"] >= 3


def test_a_dropped_monitor_ends_its_thread():
    read = Counted(2)
    monitor = ProductionMemoryMonitor(read=read)
    monitor.start(SOON)
    thread = monitor._thread
    assert read.done.wait(LONG)
    gone = weakref.ref(monitor)
    del monitor
    gc.collect()
    thread.join(LONG)
    assert not thread.is_alive()
    assert gone() is None


def test_task_repeats_the_check_until_stopped():
    async def main():
        read = Counted(5)
        monitor = ProductionMemoryMonitor(read=read)
        task = monitor.start_async(SOON)
        assert monitor.running
        with pytest.raises(UsageError, match="already running"):
            monitor.start_async(SOON)
        while not read.done.is_set():
            await asyncio.sleep(0)
        monitor.stop()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not monitor.running
        monitor.stop()
        return read.count

    assert asyncio.run(asyncio.wait_for(main(), LONG)) >= 5


def test_task_survives_a_failing_check():
    async def main():
        count = [0]

        def read():
            count[0] += 1
            raise OSError("no reading")

        monitor = MemoryMonitor(read=read)
        task = monitor.start_async(SOON)
        while count[0] < 4:
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), LONG))


def test_task_stopped_from_another_thread():
    async def main():
        read = Counted(1)
        monitor = MemoryMonitor(read=read)
        task = monitor.start_async(SOON)
        thread = threading.Thread(target=lambda: (read.done.wait(LONG), monitor.stop()))
        thread.start()
        await asyncio.gather(task, return_exceptions=True)
        thread.join(LONG)
        return task.cancelled()

    assert asyncio.run(asyncio.wait_for(main(), LONG))


def test_stop_after_the_loop_is_closed():
    monitor = MemoryMonitor(read=Counted(1))

    async def main():
        monitor.start_async(LONG)

    asyncio.run(main())
    monitor.stop()
    assert not monitor.running


def test_start_async_needs_a_loop():
    with pytest.raises(UsageError, match="event loop"):
        MemoryMonitor(read=Counted(1)).start_async()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_is_not_running_and_can_start():
    script = textwrap.dedent(
        """
        import os, threading
        from meminstr.monitors import MemoryMonitor
        done = threading.Event()
        monitor = MemoryMonitor(read=lambda: done.set() or 1)
        monitor.start(60)
        monitor._lock.acquire()           # as if another thread were just starting it
        if os.fork() == 0:
            ok = not monitor.running and threading.active_count() == 1
            done = threading.Event()
            monitor.start(60)
            ok = ok and done.wait(30) and monitor.running
            monitor.stop()
            os._exit(0 if ok else 1)
        monitor._lock.release()
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
        assert monitor.running
        monitor.stop()
        """
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


def test_running_monitor_does_not_keep_the_program_alive():
    script = "from meminstr.monitors import MemoryMonitor\nm = MemoryMonitor()\nm.start(3600)\n"
    done = subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True, text=True)
    assert done.stderr == ""
