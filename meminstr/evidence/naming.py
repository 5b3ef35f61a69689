"""Chains of objects as paths in Python syntax: ``app.bus._listeners[*].callback.__closure__['controller']``.

One step of the heap is not one step of the language: an instance holds its ``__dict__`` which holds the
attribute, a function holds a tuple which holds a cell which holds the variable.  `edge` names one step and
hands a role to the next; steps that have no name of their own come out empty.  Indices and dict keys that
belong to data are ``[*]``: a path holds identifiers of the program and no values of the user.

Attributes are found without running code of the class (see `safe`) and, where possible, without making an
instance lay out its ``__dict__``; `attributes` does that part.
"""

from __future__ import annotations

import collections
import contextvars
import functools
import itertools
import operator
import sys
import types
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from . import attributes
from .safe import find_in_class, frame_values, type_name

Role = str | tuple[str, ...] | contextvars.Context | None
"""What a step says of the object it leads to: a namespace, a closure with its names, a context, ..."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One named step: its text, whether it is one of many (``[*]``), and what the next step should know."""

    text: str
    star: bool = False
    role: Role = None


_ATTRS = "attrs"
_CELL = "cell"
CACHE = "lru_cache"
UNBOUNDED = "unbounded lru_cache"
_PER_THREAD = "per thread"
_FRAMES = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, types.FrameType)
_CONTENT = (list, tuple, dict, set, frozenset, collections.deque)
_HASHED: type = functools._HashedSeq  # type: ignore[attr-defined]
_LRU: type = type(functools.lru_cache(len))
_STAR = Edge("[*]", True)
_CACHE_ARGUMENTS = Edge(".<lru_cache arguments>")
_MOST_KEY = 40


def edge(holder: Any, child: Any, role: Role = None) -> Edge:
    """Name the step from `holder` to `child`; `role` is what the step before said of `holder`."""
    cls = type(holder)
    if role == _CELL:
        return Edge("")
    if role == _ATTRS and issubclass(cls, dict):
        return _attribute(holder, child)
    if role == _PER_THREAD:
        return Edge("", role=_ATTRS)
    if role in (CACHE, UNBOUNDED) and cls is dict:
        keys = _is_key(holder, child)
        return _CACHE_ARGUMENTS if keys else Edge(f".<{role}>[*]", True)
    if type(role) is contextvars.Context:
        return _of_context(role, child)
    if type(role) is tuple and cls is tuple:
        return _variable(holder, child, role)
    named = _NAMERS.get(cls)
    found: Edge | None
    if named is not None:
        found = named(holder, child)
    elif issubclass(cls, types.ModuleType):
        found = Edge("", role=_ATTRS) if type(child) is dict else Edge(".<internal>")
    elif issubclass(cls, type):
        found = _of_class(holder, child)
    elif issubclass(cls, BaseException):
        found = _of_exception(holder, child)
    elif issubclass(cls, _CONTENT):
        found = _content(holder, child)
    else:
        found = _by_name_of_type(cls, child)
    if found is not None:
        return found
    if child is cls:
        return Edge(".__class__")
    name = attributes.name_of(holder, child)
    if name is not None:
        return _dotted(name)
    if type(child) is dict:
        return Edge("", role=_ATTRS)
    return Edge(".<internal>")


def _dotted(name: object) -> Edge:
    return Edge(f".{name}") if type(name) is str and name.isidentifier() else Edge(".<attribute>", True)


def _attribute(holder: dict[Any, Any], child: Any) -> Edge:
    for key, value in _items(holder):
        if value is child:
            return _dotted(key)
    return Edge(".<key>", True)


def _items(holder: dict[Any, Any]) -> list[tuple[Any, Any]]:
    for _ in range(3):
        try:
            return list(dict.items(holder))
        except RuntimeError:  # another thread changed its size
            continue
    return []


def _variable(closure: tuple[Any, ...], child: Any, names: tuple[str, ...]) -> Edge:
    for name, cell in zip(names, closure, strict=False):
        if cell is child:
            return Edge(f"[{name!r}]", role=_CELL)
    return _STAR


