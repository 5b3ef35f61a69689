"""Which attribute of an instance is it that leads to a given object.

The order is that of the least disturbance: slots; names that the methods of the class mention, read past
every property; a ``__dict__`` that is laid out already; names that the code of the class's module mentions.
Only then the ``__dict__`` is asked for, which on Python 3.11 and later may lay it out for good (some 100 bytes
for that one instance).
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

from .safe import class_dict, find_in_class, mro

_MOST_FUNCTIONS = 2_000


def name_of(holder: Any, child: Any) -> str | None:
    """The attribute of `holder` whose value is `child`; None when there is none by that way."""
    cls = type(holder)
    for name, member in _members(cls):
        try:
            if member.__get__(holder, cls) is child:
                return name
        except Exception:  # an empty slot
            continue
    slot = _dict_getter(cls)
    if slot is None:
        return None
    for name in _names_in_methods(cls):
        if _reads(holder, cls, name, child):
            return name
    held = gc.get_referents(holder)
    if any(entry is child for entry in held):
        laid_out = any(type(entry) is dict and child in _values(entry) for entry in held)
        if not laid_out:
            for name in _names_in_module(cls):
                if _reads(holder, cls, name, child):
                    return name
            if type(child) is dict and _is_own_dict(holder, slot, child):
                return None
    return _in_dict(holder, slot, child)


class _Same:
    """Membership by identity, for `in` without calling anyone's ``__eq__``."""

    __slots__ = ("_ids",)

    def __init__(self, values: Iterable[Any]) -> None:
        self._ids = set(map(id, values))

    def __contains__(self, value: object) -> bool:
        return id(value) in self._ids


def _values(entry: dict[Any, Any]) -> _Same:
    return _Same(list(dict.values(entry)))


def _is_own_dict(holder: Any, slot: Any, child: Any) -> bool:
    try:
        return slot.__get__(holder, type(holder)) is child
    except Exception:
        return False


def _in_dict(holder: Any, slot: Any, child: Any) -> str | None:
    try:
        namespace = slot.__get__(holder, type(holder))
    except Exception:
        return None
    if type(namespace) is not dict:
        return None
    for name, value in list(dict.items(namespace)):
        if value is child and type(name) is str:
            return name
    return None


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    for base in mro(cls):
        for name, value in list(class_dict(base).items()):
            if type(value) is types.MemberDescriptorType or (
                name == "__wrapped__" and type(value) is types.GetSetDescriptorType
            ):
                yield name, value


def _dict_getter(cls: type) -> Any:
    for base in mro(cls):
        found = class_dict(base).get("__dict__")
        if type(found) is types.GetSetDescriptorType:
            return found
    return None


def _reads(holder: Any, cls: type, name: str, child: Any) -> bool:
    shadow = find_in_class(cls, name)
    if shadow is not None and find_in_class(type(shadow), "__get__") is not None:
        return False  # a property or method: reading it could run code
    try:
        return object.__getattribute__(holder, name) is child
    except Exception:
        return False


def _names_in_methods(cls: type) -> Iterator[str]:
    seen: set[str] = set()
    for base in mro(cls):
        namespace = class_dict(base)
        annotations = namespace.get("__annotations__")
        declared = list(annotations) if type(annotations) is dict else []
        for name in (*declared, *_mentioned(list(namespace.values()))):
            if type(name) is str and name not in seen:
                seen.add(name)
                yield name


def _names_in_module(cls: type) -> Iterator[str]:
    module = sys.modules.get(str(class_dict(cls).get("__module__")))
    if not isinstance(module, types.ModuleType):
        return
    values = list(types.ModuleType.__getattribute__(module, "__dict__").values())
    seen: set[str] = set()
    for value in values[:_MOST_FUNCTIONS]:
        inside = list(class_dict(value).values()) if isinstance(value, type) else [value]
        for name in _mentioned(inside):
            if name not in seen:
                seen.add(name)
                yield name


def _mentioned(values: Iterable[Any]) -> Iterator[str]:
    """Names in the code of functions among `values`, and of functions nested in those."""
    for value in values:
        if type(value) in (staticmethod, classmethod):
            value = value.__func__
        if type(value) is property:
            value = value.fget
        if type(value) is types.FunctionType:
            codes = [value.__code__]
            for code in codes:
                yield from code.co_names
                codes.extend(const for const in code.co_consts if type(const) is types.CodeType)
