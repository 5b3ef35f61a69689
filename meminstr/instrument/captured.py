"""What a module took of its own functions while its body ran, before they could be replaced by name.

A dispatch table (``{"attr": do_attr}``), a list of hooks, the default of a parameter: they hold the original, so calls
through them are not seen, pickling the original fails ("not the same object"), and a comparison by identity with the
module's name goes the other way (INSTRUMENTING.md F5, F6).  Right after its body has run, a module's own tables, its
classes' and its functions' defaults are searched and hold the replacement too.

Left as they are: closures, tuples, sets, attributes of instances, and whatever another module holds.
"""

from __future__ import annotations

import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

Undo = Callable[[], None]

_TABLES = (dict, OrderedDict, defaultdict)
_DEPTH = 3
_MOST = 20_000  # objects looked at in one module: a generated table of a million rows is no dispatch table


def replace_captured(module: types.ModuleType, now: Mapping[int, tuple[Any, Any]]) -> list[Undo]:
    """Put replacements where the module's own tables and defaults hold the originals.

    Args:
        module: whose body has just run.
        now: ``id(original)`` to the original and what stands in its place.

    Returns:
        What puts each original back, if ours is still there.
    """
    undo: list[Undo] = []
    own = vars(module)
    seen = {id(own)}
    queue = deque((value, 0) for value in list(own.values()))
    while queue and len(seen) < _MOST:
        value, depth = queue.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        kind = type(value)
        if kind is list or kind in _TABLES:
            items = list(enumerate(value) if kind is list else value.items())
            for key, item in items:
                replacement = _replacement(item, now)
                if replacement is not item:
                    value[key] = replacement
                    undo.append(_put_back(value, key, item, replacement))
                elif depth < _DEPTH:
                    queue.append((item, depth + 1))
        elif isinstance(value, type):
            if depth < _DEPTH and value.__module__ == module.__name__:
                queue.extend((item, depth + 1) for item in list(vars(value).values()))
        else:
            function = _function(value)
            if function is not None and function.__module__ == module.__name__:
                undo += _defaults(function, now)
    return undo


def _replacement(item: Any, now: Mapping[int, tuple[Any, Any]]) -> Any:
    known = now.get(id(item))
    return known[1] if known is not None and known[0] is item else item


def _function(value: Any) -> types.FunctionType | None:
    value = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    for _ in range(8):  # down through wrappers, ours among them
        if type(value) is types.FunctionType:
            return value
        namespace = getattr(value, "__dict__", None) if callable(value) else None
        if type(namespace) is not dict or "__wrapped__" not in namespace:
            return None
        value = namespace["__wrapped__"]
    return None


def _defaults(function: types.FunctionType, now: Mapping[int, tuple[Any, Any]]) -> list[Undo]:
    undo: list[Undo] = []
    before = function.__defaults__
    if before is not None:
        after = tuple(_replacement(item, now) for item in before)
        if any(a is not b for a, b in zip(before, after, strict=True)):
            function.__defaults__ = after
            undo.append(_put_defaults_back(function, before, after))
    keywords: dict[str, Any] = function.__kwdefaults__ or {}
    for key, item in list(keywords.items()):
        replacement = _replacement(item, now)
        if replacement is not item:
            keywords[key] = replacement
            undo.append(_put_back(keywords, key, item, replacement))
    return undo


def _put_back(table: Any, key: Any, original: Any, replacement: Any) -> Undo:
    def undo() -> None:
        try:
            if table[key] is replacement:
                table[key] = original
        except LookupError:
            pass  # the program took it out

    return undo


def _put_defaults_back(function: types.FunctionType, before: Any, after: Any) -> Undo:
    def undo() -> None:
        if function.__defaults__ is after:
            function.__defaults__ = before

    return undo
