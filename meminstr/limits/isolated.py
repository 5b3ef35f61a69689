"""``mode="process"``: the call in a warm worker process, with a wall there and a watch here.

Workers are plain interpreters on a socket pair, kept warm and used again; a call that breaks its limit costs its
worker, never the caller.  Compared and not taken: ``concurrent.futures`` and loky break the whole pool, with every
other call in it, when one worker is killed; pebble can stop one call by time but not by memory, and has no last
reading; all three would put calls of different limits into one queue, and none is among the core's dependencies.
`multiprocessing` lends its preparation of a child (search path, working folder, main module).

Arguments and result travel by pickle (`transport`).  What the call changes in its arguments or in globals stays in
the worker.  Inside a worker further ``mode="process"`` calls run in place, under that worker's limit.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import MeminstrError, MemoryLimitExceeded, UsageError
from ..faults import note_fault
from ..units import format_bytes
from . import transport, worker
from .kernel import SLACK_BYTES
from .watcher import interval_for

if TYPE_CHECKING:
    from .guard import Guard

_START_SECONDS = 60.0


class RemoteTraceback(Exception):
    """Where an exception was raised in the worker: the cause of the exception that the caller gets."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def resident_of(pid: int) -> int | None:
    """Resident bytes of another process; None when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            import mmap

            return int(file.read().split()[1]) * mmap.PAGESIZE
    except FileNotFoundError:
        if os.path.exists("/proc/self/statm"):
            return None
    except (OSError, ValueError, IndexError):
        return None
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


class Worker:
    """One worker process and the socket to it."""

    def __init__(self) -> None:
        from multiprocessing import spawn

        ours, theirs = socket.socketpair()
        home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        # appended: where meminstr is only on the parent's path; the parent's whole path follows in the message
        code = f"import sys; sys.path.append({home!r}); from {worker.__name__} import main; main({theirs.fileno()})"
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        try:
            self.process = subprocess.Popen(
                [sys.executable, *flags, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.channel = ours
        try:
            preparation = spawn.get_preparation_data("meminstr-worker")
            preparation["authkey"] = bytes(preparation.get("authkey", b""))  # may not be pickled as it is
            transport.send(ours, transport.packed(preparation))
            ours.settimeout(_START_SECONDS)
            answer = transport.receive(ours)
            ours.settimeout(None)
        except (transport.Closed, TimeoutError) as error:
            self.kill()
            raise MeminstrError(f"the worker process did not start: {error}") from error
        except BaseException:
            self.kill()
            raise
        if answer[0] != "ready":
            self.kill()
            raise MeminstrError(f"the worker process did not start: {answer[1]}") from RemoteTraceback(answer[2])

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Hang up and wait for the end (a worker between calls ends by itself)."""
        self.channel.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Workers:
    """Idle workers of this process, at most one a core kept warm."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        _pools.add(self)

    def take(self, fits: Callable[[int], bool]) -> Worker:
        """An idle worker whose resident bytes fit, or a new one.

        Raises:
            MeminstrError: none can be started.
        """
        while True:
            with self._lock:
                found = self._idle.pop() if self._idle else None
            if found is None:
                return Worker()
            resident = resident_of(found.process.pid) if found.alive else None
            if resident is not None and fits(resident):
                return found
            found.close()

    def give(self, one: Worker) -> None:
        """Back after a call."""
        with self._lock:
            if len(self._idle) < (os.cpu_count() or 1):
                self._idle.append(one)
                return
        one.close()

    def close(self) -> None:
        """End all idle workers."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def after_fork(self) -> None:
        """In a child: the workers are the parent's; only the descriptors are closed."""
        self._lock = threading.Lock()
        for one in self._idle:
            one.channel.close()
            one.process.returncode = 0  # not ours to wait for
        self._idle = []


