"""`Recycler`: leave before the wall.  On a verdict or a short time to the limit a worker drains and lets itself be
replaced.

A service that leaks slowly is kept alive by recycling its workers; counting requests recycles healthy ones too.  Here
the trigger is what is measured: the estimated time to the limit, the share of the limit in use, or the verdict
``leaking``. Workers that leak alike come due together: a cooldown kept in a file that they share lets one go at a
time.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..decorators.guarding import chosen
from ..diagnosis import report
from ..errors import UsageError
from ..faults import note_fault
from ..probes.container import Headroom, headroom
from ..registry import ControllerMemoryTracker
from ..units import format_duration
from ..verdict import Finding, Verdict

logger = logging.getLogger("meminstr")

_running: weakref.WeakSet[Recycler] = weakref.WeakSet()
_FILE = "recycled"


def not_ready() -> str | None:
    """Why this process should be sent no more requests, or None: the answer for a readiness probe."""
    for one in list(_running):
        if one.reason is not None:
            return one.reason
    return None


def terminate_self() -> None:
    """End this process as its supervisor would ask it to: gunicorn and uvicorn workers finish what they serve first."""
    os.kill(os.getpid(), signal.SIGTERM)


class Recycler:
    """Watches this process's own verdicts, and acts once when it is time to go.

    Args:
        eta_seconds: act when memory would reach its limit sooner than this; None: whatever the estimate is.
        above: act when more than this share of the limit is in use; None: however much it is.
        leaking: act as soon as anything is judged ``leaking``.
        action: what is done, in the recycler's thread; default: SIGTERM to this process.
        drain_seconds: how long `not_ready` says so before the action, for a load balancer to notice.
        cooldown_seconds: least time between two recyclings, of this process's start, and, with ``directory``, of all
            processes that share it.
        directory: where the moment of the last recycling is kept, shared by workers; None: nowhere.
        check_seconds: how often to look.
        tracker: whose verdicts (default: `meminstr.tracker`).
        room: what is left to the limit, for tests.
        clock: wall clock in seconds, for tests.

    Raises:
        UsageError: an argument that is not allowed, or no trigger at all.
    """

    def __init__(
        self,
        *,
        eta_seconds: float | None = None,
        above: float | None = None,
        leaking: bool = False,
        action: Callable[[], object] = terminate_self,
        drain_seconds: float = 0.0,
        cooldown_seconds: float = 300.0,
        directory: str | os.PathLike[str] | None = None,
        check_seconds: float = 15.0,
        tracker: ControllerMemoryTracker | None = None,
        room: Callable[[], Headroom] = headroom,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for what, value, least in (
            ("eta_seconds", eta_seconds, 0.0),
            ("drain_seconds", drain_seconds, -1.0),
            ("cooldown_seconds", cooldown_seconds, -1.0),
            ("check_seconds", check_seconds, 0.0),
        ):
            if value is not None and not (_is_number(value) and value > least and value >= 0):
                raise UsageError(f"{what}={value!r} is not allowed: a finite number of seconds is")
        if above is not None and not (_is_number(above) and 0 < above < 1):
            raise UsageError(f"above={above!r} is not allowed: a share of the limit between 0 and 1 is")
        if not callable(action):
            raise UsageError(f"action={action!r} is not allowed: a callable without arguments is")
        if eta_seconds is None and above is None and not leaking:
            raise UsageError("when to recycle is missing: eta_seconds, above or leaking=True is wanted")
        self._eta_seconds, self._above, self._leaking = eta_seconds, above, leaking
        self._action, self._drain, self._cooldown = action, drain_seconds, cooldown_seconds
        self._directory = None if directory is None else Path(directory)
        self._check_seconds = check_seconds
        self._tracker = chosen(tracker)
        self._room, self._clock = room, clock
        self._since = clock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self.reason: str | None = None
        """Why this process is about to go; None while it is not."""

    def start(self) -> Recycler:
        """Look from now on, in a daemon thread; a forked child has none and starts its own."""
        if self._thread is None or self._pid != os.getpid():
            self._pid, self._stop = os.getpid(), threading.Event()
            self._thread = threading.Thread(target=self._run, name="meminstr-recycler", daemon=True)
            self._thread.start()
            _running.add(self)
        return self

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread() and self._pid == os.getpid():
            thread.join(5.0)
        _running.discard(self)

    def _run(self) -> None:
        while not self._stop.wait(self._check_seconds):
            try:
                if self.check():
                    return
            except Exception as error:
                note_fault("recycling", error)

    def check(self) -> bool:
        """Look once: act if it is time, and say whether it was."""
        why = self._why()
        if why is None or not self._may_go():
            return False
        logger.warning("meminstr_recycle: process %d lets itself be replaced: %s", os.getpid(), why)
        self.reason = why
        if self._drain:
            self._stop.wait(self._drain)
        self._action()
        return True

    def _why(self) -> str | None:
        if self._above is not None:
            left = self._room()
            if left.bytes is not None and left.limit_bytes and left.bytes < (1 - self._above) * left.limit_bytes:
                return f"more than {self._above:.0%} of the memory limit is in use"
        if self._eta_seconds is None and not self._leaking:
            return None
        findings = [f for f in report(False, tracker=self._tracker).findings if f.verdict in _ACCUSED]
        for finding in findings:
            eta = _eta(finding)
            if self._eta_seconds is not None and eta is not None and eta < self._eta_seconds:
                return f"{finding.subject} reaches the memory limit in {format_duration(eta)}"
        for finding in findings:
            if self._leaking and finding.verdict is Verdict.LEAKING:
                return f"{finding.subject} leaks"
        return None

    def _may_go(self) -> bool:
        now = self._clock()
        if now - self._since < self._cooldown:
            return False
        if self._directory is None:
            return True
        with _exclusive(self._directory / _FILE) as file:
            text = os.pread(file, 64, 0).decode("ascii", "replace")
            with contextlib.suppress(ValueError):
                # a moment that lies ahead is a clock that was set back: it does not hold anybody up
                if 0 <= now - float(text) < self._cooldown:
                    return False
            os.ftruncate(file, 0)
            os.pwrite(file, f"{now:.3f}\n".encode(), 0)
        return True


_ACCUSED = (Verdict.LEAKING, Verdict.GROWING)


def _eta(finding: Finding) -> float | None:
    return None if finding.eta_seconds is None else finding.eta_seconds.value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[int]:
    import fcntl  # where it does not exist nobody shares a directory of workers

    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)
