"""``meminstr compare BASE HEAD``: what got worse, what is new, and whether that is a failure.

Exit codes: 0 no condition of ``--fail-on`` is met (without one: always), 1 one is, 2 a mistake in the command line or
an unreadable report.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from ..reports.compare import Comparison
    from ..reports.conditions import Failure
    from ..reports.model import Report

CONDITION_MET = 1

_FORMS = ("text", "markdown", "junit", "sarif", "json")
_ENDINGS = {".txt": "text", ".md": "markdown", ".xml": "junit", ".sarif": "sarif", ".json": "json"}

_EPILOG = """\
conditions of --fail-on, separated by commas:
  leaking, growing      a subject of HEAD is, unless its baseline accepts it
  new                   a leak, growth or holder that BASE does not have
  worse                 a rate whose interval lies above that of BASE
  slope>64B/call        bytes per call, at the lower limit of the interval; also /hour
  slope>+20%            a fifth more than BASE, at the limits of both intervals
  live>0.01, eta<2h     instances per construction; time to the memory limit

exit codes: 0 no condition is met, 1 one is, 2 a mistake or an unreadable report.
Rates differ only when their intervals do not overlap.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser of all commands."""
    parser = commands.add_parser(
        "compare",
        help="compare two reports: what got worse, what is new",
        description="Compare two reports: what got worse, what is new.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("base", metavar="BASE", help="the older report: a file, or history:N (see meminstr history)")
    parser.add_argument("head", metavar="HEAD", help="the newer report")
    parser.add_argument("--format", choices=_FORMS, default="text", help="what is printed (text)")
    parser.add_argument(
        "--output",
        metavar="OUT",
        action="append",
        default=[],
        help="also write it here; the ending decides: .md, .xml (JUnit), .sarif, .json, .txt",
    )
    parser.add_argument("--fail-on", metavar="CONDITIONS", help="exit with 1 if one of these is met")
    parser.add_argument("--baseline", metavar="FILE", help="leaks that this file accepts fail nothing")
    parser.add_argument("--history", metavar="FILE", help="the file that history:N speaks of")
    parser.add_argument("--plain", action="store_true", help="plain text, even on a terminal")
    parser.set_defaults(main=execute)


def execute(options: argparse.Namespace) -> int:
    """Compare, show, write; 1 when a condition is met.

    Raises:
        UsageError: an unreadable report, an unknown condition, or a file that cannot be written.
    """
    from ..reports import conditions
    from ..reports.compare import compare
    from ..reports.files import write_text

    asked = conditions.parse_conditions(options.fail_on) if options.fail_on is not None else ()
    forms = [(path, _form(path)) for path in options.output]
    base, head = (_load(source, options.history) for source in (options.base, options.head))
    if options.baseline is not None:
        base, head = base.marked(options.baseline), head.marked(options.baseline)
    comparison = compare(base, head)
    failed = conditions.failures(comparison, base, head, asked)
    made = {form: _rendered(form, comparison, head, failed) for form in {options.format, *(f for _, f in forms)}}
    for path, form in forms:
        write_text(path, made[form])
    show = None if options.plain or options.format != "text" else _pretty()
    if show is not None:
        show(comparison, base, head, failed)
    else:
        sys.stdout.write(made[options.format])
    sys.stdout.flush()
    return CONDITION_MET if failed else 0


def _pretty() -> Callable[..., None] | None:
    from . import looks

    terminal = looks.terminal()
    return terminal.show_comparison if terminal is not None else None


def _form(path: str) -> str:
    ending = os.path.splitext(path)[1].lower()
    if ending not in _ENDINGS:
        raise UsageError(
            f"--output {path}: the form is not known; a name that ends in {', '.join(_ENDINGS)} is allowed"
        )
    return _ENDINGS[ending]


def _load(source: str, history: str | None) -> Report:
    from ..reports.model import Report

    if source.startswith("history:"):
        from .history_store import HistoryStore, default_path

        with HistoryStore.opened(history or default_path(), create=False) as store:
            return store.report(source.removeprefix("history:"))
    return Report.load(source)


def _rendered(form: str, comparison: Comparison, head: Report, failed: list[Failure]) -> str:
    from ..reports import junit, sarif

    if form == "junit":
        return junit.render(comparison, failed, head.created_at)
    if form == "sarif":
        return sarif.render(comparison, head, failed)
    if form == "json":
        told = [{"subject": f.change.subject, "condition": f.condition, "why": f.why} for f in failed]
        return json.dumps({**comparison.to_dict(), "failures": told}, indent=1, allow_nan=False) + "\n"
    if form == "markdown":
        return comparison.to_markdown() + _failures_markdown(failed)
    return "\n".join([comparison.to_text(), *failure_lines(failed)]) + "\n"


def failure_lines(failed: list[Failure]) -> list[str]:
    """Each condition that is met, in a line of text."""
    from ..reports.escape import safe

    return [f"FAILED  {safe(f.change.subject, 120)}: {safe(f.why, 300)} ({safe(f.condition, 60)})" for f in failed]


def _failures_markdown(failed: list[Failure]) -> str:
    if not failed:
        return ""
    from ..reports.compare import markdown_text

    lines = [
        f"- {markdown_text(f.change.subject)}: {markdown_text(f.why)} ({markdown_text(f.condition)})" for f in failed
    ]
    return "\n**Failed conditions**\n\n" + "\n".join(lines) + "\n"
