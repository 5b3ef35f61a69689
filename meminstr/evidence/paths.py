"""From a chain of objects to the record of a path: text, kind of root, suspect reference, fingerprint."""

from __future__ import annotations

import re
import sys
import types
from dataclasses import dataclass
from typing import Any

from .chains import GAP
from .fingerprint import fingerprint_of
from .naming import CACHE, UNBOUNDED, Edge, Role, edge, frame_label
from .roots import Root, Roots
from .safe import class_dict, is_a, type_name

_ENDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((types.GeneratorType,), "generator"),
    ((types.CoroutineType, types.AsyncGeneratorType), "coroutine"),
    ((types.TracebackType, BaseException), "traceback"),
    ((types.FrameType,), "frame"),
)
_LONGEST_LOOP = 8
"""Steps that are looked for as one turn of a chain: exception, traceback, frame, future and back takes five."""
_SURELY = 4
_SUSPECT_MARKS = (".__traceback__", ".__closure__", "<coroutine", "<generator", "<async_generator", "<frame")


Memo = dict[tuple[int, int, str | tuple[str, ...] | None], Edge]


@dataclass(frozen=True, slots=True)
class Path:
    """How one object is held.  No reference to any object of the program in here."""

    text: str
    root: str
    type: str
    """The held object's type, ``module.Type``."""
    suspect: str | None
    fingerprint: str


def path_of(chain: list[Any], roots: Roots, kind: str | None = None, memo: Memo | None = None) -> Path:
    """Name a chain, root first, held object last; `kind` when it does not begin at one of `roots`.

    `memo` keeps the names of steps, for chains of which all objects stay alive.
    """
    chain = _cut(chain)
    root, text, start, role = _beginning(chain, roots, kind)
    pieces = [text]
    held_in_class = False
    stars: list[int] = []
    for holder, child in zip(chain[start:], chain[start + 1 :], strict=False):
        if child is GAP or holder is GAP:
            pieces += ["…"] if child is GAP else []
            role = None
            continue
        step = named(holder, child, role) if memo is None else _remembered(holder, child, role, memo)
        role = step.role
        held_in_class = held_in_class or (is_a(holder, type) and step.role == "attrs" and root == "module")
        if not step.text:
            continue
        if step.star:
            stars.append(len(pieces))
        pieces.append(step.text)
    if role in (CACHE, UNBOUNDED):
        pieces.append(f".<{role}>")
    pieces, stars = _shortened(pieces, stars)
    path = re.sub("…{2,}", "…", "".join(pieces)).removeprefix(".")
    held = type_name(type(chain[-1]))
    return Path(
        path,
        "class" if held_in_class else root,
        held,
        _suspect(pieces, stars),
        fingerprint_of(path, held),
    )


def _remembered(holder: Any, child: Any, role: Role, memo: Memo) -> Edge:
    if not isinstance(role, str | tuple | None):
        return named(holder, child, role)
    key = (id(holder), id(child), role)
    step = memo.get(key)
    if step is None:
        step = memo[key] = named(holder, child, role)
    return step


def named(holder: Any, child: Any, role: Role) -> Edge:
    """The name of one step; a step that cannot be named is said to be one."""
    try:
        return edge(holder, child, role)
    except Exception:  # an object changed under our hands, or a C type with its own ideas
        return Edge(".<internal>")


def end_kind(obj: Any) -> str:
    """What kind of root an object is that nothing known refers to."""
    for types_, kind in _ENDS:
        if is_a(obj, types_):
            return kind
    name = type_name(type(obj))
    if (name.endswith("Context") and name.startswith(("_contextvars", "contextvars"))) or name.startswith("hamt"):
        return "context"
    return "outside"


def _cut(chain: list[Any]) -> list[Any]:
    """Begin at a thread, or at the coroutine a loop runs, rather than in the machinery that keeps it."""
    first = chain[0]
    manager = getattr(sys.modules.get("logging"), "root", None)
    manager = getattr(manager, "manager", None)
    for index, obj in enumerate(chain[1:-1], 1):
        if obj is manager and manager is not None:
            # each logger leads to this table; the one that happens to be nearest is not the holder
            return [Root("module", "logging", [(".Logger.manager", manager)]), *chain[index:]]
    running = set(map(id, getattr(sys.modules.get("threading"), "_active", {}).values()))
    for index, obj in enumerate(chain[1:-1], 1):
        if id(obj) in running:
            return chain[index:]
    if not is_a(first, types.ModuleType):
        return chain
    name = types.ModuleType.__getattribute__(first, "__name__")
    if isinstance(name, str) and name.partition(".")[0] in ("asyncio", "_asyncio"):
        for index, obj in enumerate(chain[1:-1], 1):
            if is_a(obj, (types.CoroutineType, types.AsyncGeneratorType)):
                return chain[index:]
    return chain


