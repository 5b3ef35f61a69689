"""Real memory in a process of its own: outcomes and their order, never times."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

_PRELUDE = """
import json, os, signal, sys, threading, time
from meminstr.decorators.limiting import memory_limited
from meminstr.errors import MemoryLimitExceeded
from meminstr.limits.services import process_services
MB = 1 << 20
def left_behind():
    services = process_services()
    services.watcher.settle()
    import resource
    return {
        "threads": threading.active_count() - 1,
        "switch": round(sys.getswitchinterval(), 6),
        "handlers": [int(s) for s in signal.valid_signals()
                     if signal.getsignal(s) not in (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, None)],
        "soft": resource.getrlimit(resource.RLIMIT_DATA)[0],
        "fds": len(os.listdir("/proc/self/fd")),
    }
"""


def run(body: str) -> dict:
    code = _PRELUDE + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_loop_of_one_megabyte_steps_is_stopped_near_its_limit():
    out = run(
        """
        @memory_limited(mb=100, of="call")
        def loop():
            keep = []
            for _ in range(1500):
                try:
                    keep.append(bytearray(MB))
                except Exception:
                    pass
            return "finished"
        try:
            loop()
            error = None
        except MemoryLimitExceeded as caught:
            error = caught.breach
        print(json.dumps({"breach": error, **left_behind()}))
        """
    )
    breach = out["breach"]
    assert breach["mechanism"] == "watcher"
    assert breach["action"] == "stopped"
    assert breach["peak_exact"]
    # generous, for a loaded machine; the benchmark holds the figure
    assert breach["overshoot_bytes"] < 400 << 20
    assert breach["stack"][0].startswith("loop ")
    assert breach["grown_by_kind"]["anonymous"] > 0
    assert (out["threads"], out["switch"], out["handlers"], out["soft"]) == (0, 0.005, [], -1)


def test_a_blocking_sleep_after_the_breach_is_interrupted():
    out = run(
        """
        order = []
        @memory_limited(mb=50, of="call")
        def call():
            block = bytearray(120 * MB)
            order.append("sleeps")
            time.sleep(60)
            order.append("slept")
        try:
            call()
        except MemoryLimitExceeded:
            order.append("stopped")
        print(json.dumps({"order": order, **left_behind()}))
        """
    )
    assert out["order"][-1] == "stopped"
    assert "slept" not in out["order"]


def test_one_large_allocation_is_refused_by_the_kernel_at_its_line():
    out = run(
        """
        import traceback
        order = []
        @memory_limited(mb=200, of="call", mode="kernel")
        def call():
            order.append("before")
            block = bytearray(1200 * MB)
            order.append("after")
        try:
            call()
        except MemoryLimitExceeded as caught:
            last = traceback.extract_tb(caught.__cause__.__traceback__)[-1].name
            breach = caught.breach
        whole = len(bytearray(300 * MB))
        print(json.dumps({"order": order, "last": last, "breach": breach, "whole": whole, **left_behind()}))
        """
    )
    assert out["order"] == ["before"]
    assert out["last"] == "call"
    assert out["breach"]["peak_bytes"] < 1000 << 20
    assert out["whole"] == 300 << 20
    assert out["soft"] == -1


def test_a_call_that_holds_the_lock_never_returns_normally_and_says_so():
    out = run(
        """
        @memory_limited(mb=100, of="call")
        def call():
            return [None] * (60 * MB)
        try:
            call()
            breach = None
        except MemoryLimitExceeded as caught:
            breach = caught.breach
        print(json.dumps({"breach": breach, **left_behind()}))
        """
    )
    assert out["breach"]["peak_bytes"] - out["breach"]["entry_bytes"] > 400 << 20


def test_a_fork_inside_a_guarded_call_ends_cleanly_on_both_sides():
    out = run(
        """
        @memory_limited(gb=50)
        def call():
            child = os.fork()
            if child == 0:
                return "child"
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        result = call()
        if result == "child":
            state = left_behind()
            @memory_limited(gb=50)
            def again():
                return process_services().watcher.running()
            ok = state["handlers"] == [] and state["threads"] == 0 and again()
            os._exit(42 if ok else 1)
        print(json.dumps({"result": result, **left_behind()}))
        """
    )
    assert out["result"] == 42
    assert out["handlers"] == []


def test_many_breaches_leave_nothing_behind():
    out = run(
        """
        @memory_limited(mb=2, of="call")
        def call():
            keep = []
            while len(keep) < 500:
                keep.append(os.urandom(MB))
        def breach():
            try:
                call()
            except MemoryLimitExceeded:
                return 1
            return 0
        breach()
        before = left_behind()
        count = sum(breach() for _ in range(50))
        print(json.dumps({"count": count, "before": before, "after": left_behind()}))
        """
    )
    assert out["count"] == 50
    assert out["before"] == out["after"]
