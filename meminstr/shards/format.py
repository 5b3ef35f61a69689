"""The shard: what one process says of itself, again and again, in one small file.

A shard is a report with a sequence number and the black box: how much memory there was, how much was left, how fast it
went and for how long it would do.  It is JSON of a format and a version of its own.  Keys may be added within a
version; a reader passes over what it does not know.  Files and their names are `reading` and `writing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import UsageError
from ..reports.model import Report
from ..verdict import plain, read_record

FORMAT = "meminstr-shard"
VERSION = 1
SUFFIX = ".shard.json"


@dataclass(frozen=True, slots=True)
class BlackBox:
    """The last words of a process on its memory.  Not known is None."""

    resident_bytes: int | None = None
    left_bytes: int | None = None
    """Until the tightest limit around the process, which other processes may share."""
    limit_bytes: int | None = None
    limit_source: str | None = None
    bytes_per_second: float | None = None
    """Over the last half minute or so: a reading, no verdict."""
    seconds_left: float | None = None
    """``left_bytes`` at that rate; None where nothing grows."""
    over_seconds: float | None = None
    """How long the rate was observed."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One process's shard as it was read."""

    id: str
    """Host, process id and start: ``web1-4711-1700000000123``."""
    seq: int
    """Counts the writes of this process from 1: of two copies the higher one stands, whatever the clocks say."""
    written_at: float
    """Unix time by the clock of the host that wrote it."""
    interval_seconds: float
    """How often it is written."""
    report: Report
    box: BlackBox
    ended: str | None = None
    """``exit`` or ``signal`` when the process said good-bye; None: it runs, or was killed."""
    parent_pid: int | None = None
    start_ticks: int | None = None
    """When the process began, as the kernel counts it: tells a process from the next one with the same number."""
    path: str | None = None
    modified_at: float | None = None
    """Unix time by the clock of the file system, None when it did not come from a file."""

    @property
    def pid(self) -> int | None:
        """The process id on its host."""
        return self.report.process.pid

    @property
    def host(self) -> str | None:
        """The host's name."""
        return self.report.process.host


_OWN = ("id", "seq", "written_at", "interval_seconds", "ended", "parent_pid", "start_ticks")


def to_dict(shard: Shard, report: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The JSON object of a shard; ``report`` spares turning the report into a dictionary once more."""
    out: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    out.update({name: getattr(shard, name) for name in _OWN})
    out["box"] = plain(shard.box)
    out["report"] = shard.report.to_dict() if report is None else report
    return out


def from_dict(data: Any, where: str) -> Shard:
    """A shard from its JSON object.

    Raises:
        UsageError: no shard, a newer format, or a damaged one; the message starts with ``where``.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise UsageError(f"{where} is not a meminstr shard")
    version = data.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise UsageError(f"{where} has no valid format version: an integer from 1 to {VERSION} is allowed")
    if version > VERSION:
        raise UsageError(
            f"{where} was written by a newer meminstr (shard version {version}): "
            f"this one reads versions up to {VERSION}; upgrade meminstr to read it"
        )
    own = {name: data.get(name) for name in _OWN}
    try:
        for name, kinds in _KINDS.items():
            value = own[name]
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise ValueError(f"{name} must not be {type(value).__name__}")
        box = read_record(BlackBox, data.get("box") or {})
    except ValueError as error:
        raise UsageError(f"{where} is damaged: {error}") from None
    values: dict[str, Any] = dict(own)
    return Shard(report=_report(data.get("report"), where), box=box, **values)


def _report(data: Any, where: str) -> Report:
    try:
        return Report.from_dict(data)
    except UsageError as error:
        raise UsageError(str(error).replace("the report", f"the report in {where}", 1)) from None


_NONE = type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "seq": (int,),
    "written_at": (int, float),
    "interval_seconds": (int, float),
    "ended": (str, _NONE),
    "parent_pid": (int, _NONE),
    "start_ticks": (int, _NONE),
}


def box_dict(box: BlackBox) -> dict[str, Any]:
    """The black box as the JSON object that a merged report carries, unknown figures left out."""
    return {f.name: value for f in fields(box) if (value := getattr(box, f.name)) is not None}
