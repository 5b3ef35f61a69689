"""``meminstr run``: instrument a program by names, run it as it is, and leave a report behind.

Checks everything that can be checked before the program starts (exit code 2); from its first line on the
exit code and the output are the program's own.  Finding and running it is `runner`; targets in the script
itself are `main_targets`; when and where the report is written is `meminstr.at_exit`.
"""

from __future__ import annotations

import argparse
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import at_exit, settings
from ..errors import UsageError
from ..instrument.by_name import Instrumentation, instrument_by_name
from ..instrument.source_names import parse_quietly, surely_missing
from ..instrument.targets import Skipped, Target, require_module
from ..shards import write_shards
from ..units import parse_bytes
from . import children, main_targets, runner

_WITH_VALUE = frozenset({"--track", "--guard", "--limit", "--every", "--report", "--shards"})
_SHOWN = 20  # skipped objects named on standard error; the rest as a number

_USAGE = """meminstr run [--track MODULE:CLASS[=NAME]]... [--guard MODULE:FUNCTION]...
                    [--limit MODULE:FUNCTION=SIZE]... [--every N] [--report OUT.json] [--quiet]
                    [--follow-children] [--shards DIR]
                    (SCRIPT | -m MODULE) [ARGUMENTS...]"""

_EPILOG = """\
Names may hold wildcards: shop.controllers:* is every class or function of that module, shop.*:Cart* every
Cart... in all modules below shop, shop.cart:Cart.* the methods of Cart, shop.cart:Outer.Inner an inner class.
The script itself is __main__, as in --track __main__:Cart.  With no name given the process itself is judged.

The exit code and the output are the program's own; the report goes to standard error and to OUT.json.
What was captured before it could be replaced (a default argument, a dispatch table) is not seen.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser of all commands."""
    parser = commands.add_parser(
        "run",
        usage=_USAGE,
        help="run a program unchanged and report on its memory",
        description="Run a program unchanged, instrument what is named, report on its memory at the end.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--track", metavar="MODULE:CLASS[=NAME]", action="append", default=[], help="follow a class's instances")
    add("--guard", metavar="MODULE:FUNCTION", action="append", default=[], help="watch what calls leave behind")
    add("--limit", metavar="MODULE:FUNCTION=SIZE", action="append", default=[], help="as render:page=2GiB")
    add("--every", metavar="N", help="sample one call in N (100)")
    add("--report", metavar="OUT.json", help="also write the report here; {pid} is the process id")
    add("--follow-children", action="store_true", help="do the same in every Python that the program starts")
    add("--shards", metavar="DIR", help="have each process write its state here every few seconds")
    add("--quiet", action="store_true", help="no report on standard error")
    parser.set_defaults(main=execute, program=None)


def split_program(argv: list[str]) -> tuple[list[str], list[str] | None]:
    """Our own words and, for ``run``, those from the script (or ``-m``) on.

    By hand, because what follows the script belongs to the program, whatever it looks like, ``--`` included.
    """
    if argv[:1] != ["run"]:
        return argv, None
    at = 1
    while at < len(argv):
        word = argv[at]
        if word == "--":
            return argv[:at], argv[at + 1 :]
        if word == "-" or not word.startswith("-") or (word.startswith("-m") and not word.startswith("--")):
            return argv[:at], argv[at:]
        at += 2 if word in _WITH_VALUE else 1
    return argv, []


def execute(options: argparse.Namespace) -> int:
    """Prepare, run, and leave the report to the end of the process.

    Returns:
        The program's exit code.

    Raises:
        UsageError: anything that is wrong before the program has started.
    """
    targets = _targets(options)
    in_force = _settings(options)
    words = options.program
    if not words:
        raise UsageError("run: which program? A script or -m MODULE is missing (see meminstr run --help)")
    script = None if words[0].startswith("-m") else runner.find_script(words[0], words[1:])
    runner.enter_path(script.path0 if script else os.getcwd())
    if not in_force.enabled:
        return runner.execute(script or _find_module(words), _compile_plainly)
    named = [target for target in targets if target.module != "__main__"]
    for target in named:
        if script is None or not main_targets.main_targets((target,), script.names):
            _check(target)
    # before the module is looked for: that imports the packages above it, which may hold targets
    work = instrument_by_name(named, applier())
    work.targets = targets
    program = script or _find_module(words)
    in_main = main_targets.main_targets(targets, program.names)
    if program.source is not None:
        main_targets.check_source(in_main, program.source, program.file)
    folder = None
    if options.follow_children:
        folder = children.follow(targets, program.names, in_force.shards)
    elif in_force.shards is not None:
        write_shards(in_force.shards)
    _leave_report(options, in_force, work, folder, in_main)
    _prepare_tracker(in_force)
    return runner.execute(program, lambda source, file: main_targets.compile_instrumented(source, file, in_main, work))


