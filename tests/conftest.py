"""What every test gets: fresh faults, and a check that no thread, patch or global subject is left behind."""

import signal
import threading

import pytest

from meminstr import faults
from meminstr.registry import tracker

# A suite that a shell started in the background ignores this signal, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Live measurements and real servers beside another interpreter's suite: how threads and processes take turns is the
# machine's affair.  Each is tried three times at most; what is wrong fails three times.
_LIVE = ("integrations", "shards", "pytest_plugin", "docs", "demo", "benchmarks")
_LIVE_FILES = ("test_attribution_live.py", "test_limit_ticker.py", "test_limit_real_memory.py", "test_exact_counts.py")
_LIVE_FILES += ("test_assert_no_leak.py", "test_merge_and_children.py", "test_report_browser.py")
_LIVE_FILES += ("test_interruptions.py", "test_forks_amid_imports.py")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name in _LIVE or item.path.name in _LIVE_FILES:
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(autouse=True)
def nothing_left_behind():
    faults.clear_faults()
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before and t.name.startswith("meminstr")]
    assert not left, f"threads left behind: {left}"
    assert not tracker.functions, f"functions left in the global tracker: {sorted(tracker.functions)}"
    assert not tracker.classes, f"classes left in the global tracker: {sorted(tracker.classes)}"
    faults.clear_faults()
