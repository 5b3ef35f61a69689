import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import World  # the path comes first

from meminstr import subjects


@pytest.fixture
def world(monkeypatch):
    # beside calls of a scripted microsecond a real thread's real CPU time would look like hours of work
    monkeypatch.setattr(subjects, "_cpu_of_others", lambda: 0.0)
    return World()


@pytest.fixture
def tracker(world):
    one = world.tracker()
    yield one
    one.uninstall()
