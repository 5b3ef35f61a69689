"""A function's own parameter list, as source: what generated wrappers take and pass on.

Passing ``*args, **kwargs`` on costs as much as half of our bookkeeping (see `constructors`); with the original's own
parameters the interpreter's specialised call paths stay in use, and wrong arguments fail at the call, in its words.
"""

from __future__ import annotations

import inspect
import keyword
from types import FunctionType
from typing import NamedTuple

RESERVED = "_mi_"
"""Names that begin so are those of the generated code."""


class Parameters(NamedTuple):
    """Source of a parameter list without defaults, each parameter as it is passed on, and the names in order."""

    shown: str
    passed: list[str]
    names: tuple[str, ...]


def parameters_of(function: FunctionType) -> Parameters | None:
    """The parameters of a Python function; None for one that was put together by hand, whose names are no names.

    Read from the code object: a ``__signature__`` or ``__wrapped__`` may say something else than what the
    function takes.  The defaults are set on the finished function, so here any value will do.
    """
    code = function.__code__
    named = code.co_varnames[: code.co_argcount]
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    rest = list(code.co_varnames[code.co_argcount + code.co_kwonlyargcount :])
    shown: list[str] = list(named)
    passed = list(named)
    if code.co_posonlyargcount:
        shown.insert(code.co_posonlyargcount, "/")
    if code.co_flags & inspect.CO_VARARGS:
        shown.append("*" + rest[0])
        passed.append("*" + rest.pop(0))
    elif keywords:
        shown.append("*")
    shown += keywords
    passed += [f"{key}={key}" for key in keywords]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        shown.append("**" + rest[0])
        passed.append("**" + rest[0])
    every = [item.strip("*") for item in shown if item not in ("/", "*")]
    if not all(name.isidentifier() and not keyword.iskeyword(name) and name[:4] != RESERVED for name in every):
        return None
    return Parameters(", ".join(shown), passed, named)
