"""``meminstr history``: runs kept in a SQLite file, one line each; how a subject did over them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from ..errors import UsageError

_EPILOG = """\
  meminstr history add OUT.json --label "$(git rev-parse --short HEAD)"   keep a report
  meminstr history                                                        list the runs
  meminstr history show shop.cart.checkout                                one subject over the runs
  meminstr compare history:-1 OUT.json                                    the latest run against a new report
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser of all commands."""
    parser = commands.add_parser(
        "history",
        help="keep reports of runs in a file, and see how a subject did over them",
        description="Keep reports of runs in a SQLite file, and see how a subject did over them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("action", nargs="?", choices=("list", "add", "show"), default="list", help="list when left out")
    parser.add_argument("words", nargs="*", metavar="REPORT|SUBJECT", help="the reports to add, or the subject to show")
    parser.add_argument("--history", metavar="FILE", help="the file (.meminstr/history.sqlite)")
    parser.add_argument("--label", metavar="TEXT", help="what the added runs are called, as a commit")
    parser.add_argument("--last", metavar="N", type=int, default=20, help="the latest N runs (20)")
    parser.set_defaults(main=execute)


def execute(options: argparse.Namespace) -> int:
    """Do what was asked and print it.

    Raises:
        UsageError: a report or a history that cannot be read, or words that are missing.
    """
    from .history_store import HistoryStore, default_path

    path = options.history or default_path()
    if options.last < 1:
        raise UsageError(f"--last {options.last} is not allowed: a whole number from 1 is")
    if options.action == "add":
        lines = _added(path, options.words, options.label)
    elif options.action == "show":
        if len(options.words) != 1:
            raise UsageError("history show: the name of one subject is wanted, as reports print it")
        with HistoryStore.opened(path, create=False) as store:
            lines = _subject(store.subject(options.words[0], options.last), options.words[0], path)
    else:
        if options.words:
            raise UsageError(f"history list: {options.words[0]!r} is not expected (see meminstr history --help)")
        with HistoryStore.opened(path, create=False) as store:
            lines = _runs(store.runs(options.last))
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    return 0


def _added(path: str, files: Sequence[str], label: str | None) -> list[str]:
    from ..reports.model import Report
    from . import looks
    from .history_store import HistoryStore

    if not files:
        raise UsageError("history add: which report? A file that meminstr wrote is missing")
    reports = [(file, Report.load(file)) for file in looks.progress(files, "reading reports")]
    lines = []
    with HistoryStore.opened(path, create=True) as store:
        for file, report in looks.progress(reports, "adding"):
            number = store.add(report, label)
            told = "is there already" if number is None else f"is run {number}"
            lines.append(f"{file} {told} in {path}")
    return lines


def _runs(runs: Sequence[Any]) -> list[str]:
    from ..reports.escape import safe
    from ..reports.wording import size

    rows = [("run", "made", "leaking", "subjects", "resident", "label", "command")]
    for run in runs:
        resident = "" if run.resident_bytes is None else size(run.resident_bytes).replace("\u00a0", " ")
        rows.append(
            (
                *(str(run.id), safe(run.created_at[:19], 19), str(run.leaking), str(run.subjects), resident),
                *(safe(run.label or "", 40), safe(run.command or "", 60)),
            )
        )
    return _columns(rows) if runs else ["The history is empty."]


def _subject(entries: Sequence[Any], name: str, path: str) -> list[str]:
    from ..reports.escape import safe
    from . import looks

    if not entries:
        raise UsageError(f"no run in {path!r} knows a subject {name!r}: its name as reports print it is wanted")
    per_event = [entry.bytes[0] if entry.bytes[0] is not None else entry.live[0] for entry in entries]
    rows = [("run", "made", "verdict", "calls", "bytes/call", "instances/construction", "label")]
    for entry in entries:
        calls = "" if entry.calls is None else f"{entry.calls:,}"
        rows.append(
            (
                *(str(entry.run), safe(entry.created_at[:19], 19), entry.verdict.replace("_", " ").upper(), calls),
                *(_rate(entry.bytes), _rate(entry.live), safe(entry.label or "", 40)),
            )
        )
    spark = looks.sparkline([value or 0.0 for value in per_event])
    return [f"{safe(name, 120)}  {spark}", *_columns(rows)]


def _rate(figures: tuple[float | None, float | None, float | None]) -> str:
    value, low, high = figures
    if value is None:
        return ""
    limits = f" ({low:.4g} to {high:.4g})" if low is not None and high is not None else ""
    return f"{value:.4g}{limits}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