class Run:
    """One call in a worker."""

    def __init__(self, guard: Guard, request: tuple[str, str], workers: Workers) -> None:
        self._guard = guard
        self._request = request
        self._workers = workers
        self._worker: Worker | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """End the call with its worker; any thread."""
        self.cancelled = True
        one = self._worker
        if one is not None:
            one.process.kill()

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run it.

        Raises:
            MemoryLimitExceeded: the worker met its limit, or was killed.
            UsageError: an argument cannot be pickled.
            MeminstrError: the worker could not start, or died of something else.
            BaseException: what the call raised, with a `RemoteTraceback` as its cause.
        """
        guard = self._guard
        whole = guard.limit.of == "process"
        limit = guard.room.limit_bytes()
        one = self._worker = self._workers.take(lambda resident: not whole or resident < limit // 2)
        try:
            entry = resident_of(one.process.pid) or 0
            ceiling = limit if whole else entry + limit
            try:
                message = transport.packed((*self._request, args, kwargs, ceiling - entry))
            except Exception as error:
                self._workers.give(one)
                raise UsageError(f"{guard.subject}: an argument cannot be sent to the worker: {error}") from error
            return self._finish(one, message, entry, ceiling, limit)
        except (UsageError, MemoryLimitExceeded):
            raise
        except BaseException:
            # interrupted in the middle: what the worker would answer belongs to nobody
            if one not in self._workers._idle:
                one.kill()
            raise
        finally:
            self._worker = None

    def _finish(
        self, one: Worker, message: tuple[bytes, list[memoryview]], entry: int, ceiling: int, limit: int
    ) -> Any:
        last = entry
        try:
            transport.send(one.channel, message)
            last, over = self._watch(one, ceiling, entry)
            if over:
                one.kill()
                raise self._breach(limit, entry, last, "watch of the worker", "its worker was killed")
            peak = transport.receive(one.channel)[1]
            answer = transport.receive(one.channel)
        except transport.Closed:
            raise self._death(one, limit, entry, last, ceiling) from None
        self._workers.give(one)
        if answer[0] == "result":
            return answer[1]
        _, error, text = answer
        remote = RemoteTraceback(text)
        if isinstance(error, MemoryError) and not isinstance(error, MemoryLimitExceeded):
            note = "an allocation that would have passed it was refused in the worker"
            raise self._breach(limit, entry, peak or last, "kernel", note) from remote
        error.__cause__ = remote
        raise error

    def _watch(self, one: Worker, ceiling: int, last: int) -> tuple[int, bool]:
        """Look until the call has ended; the last reading, and whether it was above."""
        poller = select.poll()
        poller.register(one.channel, select.POLLIN)
        while True:
            resident = resident_of(one.process.pid)
            if resident is not None:
                last = max(last, resident) if resident == 0 else resident
                # the kernel's wall stands a little higher than the limit: it has the first word
                if resident > ceiling + 2 * SLACK_BYTES:
                    return resident, True
            if poller.poll(1000 * interval_for(ceiling - last)):
                return last, False

    def _death(self, one: Worker, limit: int, entry: int, last: int, ceiling: int) -> BaseException:
        one.close()
        code = one.process.returncode
        if self.cancelled:
            return asyncio.CancelledError()
        how = f"signal {-code} ({_signal_name(-code)})" if code < 0 else f"exit code {code}"
        # C code may abort where an allocation fails; the kernel's out-of-memory killer uses SIGKILL
        if code == -signal.SIGKILL or (code in (-signal.SIGABRT, -signal.SIGSEGV) and last > 0.8 * ceiling):
            return self._breach(limit, entry, last, "death of the worker", f"its worker died: {how}")
        return MeminstrError(
            f"{self._guard.subject}: its worker process died: {how}, last seen with {format_bytes(last)}"
        )

    def _breach(self, limit: int, entry: int, seen: int, mechanism: str, note: str) -> BaseException:
        return self._guard.teller.without_call(limit, entry, seen, mechanism, note, "raised")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def isolate(function: Callable[..., Any], kind: str, guard: Guard, workers: Workers | None = None) -> Any:
    """Wrap a function so that its calls run in a worker.

    Raises:
        UsageError: a kind of function that cannot, or one that a worker cannot find by its name.
    """
    if kind not in ("call", "coroutine"):
        raise UsageError(
            f"mode='process' cannot run {guard.subject}, a {kind}: functions and coroutine functions are allowed; "
            "for this one use mode='watch', 'check' or 'kernel'"
        )
    qualname = getattr(function, "__qualname__", "<unnamed>")
    if "<" in qualname:
        raise UsageError(
            f"mode='process' cannot run {qualname}: a worker must find it by its name, so it has to be defined at "
            "the top of a module or in a class"
        )
    request = (function.__module__, qualname)
    pool = workers or process_workers

    def isolated(*args: Any, **kwargs: Any) -> Any:
        if worker.IN_WORKER:
            return function(*args, **kwargs)
        with guard.room.held():
            return Run(guard, request, pool).call(args, kwargs)

    async def isolated_coroutine(*args: Any, **kwargs: Any) -> Any:
        if worker.IN_WORKER:
            return await function(*args, **kwargs)
        taken = await guard.room.take_async()
        run = Run(guard, request, pool)
        try:
            return await asyncio.get_running_loop().run_in_executor(None, run.call, args, kwargs)
        except asyncio.CancelledError:
            run.cancel()
            raise
        finally:
            if taken:
                guard.room.give_back()

    return functools.update_wrapper(isolated if kind == "call" else isolated_coroutine, function)


_pools: weakref.WeakSet[Workers] = weakref.WeakSet()


def _after_fork() -> None:
    try:
        for pool in list(_pools):
            pool.after_fork()
    except Exception as error:
        note_fault("workers after fork", error)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

process_workers = Workers()
atexit.register(process_workers.close)
