"""A process seen from outside: its resident memory, and its children's, judged like one that is instrumented.

Needs nothing of the process: `psutil` reads what the kernel tells everybody.  So there is no class, no function and no
holder here, only whether the whole grows, how fast, and how long it has.  The verdicts are `diagnosis.reckoning`'s, by
the policy for processes: ten minutes and 200 readings before growth is called a leak.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..diagnosis.figures import Room, finding_of
from ..diagnosis.histories import with_series
from ..diagnosis.reckoning import reckon
from ..errors import UsageError
from ..reports.model import ProcessFacts, Report
from ..series import Series
from ..snapshot import Snapshot
from ..verdict import Finding

_MOST = 50
"""Processes followed one by one; all of them are in the sum."""
_SIGNAL = "resident"
KIND = "watched"
"""The kind of subject in these reports: no instrumented process, and none that needs advice on instrumenting."""
_HORIZON_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a family at a moment."""

    pid: int
    name: str
    resident_bytes: int


class Gone(Exception):
    """The process has ended."""


Look = Callable[[], Sequence[Member]]
"""The process, first, and its children, now.  Raises `Gone`."""


def family_of(pid: int, children: bool = True) -> Look:
    """What reads a process and its children through psutil.

    Raises:
        UsageError: there is no such process, or it may not be looked at.
    """
    import psutil

    try:
        root = psutil.Process(pid)
        root.memory_info()
    except psutil.NoSuchProcess:
        raise UsageError(f"there is no process {pid}") from None
    except psutil.AccessDenied:
        raise UsageError(f"process {pid} may not be looked at: it is another user's") from None

    def look() -> list[Member]:
        try:
            if not root.is_running() or root.status() == psutil.STATUS_ZOMBIE:
                raise Gone
            found = [Member(root.pid, root.name(), root.memory_info().rss)]
            below = root.children(recursive=True) if children else []
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            raise Gone from None
        for child in below:
            try:
                if child.status() != psutil.STATUS_ZOMBIE:
                    found.append(Member(child.pid, child.name(), child.memory_info().rss))
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue  # ended meanwhile
        return found

    return look


def limit_of(pid: int) -> int | None:
    """The tightest limit around a process that can be seen from here: its control group's, or the machine's memory."""
    from ..probes.container import Surroundings

    limit = Surroundings(rlimits=dict, process=pid).tightest_limit()
    return None if limit is None else limit.bytes


class OutsideWatch:
    """The histories of a process and its children.

    Args:
        pid: the process.
        look: what reads it.
        limit_bytes: the limit its time left leads to; None when it is not known.
        clock: seconds, never going back.
    """

    def __init__(
        self, pid: int, look: Look, limit_bytes: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.pid = pid
        self.limit_bytes = limit_bytes
        self.members: tuple[Member, ...] = ()
        self.peak_bytes = 0
        self.name = ""
        self._look = look
        self._clock = clock
        self._started = clock()
        self._whole = Series()
        self._each: dict[int, tuple[str, Series]] = {}

    @property
    def resident_bytes(self) -> int:
        """Of all members, at the last reading; memory that they share counts in each."""
        return sum(member.resident_bytes for member in self.members)

    def sample(self) -> None:
        """Take one reading.

        Raises:
            Gone: the process has ended; what was read before stands.
        """
        self.members = tuple(self._look())
        self.name = self.members[0].name
        now = self._clock()
        at = now - self._started
        self._whole.add(at, now, float(self.resident_bytes))
        self.peak_bytes = max(self.peak_bytes, self.resident_bytes)
        for member in self.members:
            if member.pid not in self._each and len(self._each) >= _MOST:
                continue
            self._each.setdefault(member.pid, (member.name, Series()))[1].add(at, now, float(member.resident_bytes))
        alive = {member.pid for member in self.members}
        for pid in [pid for pid in self._each if pid not in alive]:
            del self._each[pid]  # room for those that come

    def report(self) -> Report:
        """What is known so far, as a report like any other."""
        findings = [self._finding(self._whole, self._title(), self.resident_bytes)]
        if len(self.members) > 1:
            sizes = {member.pid: member.resident_bytes for member in self.members}
            for pid, (name, series) in self._each.items():
                finding = self._finding(series, f"{name} (pid {pid})", self.resident_bytes)
                now = {"resident_bytes": sizes.get(pid)}
                # of the kind that stands behind the whole where both are as bad
                findings.append(
                    replace(finding, subject_kind="process", eta_seconds=None, extra={**finding.extra, **now})
                )
        return Report(
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            process=ProcessFacts(
                pid=self.pid,
                command=self.name or None,
                resident_bytes=self.resident_bytes or None,
                peak_bytes=self.peak_bytes or None,
                limit_bytes=self.limit_bytes,
                signals=(f"{_SIGNAL} (psutil, from outside)",),
            ),
            findings=tuple(findings),
            extra={"notes": ["seen from outside: resident memory only, for no class or function can be named"]},
        )

    def _title(self) -> str:
        more = len(self.members) - 1
        return f"{self.name} (pid {self.pid})" + (f" and {more} below it" if more > 0 else "")

    def _finding(self, series: Series, title: str, resident_bytes: int) -> Finding:
        view = series.view()
        snapshot = Snapshot(
            at_seconds=self._clock() - self._started,
            reading={} if view.last is None else {_SIGNAL: view.last[2]},
            process={_SIGNAL: view},
            sources={_SIGNAL: "psutil"},
            subjects=(),
        )
        left = None if self.limit_bytes is None else max(0, self.limit_bytes - resident_bytes)
        reckoned = reckon(snapshot).process
        finding = finding_of(reckoned, snapshot, Room(left, self.limit_bytes))
        finding = with_series(finding, reckoned, snapshot.process, _HORIZON_SECONDS, self._started)
        return replace(finding, subject=title, subject_kind=KIND)
