"""Functions of every kind, wrapped so that callers cannot tell.

What a wrapper is made of, from the outside in:

* a C-level ``functools`` cache object of size nought: it counts every call in C (``misses``), binds as a method
  without a Python frame, is the same object each time it is read through its class, and pickles by name;
* a `wrapt.FunctionWrapper` whose ``enabled=`` is the sampling switch: a call that is not sampled goes straight
  to the function;
* for a sampled call one Python frame of the function's own kind (call, coroutine, generator, async generator).

Measured against what a do-nothing wrapt decorator adds (1.0, 0.55 us), all samples and looks included, at the steady
state on CPython 3.11: functions 0.10, methods 0.14, static and class methods 0.13 and 0.16, coroutine functions 0.16,
generators 0.12, where a `functools.wraps` closure costs 0.12 to 0.18.  `benchmarks/overhead.py` prints the table.

This file leaves to others the frame of a sampled call (`frames`), what is done in it (`Around`) and where wrappers
are put (`ledger`).
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import wrapt

from ..errors import UsageError
from .frames import Around, frame_of
from .pickling import rebuilt, register_reducer
from .switches import LockedSwitch


class _CacheInfo(NamedTuple):
    hits: int
    misses: int
    maxsize: int
    currsize: int


# functools._lru_cache_wrapper, by the public way to one.  With maxsize=0 it caches nothing and keeps nothing:
# it calls, and counts the call in C.
_Counting: Any = type(functools.lru_cache(maxsize=0)(lambda: None))


class _Unbound(wrapt.CallableObjectProxy):  # type: ignore[type-arg]
    """Around the wrapper of a callable that is no descriptor (a builtin, a partial): in a class it takes no instance
    either."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        record = self.__dict__[_MARK]  # by value always: its name is as a rule that of what it wraps
        return (rebuilt, (record.function, *record.around.recipe()))

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self


_COUNTS = _Counting.cache_info  # of the type: an instance may bear the method of the cache it wraps

_MARK = "__meminstr__"


class Instrumented:
    """The record behind a wrapper, kept in its ``__meminstr__``."""

    __slots__ = ("around", "counter", "function", "wrapper")

    def __init__(
        self, function: Callable[..., Any], around: Around, wrapper: Any, counter: Callable[[], int] | None = None
    ) -> None:
        self.function = function
        self.counter = counter
        self.around = around
        self.wrapper = wrapper

    def calls(self) -> int:
        """Calls so far, exact (those still running included)."""
        # without a GIL the count in C is not atomic; the switch, which takes a lock there, has its own
        return int(_COUNTS(self.wrapper)[1]) if self.counter is None else self.counter()


def instrumented(obj: Any) -> Instrumented | None:
    """The record of a wrapper made here, or None."""
    if isinstance(obj, (staticmethod, classmethod, types.MethodType)):
        obj = obj.__func__
    if type(obj) is not _Counting and type(obj) is not _Unbound:
        return None
    record: Instrumented | None = obj.__dict__.get(_MARK)
    return record


def kind_of(function: Any) -> str:
    """``coroutine``, ``async generator``, ``generator`` or ``call``."""
    if inspect.isasyncgenfunction(function):
        return "async generator"
    if inspect.iscoroutinefunction(function):
        return "coroutine"
    if inspect.isgeneratorfunction(function):
        return "generator"
    return "call"


def instrument(
    target: Any,
    around: Around,
    *,
    enabled: Callable[[], Any] | None = None,
    frame: Callable[[Any, Callable[..., Any]], Any] | None = None,
) -> Any:
    """Wrap a function so that ``around`` sees its calls.

    Args:
        target: a function, method, ``staticmethod``, ``classmethod``, ``property`` or other callable that is no
            class.
        around: what to do around a call.
        enabled: asked at every call, without arguments; a false answer sends the call straight to the function.
            None: every call is let through.
        frame: makes the inner wrapper itself, from the function and the frame that would have been used (called
            as wrapt calls one); ``enabled`` is then not asked.

    Returns:
        An object of the same kind as ``target``, with its name, signature, docs and pickling.

    Raises:
        UsageError: ``target`` is a class or not callable.
    """
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(instrument(target.__func__, around, enabled=enabled, frame=frame))
    if isinstance(target, property):
        if target.fget is None:
            raise UsageError("a property without a getter has no call to follow")
        made = instrument(target.fget, around, enabled=enabled, frame=frame)
        try:
            return target.getter(made)
        except TypeError as error:
            kind = type(target).__name__
            raise UsageError(f"a property of a kind of its own ({kind}) cannot be made anew: {error}") from error
    if isinstance(target, type) or not callable(target):
        what = "a class" if isinstance(target, type) else f"{type(target).__name__} {target!r:.80}"
        raise UsageError(
            f"{what} cannot be wrapped as a function: a function, method, coroutine function or generator is "
            "allowed (for classes there is track_instantiations)"
        )
    wrapper = _wrap(target, around, enabled, frame)
    # what `type` does by itself for Python functions of these names, and for nothing else
    implied = _IMPLIED.get(getattr(target, "__name__", "")) if isinstance(target, types.FunctionType) else None
    return wrapper if implied is None else implied(wrapper)


_IMPLIED: dict[str, Any] = {
    "__init_subclass__": classmethod, "__class_getitem__": classmethod, "__new__": staticmethod,
}  # fmt: skip


def _wrap(
    function: Any,
    around: Around,
    enabled: Callable[[], Any] | None,
    frame: Callable[[Any, Callable[..., Any]], Any] | None,
) -> Any:
    ours = frame_of(kind_of(function), function, around)
    switch: Any = wrapt.FunctionWrapper(function, ours, enabled) if frame is None else frame(function, ours)
    wrapper = _Counting(switch, 0, False, _CacheInfo)
    functools.update_wrapper(wrapper, function)
    for name in ("cache_info", "cache_clear", "cache_parameters"):
        if hasattr(function, name):  # a cache of the program's: its own methods, not those of our counting object
            setattr(wrapper, name, getattr(function, name))
    # what makes it function-like to `inspect`, `attrs` (cells) and `typing` (globals)
    for name in ("__code__", "__defaults__", "__kwdefaults__", "__closure__", "__globals__"):
        if hasattr(function, name):
            setattr(wrapper, name, getattr(function, name))
    if not hasattr(wrapper, "__qualname__"):  # a partial or a callable object has no name of its own
        name = getattr(type(function), "__name__", "callable")
        wrapper.__name__ = wrapper.__qualname__ = name
    counter = enabled.calls if frame is None and isinstance(enabled, LockedSwitch) else None
    setattr(wrapper, _MARK, Instrumented(function, around, wrapper, counter))
    register_reducer(_Counting, _MARK)
    return wrapper if _binds(function) else _Unbound(wrapper)


def _binds(function: Any) -> bool:
    # a partial has a `__get__` in 3.13 that warns and binds nothing, and becomes a method in 3.14
    if isinstance(function, functools.partial):
        return sys.version_info >= (3, 14)
    return hasattr(type(function), "__get__")
