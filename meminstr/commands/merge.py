"""``meminstr merge DIR``: the shards of many processes as one report."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import UsageError


def add_parser(commands: Any) -> None:
    """Add the command to the parser of all commands."""
    parser = commands.add_parser(
        "merge",
        help="make one report of the shards of many processes",
        description="Make one report of what processes wrote into one or several folders (MEMINSTR_SHARDS).",
        epilog="Files that are no shards, cut off or of a newer version are named in the report and left alone.",
        allow_abbrev=False,
    )
    parser.add_argument("directories", metavar="DIR", nargs="+", help="a folder of shards, or of reports")
    parser.add_argument("--report", metavar="OUT", help="also write it here: .html, .txt, JSON otherwise")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the text")
    parser.add_argument("--fail-on-leak", action="store_true", help="exit with 1 if there is a leak")
    parser.set_defaults(main=execute)


def execute(options: argparse.Namespace) -> int:
    """Merge and show; 1 when a leak was to be a failure and there is one.

    Raises:
        UsageError: a folder that cannot be read or has no shards, or a file that cannot be written.
    """
    from ..reports.files import write_text
    from ..shards import merged

    for directory in options.directories:
        if not directory.strip():
            raise UsageError("merge: a folder's name is empty")
    report = merged(options.directories)
    if options.report is not None:
        ending = options.report.lower()
        if ending.endswith((".html", ".htm")):
            report.to_html(options.report)
        elif ending.endswith((".txt", ".log")):
            write_text(options.report, f"{report}\n")
        else:
            report.to_json(options.report)
    text = report.to_json() if options.json else str(report)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
    return int(options.fail_on_leak and bool(report.leaks))
