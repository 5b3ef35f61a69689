"""Writing this process's shard: at intervals in a thread of our own, at once when memory runs short, and at the end.

A write is a new file beside the old one, for the owner's eyes only, and a rename: a reader sees the one or the other.
The thread also samples the process, as `tracker.start_sampling` would.  A full shard judges everything anew, which
takes milliseconds to a second, so the interval stretches until that is a hundredth of the time (setting
``cost_budget_share``); when a level of the limit is crossed, the last report goes out at once with fresh figures of
memory, and a full shard follows.  Forks, exits and other engines' workers are `lifecycle`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from ..faults import note_fault
from ..probes.container import headroom
from ..probes.resident import shared_resident
from ..registry import ControllerMemoryTracker
from ..reports.files import put
from ..reports.model import Report
from ..settings import current
from ..verdict import Verdict
from .format import SUFFIX, BlackBox, Shard, to_dict
from .reading import start_ticks
from .room import Reading, Room
from .tidying import tidy

_TICK_SECONDS, _PRESSING_TICK_SECONDS = 0.25, 0.05
_ROOM_SECONDS = 1.0
"""How often the limits around the process are read; between two, its own growth is taken off."""
_FIRST_SECONDS = 1.0
_URGENT_SHARE = 0.05
"""Of the time, what writing at once may take."""


def make_report(diagnose: bool, tracker: ControllerMemoryTracker | None = None) -> Report:
    """A report, with evidence or without; what it needs is imported on first use."""
    from ..diagnosis import report

    return report(diagnose, tracker=tracker)


class ShardWriter:
    """Writes one process's shard.

    Args:
        directory: where to; made, for the owner only, when it is not there.
        interval: seconds between two shards; None: the setting ``shard_seconds``.
        tracker: whose subjects; None: the global one.
        clock: seconds, never going back.
        cpu: CPU seconds of the calling thread.
        reporter: ``reporter(diagnose)`` makes a report.
    """

    def __init__(
        self,
        directory: str,
        interval: float | None = None,
        *,
        tracker: ControllerMemoryTracker | None = None,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
        reporter: Callable[[bool], Report] | None = None,
    ) -> None:
        if tracker is None:
            from ..registry import tracker as the_global_one

            tracker = the_global_one
        self.directory = directory
        self.interval = current().shard_seconds if interval is None else interval
        self.tracker = tracker
        self._clock, self._cpu = clock, cpu
        self._reporter = reporter or (lambda diagnose: make_report(diagnose, tracker))
        self._thread: threading.Thread | None = None
        self.begin()

    def begin(self) -> None:
        """A new shard: this process has written nothing yet.  Called again in a forked child."""
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = None
        self.host = socket.gethostname()
        self.seq = 0
        self.ended = False
        self.started_ticks = start_ticks()
        millis = int(self.tracker.started_wall * 1000)
        self.id = f"{re.sub(r'[^A-Za-z0-9_.-]', '_', self.host)[:80]}-{os.getpid()}-{millis}"
        self.path = os.path.join(self.directory, self.id + SUFFIX)
        self.room = Room()
        self._headroom: tuple[float, Any, int] | None = None
        self._last: dict[str, Any] | None = None
        self._worst = 0
        self._cost_seconds = 0.0
        self._urgent_cost_seconds = 0.0

    # ------------------------------------------------------------ the thread

    def start(self) -> None:
        """Start writing at intervals, if that does not happen yet."""
        with self._lock:
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._stop,), name="meminstr-shards", daemon=True
                )
                self._thread.start()

    def pause(self) -> bool:
        """End the thread and wait for it; True if there was one."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return False
        self._stop.set()
        if thread is not threading.current_thread():
            thread.join()
        return True

    def _run(self, stop: threading.Event) -> None:
        now = self._clock()
        due, sample_due, urgent_due = now + min(_FIRST_SECONDS, self.interval), now, now
        pressing, crossed = True, False
        while not stop.wait(min(_PRESSING_TICK_SECONDS if pressing else _TICK_SECONDS, self.interval)):
            try:
                now = self._clock()
                crossed = self.look(now) or crossed
                pressing = self.room.pressing()
                if now >= sample_due:
                    self._sample()
                    sample_due = now + current().sample_interval_seconds
                if now >= due:
                    if not self.seq:
                        tidy(self.directory, current().shards_kept)
                    self.write()
                    due = self._clock() + max(self.interval, self._cost_seconds / _share())
                    crossed = False
                elif (crossed or (pressing and self.seq)) and now >= urgent_due:
                    self.write_at_once()
                    urgent_due = self._clock() + max(_TICK_SECONDS, self._urgent_cost_seconds / _URGENT_SHARE)
                    if crossed:
                        due = min(due, self._clock() + self._cost_seconds / _URGENT_SHARE)
                    crossed = False
            except Exception as error:  # no memory, no disk: the next time may be better
                note_fault("writing the shard", error)

    def _sample(self) -> None:
        sampler = self.tracker.sampler
        if self.tracker.enabled:
            buffer = sampler.buffer()
            try:
                sampler.read(buffer)
                sampler.keep(buffer)
            finally:
                sampler.release(buffer)

    # ------------------------------------------------------------ what is written

    def look(self, now: float) -> bool:
        """Read how much memory there is; True when a level of the limit was crossed."""
        resident = shared_resident().read()
        known = self._headroom
        if known is None or now - known[0] >= _ROOM_SECONDS or (known[1].bytes or 0) < 4 * abs(resident - known[2]):
            known = self._headroom = (now, headroom(), resident)
        room, then = known[1], known[2]
        left = None if room.bytes is None else max(0, room.bytes - (resident - then))
        return self.room.add(Reading(now, resident, left, room.limit_bytes, room.source))

    def write(self, ended: str | None = None, report: Report | None = None) -> None:
        """Judge everything and write it.

        Args:
            ended: how the process says good-bye, if it does.
            report: a report that was just made.
        """
        began, first = self._cpu(), self._last is None
        with self.tracker.sampler.not_ours("reporting"):  # what is dropped again is not the program's
            if report is None:
                # holders are looked for once, at the end, and only where something is suspicious: that takes time
                report = self._reporter(ended is not None and self._worst >= Verdict.GROWING.severity)
            self._worst = max((f.verdict.severity for f in report.findings), default=0)
            self._last = report.to_dict()
            del report
        self._put(self._last, ended)
        # the first one also loads what judging needs, once
        self._cost_seconds = 0.0 if first else self._cpu() - began

    def write_at_once(self) -> None:
        """Write the last report again, with the memory there is now."""
        began = self._cpu()
        if self._last is None:
            self.write()
        else:
            self._put(self._last, None)
        self._urgent_cost_seconds = self._cpu() - began

    def has_something_to_say(self) -> bool:
        """Whether this process wrote before, or met anything that is instrumented."""
        if self.seq or self.tracker.breaches:
            return True
        constructed = any(one.follower.counts().constructed for one in list(self.tracker.classes.values()))
        return constructed or any(one.calls() for one in list(self.tracker.functions.values()))

    def _put(self, report: dict[str, Any], ended: str | None) -> None:
        with self._lock:
            if self.ended and ended is None:
                return  # the last word has been said
            self.seq += 1
            shard = Shard(
                self.id,
                self.seq,
                time.time(),
                max(self.interval, self._cost_seconds / _share()),
                _NO_REPORT,
                self.box(),
                ended,
                self.tracker.parent_pid or os.getppid(),
                self.started_ticks,
            )
            text = json.dumps(to_dict(shard, report), separators=(",", ":"), allow_nan=False)
            replace_file(self.path, text + "\n")
            self.ended = ended is not None

    def box(self) -> BlackBox:
        """The memory as it was last looked at."""
        return self.room.box()


_NO_REPORT = Report(created_at="")


def _share() -> float:
    return max(1e-4, current().cost_budget_share)


def replace_file(path: str, text: str) -> None:
    """Write a file whole, readable by its owner only; a link that lies there is replaced, never followed.

    The temporary file has one name for each target, so that a writer that was killed leaves one, not many.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        handle = _open_new(temporary, flags)
    except FileNotFoundError:
        make_folder(folder)  # somebody cleared it away
        handle = _open_new(temporary, flags)
    put(handle, temporary, path, text)


def _open_new(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        os.unlink(path)  # of an earlier life; unlinking a link leaves its target alone
        return os.open(path, flags, 0o600)


def make_folder(path: str) -> None:
    """Make a folder for shards, the owner's only; one that exists is taken as it is.

    Raises:
        OSError: it cannot be made, or is no folder.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)
    if not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
