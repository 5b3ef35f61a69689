"""What else runs out: open descriptors (handles on Windows), threads, asyncio tasks.

Threads are the system's, so those of C libraries count too; where ``/proc`` is missing they are Python's.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from .base import Kind, ProbeUnavailable, Unit, psutil_process

if TYPE_CHECKING:
    import asyncio


def _psutil_descriptors() -> int:
    process = psutil_process()
    counter = getattr(process, "num_fds", None) or process.num_handles
    return int(counter())


class DescriptorsProbe:
    """Open file descriptors, or handles on Windows.

    ``/proc/self/fd`` is listed when it is there (its own entry not counted), else psutil is asked.  Cost grows
    with the count: 5 us for few, about 1 ms for ten thousand.

    Raises:
        ProbeUnavailable: no source answers.
    """

    name = "descriptors"
    unit: Unit = "count"
    kind: Kind = "resource"

    def __init__(self, proc_root: str = "/proc", fallback: Callable[[], int] = _psutil_descriptors) -> None:
        self._folder = os.path.join(proc_root, "self", "fd")
        self._fallback = fallback
        self._listed = os.path.isdir(self._folder)
        try:
            self.read()
        except Exception as error:
            raise ProbeUnavailable(f"open descriptors cannot be counted: {error}") from error

    @property
    def source(self) -> str:
        """``/proc/self/fd`` or ``psutil``."""
        return "/proc/self/fd" if self._listed else "psutil"

    def read(self) -> int:
        """How many are open now.

        Raises:
            OSError: out of descriptors to look with, or no access.
        """
        if self._listed:
            return len(os.listdir(self._folder)) - 1  # the listing itself holds one
        return self._fallback()


class ThreadsProbe:
    """Threads of this process."""

    name = "threads"
    unit: Unit = "count"
    kind: Kind = "resource"

    def __init__(self, proc_root: str = "/proc", fallback: Callable[[], int] = threading.active_count) -> None:
        self._folder = os.path.join(proc_root, "self", "task")
        self._fallback = fallback
        # a folder has two links and one more for each folder in it, and each thread is a folder: one stat
        # call, whatever the number of threads.  Proven here, because not every /proc keeps to it.
        try:
            self._counted = os.stat(self._folder).st_nlink - 2 == len(os.listdir(self._folder)) > 0
        except OSError:
            self._counted = False

    @property
    def source(self) -> str:
        """``/proc/self/task`` or ``threading.active_count``."""
        return "/proc/self/task" if self._counted else "threading.active_count"

    def read(self) -> int:
        """How many run now."""
        if self._counted:
            try:
                return os.stat(self._folder).st_nlink - 2
            except OSError:  # /proc went away
                self._counted = False
        return self._fallback()


class TasksProbe:
    """Tasks of one asyncio event loop that are not done.  Not among the default probes: it needs the loop."""

    name = "tasks"
    unit: Unit = "count"
    kind: Kind = "resource"
    source = "asyncio.all_tasks"

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)

    def read(self) -> int:
        """How many are pending now.

        Raises:
            ProbeUnavailable: the loop is closed or gone.
        """
        loop = self._loop()
        if loop is None or loop.is_closed():
            raise ProbeUnavailable("the event loop is closed")
        import asyncio

        return len(asyncio.all_tasks(loop))
