"""What every test gets: fresh faults, and a check that no thread, patch or global subject is left behind."""

import threading

import pytest

from meminstr import faults
from meminstr.registry import tracker


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
