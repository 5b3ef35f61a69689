"""Where chains of references begin: modules, running frames, the current context, handlers kept in C.

Threads, suspended coroutines and stored tracebacks are reached from these or, when nothing reaches them, end a
chain by themselves; that is decided in `holders`.  Frames of meminstr itself are never roots.
"""

from __future__ import annotations

import contextvars
import signal
import sys
import types
from dataclasses import dataclass, field
from typing import Any

from .safe import frame_values

_PACKAGE = __name__.partition(".")[0]
_OPTIMIZED = 1  # inspect.CO_OPTIMIZED: the frame has fast locals, its f_locals is no real namespace


@dataclass(slots=True, eq=False)
class Root:
    """A root that is no object of its own: a table kept by the interpreter, with what it holds by name."""

    kind: str
    text: str
    values: list[tuple[str, Any]] = field(default_factory=list)
    """Pieces of path and the value each leads to."""


@dataclass(slots=True)
class Roots:
    """All roots of one diagnosis, in order of preference."""

    modules: dict[int, str] = field(default_factory=dict)
    """Module objects by id, with their names in `sys.modules`."""
    order: list[Any] = field(default_factory=list)
    """Module objects, those of the application before those of the standard library, then `Root` records."""


def find_roots(excluded: set[int]) -> Roots:
    """Collect the roots; `excluded` are ids of values that are not to be followed."""
    roots = Roots()
    standard: list[Any] = []
    for name, module in list(sys.modules.items()):
        if module is None or id(module) in roots.modules or _is_ours(name):
            continue
        roots.modules[id(module)] = name if isinstance(name, str) else "?"
        is_standard = str(name).partition(".")[0] in sys.stdlib_module_names and name != "__main__"
        (standard if is_standard else roots.order).append(module)
    roots.order.extend(standard)
    for root in (_signals(), _sys_hooks(), *_frames(excluded), _context()):
        if root.values:
            roots.order.append(root)
    return roots


def _is_ours(name: object) -> bool:
    return isinstance(name, str) and (name == _PACKAGE or name.startswith(_PACKAGE + "."))


def _frames(excluded: set[int]) -> list[Root]:
    """Locals of the running frames of all threads; since Python 3.11 the collector does not see them."""
    found = []
    for frame_or_none in sys._current_frames().values():
        frame: types.FrameType | None = frame_or_none
        while frame is not None:
            if not _is_ours(frame.f_globals.get("__name__")):
                found.append(_frame_root(frame, excluded))
            frame = frame.f_back
    return found


def _frame_root(frame: types.FrameType, excluded: set[int]) -> Root:
    name = frame.f_code.co_qualname
    root = Root("frame", f"<frame {name}>")
    if str(frame.f_globals.get("__name__")).startswith("asyncio."):
        return root  # the machinery that runs coroutines is no holder worth a name: the coroutine is
    if frame.f_code.co_flags & _OPTIMIZED:
        for local, value in frame_values(frame):
            if id(value) not in excluded:
                root.values.append(("." + local, value))
    elif frame.f_locals is not frame.f_globals:
        root.values.append(("", frame.f_locals))  # a class body, or code run by exec in a dict of its own
    return root


def _context() -> Root:
    root = Root("context", "<context>")
    for variable, value in contextvars.copy_context().items():
        root.values.append((f"[{variable.name!r}]", value))
    return root


def _signals() -> Root:
    root = Root("signal", "signal")
    for number in signal.valid_signals():
        try:
            handler = signal.getsignal(number)
            name = signal.Signals(number).name
        except ValueError:  # real-time signals have numbers only
            continue
        if handler is not None and not isinstance(handler, (int, signal.Handlers)):
            root.values.append((f".getsignal({name})", handler))
    return root


def _sys_hooks() -> Root:
    root = Root("thread", "sys")
    for text, hook in ((".gettrace()", sys.gettrace()), (".getprofile()", sys.getprofile())):
        if hook is not None:
            root.values.append((text, hook))
    return root
