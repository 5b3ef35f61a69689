"""Leaks that are known and accepted: a file of fingerprints, so that reports speak of what is new.

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
from ..verdict import Holder

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
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{os.fspath(path)} is no {_FORMAT} of version {_VERSION}: {error}") from None


def save(path: str | os.PathLike[str], holders: Iterable[Holder]) -> int:
    """Write the fingerprints of `holders` as accepted, replacing the file in one step.

    Returns:
        The number of fingerprints written.

    Raises:
        OSError: the directory cannot be written.
    """
    rows = {h.fingerprint: h.path for h in holders if h.fingerprint is not None}
    data = {
        "format": _FORMAT,
        "version": _VERSION,
        "accepted": [{"fingerprint": key, "path": rows[key]} for key in sorted(rows)],
    }
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".new")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(data, stream, indent=1)
            stream.write("\n")
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return len(rows)


def mark(holders: Iterable[Holder], accepted: frozenset[str]) -> tuple[Holder, ...]:
    """The same holders, those in the baseline with ``known=True``."""
    return tuple(
        replace(h, known=True) if h.fingerprint is not None and h.fingerprint in accepted else h for h in holders
    )


def new_only(holders: Iterable[Holder]) -> tuple[Holder, ...]:
    """Those that are in no baseline."""
    return tuple(h for h in holders if not h.known)
