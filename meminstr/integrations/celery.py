"""celery workers: growth by kind of task, and children of the prefork pool that are replaced before the limit.

    from meminstr.integrations.celery import count_tasks, recycling
    count_tasks()
    recycling(app, eta_seconds=600)

Both connect to celery's signals, in the module that makes the app.  A child that is due goes between two tasks, the way
it goes when ``worker_max_memory_per_child`` is passed: the result of its last task has been handed over, the pool forks
another child, no task is lost.  Other pools (threads, gevent, solo) have no children to replace.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from celery.signals import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
)

from ..decorators.guarding import check_on_leak, chosen
from ..errors import UsageError
from ..faults import note_fault
from ..instrument.switches import checked_every
from ..registry import ControllerMemoryTracker
from ..tallied import TalliedSubject, Tally
from .recycling import Recycler

_MOST_KINDS = 200
_OTHER = "<other tasks>"
_BEYOND_ALL = sys.maxsize
"""KiB: what a child that is due says it takes, above any bound."""

_connected: list[Any] = []


class _Tasks:
    """The tasks of one process, tallied by name."""

    def __init__(self, every: int, horizon: float | None, on_leak: Any, where: ControllerMemoryTracker) -> None:
        self._tracker, self._horizon, self._on_leak = where, horizon, on_leak
        self._tally = Tally(where.sampler, self._kind, every)
        self._kinds: dict[str, TalliedSubject] = {}
        self._running: dict[str, int] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._running.clear()
        self._tally.after_fork()

    def begun(self, task_id: str, **_: Any) -> None:
        self._running[task_id] = self._tally.begin()

    def ended(self, task_id: str, task: Any, state: str | None = None, **_: Any) -> None:
        number = self._running.pop(task_id, None)
        if number is not None:
            failed = RuntimeError("the task failed") if state == "FAILURE" else None
            self._tally.end(number, task.name, failed)

    def _kind(self, name: str) -> TalliedSubject | None:
        if name not in self._kinds and len(self._kinds) >= _MOST_KINDS:
            name = _OTHER
        known = self._kinds.get(name)
        if known is None:
            known = TalliedSubject(name, "task", self._tracker.sampler, horizon=self._horizon, on_leak=self._on_leak)
            if not self._tracker.adopt(known):
                known.enabled = False
            self._kinds[name] = known
        return known


def count_tasks(
    *,
    every: int = 10,
    horizon: float | None = None,
    on_leak: Any = "warn",
    tracker: ControllerMemoryTracker | None = None,
) -> None:
    """Tally the tasks of this process and of the children it forks, by the task's name, as subjects of kind ``task``.

    Args:
        every: one task in so many reads memory (and the first 32), as far as the budget allows.
        horizon: tasks of a kind that growth must last; None: the setting.
        on_leak: ``"warn"`` or a callable that is given the `Finding`.
        tracker: where kinds are registered (default: `meminstr.tracker`).

    Raises:
        UsageError: an argument that is not allowed.
    """
    check_on_leak(on_leak)
    if on_leak == "raise":
        raise UsageError('on_leak="raise" is not allowed for tasks: "warn" or a callable is')
    tasks = _Tasks(checked_every(every), horizon, on_leak, chosen(tracker))
    _connected.append(tasks)
    task_prerun.connect(tasks.begun, weak=False)
    task_postrun.connect(tasks.ended, weak=False)


def recycling(app: Any, **options: Any) -> None:
    """Let each child of the prefork pool be replaced when it is time to go.

    A bound ``worker_max_memory_per_child`` that the app has is kept; where there is none, one is set that no process
    reaches, because the pool looks at its children's memory only if there is a bound.

    Args:
        app: the celery application, before its worker starts.
        options: what `Recycler` takes: ``eta_seconds``, ``above``, ``leaking``, ``cooldown_seconds``, ``directory`` ...

    Raises:
        UsageError: an option that is not allowed, or an object that is no celery application.
    """
    if not hasattr(app, "conf"):
        raise UsageError(f"app={app!r} is not allowed: a celery application is")
    if "action" in options:
        raise UsageError("action is not allowed here: a child goes between two tasks")
    Recycler(action=_nothing, **options)
    if not app.conf.worker_max_memory_per_child:
        app.conf.worker_max_memory_per_child = _BEYOND_ALL - 1
    running: list[Recycler] = []

    def started(**_: Any) -> None:
        try:
            due: list[bool] = []
            if _goes_when(due):
                running[:] = [Recycler(action=lambda: due.append(True), **options).start()]
        except Exception as error:
            note_fault("recycling celery children", error)

    def stopped(**_: Any) -> None:
        for one in running:
            one.stop()

    _connected.append((started, stopped))
    worker_process_init.connect(started, weak=False)
    worker_process_shutdown.connect(stopped, weak=False)


def _goes_when(due: list[bool]) -> bool:
    """In a child: have the pool's own look at its memory, after each task, answer "too much" once it is due."""
    import billiard.pool  # type: ignore[import-untyped,import-not-found,unused-ignore]

    measured: Callable[[], int] = billiard.pool.mem_rss

    def mem_rss() -> int:
        return _BEYOND_ALL if due else measured()

    billiard.pool.mem_rss = mem_rss
    return True


def _nothing() -> None:
    pass
