"""Which arguments make a limit, and how the others are refused."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.decorators.limiting import memory_limited
from meminstr.errors import UsageError
from meminstr.limits import policy
from meminstr.limits.policy import available_modes, make_limit

GIB = 1 << 30


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"gb": 2}, 2 * GIB),
        ({"gb": 0.5}, GIB // 2),
        ({"mb": 10}, 10 << 20),
        ({"limit": "2GiB"}, 2 * GIB),
        ({"limit": "500 MB"}, 500 << 20),
        ({"limit": 4096}, 4096),
    ],
)
def test_every_way_to_write_a_size(arguments, expected):
    assert make_limit(**arguments).limit_bytes == expected


def test_a_fraction_is_resolved_later():
    limit = make_limit(fraction=0.8)
    assert (limit.limit_bytes, limit.fraction) == (None, 0.8)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "exactly one of gb=, mb=, limit= and fraction= must be given, got none"),
        ({"gb": 1, "mb": 1}, "got gb=1 and mb=1"),
        ({"limit": "1GB", "fraction": 0.5}, "limit='1GB' and fraction=0.5"),
        ({"gb": 0}, "gb=0"),
        ({"gb": -1}, "gb=-1"),
        ({"gb": float("nan")}, "gb=nan"),
        ({"gb": float("inf")}, "gb=inf"),
        ({"gb": True}, "gb=True"),
        ({"mb": "ten"}, "mb='ten'"),
        ({"limit": "lots"}, "limit='lots'"),
        ({"limit": "-5MB"}, "limit='-5MB'"),
        ({"limit": 0}, "limit=0"),
        ({"limit": float("nan")}, "limit=nan"),
        ({"fraction": 0}, "fraction=0"),
        ({"fraction": 1.5}, "a number above 0 and up to 1 is allowed"),
        ({"fraction": float("nan")}, "fraction=nan"),
        ({"fraction": "half"}, "fraction='half'"),
        ({"mb": 1, "of": "thread"}, "of='thread' is not allowed: 'process', 'call' is"),
        ({"mb": 1, "mode": "soft"}, "'watch', 'check', 'kernel', 'process' is"),
        ({"mb": 1, "mode": None}, "mode=None"),
        ({"mb": 1, "on_exceed": "log"}, "'raise', 'warn' or a callable is"),
        ({"mb": 1, "on_exceed": None}, "on_exceed=None"),
        ({"mb": 1, "wait": -1}, "wait=-1"),
        ({"mb": 1, "wait": float("nan")}, "wait=nan"),
        ({"mb": 1, "wait": True}, "wait=True"),
    ],
)
def test_what_is_refused_says_what_is_allowed(arguments, said):
    with pytest.raises(UsageError) as caught:
        memory_limited(**arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bare_use_is_refused():
    with pytest.raises(UsageError, match="got none"):

        @memory_limited
        def function():
            pass


def test_modes_that_this_system_lacks_are_named(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert available_modes() == ("watch", "check", "process")
    with pytest.raises(UsageError, match=r"mode='kernel' is not available on this system \(darwin\)"):
        memory_limited(mb=1, mode="kernel")
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UsageError, match="'watch', 'check' are"):
        memory_limited(mb=1, mode="process")


def test_without_the_resource_module_there_is_no_kernel_mode(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert "kernel" not in available_modes()


def test_interrupting_threads_is_refused_where_it_is_known_to_be_broken(monkeypatch):
    monkeypatch.setattr(policy.sys, "version_info", (3, 13, 0, "final", 0))
    with pytest.raises(UsageError, match="interrupt_threads=True is refused"):
        memory_limited(mb=1, interrupt_threads=True)
    monkeypatch.setattr(policy.sys, "version_info", (3, 12, 1, "final", 0))
    assert make_limit(mb=1, interrupt_threads=True).interrupt_threads


@given(st.integers(1, 1 << 45))
def test_staleness_never_exceeds_a_millisecond_and_shrinks_with_small_growths(size):
    whole, call = make_limit(limit=size), make_limit(limit=size, of="call")
    assert whole.staleness_seconds == policy.STALENESS_SECONDS
    assert 0 < call.staleness_seconds <= policy.STALENESS_SECONDS
    # what may be added unseen is at most a twentieth of the limit, per core
    assert call.staleness_seconds * policy.FAULT_BYTES_PER_SECOND <= 0.05 * size * 1.001