def _beginning(chain: list[Any], roots: Roots, kind: str | None) -> tuple[str, str, int, Role]:
    """Kind of root, first piece of the path, index of the holder of the first step, and its role."""
    first = chain[0]
    if type(first) is Root:
        for text, value in first.values:
            if len(chain) > 1 and value is chain[1]:
                return first.kind, first.text + text, 1, "attrs" if text == "" else None
        return first.kind, first.text, 1, None
    if is_a(first, types.ModuleType):
        return _beginning_in_module(chain, roots)
    if type(first) is dict and type(first.get("__name__")) is str and "__builtins__" in first:
        return "module", first["__name__"], 0, "attrs"
    threading = sys.modules.get("threading")
    if threading is not None and is_a(first, threading.Thread):
        return "thread", f"<{_thread_label(first)}>", 0, None
    kind = kind or end_kind(first)
    if kind in ("generator", "coroutine") and len(chain) > 1:
        return kind, "", 0, None
    if kind == "context":
        return kind, "<context>" if type_name(type(first)).startswith("hamt") else "", 0, None
    if kind == "frame":
        return kind, f"<{frame_label(first)}>" if len(chain) == 1 else "", 0, None
    label = {"cycle": "unreachable cycle", "traceback": "exception", "unknown": "not reached"}.get(
        kind, "outside Python"
    )
    return kind, f"<{label}: {type_name(type(first))}>", 0, None


def _beginning_in_module(chain: list[Any], roots: Roots) -> tuple[str, str, int, Role]:
    module = chain[0]
    name = roots.modules.get(id(module)) or str(types.ModuleType.__getattribute__(module, "__name__"))
    if len(chain) > 2 and type(chain[1]) is dict:
        # the module where a class or function is at home, rather than one that imported it
        value = chain[2]
        home, qualname = _home(value)
        if home and len(chain) > 3:
            return "module", f"{home}.{qualname}", 2, None
        name = _module_of_instance(value, chain[1], name)
    return "module", name, 0, None


def _module_of_instance(value: Any, namespace: dict[str, Any], name: str) -> str:
    """The module that defines the value's class, if the value has the same name there as in `namespace`."""
    home = class_dict(type(value)).get("__module__")
    module = sys.modules.get(home) if type(home) is str else None
    if type(home) is str and type(module) is types.ModuleType:
        for key, held in list(namespace.items()):
            if held is value and module.__dict__.get(key) is value:
                return home
    return name


def _home(value: Any) -> tuple[str, str]:
    if is_a(value, type):
        home, qualname = class_dict(value).get("__module__"), str(type.__dict__["__qualname__"].__get__(value))
    elif type(value) is types.FunctionType:
        home, qualname = value.__module__, value.__qualname__
    else:
        return "", ""
    module = sys.modules.get(home) if type(home) is str else None
    if type(module) is not types.ModuleType or "." in qualname or "<" in qualname:
        return "", ""
    return (home, qualname) if module.__dict__.get(qualname) is value else ("", "")


def _thread_label(thread: Any) -> str:
    target = None
    for name in ("_target", "run"):
        try:
            target = object.__getattribute__(thread, name)
        except Exception:
            continue
        if type(target) in (types.FunctionType, types.MethodType):
            break
    cls = type_name(type(thread)).rpartition(".")[2]
    function = getattr(target, "__name__", None) if type(target) in (types.FunctionType, types.MethodType) else None
    return f"{cls} {function}" if function and function != "run" else cls


def _shortened(pieces: list[str], stars: list[int]) -> tuple[list[str], list[int]]:
    """Steps repeated as in a linked list become one: ``.next.next.next`` is ``.next…``."""
    out: list[str] = []
    kept: list[int] = []
    index = 0
    while index < len(pieces):
        for width in range(1, _LONGEST_LOOP + 1):
            piece = pieces[index : index + width]
            times = 1
            while index and pieces[index + times * width : index + (times + 1) * width] == piece:
                times += 1
            # two turns may be chance where a turn is short: `[*][*]`, `.left.right.left.right`
            if times > 2 or (times == 2 and (width >= _SURELY or (width == 1 and not piece[0].startswith("[")))):
                kept.extend(len(out) + offset for offset in range(width) if index + offset in stars)
                out.extend(piece)
                out[-1] += "…"
                index += times * width
                break
        else:
            if index in stars:
                kept.append(len(out))
            out.append(pieces[index])
            index += 1
    return out, kept


def _suspect(pieces: list[str], stars: list[int]) -> str | None:
    """The reference that should have been given up: the first container on the way from the root.

    What lies before it lives as long as the program by intention; what is put into it should be taken out
    again.  Without a container it is the closure, suspended frame or traceback on the way, and without any of
    these the last reference.
    """
    if stars:
        index = stars[0]
        before = pieces[index - 1] if index > 1 else ""
        return (before + pieces[index]).removeprefix(".")
    for index, piece in enumerate(pieces[1:], 1):
        if any(mark in piece for mark in _SUSPECT_MARKS):
            return (piece + "".join(pieces[index + 1 : index + 2])).removeprefix(".")
    return pieces[-1].removeprefix(".") or None
