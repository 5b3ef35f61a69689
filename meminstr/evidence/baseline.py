"""Leaks that are known and accepted: a file of fingerprints, so that reports speak of what is new.

A finding is known when each of its holders is; one of which no holder is known goes by its subject and kind of memory.

The file is JSON, ``{"format": "meminstr-baseline", "version": 1, "accepted": [{fingerprint, path}]}``; the path is
for the reader of the file, only the fingerprint decides.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..errors import UsageError
from ..verdict import Finding, Holder
from .fingerprint import fingerprint_of

_FORMAT = "meminstr-baseline"
_VERSION = 1


def load(path: str | os.PathLike[str]) -> frozenset[str]:
    """The accepted fingerprints; empty when the file does not exist.

    Raises:
        UsageError: the file is there and is no baseline.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return frozenset()
    try:
        data = json.loads(text)
        if data["format"] != _FORMAT or data["version"] != _VERSION:
            raise ValueError(f"format {data['format']!r} version {data['version']!r}")
        found = frozenset(row["fingerprint"] for row in data["accepted"])
        if not all(isinstance(fingerprint, str) for fingerprint in found):
            raise ValueError("a fingerprint is no text")
        return found
    except KeyError as error:
        raise UsageError(f"{os.fspath(path)} is no {_FORMAT} of version {_VERSION}: it has no {error}") from None
    except (ValueError, TypeError) as error:
        raise UsageError(f"{os.fspath(path)} is no {_FORMAT} of version {_VERSION}: {error}") from None


def save(path: str | os.PathLike[str], holders: Iterable[Holder]) -> int:
    """Write the fingerprints of `holders` as accepted, replacing the file in one step.

    Returns:
        The number of fingerprints written.

    Raises:
        UsageError: the directory cannot be written.
    """
    return _write(path, {h.fingerprint: h.path for h in holders if h.fingerprint is not None})


def save_findings(path: str | os.PathLike[str], findings: Iterable[Finding]) -> int:
    """Write the fingerprints of `findings` as accepted, replacing the file in one step.

    Returns:
        The number of fingerprints written.

    Raises:
        UsageError: the directory cannot be written.
    """
    rows: dict[str, str] = {}
    for finding in findings:
        held = {h.fingerprint: h.path for h in finding.holders if h.fingerprint is not None and h.root != "unknown"}
        rows.update(held or {fingerprint(finding): f"{finding.subject_kind} {finding.subject}"})
    return _write(path, rows)


def fingerprint(finding: Finding) -> str:
    """Of a finding by itself, the same in the next run and on another machine."""
    return fingerprint_of(f"{finding.subject_kind} {finding.subject}", finding.memory_kind or "")


def mark_finding(finding: Finding, accepted: frozenset[str]) -> Finding:
    """The finding with what is accepted marked: its holders, and itself (``known`` in `extra`) when all of it is."""
    if not accepted:
        return finding
    held = mark((h for h in finding.holders), accepted)
    reached = [h for h in held if h.root != "unknown"]
    known = all(h.known for h in reached) if reached else fingerprint(finding) in accepted
    extra = {**finding.extra, "known": True} if known else finding.extra
    return replace(finding, holders=held, extra=extra)


def is_known(finding: Finding) -> bool:
    """Whether `mark_finding` found all of it accepted."""
    return finding.extra.get("known") is True


def _write(path: str | os.PathLike[str], rows: dict[str, str]) -> int:
    data = {
        "format": _FORMAT,
        "version": _VERSION,
        "accepted": [{"fingerprint": key, "path": rows[key]} for key in sorted(rows)],
    }
    target = Path(path)
    name = None
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".new")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(data, stream, indent=1)
            stream.write("\n")
        os.replace(name, target)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise UsageError(f"{os.fspath(path)} cannot be written: {error.strerror or error}") from None
    return len(rows)


def mark(holders: Iterable[Holder], accepted: frozenset[str]) -> tuple[Holder, ...]:
    """The same holders, those in the baseline with ``known=True``."""
    return tuple(
        replace(h, known=True) if h.fingerprint is not None and h.fingerprint in accepted else h for h in holders
    )


def new_only(holders: Iterable[Holder]) -> tuple[Holder, ...]:
    """Those that are in no baseline."""
    return tuple(h for h in holders if not h.known)
