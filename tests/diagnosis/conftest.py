import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import World  # the path comes first


@pytest.fixture
def world():
    return World()


@pytest.fixture
def tracker(world):
    one = world.tracker()
    yield one
    one.uninstall()
