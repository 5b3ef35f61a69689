"""Shards as one report: Report.merge of what they hold, and a sentence for every process that ended without a word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..errors import UsageError
from ..reports.escape import NBSP, safe
from ..reports.files import StrPath
from ..reports.model import Report
from ..reports.wording import WORDS, duration, rates, size
from ..verdict import Finding, Verdict
from .format import Shard, box_dict
from .reading import ShardSet, read_shards, status

_MOST_NOTES = 20
_CLOCKS_APART_SECONDS = 60.0


def merged(directories: StrPath | Iterable[StrPath]) -> Report:
    """One report of all shards in one or several folders.

    Raises:
        UsageError: a folder that cannot be read, or one with no shard in it; the message says what was there instead.
    """
    return merged_set(read_shards(directories), directories)


def merged_set(found: ShardSet, where: Any = "") -> Report:
    """One report of shards that were read; ``notes`` of the report tells of killed processes and of what was skipped.

    Raises:
        UsageError: there is none.
    """
    if not found.shards:
        also = f"; {len(found.skipped)} files were skipped, the first: {found.skipped[0].why}" if found.skipped else ""
        raise UsageError(f"no shards in {_names(where)}: run the program with MEMINSTR_SHARDS set to it{also}")
    states = [(shard, status(shard)) for shard in found.shards]
    report = Report.merge(_with_box(shard, state) for shard, state in states)
    notes = [last_words(shard, state) for shard, state in states if state in ("killed", "silent")]
    notes = _capped(notes, "processes ended without a word")
    notes += [
        f"the clock of {host} is {duration(abs(apart))} {'ahead of' if apart > 0 else 'behind'} the file system's: "
        "times of its processes are its own"
        for host, apart in _clocks(found.shards)
    ]
    notes += _capped([f"skipped: {skipped.why}" for skipped in found.skipped], "files were skipped")
    extra = {**report.extra, **({"notes": notes} if notes else {})}
    return replace(report, extra=extra)


def last_words(shard: Shard, state: str) -> str:
    """What the last shard of a process says of its end: who grew, how fast, how long it had."""
    when = datetime.fromtimestamp(shard.written_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    how = "was killed" if state == "killed" else "has gone silent"
    text = (
        f"process {shard.pid} on {safe(shard.host or 'an unknown host', 80)} {how}; its last shard, of {when}, says: "
    )
    box = shard.box
    memory = []
    if box.resident_bytes is not None:
        memory.append(f"{size(box.resident_bytes)} resident")
    if box.bytes_per_second is not None:
        memory.append(f"growing by {size(box.bytes_per_second)} a second")
    if box.left_bytes is not None and box.limit_bytes is not None:
        left = f"{size(box.left_bytes)} left of {size(box.limit_bytes)} ({safe(box.limit_source or '', 80)})"
        memory.append(left)
    if box.seconds_left is not None:
        memory.append(f"enough for {duration(box.seconds_left)} at that rate")
    text += ", ".join(memory) or "nothing of its memory"
    growing = [f for f in shard.report.findings if f.verdict.severity >= Verdict.GROWING.severity]
    for finding in growing[:3]:
        text += f"; {_told(finding)}"
    if not growing:
        text += "; no function or class was found growing"
    return text.replace(NBSP, " ")  # a note is kept as data; where lines break is for whoever prints it


def _told(finding: Finding) -> str:
    parts = [f"{WORDS[finding.verdict]} {safe(finding.subject, 120)}"]
    parts += rates(finding)[:2]
    if finding.holders:
        parts.append(f"held by {safe(finding.holders[0].path, 160)}")
    return ", ".join(parts)


def _with_box(shard: Shard, state: str) -> Report:
    told = {"id": shard.id, "seq": shard.seq, "state": state, "written_at": shard.written_at, **box_dict(shard.box)}
    return replace(shard.report, extra={**shard.report.extra, "black_box": told})


def _capped(sentences: list[str], rest: str) -> list[str]:
    more = len(sentences) - _MOST_NOTES
    return sentences if more <= 0 else [*sentences[:_MOST_NOTES], f"{more} more {rest}"]


def _clocks(shards: Iterable[Shard]) -> list[tuple[str, float]]:
    apart: dict[str, float] = {}
    for shard in shards:
        if shard.modified_at is not None and shard.written_at and shard.host:
            difference = shard.written_at - shard.modified_at
            if abs(difference) >= _CLOCKS_APART_SECONDS:
                apart[shard.host] = difference
    return sorted(apart.items())


def _names(where: Any) -> str:
    many = where if isinstance(where, (list, tuple)) else [where]
    return ", ".join(repr(str(one)) for one in many)
