"""The kernel's wall: the process's soft limit on data, lowered while guarded calls need it.

``RLIMIT_DATA`` counts private writable memory (heap, anonymous mappings, thread stacks) whether touched or not,
since Linux 4.7; an allocation that would pass it fails, and Python raises `MemoryError` at that line.  To know:

* it is one limit for the process: allocations of *other* threads fail too while a call stands at its limit, and
  a new thread may not start ("can't start new thread");
* shared memory (``MAP_SHARED``) is not counted; reserved but untouched memory is;
* several calls at once: the lowest of their limits applies, and the program's own comes back with the last.

Only the soft limit is touched: a lowered hard limit could never be raised again.
Source: getrlimit(2); Linux, mm/mmap.c, may_expand_vm.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from ..faults import note_fault
from ..forks import loading

SLACK_BYTES = 1 << 20
"""Room above the limit for the interpreter itself: its heap grows by arenas of 1 MiB."""


class Resource(Protocol):
    """What is used of the `resource` module."""

    @property
    def RLIMIT_DATA(self) -> int:
        """The number of the data limit."""
        ...

    @property
    def RLIM_INFINITY(self) -> int:
        """What "no limit" is."""
        ...

    def getrlimit(self, resource: int, /) -> tuple[int, int]:
        """Soft and hard limit."""
        ...

    def setrlimit(self, resource: int, limits: tuple[int, int], /) -> None:
        """Set both."""
        ...


def data_bytes(path: str = "/proc/self/status") -> int:
    """Bytes that count against ``RLIMIT_DATA`` now (``VmData``).

    Raises:
        OSError: there is no such file, or it does not say.
    """
    with open(path, "rb") as file:
        for line in file:
            if line.startswith(b"VmData:"):
                return int(line.split()[1]) * 1024
    raise OSError(f"no VmData in {path}")


class KernelLimits:
    """The soft data limit, counted over nested and concurrent calls.

    Args:
        resource: the `resource` module, or a stand-in.
        used: bytes that count against the limit now.
    """

    def __init__(self, resource: Resource | None = None, used: Callable[[], int] = data_bytes) -> None:
        self._resource = resource
        self._used = used
        self._lock = threading.RLock()
        self._wanted: dict[int, int] = {}
        self._original: tuple[int, int] | None = None
        self._ours: int | None = None

    def acquire(self, key: int, allowed_bytes: int) -> None:
        """Let the process grow by no more than ``allowed_bytes`` from here on, until ``release(key)``.

        Raises:
            OSError, ValueError: the system refuses.
        """
        with self._lock:
            resource = self._module()
            soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
            if not self._wanted or self._ours is None or soft != self._ours:
                self._original, self._ours = (soft, hard), None  # the program's own, changed meanwhile or not
            self._wanted[key] = self._used() + max(0, allowed_bytes) + SLACK_BYTES
            try:
                self._apply()
            except BaseException:
                self._wanted.pop(key, None)
                raise

    def release(self, key: int) -> None:
        """The call has ended; never raises."""
        with self._lock:
            if self._wanted.pop(key, None) is None:
                return
            try:
                self._apply()
            except (OSError, ValueError) as error:
                note_fault("restoring RLIMIT_DATA", error)

    def active(self) -> bool:
        """Whether any call has the limit lowered."""
        return bool(self._wanted)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """The program's own limit for a moment: room to write down what happened."""
        with self._lock:
            if not self._wanted:
                yield
                return
            kept, self._wanted = self._wanted, {}
            try:
                self._apply()
                yield
            finally:
                self._wanted = kept
                self._apply()

    def after_fork(self) -> None:
        """In a child: a lock of its own; the limit stays until the forked calls end there too."""
        self._lock = threading.RLock()

    def _module(self) -> Resource:
        if self._resource is None:
            with loading.of("resource"):
                import resource

            self._resource = resource
        assert self._resource is not None
        return self._resource

    def _apply(self) -> None:
        resource = self._module()
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if self._original is None or (self._ours is not None and soft != self._ours):
            return  # the program has set a limit of its own since: that one counts
        original = self._original[0]
        target = original
        if self._wanted:
            lowest = min(self._wanted.values())
            target = lowest if original == resource.RLIM_INFINITY else min(lowest, original)
        if target != soft:
            resource.setrlimit(resource.RLIMIT_DATA, (target, hard))
        self._ours = target if self._wanted else None
