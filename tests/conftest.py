"""What every test gets: fresh faults, and a check that no thread, patch or global subject is left behind."""

import signal
import threading

import pytest

from meminstr import faults
from meminstr.registry import tracker

# A suite that a shell started in the background ignores this signal, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