def is_word(key: object) -> bool:
    """Whether a dict key is a word of the program and no value of the user.

    It must be an identifier that some code holds as a constant or name: those are interned, strings made at
    run time are not.  Interning an equal copy tells without changing the key.
    """
    if type(key) is not str or len(key) > _MOST_KEY or not key.isidentifier():
        return False
    if len(key) == 1:
        return True
    copy = key[:1] + key[1:]
    return sys.intern(copy) is key


def _content(holder: Any, child: Any) -> Edge | None:
    cls = type(holder)
    if issubclass(cls, dict):
        return _of_dict(holder, child)
    if issubclass(cls, (set, frozenset)):
        base: Any = set if issubclass(cls, set) else frozenset
        return Edge("{*}", True) if cls is base or _among(base, holder, child) else None
    base = next(b for b in (list, tuple, collections.deque) if issubclass(cls, b))
    if cls is base:
        return _STAR
    if base is tuple and type(fields := find_in_class(cls, "_fields")) is tuple:
        for name, value in zip(fields, tuple.__iter__(holder), strict=False):
            if value is child:
                return _dotted(name)
    return _STAR if _among(base, holder, child) else None


def _is_key(holder: Any, child: Any) -> bool:
    return _any_is(dict.keys(holder), child)


def _any_is(values: Iterable[Any], child: Any) -> bool:
    try:
        return any(map(operator.is_, values, itertools.repeat(child)))
    except RuntimeError:  # changed by another thread meanwhile: not found is the likelier answer
        return False


def _among(base: Any, holder: Any, child: Any) -> bool:
    return _any_is(base.__iter__(holder), child)


def _of_dict(holder: Any, child: Any) -> Edge | None:
    if dict.__len__(holder) <= 256:
        items = _items(holder)
        for key, value in items:
            if value is child:
                return Edge(f"[{key!r}]") if is_word(key) else _STAR
        if any(key is child for key, _ in items):
            return Edge(".keys()[*]", True)
    elif _is_key(holder, child):
        return Edge(".keys()[*]", True)
    elif type(holder) is not dict and _any_is(dict.values(holder), child):
        return _STAR
    if type(holder) is dict or type(holder) is collections.OrderedDict:
        return _STAR
    if issubclass(type(holder), collections.defaultdict) and (
        collections.defaultdict.__dict__["default_factory"].__get__(holder) is child
    ):
        return Edge(".default_factory")
    return None


def _of_function(holder: Any, child: Any) -> Edge | None:
    if child is holder.__closure__:
        return Edge(".__closure__", role=holder.__code__.co_freevars)
    for name in ("__defaults__", "__kwdefaults__", "__globals__", "__code__"):
        if child is getattr(holder, name):
            return Edge("." + name)
    if type(child) is dict:
        return Edge("", role=_ATTRS)
    return None


def _of_members(*names: str) -> Any:
    def namer(holder: Any, child: Any) -> Edge | None:
        for name in names:
            if getattr(holder, name, None) is child:
                return Edge("." + name)
        return None

    return namer


def _of_class(holder: Any, child: Any) -> Edge | None:
    if type(child) is dict:
        return Edge("", role=_ATTRS)
    if type(child) is tuple:
        return Edge(".__mro__")
    return None if type(holder) is not type else Edge(".__base__")


def _of_cell(holder: Any, child: Any) -> Edge:
    return Edge(".cell_contents")


def _of_exception(holder: Any, child: Any) -> Edge | None:
    for name in ("__traceback__", "__cause__", "__context__"):
        if BaseException.__dict__[name].__get__(holder) is child:
            return Edge("." + name)
    if child is BaseException.__dict__["args"].__get__(holder):
        return Edge(".args")
    return None


def _of_traceback(holder: Any, child: Any) -> Edge:
    # the frame says it all: one path for a traceback three or thirty calls deep
    return Edge("")


