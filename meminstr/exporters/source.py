"""Where metrics come from, fresh enough and never on the scraper's path: one scrape costs what handing over costs.

Judging a thousand subjects takes a second; a scrape may not.  So a thread works out the figures every few seconds while
somebody scrapes, and ends when nobody does.  Only the very first scrape waits.

Where the process writes shards, or a folder is named, the figures are those of all processes that write there: behind
gunicorn it does not matter which worker answers.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ..errors import UsageError
from ..faults import note_fault
from ..registry import ControllerMemoryTracker, on_uninstall
from ..reports.files import StrPath
from ..reports.model import Report
from ..shards import ShardReader, ShardSet, lifecycle, read_shards, status
from .families import Family, Process, families, of_shards

_T = TypeVar("_T")
_IDLE_REFRESHES = 10
_CLOSE_SECONDS = 10.0


class Source(Generic[_T]):
    """Families of metrics, in the form an exporter hands over.

    Args:
        form: from families to that form; done in the thread, not at a scrape.
        max_subjects: how many functions and classes get labels of their own.
        directory: shards to read; None: those this process writes, else its own report.
        tracker: whose subjects, without shards; None: the global one.
        refresh_seconds: how old the figures may be.

    Raises:
        UsageError: a number that is not allowed.
    """

    def __init__(
        self,
        form: Callable[[tuple[Family, ...]], _T],
        *,
        max_subjects: int,
        directory: StrPath | None = None,
        tracker: ControllerMemoryTracker | None = None,
        refresh_seconds: float = 15.0,
    ) -> None:
        if isinstance(max_subjects, bool) or not isinstance(max_subjects, int) or not 0 <= max_subjects <= 10**6:
            raise UsageError(f"max_subjects={max_subjects!r} is not allowed: a whole number from 0 to 1,000,000 is")
        number = isinstance(refresh_seconds, (int, float)) and not isinstance(refresh_seconds, bool)
        if not number or not 0.01 <= refresh_seconds < math.inf:
            raise UsageError(f"refresh_seconds={refresh_seconds!r} is not allowed: a number from 0.01 is")
        self._form = form
        self._most = max_subjects
        self._directory = None if directory is None else os.fspath(directory)
        self._tracker = tracker
        self._seconds = refresh_seconds
        self._reader: ShardReader | None = None
        self._shown: frozenset[tuple[str, str]] = frozenset()
        self._latest: _T | None = None
        self._asked = 0.0
        self._lock = threading.Lock()
        self._pid = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def get(self) -> _T:
        """The figures, at most ``refresh_seconds`` old while somebody asks for them regularly."""
        self._asked = time.monotonic()
        latest = self._latest
        if latest is None or self._pid != os.getpid():
            latest = self._begin()
        return latest

    def close(self) -> None:
        """End the thread; a later scrape starts it again."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid() and thread is not threading.current_thread():
            thread.join(_CLOSE_SECONDS)
        self._pid = 0

    def _begin(self) -> _T:
        if self._pid and self._pid != os.getpid():
            self._lock = threading.Lock()  # a forked child: its parent's thread and lock are not its own
        with self._lock:
            if self._latest is None or self._pid != os.getpid():
                latest = self._latest = self.work_out()
                self._pid = os.getpid()
                self._stop = threading.Event()
                on_uninstall(self.close)  # not before: a source that is asked once, as for a text file, is not kept
                self._thread = threading.Thread(
                    target=self._run, args=(self._stop,), name="meminstr-metrics", daemon=True
                )
                self._thread.start()
                return latest
            return self._latest

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self._seconds):
            if time.monotonic() - self._asked > _IDLE_REFRESHES * self._seconds:
                if self._stop is stop:
                    self._pid = 0
                return
            try:
                self._latest = self.work_out()
            except Exception as error:
                note_fault("working out metrics", error)

    def work_out(self) -> _T:
        """The figures as of now."""
        found = families(self._processes(), self._most, self._shown)
        for family in found:
            if family.name == "meminstr_verdict":
                self._shown = frozenset((dict(k)["subject"], dict(k)["subject_kind"]) for k, _ in family.samples)
        return self._form(found)

    def _processes(self) -> list[Process]:
        shards = self._shards()
        if shards is not None:
            return of_shards((shard, status(shard)) for shard in shards.shards)
        from ..diagnosis import report

        return [Process(report(False, tracker=self._tracker))]

    def _shards(self) -> ShardSet | None:
        writer = lifecycle.writer() if self._directory is None and self._tracker is None else None
        directory = self._directory if writer is None else writer.directory
        if directory is None:
            return None
        if self._reader is None or self._reader.directory != directory:
            self._reader = ShardReader(directory)
        try:
            return self._reader.read()
        except UsageError as error:  # nobody has written yet
            note_fault("reading shards for metrics", error)
            return ShardSet()


def families_now(
    directory: StrPath | None = None, tracker: ControllerMemoryTracker | None = None, most: int = 1000
) -> tuple[Family, ...]:
    """The metrics of this process, or of the shards in a folder, worked out now.

    Raises:
        UsageError: a folder that cannot be read.
    """
    if directory is not None:
        read_shards(directory)
    return Source(lambda found: found, max_subjects=most, directory=directory, tracker=tracker).work_out()


def of_report(report: Report, most: int = 1000) -> tuple[Family, ...]:
    """The metrics of a report that was made before; of a merged one, those of its processes."""
    parts = [Report.from_dict({"format": "meminstr-report", "version": 1, **entry}) for entry in report.processes]
    return families([Process(part) for part in parts or [report]], most)
