"""Metrics as text: the exposition format of Prometheus, without its library.

For node_exporter's ``textfile`` collector, that is for jobs nobody can scrape: the file is replaced as a whole, and
readable for everyone, because node_exporter runs as somebody else.  It holds names of functions and classes, and
figures.
"""

from __future__ import annotations

import os
import tempfile

from .. import at_exit
from ..errors import MeminstrError, UsageError
from ..registry import ControllerMemoryTracker
from ..reports import files
from ..reports.files import StrPath
from .families import Family
from .source import families_now, of_report

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


def render(found: tuple[Family, ...]) -> str:
    """Families in the text format 0.0.4 (prometheus.io, exposition formats)."""
    lines: list[str] = []
    for family in found:
        lines.append(f"# HELP {family.exposed} {family.help}")
        lines.append(f"# TYPE {family.exposed} {family.kind}")
        for labels, value in family.samples:
            inner = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels)
            lines.append(f"{family.exposed}{{{inner}}} {value!r}" if inner else f"{family.exposed} {value!r}")
    return "\n".join(lines) + "\n" if lines else ""


def write_textfile(
    path: StrPath,
    *,
    directory: StrPath | None = None,
    tracker: ControllerMemoryTracker | None = None,
    max_subjects: int = 1000,
) -> None:
    """Write the metrics of this process, or of the shards in ``directory``, to a ``.prom`` file.

    Raises:
        UsageError: a path that cannot be written to, or does not end in ``.prom`` (node_exporter reads no other).
        MeminstrError: writing failed on the way.
    """
    put(_checked(path), render(families_now(directory, tracker, max_subjects)))


def textfile_at_exit(path: StrPath) -> None:
    """Write the metrics of this process when it ends: for jobs that end before anyone could scrape them.

    Raises:
        UsageError: a path that does not end in ``.prom``.
    """
    target = os.path.abspath(_checked(path))
    at_exit.at_exit(f"metrics {target}", lambda report: put(target, render(of_report(report))))


def _checked(path: StrPath) -> str:
    target = os.fspath(path) if isinstance(path, (str, os.PathLike)) else ""
    if not isinstance(target, str) or not target.endswith(".prom") or "\0" in target:
        raise UsageError(f"path={path!r:.200} is not allowed: a file name that ends in .prom is")
    return target


def put(path: str, text: str) -> None:
    """Replace a file that others may read."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        handle, temporary = tempfile.mkstemp(prefix=".meminstr-", suffix=".tmp", dir=folder)
    except OSError as error:
        raise UsageError(f"cannot write the metrics to {path!r}: {error.strerror or error}") from error
    try:
        files.put(handle, temporary, path, text, mode=0o644)
    except OSError as error:
        raise MeminstrError(f"cannot write the metrics to {path!r}: {error.strerror or error}") from error
