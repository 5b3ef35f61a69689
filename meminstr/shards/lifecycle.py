"""When this process begins, forks and ends, as far as its shard is concerned.

Fork: the writer's thread is stopped before and started again after it, so that no lock of ours is held at the fork and
Python 3.12 has no other thread to warn of; the child writes a shard of its own, from nothing.  Spawn and forkserver,
subprocesses and foreign servers: children that import meminstr find ``MEMINSTR_SHARDS`` in their environment.

End: ``atexit`` and SIGTERM by `at_exit`; children of `multiprocessing`, which skip ``atexit``, by its own finalizers;
Celery's workers by its signal.  After ``os._exit`` and SIGKILL the last shard stands.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from typing import Any

from .. import at_exit
from ..errors import UsageError
from ..faults import note_fault
from ..registry import on_uninstall
from ..settings import configure, current
from .writing import ShardWriter, make_folder

VARIABLE = "MEMINSTR_SHARDS"
_HELPER = re.compile(r"from [\w.]+\.(resource_tracker|semaphore_tracker|forkserver) import main\b")

_writer: ShardWriter | None = None
_hooked = False
_paused = False
_finalized: set[str] = set()


class _Token:
    """Something for `multiprocessing` to hold a finalizer's registration by."""


_token = _Token()


def write_shards(directory: str | os.PathLike[str], interval: float | None = None) -> None:
    """Have this process, and those it starts, write a shard into a folder every few seconds and at their end.

    Args:
        directory: the folder; made, for the owner only, when it is not there.  Handed on to children in the
            environment (``MEMINSTR_SHARDS``), where a child that imports meminstr finds it.
        interval: seconds between two shards; None: the setting ``shard_seconds``.

    Raises:
        UsageError: no folder name, a folder that cannot be made or written to, or an interval that is not allowed.
    """
    if not current().enabled:
        return
    try:
        path = os.fspath(directory)
    except TypeError:
        path = None
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise UsageError(f"directory={directory!r:.80} is not allowed: the name of a folder is")
    if interval is not None:
        configure(shard_seconds=interval)  # checks it
    path = os.path.abspath(path)
    try:
        make_folder(path)
    except OSError as error:
        raise UsageError(f"cannot write shards to {path!r}: {error.strerror or error}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write shards to {path!r}: no permission to write there")
    os.environ[VARIABLE] = path
    if interval is not None:
        os.environ["MEMINSTR_SHARD_SECONDS"] = repr(float(interval))
    _begin(path)


def register_from_environment() -> None:
    """Heed ``MEMINSTR_SHARDS``: called once at ``import meminstr``.  Never raises."""
    try:
        path = os.environ.get(VARIABLE)
        if path and path.strip():
            write_shards(path)
    except Exception as error:
        note_fault(VARIABLE, error)


def stop_writing() -> None:
    """Write no more shards in this process; what was written stays.  Children are not told of the folder either."""
    global _writer
    writer, _writer = _writer, None
    if writer is not None:
        writer.pause()
        if os.environ.get(VARIABLE) == writer.directory:
            del os.environ[VARIABLE]


def writer() -> ShardWriter | None:
    """The writer of this process, None when it writes no shards."""
    return _writer


def is_helper() -> bool:
    """Whether this is a process that an engine runs for itself: a resource tracker, a fork server."""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None and getattr(process.current_process(), "_inheriting", False):
        return False  # forked by a fork server, whose words it still bears
    words = getattr(sys, "orig_argv", None) or []
    return any(_HELPER.match(word) for word in words[1:])


def _begin(path: str) -> None:
    global _writer, _hooked
    if _writer is not None:
        if _writer.directory == path:
            return
        _writer.pause()
    _writer = ShardWriter(path)
    if not _hooked:
        _hooked = True
        on_uninstall(stop_writing)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
    if is_helper():
        return  # it has nothing to tell; what it forks starts below, in `_in_child`
    _promise()
    _writer.start()


def _promise() -> None:
    """Arrange for the last shard of this process."""
    at_exit.at_exit("shards", lambda report: _last_word("exit", report))
    _with_multiprocessing()
    _with_celery()


def _last_word(how: str, report: Any = None) -> None:
    here = _writer
    if here is None:
        return
    try:
        here.pause()
        if not here.ended and here.has_something_to_say():
            here.look(time.monotonic())
            here.write(how, report)
    except Exception as error:
        note_fault("the last shard", error)


# ------------------------------------------------------------ forks


def _before_fork() -> None:
    global _paused
    try:
        _with_multiprocessing()
        _paused = _writer is not None and _writer.pause()
        if _paused:
            _wait_for_threads_to_vanish()
    except Exception as error:
        note_fault("before fork", error)


def _after_fork() -> None:
    global _paused
    try:
        if _paused and _writer is not None:
            _writer.start()
    except Exception as error:
        note_fault("after fork", error)
    finally:
        _paused = False


def _in_child() -> None:
    global _paused
    try:
        _paused = False
        if _writer is not None:
            _writer.begin()
            _promise()
            _writer.start()
    except Exception as error:
        note_fault("after fork", error)


def _wait_for_threads_to_vanish() -> None:
    # until 3.13 a joined thread may still be on its way out, and the fork's warning counts the kernel's threads
    if sys.version_info[:2] != (3, 12):
        return
    for _ in range(100):
        try:
            if len(os.listdir("/proc/self/task")) <= threading.active_count():
                return
        except OSError:
            return
        time.sleep(0.0001)


# ------------------------------------------------------------ engines whose workers end in their own way


def _with_multiprocessing() -> None:
    """Once `multiprocessing` is there: it runs finalizers at the end of its children, and nothing else."""
    util: Any = sys.modules.get("multiprocessing.util")
    if util is None or not hasattr(util, "register_after_fork"):
        return
    if "multiprocessing" not in _finalized:
        _finalized.add("multiprocessing")
        util.register_after_fork(_token, _finalize)
        process: Any = sys.modules.get("multiprocessing.process")
        if getattr(process, "parent_process", lambda: None)() is not None:
            _finalize(_token)  # spawned: its after-fork functions have run already, or run once more


def _finalize(_: Any) -> None:
    util: Any = sys.modules["multiprocessing.util"]
    util.Finalize(None, _last_word, args=("exit",), exitpriority=0)


def _with_celery() -> None:
    """Celery's worker processes run neither ``atexit`` nor finalizers, but they send a signal."""
    signals: Any = sys.modules.get("celery.signals")
    shutdown = getattr(signals, "worker_process_shutdown", None)
    if shutdown is not None and "celery" not in _finalized:
        _finalized.add("celery")
        shutdown.connect(_celery_ends, weak=False)


def _celery_ends(**_: Any) -> None:
    _last_word("exit")
