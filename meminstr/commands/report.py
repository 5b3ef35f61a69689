"""``meminstr report FILE``: show a report that was written before."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

from ..errors import UsageError
from . import looks


def add_parser(commands: Any) -> None:
    """Add the command to the parser of all commands."""
    parser = commands.add_parser(
        "report",
        help="show a report that was written before",
        description="Show a report that was written before: as text, or in another form.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the JSON file of a report")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the JSON instead of the text")
    form.add_argument("--html", metavar="OUT", help="write a page that needs no network to this file")
    parser.add_argument("--plain", action="store_true", help="plain text, even on a terminal")
    parser.add_argument("--baseline", metavar="FILE", help="mark what this file of accepted leaks knows")
    parser.add_argument("--fail-on-new", action="store_true", help="exit with 1 if a leak is not in the baseline")
    parser.add_argument("--write-baseline", metavar="FILE", help="accept all leaks of the report: write them there")
    parser.set_defaults(main=execute)


def execute(options: argparse.Namespace) -> int:
    """Load the file and show it; 1 when a new leak was to be a failure and there is one.

    Raises:
        UsageError: the file is not there, or is no report, or the page cannot be written.
    """
    import json

    from ..reports.model import Report

    report = Report.load(options.file)
    if options.baseline is not None:
        report = report.marked(options.baseline)
    if options.write_baseline is not None:
        report.to_baseline(options.write_baseline)
    code = int(options.fail_on_new and bool(report.new_leaks))
    if options.html is not None:
        try:
            report.to_html(options.html)
        except OSError as error:
            raise UsageError(f"--html {options.html} cannot be written: {error.strerror or error}") from None
        return code
    pretty = None if options.json or options.plain else looks.terminal()
    if pretty is not None:
        pretty.show_report(report)
        return code
    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False) if options.json else _plain(report)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
    return code


def _plain(report: Any) -> str:
    if not looks.is_terminal(sys.stdout):
        return str(report)
    width = shutil.get_terminal_size().columns
    text: str = report.to_text(width=min(width, 120), color=looks.colors())
    return text


def save(report: Any, path: str) -> None:
    """Write a report to a file, the form after the ending: a page, text, or JSON.

    Raises:
        UsageError: the path cannot be written to.
    """
    from ..reports.files import write_text

    ending = path.lower()
    if ending.endswith((".html", ".htm")):
        report.to_html(path)
    elif ending.endswith((".txt", ".text", ".log")):
        write_text(path, f"{report}\n")
    else:
        report.to_json(path)
