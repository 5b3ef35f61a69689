"""Figures of ``memory_limited``: cost of a hot call, overshoot, interruption, breaches in a row, process mode.

``python -m benchmarks.limits [--json] [--runs N] [--breaches N] [--suite FOLDER] [--only NAME ...]``.  Figures are
medians or worst cases of this machine at this moment; ratios travel better than times.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import wrapt

from meminstr.decorators.limiting import memory_limited
from meminstr.errors import MemoryLimitExceeded
from meminstr.limits.services import process_services
from meminstr.limits.workers import process_workers

MB = 1 << 20


def bare(a: int) -> int:
    return a


@wrapt.decorator
def do_nothing(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


def seconds_per_call(function: Callable[[int], int], calls: int = 20_000) -> float:
    started = time.perf_counter()
    for value in range(calls):
        function(value)
    return (time.perf_counter() - started) / calls


def hot_cost(rounds: int = 41) -> dict[str, float]:
    """Added cost a call, interleaved rounds, medians; the ratio to a do-nothing wrapt decorator."""
    ways = {
        "bare": bare,
        "wrapt": do_nothing(bare),
        "check": memory_limited(gb=1000, mode="check")(bare),
        "watch": memory_limited(gb=1000)(bare),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, function in ways.items():
            times[name].append(seconds_per_call(function))
    medians = {name: statistics.median(values) for name, values in times.items()}
    added = {name: medians[name] - medians["bare"] for name in ways if name != "bare"}
    return {
        "wrapt_added_us": added["wrapt"] * 1e6,
        "check_added_us": added["check"] * 1e6,
        "watch_added_us": added["watch"] * 1e6,
        "check_ratio": added["check"] / added["wrapt"],
        "watch_ratio": added["watch"] / added["wrapt"],
    }


def one_overshoot(hot: bool = False) -> dict[str, Any]:
    """One run in this (fresh) process: a loop of 1 MB steps under 200 MB over the start.

    A hot function has had 20,000 short calls immediately before.
    """

    @memory_limited(mb=200, of="call")
    def loop(steps: int = 4000) -> None:
        keep: list[bytes] = []
        while len(keep) < steps:
            try:
                keep.append(bytearray(MB))
            except Exception:
                pass

    for _ in range(20_000 if hot else 0):
        loop(0)
    try:
        loop()
    except MemoryLimitExceeded as error:
        breach = error.breach or {}
        return {
            "stopped": breach["action"] == "stopped",
            "overshoot": breach["overshoot_bytes"] / breach["limit_bytes"],
        }
    return {"stopped": False, "overshoot": float("inf")}


def overshoot(runs: int, hot: bool = False) -> dict[str, Any]:
    """`one_overshoot` in so many fresh processes, so that no freed memory is used again unseen."""
    rows = []
    command = [sys.executable, "-m", "benchmarks.limits", "--one-overshoot", *(["--hot"] if hot else [])]
    for _ in range(runs):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        escaped = done.returncode != 0
        rows.append({"stopped": False, "overshoot": 9.9} if escaped else json.loads(done.stdout))
    values = sorted(row["overshoot"] for row in rows)
    return {
        "runs": runs,
        "stopped": sum(row["stopped"] for row in rows),
        "median": statistics.median(values),
        "worst": values[-1],
        "above_5_percent": sum(value > 0.05 for value in values),
    }


def sleep_interrupted(runs: int, hot: bool = False) -> dict[str, float]:
    """Milliseconds from the breach, by another thread's memory, until a sleeping main thread is out of its sleep."""
    delays = []
    for _ in range(runs):
        passed, out = [0.0], [0.0]

        def grow(passed: list[float] = passed) -> None:
            block, page = mmap.mmap(-1, 130 * MB), os.urandom(MB)  # given back whole: no run uses another's memory
            time.sleep(0.1)
            for step in range(130):
                block[step * MB : (step + 1) * MB] = page
                if step == 100:
                    passed[0] = time.perf_counter()
            time.sleep(0.3)
            block.close()

        @memory_limited(mb=100, of="call")
        def call(short: bool = False, grow: Callable[[], None] = grow, out: list[float] = out) -> None:
            if short:
                return
            threading.Thread(target=grow).start()
            try:
                time.sleep(2)
            finally:
                out[0] = time.perf_counter()

        for _ in range(20_000 if hot else 0):
            call(True)
        try:
            call()
        except MemoryLimitExceeded as error:
            if error.breach and error.breach["action"] == "stopped":
                delays.append((out[0] - passed[0]) * 1000 if passed[0] else 0.0)
        time.sleep(0.5)  # the other thread has ended
    return {"runs": runs, "stopped": len(delays), "worst_ms": max(delays, default=float("nan"))}


