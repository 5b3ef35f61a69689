"""Which classes can be followed, which way, and why not; which method is their cleanup.

Pure questions about a class: nothing is changed here.  Attributes are read out of the namespaces of the MRO,
never with `getattr`, so that no metaclass and no descriptor of the class runs.
"""

from __future__ import annotations

import difflib
import enum
import inspect
from types import FunctionType, MethodDescriptorType, WrapperDescriptorType
from typing import Any, Literal, is_typeddict

from ..errors import UsageError

CLEANUP_NAMES = ("cleanup", "close", "aclose", "shutdown", "dispose")
CONTEXT_NAMES = ("__exit__", "__aexit__")

Way = Literal["own", "pinned", "new"]

_HEAP_TYPE = 1 << 9
_IMMUTABLE_TYPE = 1 << 8
_flags_of = type.__dict__["__flags__"].__get__
_namespace_of = type.__dict__["__dict__"].__get__
_weakref_offset_of = type.__dict__["__weakrefoffset__"].__get__
mro_of = type.__dict__["__mro__"].__get__

_object_init = object.__dict__["__init__"]


# what typing (and typing_extensions) put into a protocol: it replaces itself in the class of the first
# instance, which it does not do where it finds another one, so it must stay in sight
_TYPING_INITS = ("_no_init_or_replace_init", "_no_init")


def why_not_followable(cls: Any) -> str | None:
    """Why `cls` cannot be followed, as the end of a sentence; None when it can.

    For instrumenting by name, where such a class is skipped and listed.
    """
    if not isinstance(cls, type):
        return f"{_shown(cls)} is not a class"
    if issubclass(cls, type):
        return f"{_shown(cls)} is a metaclass: its instances are classes"
    flags = _flags_of(cls)
    if not flags & _HEAP_TYPE or flags & _IMMUTABLE_TYPE:
        return f"{_shown(cls)} is a builtin or C type, which cannot be changed"
    if isinstance(cls, enum.EnumMeta):
        return f"{_shown(cls)} is an Enum: its members exist from the start and never die"
    if _is_protocol(cls):
        return f"{_shown(cls)} is a Protocol, which has no instances of its own"
    if tuple in cls.__bases__ and "_fields" in _namespace_of(cls):
        return f"{_shown(cls)} is a NamedTuple: its instances take no weak reference"
    if is_typeddict(cls):
        return f"{_shown(cls)} is a TypedDict: its instances are plain dicts"
    return None


def refuse(cls: Any) -> None:
    """Raise `UsageError` when `cls` cannot be followed, with what can be."""
    why = why_not_followable(cls)
    if why is not None:
        hint = "track a subclass of it" if isinstance(cls, type) else "give it a class"
        raise UsageError(
            f"cannot track instantiations: {why}; allowed is a class written in Python "
            f"that is no Enum, NamedTuple or Protocol ({hint})"
        )


def way_of(cls: type) -> Way:
    """How constructions are seen: its ``own`` `__init__`, a ``pinned`` one before the inherited, or ``new``.

    An `__init__` is wrapped where there is one in Python, because it is seen to succeed or fail and goes away
    without a trace.  `__new__` is the way where none may be added: where it is `object`'s (a class after this
    one in somebody's MRO would never be reached with its arguments), typing's self-replacing one, a
    descriptor object, and under a metaclass whose call leaves `__init__` out.
    """
    found = lookup(cls, "__init__")
    if found is _object_init or _is_typings(found) or _call_leaves_init_out(type(cls)):
        return "new"
    if "__init__" in _namespace_of(cls):
        return "own" if type(found) is FunctionType else "new"
    return "pinned" if isinstance(found, FunctionType | WrapperDescriptorType | MethodDescriptorType) else "new"


def takes_weakref(cls: type) -> bool:
    """Whether instances can be weakly referenced (not with bare slots, nor for tuples and ints)."""
    return bool(_weakref_offset_of(cls) != 0)


def cleanup_names(cls: type, asked: str | None) -> tuple[str, ...]:
    """The methods that clean an instance up: the one asked for, or those found by name.

    Found are the first of `CLEANUP_NAMES`, ``aclose`` beside ``close``, and leaving a ``with`` block.

    Raises:
        UsageError: the class has no method of the name asked for.
    """
    if asked is not None:
        if not isinstance(asked, str):
            raise UsageError(f"cleanup= takes the name of a method, not {asked!r}")
        if not is_method(cls, asked):
            raise UsageError(_no_such_method(cls, asked))
        return (asked,)
    named = [name for name in CLEANUP_NAMES if is_method(cls, name)]
    chosen = named[:1] + (["aclose"] if named[:1] == ["close"] and "aclose" in named else [])
    return (*chosen, *(name for name in CONTEXT_NAMES if is_method(cls, name)))


def is_method(cls: type, name: str) -> bool:
    """Whether `name` is an instance method that can be wrapped: no static or class method, property, generator."""
    found = lookup(cls, name)
    if not isinstance(found, FunctionType | MethodDescriptorType | WrapperDescriptorType):
        return False
    return not (inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found))


def lookup(cls: type, name: str) -> Any:
    """The raw value of an attribute of the class, or None."""
    for base in mro_of(cls):
        namespace = _namespace_of(base)
        if name in namespace:
            return namespace[name]
    return None


def init_is_objects(cls: type) -> bool:
    """Whether a construction ends at `object.__init__`, looking through typing's self-replacing one."""
    for base in mro_of(cls):
        found = _namespace_of(base).get("__init__")
        if found is not None and not _is_typings(found):
            return found is _object_init
    return True  # pragma: no cover - object is the last of every MRO


def _is_protocol(cls: type) -> bool:
    return _namespace_of(cls).get("_is_protocol") is True


def _is_typings(init: Any) -> bool:
    return type(init) is FunctionType and init.__name__ in _TYPING_INITS


def _call_leaves_init_out(meta: type) -> bool:
    # most metaclasses with a __call__ (singletons, registries) end in type's, which runs __init__; one that
    # never speaks of another __call__ makes its instances itself
    call = lookup(meta, "__call__")
    return type(call) is FunctionType and "__call__" not in call.__code__.co_names


def _no_such_method(cls: type, asked: str) -> str:
    methods = sorted({name for base in mro_of(cls)[:-1] for name in _namespace_of(base) if is_method(cls, name)})
    near = difflib.get_close_matches(asked, methods, n=1)
    if lookup(cls, asked) is not None:
        return f"{_shown(cls)}.{asked} is no instance method that could be a cleanup"
    public = ", ".join(name for name in methods if not name.startswith("_")) or "none"
    return f"{_shown(cls)} has no method {asked!r}" + (
        f"; did you mean {near[0]!r}?" if near else f"; its methods are: {public}"
    )


def _shown(cls: Any) -> str:
    if isinstance(cls, type):
        return f"{cls.__module__}.{cls.__qualname__}"
    return f"an object of type {type(cls).__name__}" if not isinstance(cls, str) else f"the string {cls!r}"
