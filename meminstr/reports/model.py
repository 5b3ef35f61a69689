"""`Report`: what `meminstr.report()` returns.

The facts are in `record.Record`; this adds the forms a report takes and how several become one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..evidence import baseline
from . import html, json, text
from .files import StrPath, read_text, write_text
from .merge import merged_fields
from .record import FORMAT, VERSION, Cost, ProcessFacts, Record, fields_from_dict

__all__ = ["FORMAT", "VERSION", "Cost", "ProcessFacts", "Report"]


@dataclass(frozen=True, slots=True)
class Report(Record):
    """A finished report: verdicts with their evidence, the process they were made in, and what they cost.

    ``print(report)`` shows it; `findings` holds all verdicts, worst first, `leaks` those that are leaks.
    """

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int = 100, color: bool = False) -> str:
        """Plain text, no line longer than `width` columns (at least 40); ANSI colours only when asked."""
        return text.render(self, width, color)

    def to_json(self, path: StrPath | None = None) -> str:
        """JSON text of the report contract; also written to `path`, atomically and owner-only, when given.

        Raises:
            UsageError: the path cannot be written to.
            MeminstrError: writing failed on the way.
        """
        out = json.dumps(self)
        if path is not None:
            write_text(path, out)
        return out

    def to_html(self, path: StrPath | None = None) -> str:
        """One self-contained HTML page; also written to `path`, atomically and owner-only, when given.

        Raises:
            UsageError: the path cannot be written to.
            MeminstrError: writing failed on the way.
        """
        out = html.render(self)
        if path is not None:
            write_text(path, out)
        return out

    def marked(self, path: StrPath) -> Report:
        """The same report with what a baseline accepts marked as known.

        Raises:
            UsageError: the file is there and is no baseline.
        """
        accepted = baseline.load(path)
        return replace(self, findings=tuple(baseline.mark_finding(f, accepted) for f in self.findings))

    def to_baseline(self, path: StrPath) -> int:
        """Write a baseline that accepts all leaks of this report; returns the number of fingerprints.

        Raises:
            UsageError: the path cannot be written to.
        """
        return baseline.save_findings(path, self.leaks)

    @classmethod
    def from_dict(cls, data: Any) -> Report:
        """A report from the object that `to_dict` gave.

        Raises:
            UsageError: no report, a newer format, or a damaged one.
        """
        return cls(**fields_from_dict(data))

    @classmethod
    def load(cls, path: StrPath) -> Report:
        """A report from the file that `to_json` wrote.

        Raises:
            UsageError: no such file, no report, a newer format, or a damaged one; the message names the file.
        """
        where = repr(str(path))
        return cls(**fields_from_dict(json.loads(read_text(path), where), where))

    @classmethod
    def merge(cls, reports: Iterable[Report]) -> Report:
        """One report of many processes: a union by host, pid and start, whatever the order or grouping.

        Counts add, peaks take the maximum, a verdict is the worst and says in how many processes; rates are
        never summed: the worst process's is shown, with the median beside it.

        Raises:
            UsageError: no report at all.
        """
        return cls(**merged_fields(reports))