def applier() -> Callable[[object, str, Any, Target], Any]:
    """What is done with each object a target names: the decorators, by option."""
    from ..decorators import leak_guard, memory_limited, track_instantiations
    from ..registry import tracker

    every = settings.current().every

    def apply(owner: object, name: str, obj: Any, target: Target) -> Any:
        decorate: Any
        if target.option == "--track":
            decorate = track_instantiations(target.value, tracker=tracker)
        elif target.option == "--guard":
            decorate = leak_guard(every=every, tracker=tracker)
        else:
            decorate = memory_limited(limit=target.value, tracker=tracker)
        return decorate(obj)

    return apply


def _targets(options: argparse.Namespace) -> tuple[Target, ...]:
    targets = [Target.parse(text, "--track", "class") for text in options.track]
    targets += [Target.parse(text, "--guard", "function", value="") for text in options.guard]
    for text in options.limit:
        target = Target.parse(text, "--limit", "function", value="SIZE")
        parse_bytes(target.value or "", what=f"--limit {text}: {target.qualified_name}")
        targets.append(target)
    return tuple(dict.fromkeys(targets))


def _settings(options: argparse.Namespace) -> settings.Settings:
    every: Any = None
    if options.every is not None:
        every = int(options.every) if options.every.strip().isdecimal() else options.every
        try:
            settings.Settings(every=every)
        except UsageError:
            raise UsageError(f"--every {options.every} is not allowed: a whole number from 1 up is") from None
    in_force = settings.load(
        files=True, strict=True, arguments={"every": every, "report": options.report, "shards": options.shards}
    )
    settings.use(in_force)
    return in_force


def _find_module(words: list[str]) -> runner.Program:
    name, rest = (words[0][2:], words[1:]) if words[0] != "-m" else ("".join(words[1:2]), words[2:])
    if not name:
        raise UsageError("-m: the name of the module is missing")
    return runner.find_module(name, rest)


def _compile_plainly(source: bytes, file: str) -> types.CodeType:
    return compile(source, file, "exec", dont_inherit=True)


def _check(target: Target) -> None:
    """Refuse what certainly does not exist; a file that cannot be read or parsed certainly says nothing."""
    spec = require_module(target)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return
    try:
        tree = parse_quietly(Path(spec.origin).read_bytes())
    except OSError:
        return
    why = tree and surely_missing(target, tree)
    if why:
        raise UsageError(f"{target}: {target.module} {why}")


def _leave_report(
    options: argparse.Namespace,
    in_force: settings.Settings,
    work: Instrumentation,
    folder: str | None,
    in_main: list[Target],
) -> None:
    quiet = options.quiet

    def whole(report: Any) -> Any:
        return report if folder is None else children.with_children(report, folder)

    def tell(report: Any) -> None:
        report = whole(report)
        main_targets.note_left_out(in_main, work)
        lines = [*(() if quiet else (str(report),)), *_remarks(work, folder is not None)]
        if lines:
            at_exit.to_stderr("\n".join(lines))

    at_exit.at_exit("run", tell, once=True)
    if in_force.report is not None:
        name = in_force.report.replace("{pid}", str(os.getpid()))
        path = os.path.abspath(name)

        def write(report: Any) -> None:
            if at_exit.write_file(whole(report), path, shown=not quiet) and not quiet:
                at_exit.to_stderr(f"meminstr: the report is in {name} too")

        at_exit.at_exit(path, write)


def _remarks(work: Instrumentation, followed: bool) -> list[str]:
    """What was asked for and not done, one line each; no more than fit a screen."""
    # what this process never imported, a child may have
    rows: list[Skipped] = [*(() if followed else work.missing()), *work.skipped]
    lines = [f"meminstr: {row}" for row in rows[:_SHOWN]]
    if len(rows) > _SHOWN:
        lines.append(f"meminstr: and {len(rows) - _SHOWN} more that were not instrumented")
    return lines


def _prepare_tracker(in_force: settings.Settings) -> None:
    """Give the global tracker the settings it was made without, and have the process itself followed."""
    from .. import diagnosis  # noqa: F401  its looks and its first census are hooks
    from ..registry import tracker

    tracker.max_subjects = in_force.max_subjects
    start = getattr(tracker, "start_sampling", None)
    if start is not None:
        start()
