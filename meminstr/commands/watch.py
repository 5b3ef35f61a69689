"""``meminstr watch PID | DIRECTORY``: verdict and time left, live: of any process, or of those that write shards.

Looking from outside is `outside`, reading shards `meminstr.shards`; drawing is `terminal`.  Piped, a line is printed
when the verdict changes and once a minute.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import UsageError
from ..units import format_bytes, format_duration, parse_bytes
from . import looks

if TYPE_CHECKING:
    from ..reports.model import Report

_PLAIN_SECONDS = 60.0

_EPILOG = """\
  meminstr watch 4711                  a process and its children, from outside: no instrumentation
  meminstr watch /var/tmp/shop         the processes that write shards there (MEMINSTR_SHARDS)

Ends with Ctrl-C, with the process, or after --for. From outside only resident memory is seen; growth is
called a leak after ten minutes and 200 readings.
exit codes: 0, or 1 with --fail-on-leak and a leak, or 2 for a mistake.
"""


class Source(Protocol):
    """What is watched."""

    def look(self) -> None:
        """Take one reading.  Raises `outside.Gone` at its end."""

    def report(self) -> Report | None:
        """What is known so far; None: nothing yet."""

    def headline(self, report: Report | None) -> str:
        """Who, how much, and how it stands, in one line."""
        ...


def add_parser(commands: Any) -> None:
    """Add the command to the parser of all commands."""
    parser = commands.add_parser(
        "watch",
        help="watch a process from outside, or a folder of shards",
        description="Watch a process from outside, or a folder of shards: live, with verdict and time left.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("what", metavar="PID|DIRECTORY", help="a process id, or the folder of the shards")
    add("--interval", metavar="SECONDS", type=float, default=2.0, help="between two readings (2)")
    add("--for", dest="seconds", metavar="SECONDS", type=float, help="end after so long")
    add("--limit", metavar="SIZE", help="the limit to reckon with, as 2GiB (the process's own)")
    add("--no-children", action="store_true", help="the process alone")
    add("--report", metavar="OUT", help="write the last report here: .html, .txt, JSON otherwise")
    add("--fail-on-leak", action="store_true", help="exit with 1 if there is a leak at the end")
    add("--plain", action="store_true", help="lines of text, even on a terminal")
    parser.set_defaults(main=execute)


def execute(options: argparse.Namespace) -> int:
    """Watch until it ends.

    Raises:
        UsageError: no such process or folder, one that may not be looked at, or an option that is not allowed.
    """
    for name, value in (("--interval", options.interval), ("--for", options.seconds)):
        if value is not None and not 0 < value < 1e9:
            raise UsageError(f"{name} {value:g} is not allowed: a number of seconds above 0 is")
    source = _source(options)
    module = None if options.plain else looks.terminal()
    screen: AbstractContextManager[Any] = nullcontext() if module is None else module.LiveReport()
    with screen as live:
        follow(source, options.interval, options.seconds, _plain_lines() if live is None else _drawn(live))
    report = source.report()
    if report is None:
        return 0
    if live is None:
        sys.stdout.write(f"{report}\n")
        sys.stdout.flush()
    if options.report is not None:
        from .report import save

        save(report, options.report)
    return int(options.fail_on_leak and bool(report.leaks))


def follow(
    source: Source,
    interval: float,
    seconds: float | None,
    show: Callable[[Report | None, str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Look, show and wait, until the source is gone, the time is over or somebody presses Ctrl-C."""
    from .outside import Gone

    began = clock()
    try:
        while True:
            source.look()
            report = source.report()
            show(report, source.headline(report))
            if seconds is not None and clock() - began + interval > seconds:
                return
            wait(interval)
    except (Gone, KeyboardInterrupt):
        return


def _source(options: argparse.Namespace) -> Source:
    limit = None if options.limit is None else parse_bytes(options.limit, what="--limit")
    if options.what.isascii() and options.what.isdecimal() and not os.path.isdir(options.what):
        from .dump import process_id

        return ProcessSource(process_id(options.what), limit, not options.no_children)
    if limit is not None or options.no_children:
        raise UsageError("--limit and --no-children are for a process: shards know their own limits")
    return ShardSource(options.what)


class ProcessSource:
    """A process and its children, from outside."""

    def __init__(self, pid: int, limit_bytes: int | None, children: bool) -> None:
        from .outside import OutsideWatch, family_of, limit_of

        look = family_of(pid, children)
        self._watch = OutsideWatch(pid, look, limit_of(pid) if limit_bytes is None else limit_bytes)
        self._began = time.monotonic()

    def look(self) -> None:
        """Take one reading."""
        self._watch.sample()

    def report(self) -> Report | None:
        """What is known so far."""
        return self._watch.report() if self._watch.members else None

    def headline(self, report: Report | None) -> str:
        """Who, how much, since when."""
        watch = self._watch
        below = f" with {len(watch.members) - 1} below it" if len(watch.members) > 1 else ""
        watched = format_duration(round(time.monotonic() - self._began))
        told = _state(report)
        return (
            f"{watch.name} (pid {watch.pid}){below}: {format_bytes(watch.resident_bytes)}, watched for {watched}{told}"
        )


class ShardSource:
    """The processes that write shards into a folder."""

    def __init__(self, directory: str) -> None:
        from ..shards import ShardReader

        self.directory = directory
        self._reader = ShardReader(directory)
        self._found = self._reader.read()

    def look(self) -> None:
        """Read the folder."""
        self._found = self._reader.read()

    def report(self) -> Report | None:
        """All of them as one report; None while there is no shard."""
        from ..shards import merged_set

        return merged_set(self._found, self.directory) if self._found.shards else None

    def headline(self, report: Report | None) -> str:
        """How many processes, in which state."""
        from ..shards import status

        if report is None:
            return f"{self.directory}: no shards yet"
        states = [status(shard) for shard in self._found.shards]
        counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
        return f"{self.directory}: {counted}{_state(report)}"


def _state(report: Report | None) -> str:
    """The worst verdict, for the end of a headline."""
    if report is None or not report.findings:
        return ""
    from ..reports.wording import WORDS, until_limit

    worst = report.findings[0]
    left = until_limit(worst, report.process.limit_bytes)
    told = f"; {WORDS[worst.verdict]}" + (f", {left}" if left else "")
    return told.replace("\u00a0", " ")


def _drawn(live: Any) -> Callable[[Report | None, str], None]:
    def show(report: Report | None, headline: str) -> None:
        if report is not None:
            live.show(report, headline)

    return show


def _plain_lines(clock: Callable[[], float] = time.monotonic) -> Callable[[Report | None, str], None]:
    """Prints the headline when the verdict changes, and once a minute."""
    last: tuple[str | None, float] = ("", -_PLAIN_SECONDS)

    def show(report: Report | None, headline: str) -> None:
        nonlocal last
        verdict = report.findings[0].verdict.value if report is not None and report.findings else None
        now = clock()
        if verdict != last[0] or now - last[1] >= _PLAIN_SECONDS:
            last = (verdict, now)
            print(headline, flush=True)

    return show
