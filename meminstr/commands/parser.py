"""The parser of the command line, and the one place where errors become exit codes.

0 is well, 2 a mistake in the words of the command line; `run` ends with the code of its program.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

from .. import at_exit
from .._version import __version__
from ..errors import UsageError

USAGE_ERROR = 2

_COMMANDS = ("run", "merge", "report", "compare", "watch", "dump", "history", "demo")
"""The modules of this package with an ``add_parser(subparsers)`` each; its parser sets ``main``."""

_DESCRIPTION = """\
Tells who grows in a long-running Python program, who holds it, and how long until the limit.

  meminstr run app.py --its --own --arguments          judge a program without changing it
  meminstr run --track shop.cart:Cart app.py           follow the instances of a class
  meminstr run --guard shop.cart:checkout app.py       watch what the calls of a function leave behind
  meminstr report OUT.json                             read a report that was written
  meminstr merge DIR                                   one report of many processes
  meminstr compare BASE.json HEAD.json                 what got worse, what is new
  meminstr watch PID                                   any process, from outside: verdict and time left
  meminstr dump PID                                    the live report of a program that was asked to answer
  meminstr demo                                        see it at work, about 20 seconds
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong instead of printing the whole usage."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="meminstr",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"meminstr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for name in _COMMANDS:
        import_module(f".{name}", __package__).add_parser(commands)
    return parser


def dispatch(argv: list[str]) -> int:
    """Parse and run one command; a mistake is one sentence on standard error and 2."""
    try:
        from .run import split_program

        own, program = split_program(argv)
        parser = build_parser()
        options, unknown = parser.parse_known_args(own)
        if unknown:
            raise UsageError(f"{own[0]}: there is no option {unknown[0]} (see meminstr {own[0]} --help)")
        execute: Callable[[argparse.Namespace], int] | None = getattr(options, "main", None)
        if execute is None:
            parser.print_help()
            return 0
        if program is None:
            at_exit.forget()  # MEMINSTR_REPORT speaks of programs, not of this command line
        else:
            options.program = program
        return execute(options)
    except UsageError as error:
        print(f"meminstr: {error}", file=sys.stderr)
        return USAGE_ERROR
    except BrokenPipeError:
        # the reader of our standard output went away, as `| head` does: nothing is left to say, and the
        # interpreter must not complain when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
