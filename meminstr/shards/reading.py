"""Shards read back: every file of a folder, whatever state it is in, and what that says of the process behind it.

A file that is cut off, of a newer version, or not ours is listed with one sentence and left alone; the others are read.
Plain reports (``*.json`` written at exit) that lie in the same folder count too.

Clocks differ between hosts: which of two copies is newer is decided by the sequence number, how old a shard is by the
clock of the file system, and of processes on this host the kernel is asked.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UsageError
from ..reports.files import StrPath, read_text
from ..reports.model import FORMAT as REPORT_FORMAT
from ..reports.model import Report
from .format import BlackBox, Shard, from_dict

_SILENT_INTERVALS = 3.0
_SLACK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that could not be read as a shard, and why, in one sentence."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class ShardSet:
    """What lay in a folder."""

    shards: tuple[Shard, ...] = ()
    """One a process, in the order of their ids."""
    skipped: tuple[Skipped, ...] = ()


def read_shards(directories: StrPath | Iterable[StrPath]) -> ShardSet:
    """The shards of one or several folders.

    Raises:
        UsageError: a folder that is not there or cannot be listed.
    """
    if isinstance(directories, (str, os.PathLike)):
        return ShardReader(directories).read()
    return united(ShardReader(directory).read() for directory in directories)


def united(sets: Iterable[ShardSet]) -> ShardSet:
    """Several sets as one: of copies of a shard the highest sequence number stands."""
    shards: dict[str, Shard] = {}
    skipped: list[Skipped] = []
    for one in sets:
        skipped += one.skipped
        for shard in one.shards:
            known = shards.get(shard.id)
            if known is None or (known.seq, known.written_at) < (shard.seq, shard.written_at):
                shards[shard.id] = shard
    return ShardSet(tuple(shards[key] for key in sorted(shards)), tuple(skipped))


class ShardReader:
    """Reads one folder again and again; a file that has not changed is not parsed twice.

    Args:
        directory: the folder.
    """

    def __init__(self, directory: StrPath) -> None:
        self.directory = os.fspath(directory)
        self._known: dict[str, tuple[tuple[int, int, int], Shard | Skipped]] = {}

    def read(self) -> ShardSet:
        """The folder as it is now.

        Raises:
            UsageError: it is not there or cannot be listed.
        """
        try:
            with os.scandir(self.directory) as entries:
                found = [(entry.name, entry.path) for entry in entries if _may_be_ours(entry.name)]
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise UsageError(
                f"cannot read the shards in {self.directory!r}: {why}; the folder that processes write to is allowed"
            ) from None
        known, self._known = self._known, {}
        for name, path in sorted(found):
            try:
                facts = os.stat(path)
            except OSError:
                continue  # gone since
            mark = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            before = known.get(name)
            if before is not None and before[0] == mark:
                self._known[name] = before
            else:
                self._known[name] = (mark, _read(path, facts.st_mtime))
        outcome = [one for _, one in self._known.values()]
        return united(
            [
                ShardSet(
                    tuple(one for one in outcome if isinstance(one, Shard)),
                    tuple(one for one in outcome if isinstance(one, Skipped)),
                )
            ]
        )


def status(shard: Shard, now: float | None = None) -> str:
    """``running``, ``ended`` (it said good-bye), ``killed``, or ``silent`` (on another host, and overdue).

    Args:
        shard: a shard that was read from a file.
        now: Unix time; None: now.
    """
    if shard.ended is not None:
        return "ended"
    if shard.host == socket.gethostname() and shard.pid is not None:
        return "running" if _lives(shard.pid, shard.start_ticks) else "killed"
    if shard.modified_at is None:
        return "running"
    age = (time.time() if now is None else now) - shard.modified_at  # negative where clocks differ: not overdue
    return "silent" if age > _SILENT_INTERVALS * shard.interval_seconds + _SLACK_SECONDS else "running"


def start_ticks(pid: int | str = "self") -> int | None:
    """When a process began, in the kernel's ticks since boot; None where that cannot be read."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return int(stream.read().rpartition(b")")[2].split()[19])  # proc(5): field 22, after the name in brackets
    except (OSError, ValueError, IndexError):
        return None


def _lives(pid: int, began: int | None) -> bool:
    if os.path.isdir("/proc/self"):
        try:
            with open(f"/proc/{pid}/stat", "rb") as stream:
                rest = stream.read().rpartition(b")")[2].split()
        except OSError:
            return False
        return rest[:1] not in ([b"Z"], [b"X"]) and (began is None or rest[19:20] == [b"%d" % began])
    import psutil

    return bool(psutil.pid_exists(pid))


def _may_be_ours(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


# One for all files: making one looks up names that the interpreter's attribute cache keeps, some thousand in time.
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


def _read(path: str, modified_at: float) -> Shard | Skipped:
    where = repr(path)
    try:
        text = read_text(path)
        if not text.strip():
            raise UsageError(f"{where} is empty: its process or its machine stopped while it was written")
        data = _parsed(text, where)
        if isinstance(data, dict) and data.get("format") == REPORT_FORMAT:
            shard = _of_report(Report.from_dict(data), path)
        else:
            shard = from_dict(data, where)
    except UsageError as error:
        return Skipped(path, str(error))
    return replace(shard, path=path, modified_at=modified_at)


def _parsed(text: str, where: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise UsageError(f"{where} is not a meminstr shard: its JSON is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{where} is cut off or no JSON ({error})") from None


def _of_report(report: Report, path: str) -> Shard:
    facts = report.process
    identity = f"{facts.host}-{facts.pid}-report" if facts.pid is not None else os.path.basename(path)
    return Shard(identity, 0, 0.0, 0.0, report, BlackBox(resident_bytes=facts.resident_bytes), ended="exit")
