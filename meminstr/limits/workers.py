"""Warm worker processes: started, kept, handed out, ended.  What is asked of them is `isolated`'s matter."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable

from ..errors import MeminstrError
from ..faults import note_fault
from ..forks import loading
from . import transport, worker
from .groups import Groups

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
            with loading.of("mmap"):
                import mmap

            return int(file.read().split()[1]) * mmap.PAGESIZE
    except FileNotFoundError:
        if os.path.exists("/proc/self/statm"):
            return None
    except (OSError, ValueError, IndexError):
        return None
    with loading.of("psutil"):
        import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


class Worker:
    """One worker process, the socket to it and, where cgroups are delegated, its group."""

    def __init__(self, groups: Groups | None = None) -> None:
        with loading.of("multiprocessing.spawn"):
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
        # before it has loaded much: what is charged to our group stays there
        self.group = None if groups is None else groups.group_of(self.process.pid)
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
        group, self.group = self.group, None
        if group is not None:
            group.remove()


class Workers:
    """Idle workers of this process, at most one a core kept warm.

    Args:
        groups: makes a cgroup for each; None: none.
    """

    def __init__(self, groups: Groups | None = None) -> None:
        self._groups = groups
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
                return Worker(self._groups)
            resident = resident_of(found.process.pid) if found.alive else None
            if resident and fits(resident):  # 0 is what a process that has just died shows
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
            one.group = None
        self._idle = []


_pools: weakref.WeakSet[Workers] = weakref.WeakSet()


def _after_fork() -> None:
    try:
        for pool in list(_pools):
            pool.after_fork()
    except Exception as error:
        note_fault("workers after fork", error)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

process_workers = Workers(Groups())
atexit.register(process_workers.close)
