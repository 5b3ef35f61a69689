"""The record of a report: facts in, the JSON contract out and back.

The record is the waist between diagnosis and every renderer.  It sorts its findings, worst first, and reads
itself back with a clear sentence about anything that is wrong.  Files, text and merging are left to the
modules beside it; `model.Report` is this record with methods that call them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from ..evidence import baseline
from ..verdict import Finding, Interval, Verdict, plain, read_record

FORMAT = "meminstr-report"
VERSION = 1

Entries = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """Which process a report speaks of, and how much memory it has.  Not known is None."""

    pid: int | None = None
    """None in a merged report."""
    host: str | None = None
    python: str | None = None
    """``CPython 3.11.7`` or the like."""
    command: str | None = None
    started_at: str | None = None
    """ISO 8601, UTC."""
    resident_bytes: int | None = None
    peak_bytes: int | None = None
    limit_bytes: int | None = None
    signals: tuple[str, ...] = ()
    """The signals that were read, each with its source: ``resident (/proc/self/statm)``."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What meminstr itself has cost the process so far."""

    seconds: float | None = None
    share_of_cpu: float | None = None
    """Of the CPU time of the process, 0 to 1."""
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Everything a report says.  See `meminstr.Report`."""

    created_at: str
    """ISO 8601, UTC."""
    process: ProcessFacts = field(default_factory=ProcessFacts)
    cost: Cost = field(default_factory=Cost)
    findings: tuple[Finding, ...] = ()
    """Worst verdict first, then the largest rate; the process as a whole after the subjects it is made of."""
    errors: Entries = ()
    """Faults of meminstr itself: ``where``, ``error``, ``message``, ``count``."""
    breaches: Entries = ()
    """Limits that were broken."""
    processes: Entries = ()
    """Of a merged report: the report of each process."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further facts, merged into the JSON object; keys of the contract cannot be overridden."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", tuple(sorted(self.findings, key=badness)))
        for name in ("errors", "breaches", "processes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """The findings whose verdict is ``leaking``, and no others."""
        return tuple(f for f in self.findings if f.verdict is Verdict.LEAKING)

    @property
    def new_leaks(self) -> tuple[Finding, ...]:
        """The leaks that are not accepted in the baseline that the report was made with, or `marked` with."""
        return tuple(f for f in self.leaks if not baseline.is_known(f))

    def finding(self, subject: str, subject_kind: str | None = None) -> Finding | None:
        """The finding of `subject` (the worst, where a name stands for several), or None."""
        for found in self.findings:
            if found.subject == subject and subject_kind in (None, found.subject_kind):
                return found
        return None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the report contract, keys in the order of the contract."""
        out: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "created_at": plain(self.created_at),
            "process": plain(self.process),
            "cost": plain(self.cost),
            "findings": [f.to_dict() for f in self.findings],
            "errors": plain(self.errors),
            "breaches": plain(self.breaches),
            "processes": plain(self.processes),
        }
        for key, value in self.extra.items():
            out.setdefault(str(key), plain(value))
        return out


_KEYS = {"format", "version", "created_at", "process", "cost", "findings", "errors", "breaches", "processes"}


def badness(finding: Finding) -> tuple[Any, ...]:
    """Sort key: smaller is worse.  Verdict, then named subjects before the process that is their sum, then
    growth per hour, per call, in instances, and retained instances; names settle the rest.
    """
    per_call = value_of(finding.bytes_per_call)
    if not per_call and finding.mb_per_1000 is not None and math.isfinite(finding.mb_per_1000):
        per_call = finding.mb_per_1000 * 1048.576
    return (
        -finding.verdict.severity,
        finding.subject_kind == "process",
        -value_of(finding.mb_per_hour),
        -per_call,
        -value_of(finding.live_per_call),
        -(finding.counts.retained if finding.counts else 0),
        finding.subject_kind,
        finding.subject,
    )


def value_of(interval: Interval | None) -> float:
    """The estimate, or 0 where there is none that is a number."""
    return interval.value if interval is not None and math.isfinite(interval.value) else 0.0


def fields_from_dict(data: Any, where: str = "the report") -> dict[str, Any]:
    """The arguments of a `Record` from its JSON object.

    Raises:
        UsageError: no report, a newer format, or a part that is not of the contract; the message starts with
            `where`.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise UsageError(
            f'{where} is not a meminstr report: a JSON object with "format": "{FORMAT}" is allowed, '
            "as meminstr.report().to_json(path) writes it"
        )
    version = data.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise UsageError(f"{where} has no valid format version: an integer from 1 to {VERSION} is allowed")
    if version > VERSION:
        raise UsageError(
            f"{where} was written by a newer meminstr (format version {version}): "
            f"this one reads versions up to {VERSION}; upgrade meminstr to read it"
        )
    try:
        values: dict[str, Any] = {
            "created_at": data.get("created_at") or "",
            "process": _process(data.get("process")),
            "cost": read_record(Cost, data.get("cost") or {}),
            "findings": tuple(Finding.from_dict(f) for f in _items(data, "findings")),
            "extra": {k: v for k, v in data.items() if k not in _KEYS},
        }
        if not isinstance(values["created_at"], str):
            raise ValueError("created_at must be a string")
        for key in ("errors", "breaches", "processes"):
            values[key] = tuple(dict(entry) for entry in _objects(data, key))
        for entry in values["processes"]:
            _process(entry.get("process"))
            for found in _items(entry, "findings"):
                Finding.from_dict(found)
    except ValueError as error:
        raise UsageError(f"{where} is damaged: {error}") from None
    return values


def _process(data: Any) -> ProcessFacts:
    facts = read_record(ProcessFacts, {k: v for k, v in _object(data, "process").items() if k != "signals"})
    signals = tuple(str(s) for s in _items(data or {}, "signals"))
    return ProcessFacts(**{n: getattr(facts, n) for n in facts.__slots__ if n != "signals"}, signals=signals)


def _object(data: Any, key: str) -> Mapping[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise ValueError(f"{key} must be an object")
    return data


def _items(data: Mapping[str, Any], key: str) -> Iterable[Any]:
    items = data.get(key)
    if items is None:
        return ()
    if not isinstance(items, (list, tuple)):
        raise ValueError(f"{key} must be a list")
    return items


def _objects(data: Mapping[str, Any], key: str) -> Iterable[Mapping[str, Any]]:
    for item in _items(data, key):
        if not isinstance(item, Mapping):
            raise ValueError(f"{key} must be a list of objects")
        yield item
