"""What is meminstr's own and must not be taken for the program's: modules, frames, files."""

from __future__ import annotations

import types
from os.path import dirname, sep

_PACKAGE = __name__.partition(".")[0] + "."
_FOLDER = dirname(dirname(__file__)) + sep
# the demonstration is a program like any other: what it holds is to be named
_PROGRAM = "commands.pendulum"


def is_ours(module: object) -> bool:
    """Whether a module of this name is part of the instrument."""
    name = str(module)
    return name.startswith(_PACKAGE) and not name.startswith(_PACKAGE + _PROGRAM)


def is_our_frame(frame: types.FrameType) -> bool:
    """Whether a running frame is the instrument's; those around sampled calls have the globals of the function."""
    return is_our_file(frame.f_code.co_filename) or is_ours(frame.f_globals.get("__name__"))


def is_our_file(file: str) -> bool:
    """Whether code of this file name is part of the instrument (generated code has names in angle brackets)."""
    if file.startswith("<meminstr"):
        return True
    return file.startswith(_FOLDER) and not file.startswith(_FOLDER + _PROGRAM.replace(".", sep))
