"""Reports, comparisons and live views on a terminal: the one file that imports `rich` (extra ``cli``).

Imported by `looks` on first use, where there is a terminal and the library.  ``NO_COLOR`` and the width of the terminal
are heeded by `rich` itself.  Names from the program are `Text` that passed `escape.safe`, never markup.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..reports.compare import SAME, Comparison, sentence
from ..reports.escape import NBSP, safe
from ..reports.histories import sparkline
from ..reports.model import Report
from ..reports.text import footer
from ..reports.wording import WORDS, alarm, calm, conclusion, details, rates, until_limit
from ..verdict import Finding, Verdict
from .looks import sparkline as bars

T = TypeVar("T")

_STYLES = {
    Verdict.LEAKING: "bold red",
    Verdict.GROWING: "yellow",
    Verdict.WARMING_UP: "cyan",
    Verdict.INCONCLUSIVE: "magenta",
    Verdict.INSUFFICIENT_DATA: "dim",
    Verdict.CLEAN: "green",
}
_CHANGES = {"worse": "bold red", "new": "yellow", "better": "green", "gone": "dim"}
_MOST_ROWS = 200


def show_report(report: Report) -> None:
    """Print a report."""
    console = _console()
    console.print(report_view(report, width=console.width))


def show_comparison(comparison: Comparison, base: Report, head: Report, failed: Sequence[Any]) -> None:
    """Print a comparison: the subjects that changed, with the histories of both sides."""
    before = {(f.subject, f.subject_kind): f for f in reversed(base.findings)}
    after = {(f.subject, f.subject_kind): f for f in reversed(head.findings)}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("", "subject", "before -> after"):
        table.add_column(name)
    table.add_column("base", no_wrap=True)
    table.add_column("head", no_wrap=True)
    changed = [change for change in comparison.records if change.what != SAME]
    for change in changed:
        key = (change.subject, change.subject_kind)
        table.add_row(
            Text(change.what.upper(), _CHANGES.get(change.what, "")),
            Text(safe(change.subject, 120)),
            _text(sentence(change)),
            *(_spark(side.get(key)) for side in (before, after)),
        )
    parts: list[RenderableType] = [Text(comparison.summary().replace(NBSP, " "), "bold")]
    parts += [table] if changed else []
    for one in failed:
        line = f"FAILED  {safe(one.change.subject, 120)}: {safe(one.why, 300)} ({safe(one.condition, 60)})"
        parts.append(Text(line, "bold red"))
    _console().print(Group(*parts))


def report_view(report: Report, headline: str | None = None, rows: int = _MOST_ROWS, width: int = 100) -> Group:
    """A report as a table, with what stands behind each alarm below it.

    Args:
        report: the report.
        headline: what stands above it instead of the conclusion.
        rows: findings at most.
        width: columns of the terminal; a narrow one shows the time left below the table only.
    """
    parts: list[RenderableType] = [Text(headline or conclusion(report).replace(NBSP, " "), "bold")]
    if report.findings:
        parts.append(_table(report, rows, width))
    for finding in report.findings[:20]:
        if finding.verdict.severity >= Verdict.GROWING.severity:
            parts.append(_behind(finding, report.process.limit_bytes))
    grid = Table.grid(padding=(0, 2))
    for label, told in footer(report):
        grid.add_row(Text(label, "dim"), _text(told, "dim"))
    parts.append(Padding(grid, (1, 0, 0, 0)))
    return Group(*parts)


def _table(report: Report, rows: int, width: int) -> Table:
    wide = width >= 110
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("subject", overflow="fold", max_width=max(16, width // 4))
    table.add_column("history", no_wrap=True)
    table.add_column("rate" if wide else "what is known")
    if wide:
        table.add_column("limit")
    for finding in report.findings[:rows]:
        style = _STYLES[finding.verdict]
        alarming = finding.verdict.severity >= Verdict.GROWING.severity
        told = ", ".join(rates(finding)) if alarming else calm(finding)
        cells = [
            Text(WORDS[finding.verdict], style),
            Text(safe(finding.subject, 120), "bold" if alarming else ""),
            Text(_spark(finding, 20 if wide else 12).plain, style),
            _text(told),
            _text(until_limit(finding, report.process.limit_bytes) or ""),
        ]
        table.add_row(*(cells if wide else cells[:4]))
    if len(report.findings) > rows:
        table.add_row("", Text(f"and {len(report.findings) - rows} more", "dim"))
    return table


def _behind(finding: Finding, limit_bytes: int | None) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for label, told in details(finding):
        grid.add_row(Text(label, "dim"), _text(told, "bold" if label == "do" else ""))
    title = Text.assemble(
        (WORDS[finding.verdict], _STYLES[finding.verdict]), "  ", (safe(finding.subject, 120), "bold")
    )
    return Padding(Group(title, _text(alarm(finding, limit_bytes)), Padding(grid, (0, 0, 0, 2))), (1, 0, 0, 0))


def _spark(finding: Finding | None, width: int = 12) -> Text:
    return Text(bars(sparkline(finding), width) if finding is not None else "")


def _text(value: str, style: str = "") -> Text:
    return Text(value.replace(NBSP, " "), style)


def _console() -> Console:
    return Console(file=sys.stdout, highlight=False)


class LiveReport:
    """A report that is drawn again in place: a context manager.

    Args:
        full_screen: on the terminal's second screen, as `less` does.
    """

    def __init__(self, full_screen: bool = False) -> None:
        self._live = Live(console=_console(), auto_refresh=False, screen=full_screen, vertical_overflow="crop")

    def __enter__(self) -> LiveReport:
        self._live.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._live.__exit__(*raised)

    def show(self, report: Report, headline: str) -> None:
        """Draw a report."""
        size = self._live.console.size
        self._live.update(report_view(report, headline, max(3, size.height - 12), size.width), refresh=True)


def track(items: Sequence[T], label: str) -> Iterable[T]:
    """The items, with a progress bar on standard error that goes away when they are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        yield from bar.track(items, description=label)