def kernel_stops_one_allocation() -> dict[str, Any]:
    """One C call of 1.2 GB under 200 MB: refused at its line, with the peak that was reached."""

    @memory_limited(mb=200, of="call", mode="kernel")
    def call() -> None:
        import numpy as np

        np.ones(1200 * MB // 8)

    try:
        call()
    except MemoryLimitExceeded as error:
        breach = error.breach or {}
        return {"stopped": True, "grown_mb": (breach["peak_bytes"] - breach["entry_bytes"]) / MB}
    return {"stopped": False}


def breaches_in_a_row(count: int) -> dict[str, Any]:
    """Breach after breach in this process: what is left afterwards, compared with before."""

    @memory_limited(mb=2, of="call")
    def call() -> None:
        keep: list[bytes] = []
        while len(keep) < 200:
            keep.append(os.urandom(MB))

    def state() -> dict[str, Any]:
        import resource

        process_services().watcher.settle()
        return {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
            "handlers": sum(callable(signal.getsignal(s)) for s in signal.valid_signals()),
            "switch_interval": sys.getswitchinterval(),
            "soft_data_limit": resource.getrlimit(resource.RLIMIT_DATA)[0],
        }

    def one() -> int:
        try:
            call()
        except MemoryLimitExceeded:
            return 1
        return 0

    one()
    before = state()
    raised = sum(one() for _ in range(count))
    after = state()
    left = {k: (before[k], after[k]) for k in after if after[k] != before[k]}
    return {"count": count, "raised": raised, "left_behind": left}


def usable_afterwards(suite: str) -> dict[str, Any]:
    """The tests of another package, in this very process, after all those breaches."""
    import pytest

    class Counter:
        outcomes: dict[str, int]

        def __init__(self) -> None:
            self.outcomes = {}

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.when == "call" or report.outcome != "passed":
                self.outcomes[report.outcome] = self.outcomes.get(report.outcome, 0) + 1

    counter = Counter()
    # what is printed of it goes nowhere: the figures are what counts
    keep, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    try:
        code = pytest.main(["-q", "-p", "no:cacheprovider", "-W", "ignore", "--rootdir", suite, suite], [counter])
    finally:
        os.dup2(keep, 1)
        os.close(keep)
        os.close(null)
    return {"suite": os.path.basename(suite.rstrip("/")), "exit_code": int(code), **counter.outcomes}


def kernel_runs(runs: int) -> dict[str, Any]:
    """`kernel_stops_one_allocation` again and again, the soft limit asked for after each."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    rows = []
    restored = 0
    for _ in range(runs):
        rows.append(kernel_stops_one_allocation())
        restored += resource.getrlimit(resource.RLIMIT_DATA) == before
    return {
        "runs": runs,
        "stopped": sum(row["stopped"] for row in rows),
        "restored": restored,
        "worst_grown_mb": max(row.get("grown_mb", float("inf")) for row in rows),
    }


@memory_limited(mb=200, of="call", mode="process")
def hog(kind: str) -> None:
    """1.2 GB in one C call, in a worker: private memory, or shared, which the kernel's limit does not count."""
    import numpy as np

    block = np.ones(1200 * MB // 8) if kind == "private" else mmap.mmap(-1, 1200 * MB)
    if kind == "shared":
        for at in range(0, 1200 * MB, mmap.PAGESIZE):
            block[at] = 1


def process_runs(runs: int) -> dict[str, Any]:
    """`hog` again and again; what stopped it, and whether this process was harmed."""
    mechanisms: dict[str, int] = {}
    worst = 0.0
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for number in range(runs):
        try:
            hog("shared" if number % 4 == 3 else "private")
            found = "returned"
        except MemoryLimitExceeded as error:
            breach = error.breach or {}
            found = str(breach.get("mechanism"))
            worst = max(worst, breach["overshoot_bytes"] / MB)
        mechanisms[found] = mechanisms.get(found, 0) + 1
    process_workers.close()
    after = len(os.listdir("/proc/self/fd")), threading.active_count()
    return {"runs": runs, **mechanisms, "worst_overshoot_mb": worst, "left_behind": after != before}


@memory_limited(gb=2, mode="process")
def remote(value: Any) -> Any:
    return value


def process_mode() -> dict[str, float]:
    """Milliseconds added by a warm worker; a 100 MB array there and back."""
    import numpy as np

    started = time.perf_counter()
    remote(1)
    cold = time.perf_counter() - started
    warm = statistics.median(seconds_per_call(remote, 50) for _ in range(7))
    array = np.ones(100 * MB // 8)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        remote(array)
        times.append(time.perf_counter() - started)
    process_workers.close()
    return {"cold_ms": cold * 1000, "warm_ms": warm * 1000, "array_100mb_ms": statistics.median(times) * 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=20, help="runs of the overshoot loop, each in a new process")
    parser.add_argument("--breaches", type=int, default=200)
    parser.add_argument("--suite", help="folder of another package's tests, run after the breaches in this process")
    parser.add_argument("--only", nargs="+", help="names of figures, as printed")
    parser.add_argument("--one-overshoot", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--hot", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_overshoot:
        print(json.dumps(one_overshoot(arguments.hot)))
        return
    pieces: dict[str, Callable[[], Any]] = {
        "hot": hot_cost,
        "overshoot": lambda: overshoot(arguments.runs),
        "overshoot of a hot function": lambda: overshoot(arguments.runs, hot=True),
        "sleep": lambda: sleep_interrupted(20),
        "sleep in a hot function": lambda: sleep_interrupted(20, hot=True),
        "kernel": lambda: kernel_runs(arguments.runs),
        "process runs": lambda: process_runs(arguments.runs),
        "process": process_mode,
        "breaches": lambda: breaches_in_a_row(arguments.breaches),
    }
    if arguments.suite:
        pieces["usable afterwards"] = lambda: usable_afterwards(arguments.suite)
    figures: dict[str, Any] = {"python": sys.version.split()[0]}
    figures |= {name: run() for name, run in pieces.items() if not arguments.only or name in arguments.only}
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return
    for name, rows in figures.items():
        print(f"{name}: {rows}" if isinstance(rows, str) else name)
        if isinstance(rows, dict):
            for key, value in rows.items():
                print(f"  {key:18} {value:.4g}" if isinstance(value, float) else f"  {key:18} {value}")


if __name__ == "__main__":
    main()