def _of_frame(holder: Any, child: Any) -> Edge:
    frame = holder if type(holder) is types.FrameType else _frame_of(holder)
    label = f".<{frame_label(holder)}>"
    if child is frame:
        return Edge("")
    if frame is not None and frame.f_code.co_flags & 1:
        cells = type(child) is types.CellType
        for name, value in frame_values(frame):
            if value is child or (cells and _holds(child, value)):
                return Edge(f"{label}.{name}", role=_CELL if cells else None)
    elif frame is not None and child is frame.f_locals:
        return Edge(label, role=_ATTRS)
    return Edge(label)


def _holds(cell: Any, value: Any) -> bool:
    try:
        return cell.cell_contents is value
    except ValueError:  # still empty
        return False


def _frame_of(holder: Any) -> types.FrameType | None:
    for name in ("gi_frame", "cr_frame", "ag_frame"):
        frame = getattr(holder, name, None)
        if type(frame) is types.FrameType:
            return frame
    return None


def frame_label(holder: Any) -> str:
    """``generator f``, ``coroutine f``, ``async_generator f`` or ``frame f``."""
    if type(holder) is types.FrameType:
        return f"frame {holder.f_code.co_qualname}"
    kind = {types.GeneratorType: "generator", types.CoroutineType: "coroutine"}.get(type(holder), "async_generator")
    return f"{kind} {holder.__qualname__}"


def _of_lru(holder: Any, child: Any) -> Edge | None:
    if child is getattr(holder, "__wrapped__", None):
        return Edge(".__wrapped__")
    if type(child) is tuple or type(child) is _HASHED:
        return _CACHE_ARGUMENTS
    if type(child) is dict:
        # the cache of an unbounded one, or the attributes that update_wrapper has put there
        if "__wrapped__" in child:
            return Edge("", role=_ATTRS)
        return Edge("", role=UNBOUNDED if _LRU.__dict__["cache_info"](holder).maxsize is None else CACHE)
    return Edge(".<lru_cache>[*]", True)


def _of_partial(holder: Any, child: Any) -> Edge | None:
    for name in ("func", "args", "keywords"):
        if functools.partial.__dict__[name].__get__(holder) is child:
            return Edge("." + name)
    return Edge("", role=_ATTRS) if type(child) is dict else None


def _of_weakref(holder: Any, child: Any) -> Edge:
    return Edge(".__callback__")


def _of_context(context: contextvars.Context, child: Any) -> Edge:
    for variable, value in context.items():
        if value is child:
            return Edge(f"[{variable.name!r}]")
    return Edge("", role=context)  # a node of the tree in which a context keeps its values


def _by_name_of_type(cls: type, child: Any) -> Edge | None:
    """C types that have no Python name to be compared with."""
    name = type_name(cls)
    if name.startswith("hamt"):
        return Edge("")
    if name == "_thread._local":
        return Edge("", role=_PER_THREAD) if type(child) is dict else None
    if name == "numpy.ndarray":
        return _STAR
    if name in ("_asyncio.Task", "_asyncio.Future"):
        if type(child) in _FRAMES:
            return Edge("")
        if issubclass(type(child), BaseException):
            return Edge("._exception")
    return None


_NAMERS: dict[type, Any] = {
    types.FunctionType: _of_function,
    types.MethodType: _of_members("__self__", "__func__"),
    types.BuiltinFunctionType: _of_members("__self__"),
    types.MethodWrapperType: _of_members("__self__"),
    types.CellType: _of_cell,
    types.TracebackType: _of_traceback,
    types.MappingProxyType: lambda holder, child: Edge("", role=_ATTRS),
    property: _of_members("fget", "fset", "fdel"),
    staticmethod: _of_members("__func__"),
    classmethod: _of_members("__func__"),
    functools.partial: _of_partial,
    weakref.ref: _of_weakref,
    contextvars.Context: lambda holder, child: Edge(".<context>", role=holder),
    _LRU: _of_lru,
    **dict.fromkeys(_FRAMES, _of_frame),
}
