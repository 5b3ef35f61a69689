"""Where chains of references begin: modules, running frames, the current context, handlers kept in C.

Threads, suspended coroutines and stored tracebacks are reached from these or, when nothing reaches them, end a
chain by themselves; that is decided in `holders`.  Frames of meminstr itself are never roots.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import signal
import sys
import types
from dataclasses import dataclass, field
from typing import Any

from .ours import is_our_frame, is_ours
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
        if module is None or id(module) in roots.modules or is_ours(name):
            continue
        roots.modules[id(module)] = name if isinstance(name, str) else "?"
        is_standard = str(name).partition(".")[0] in sys.stdlib_module_names and name != "__main__"
        (standard if is_standard else roots.order).append(module)
    # a logger or lock of one module that others import by name is told by the module nearest to the top
    roots.order.extend(sorted(standard, key=lambda module: roots.modules[id(module)].count(".")))
    for root in (_signals(), _sys_hooks(), *_frames(excluded), _context()):
        if root.values:
            roots.order.append(root)
    return roots


def _frames(excluded: set[int]) -> list[Root]:
    """Locals of the running frames of all threads; since Python 3.11 the collector does not see them."""
    found = []
    running = sys._current_frames()
    while running:
        # no name may keep hold of a frame at the end: the first one is this function's own, and a frame that
        # holds itself keeps the whole stack alive until the next collection
        frame: types.FrameType | None = running.popitem()[1]
        while frame is not None:
            if not is_our_frame(frame):
                found.append(_frame_root(frame, excluded))
            frame = frame.f_back
    return found


def _frame_root(frame: types.FrameType, excluded: set[int]) -> Root:
    name = frame.f_code.co_qualname
    root = Root("frame", f"<frame {name}>")
    if str(frame.f_globals.get("__name__")).partition(".")[0] in ("asyncio", "threading"):
        return root  # what runs a coroutine or thread is no holder worth a name: the coroutine or thread is
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


def atexit_functions() -> Root:
    """The functions registered with `atexit`, which neither shows them to the collector nor lists them.

    Unregistering something that equals none of them compares it with each of them.
    """
    root = Root("atexit", "atexit")
    with contextlib.suppress(Exception):  # the comparison of some callable of the program's
        atexit.unregister(_Comparisons(root.values))
    return root


class _Comparisons:
    """Equal to nothing; notes what it was compared with."""

    __slots__ = ("values",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: list[tuple[str, Any]]) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        self.values.append((".<handlers>[*]", other))
        return False

    def __call__(self) -> None:
        """Only to be acceptable as a handler."""
