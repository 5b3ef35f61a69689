"""Fixtures of the tests of limits; the scripted process itself is in `scripted_limits`."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_limits import World

from meminstr.limits.interrupt import MainThread
from meminstr.limits.services import process_services


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.watcher.settle()


@pytest.fixture
def world_without_mark() -> World:
    return World(mark=False)


@pytest.fixture(autouse=True)
def no_limit_left_behind() -> Iterator[None]:
    """No thread, handler, switch interval or soft limit outlives a test."""
    assert not _handlers()
    switch = sys.getswitchinterval()
    yield
    services = process_services()
    services.watcher.settle()
    assert not services.watcher.active
    assert not services.watcher.running()
    assert not [t for t in threading.enumerate() if t.name == "meminstr-limits"]
    assert not _handlers()
    assert sys.getswitchinterval() == switch
    assert not services.kernel.active()


def _handlers() -> list[Any]:
    """Handlers of ours (pytest-timeout sets others around each test)."""
    found = [signal.getsignal(s) for s in signal.valid_signals()]
    return [h for h in found if isinstance(getattr(h, "__self__", None), MainThread)]
