"""``mode="process"``: the call in a warm worker process, with a wall there and a watch here.

Workers are plain interpreters on a socket pair, kept warm and used again; a call that breaks its limit costs its
worker, never the caller.  Compared and not taken: ``concurrent.futures`` and loky break the whole pool, with every
other call in it, when one worker is killed; pebble can stop one call by time but not by memory, and has no last
reading; all three would put calls of different limits into one queue, and none is among the core's dependencies.
`multiprocessing` lends its preparation of a child (search path, working folder, main module).

Three walls, each a little higher than the one before: the worker's own data limit (`kernel`), whose `MemoryError`
names the line; the parent's look at the worker's resident set, which also counts shared mappings; and where cgroup v2
is delegated to this program (`groups`), a group of the worker's own, which no burst outruns.  The note of a breach
says which of them stood.

Arguments and result travel by pickle (`transport`).  What the call changes in its arguments or in globals stays in
the worker.  Inside a worker further ``mode="process"`` calls run in place, under that worker's limit.
"""

from __future__ import annotations

import asyncio
import functools
import select
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import MeminstrError, MemoryLimitExceeded, UsageError
from ..units import format_bytes
from . import transport, worker
from .kernel import SLACK_BYTES
from .policy import available_modes
from .watcher import interval_for
from .workers import RemoteTraceback, Worker, Workers, process_workers, resident_of

if TYPE_CHECKING:
    from .guard import Guard


class Run:
    """One call in a worker."""

    def __init__(self, guard: Guard, request: tuple[str, str], workers: Workers) -> None:
        self._guard = guard
        self._request = request
        self._workers = workers
        self._worker: Worker | None = None
        self._lock = threading.Lock()
        self.cancelled = False
        self._grouped = False

    def cancel(self) -> None:
        """End the call with its worker; any thread."""
        with self._lock:
            self.cancelled = True
            if self._worker is not None:
                self._worker.process.kill()

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
            self._grouped = one.group is not None and one.group.allow(ceiling - entry + 3 * SLACK_BYTES)
            return self._finish(one, message, entry, ceiling, limit)
        except (UsageError, MemoryLimitExceeded):
            raise
        except BaseException:
            # interrupted in the middle: what the worker would answer belongs to nobody
            if self._worker is not None:
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
        with self._lock:  # from here on a `cancel` must not meet the next user of this worker
            self._worker = None
        if self.cancelled:
            one.kill()
        else:
            if one.group is not None:
                one.group.lift()
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
                last = resident or last
                # the kernel's wall stands a little higher than the limit: it has the first word
                if resident > ceiling + 2 * SLACK_BYTES:
                    return resident, True
            if poller.poll(1000 * interval_for(ceiling - last)):
                return last, False

    def _death(self, one: Worker, limit: int, entry: int, last: int, ceiling: int) -> BaseException:
        by_group = self._grouped and one.group is not None and one.group.killed()
        one.close()
        code = one.process.returncode
        if self.cancelled:
            return asyncio.CancelledError()
        how = f"signal {-code} ({_signal_name(-code)})" if code < 0 else f"exit code {code}"
        # C code may abort where an allocation fails; the kernel's out-of-memory killer uses SIGKILL
        if by_group:
            return self._breach(limit, entry, last, "cgroup", f"the kernel killed its worker in its group: {how}")
        if code == -signal.SIGKILL or (code in (-signal.SIGABRT, -signal.SIGSEGV) and last > 0.8 * ceiling):
            return self._breach(limit, entry, last, "death of the worker", f"its worker died: {how}")
        return MeminstrError(
            f"{self._guard.subject}: its worker process died: {how}, last seen with {format_bytes(last)}"
        )

    def _breach(self, limit: int, entry: int, seen: int, mechanism: str, note: str) -> MemoryLimitExceeded:
        walls = [*(["the kernel's data limit"] if "kernel" in available_modes() else []), "the watch of the worker"]
        walls += ["its cgroup"] if self._grouped else []
        note += f" (it stood behind {', '.join(walls)})"
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
