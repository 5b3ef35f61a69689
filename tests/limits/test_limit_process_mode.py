"""mode="process" with real workers."""

from __future__ import annotations

import asyncio
import os

import limited_in_workers as remote
import numpy as np
import pytest

from meminstr.decorators.limiting import memory_limited
from meminstr.errors import MeminstrError, MemoryLimitExceeded, UsageError
from meminstr.limits import transport
from meminstr.limits.workers import RemoteTraceback, process_workers, resident_of

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux")


@pytest.fixture(scope="module", autouse=True)
def no_worker_left():
    yield
    idle = list(process_workers._idle)
    process_workers.close()
    assert all(one.process.returncode == 0 for one in idle)


def test_calls_share_a_warm_worker():
    first = remote.pid()
    assert first != os.getpid()
    assert remote.pid() == first
    assert remote.add(1, b=2) == 3
    assert remote.nested(4) == (5, first)
    assert remote.Owner().method(1) == 2
    assert remote.Owner.of_class(7) == ("Owner", 7)
    assert asyncio.run(remote.double(21)) == 42


def test_arrays_travel_through_shared_memory():
    array = np.zeros(1 << 20)
    body, buffers = transport.packed((array,))
    assert len(body) < 1000
    assert buffers[0].nbytes == array.nbytes
    back = remote.increment(array)
    assert back.flags.writeable
    assert (back == 1).all()
    assert (array == 0).all()


def test_an_allocation_past_the_limit_fails_in_the_worker():
    with pytest.raises(MemoryLimitExceeded) as caught:
        remote.hog(1200)
    assert caught.value.breach["mechanism"] == "kernel"
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "np.ones" in str(caught.value.__cause__)
    assert remote.add(1, 1) == 2


def test_what_the_kernel_does_not_count_is_seen_from_here():
    with pytest.raises(MemoryLimitExceeded) as caught:
        remote.hog_shared(900)
    assert caught.value.breach["mechanism"] == "watch of the worker"
    assert 300 << 20 < caught.value.peak_bytes < 700 << 20
    assert remote.add(1, 1) == 2


def test_a_killed_worker_is_a_broken_limit_with_its_last_reading():
    with pytest.raises(MemoryLimitExceeded) as caught:
        remote.die("kill")
    assert caught.value.observed_bytes > 0
    assert "SIGKILL" in str(caught.value)


def test_a_worker_that_dies_of_something_else_says_so():
    with pytest.raises(MeminstrError, match="exit code 3") as caught:
        remote.die("exit")
    assert not isinstance(caught.value, MemoryLimitExceeded)


def test_exceptions_come_back_with_their_traceback():
    with pytest.raises(KeyError) as caught:
        remote.fail("plain")
    assert "in fail" in str(caught.value.__cause__)
    with pytest.raises(MeminstrError, match="Local: only here"):
        remote.fail("unpicklable")
    with pytest.raises(Exception, match=r"(?i)pickle|local object"):
        remote.answer_unpicklable()
    assert remote.add(1, 1) == 2


def test_what_cannot_travel_is_refused():
    with pytest.raises(UsageError, match="an argument cannot be sent"):
        remote.add(lambda: None, 1)
    with pytest.raises(UsageError, match="a worker must find it by its name"):
        memory_limited(mb=1, mode="process")(lambda: None)

    def steps():
        yield 1

    with pytest.raises(UsageError, match="a generator"):
        memory_limited(mb=1, mode="process")(steps)


def test_a_cancelled_coroutine_takes_its_worker_along():
    before = remote.pid()

    async def main():
        task = asyncio.create_task(remote.double(asyncio_sleep()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    def asyncio_sleep():
        return 1

    asyncio.run(main())
    assert remote.add(1, 1) == 2
    assert isinstance(before, int)


def test_the_last_reading_of_a_process_that_is_gone():
    assert resident_of(os.getpid()) > 0
    assert resident_of(2**22 + 12345) is None


def test_a_broken_connection_is_told_apart():
    import socket

    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(transport.Closed):
        transport.receive(ours)
    with pytest.raises((transport.Closed, OSError)):
        transport.send(ours, transport.packed("x"))


def test_without_memory_files_everything_goes_in_band(monkeypatch):
    import socket

    monkeypatch.setattr(transport, "can_share", lambda: False)
    array = np.ones(1 << 15)
    body, buffers = transport.packed(array)
    assert buffers == []
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    with ours, theirs:
        import threading

        sender = threading.Thread(target=transport.send, args=(ours, (body, buffers)))
        sender.start()
        assert (transport.receive(theirs) == array).all()
        sender.join()
