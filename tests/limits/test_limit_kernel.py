"""The soft data limit: counted, restored, and what becomes of a `MemoryError`."""

from __future__ import annotations

import pytest
from scripted_limits import MB, FakeResource

from meminstr.errors import MemoryLimitExceeded
from meminstr.limits.kernel import SLACK_BYTES, KernelLimits, data_bytes


def limits(resource):
    return KernelLimits(resource, lambda: 1000 * MB)


def test_the_lowest_of_the_active_limits_applies_and_the_own_one_comes_back():
    resource = FakeResource(soft=5000 * MB)
    kernel = limits(resource)
    kernel.acquire(1, 300 * MB)
    kernel.acquire(2, 100 * MB)
    assert resource.limits == (1100 * MB + SLACK_BYTES, -1)
    kernel.release(2)
    assert resource.limits == (1300 * MB + SLACK_BYTES, -1)
    kernel.release(1)
    assert resource.limits == (5000 * MB, -1)
    assert not kernel.active()


def test_ends_in_any_order():
    resource = FakeResource()
    kernel = limits(resource)
    for key in range(5):
        kernel.acquire(key, (key + 1) * MB)
    for key in (3, 0, 4, 1, 2):
        kernel.release(key)
    assert resource.limits == (-1, -1)
    kernel.release(7)  # never acquired
    assert resource.limits == (-1, -1)


def test_a_tighter_limit_of_the_program_is_never_raised():
    resource = FakeResource(soft=1010 * MB)
    kernel = limits(resource)
    kernel.acquire(1, 300 * MB)
    assert resource.limits[0] == 1010 * MB
    kernel.release(1)
    assert resource.limits[0] == 1010 * MB


def test_a_limit_that_the_program_sets_meanwhile_stays():
    resource = FakeResource()
    kernel = limits(resource)
    kernel.acquire(1, 300 * MB)
    resource.limits = (777 * MB, -1)
    kernel.release(1)
    assert resource.limits[0] == 777 * MB


def test_lifted_gives_room_for_a_moment():
    resource = FakeResource()
    kernel = limits(resource)
    with kernel.lifted():
        assert resource.history == []
    kernel.acquire(1, 0)
    lowered = resource.limits
    with kernel.lifted():
        assert resource.limits[0] == -1
    assert resource.limits == lowered
    kernel.release(1)


def test_a_refused_limit_is_not_counted():
    class Refusing(FakeResource):
        def setrlimit(self, resource, limits, /):
            raise ValueError("not allowed")

    kernel = limits(Refusing())
    with pytest.raises(ValueError, match="not allowed"):
        kernel.acquire(1, 0)
    assert not kernel.active()


def test_data_bytes_reads_the_status(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmData:\t     360 kB\n")
    assert data_bytes(str(status)) == 360 * 1024
    status.write_text("Name:\tx\n")
    with pytest.raises(OSError, match="no VmData"):
        data_bytes(str(status))


def test_a_memory_error_in_the_call_becomes_the_limit_with_its_cause(world):
    @world.limited(mode="kernel")
    def call():
        assert world.resource.limits[0] == world.data + 100 * MB + SLACK_BYTES
        raise MemoryError("no room")

    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert isinstance(caught.value.__cause__, MemoryError)
    assert caught.value.breach["mechanism"] == "kernel"
    assert world.resource.limits == (-1, -1)


def test_a_handled_memory_error_is_the_calls_own_matter(world):
    @world.limited(mode="kernel")
    def call():
        try:
            raise MemoryError
        except MemoryError:
            return "made do"

    assert call() == "made do"
    assert world.resource.limits == (-1, -1)


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_limit_is_restored_whatever_ends_the_call(world, error):
    @world.limited(mode="kernel")
    def call():
        raise error

    with pytest.raises(error):
        call()
    assert world.resource.limits == (-1, -1)


def test_of_call_allows_the_whole_limit(world):
    with world.limited(mode="kernel", of="call"):
        assert world.resource.limits[0] == world.data + 200 * MB + SLACK_BYTES
