"""Functions of every kind, wrapped so that callers cannot tell.

What a wrapper is made of, from the outside in:

* a C-level ``functools`` cache object of size nought: it counts every call in C (``misses``), binds as a method
  without a Python frame, is the same object each time it is read through its class, and pickles by name;
* a `wrapt.FunctionWrapper` whose ``enabled=`` is the sampling switch: a call that is not sampled goes straight
  to the function;
* for a sampled call one Python frame of the function's own kind (call, coroutine, generator, async generator).

Measured against what a do-nothing wrapt decorator adds (1.0): functions 0.13 to 0.14, methods 0.15 to 0.19 on
CPython 3.11 to 3.13, where a `functools.wraps` closure costs 0.15 and 0.28 to 0.34 and a FunctionWrapper bound
as a method 0.85.  `benchmarks/overhead.py` prints the table.

This file leaves to others what is done on a sampled call (`Around`) and where wrappers are put (`ledger`).
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, NamedTuple, Protocol

import wrapt

from ..errors import UsageError
from .pickling import register_reducer


class Around(Protocol):
    """What is done around a call that the switch lets through.

    `enter` runs before the call and returns a token; `leave` runs after it with the error that ended it, or
    None.  What either raises reaches the caller: a limit refuses that way.  If there is an attribute ``step``, a
    generator or coroutine calls ``step(token)`` each time before it is resumed.  If there is an attribute ``finish``,
    ``finish(token, result)`` takes the place of ``leave(token, None)`` for calls and coroutines.
    """

    def enter(self) -> Any:
        """Before the call."""
        ...

    def leave(self, token: Any, error: BaseException | None) -> None:
        """After the call, or after the last step of a generator or coroutine."""
        ...

    def recipe(self) -> tuple[Callable[..., Any], dict[str, Any]]:
        """A decorator factory and its keyword arguments that make the same wrapper in another process."""
        ...


class _CacheInfo(NamedTuple):
    hits: int
    misses: int
    maxsize: int
    currsize: int


# functools._lru_cache_wrapper, by the public way to one.  With maxsize=0 it caches nothing and keeps nothing:
# it calls, and counts the call in C.
_Counting: Any = type(functools.lru_cache(maxsize=0)(lambda: None))

_MARK = "__meminstr__"


class Instrumented:
    """The record behind a wrapper, kept in its ``__meminstr__``."""

    __slots__ = ("around", "function", "wrapper")

    def __init__(self, function: Callable[..., Any], around: Around, wrapper: Any) -> None:
        self.function = function
        self.around = around
        self.wrapper = wrapper

    def calls(self) -> int:
        """Calls so far, exact (those still running included)."""
        return int(self.wrapper.cache_info()[1])


def instrumented(obj: Any) -> Instrumented | None:
    """The record of a wrapper made here, or None."""
    if isinstance(obj, (staticmethod, classmethod, types.MethodType)):
        obj = obj.__func__
    if type(obj) is not _Counting:
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


def instrument(target: Any, around: Around, *, enabled: Callable[[], Any] | None = None) -> Any:
    """Wrap a function so that ``around`` sees its calls.

    Args:
        target: a function, method, ``staticmethod``, ``classmethod``, ``property`` or other callable that is no
            class.
        around: what to do around a call.
        enabled: asked at every call, without arguments; a false answer sends the call straight to the function.
            None: every call is let through.

    Returns:
        An object of the same kind as ``target``, with its name, signature, docs and pickling.

    Raises:
        UsageError: ``target`` is a class or not callable.
    """
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(instrument(target.__func__, around, enabled=enabled))
    if isinstance(target, property):
        if target.fget is None:
            raise UsageError("a property without a getter has no call to follow")
        return target.getter(instrument(target.fget, around, enabled=enabled))
    if isinstance(target, type) or not callable(target):
        what = "a class" if isinstance(target, type) else f"{type(target).__name__} {target!r:.80}"
        raise UsageError(
            f"{what} cannot be wrapped as a function: a function, method, coroutine function or generator is "
            "allowed (for classes there is track_instantiations)"
        )
    return _wrap(target, around, enabled)


def _wrap(function: Any, around: Around, enabled: Callable[[], Any] | None) -> Any:
    switch = wrapt.FunctionWrapper(function, _WRAPPERS[kind_of(function)](around), enabled)
    wrapper = _Counting(switch, 0, False, _CacheInfo)
    functools.update_wrapper(wrapper, function)
    # what makes it function-like to `inspect`, `attrs` (cells) and `typing` (globals)
    for name in ("__code__", "__defaults__", "__kwdefaults__", "__closure__", "__globals__"):
        if hasattr(function, name):
            setattr(wrapper, name, getattr(function, name))
    if not hasattr(wrapper, "__qualname__"):  # a partial or a callable object has no name of its own
        name = getattr(type(function), "__name__", "callable")
        wrapper.__name__ = wrapper.__qualname__ = name
    setattr(wrapper, _MARK, Instrumented(function, around, wrapper))
    register_reducer(_Counting, _MARK)
    return wrapper


# ---------------------------------------------------------------- the frames of sampled calls
#
# One frame each, compiled under a file name that CPython's `warnings` and `logging` take for the import system's:
# they skip it, so that `stacklevel=2` in the function still blames the true caller.  The sources are ordinary
# functions below; `_skipped_by_stacklevel` gives their code the name.

_HIDDEN = "<meminstr importlib._bootstrap frame>"


def _skipped_by_stacklevel(function: Any) -> Any:
    def renamed(code: types.CodeType) -> types.CodeType:
        consts = tuple(renamed(c) if isinstance(c, types.CodeType) else c for c in code.co_consts)
        return code.replace(co_filename=_HIDDEN, co_consts=consts)

    function.__code__ = renamed(function.__code__)
    return function


@_skipped_by_stacklevel
def _call_wrapper(around: Around) -> Callable[..., Any]:
    enter, leave, finish = around.enter, around.leave, _finish_of(around)

    def sampled(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        token = enter()
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            leave(token, error)
            raise
        finish(token, result)
        return result

    return sampled


@_skipped_by_stacklevel
def _generator_wrapper(around: Around) -> Callable[..., Any]:
    step = getattr(around, "step", None)

    def delegated(inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        token = around.enter()
        try:
            result = yield from inner
        except BaseException as error:
            around.leave(token, error)
            raise
        around.leave(token, None)
        return result

    def stepped(inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        token = around.enter()
        try:
            result = yield from _steps(inner, step, token)
        except BaseException as error:
            around.leave(token, error)
            raise
        around.leave(token, None)
        return result

    drive = delegated if step is None else stepped

    def sampled(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return _named_like(drive(wrapped(*args, **kwargs)), wrapped)

    return sampled


@_skipped_by_stacklevel
def _coroutine_wrapper(around: Around) -> Callable[..., Any]:
    step, finish = getattr(around, "step", None), _finish_of(around)

    async def drive(inner: Coroutine[Any, Any, Any]) -> Any:
        token = around.enter()
        try:
            result = await (inner if step is None else _Stepped(inner, step, token))
        except BaseException as error:
            around.leave(token, error)
            raise
        finish(token, result)
        return result

    def sampled(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        # the coroutine is made at the call, so that wrong arguments fail there, as they do without us
        return _named_like(drive(wrapped(*args, **kwargs)), wrapped)

    return sampled


@_skipped_by_stacklevel
def _async_generator_wrapper(around: Around) -> Callable[..., Any]:
    step = getattr(around, "step", None)

    async def drive(inner: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
        token = around.enter()
        try:
            try:
                item = await inner.__anext__()
                while True:
                    try:
                        sent = yield item
                    except GeneratorExit:
                        await inner.aclose()
                        raise
                    except BaseException as thrown:
                        item = await inner.athrow(thrown)
                    else:
                        try:
                            if step is not None:
                                step(token)
                        except BaseException as refused:
                            item = await inner.athrow(refused)  # its `finally` blocks run now
                        else:
                            item = await inner.asend(sent)
            except StopAsyncIteration:
                pass
        except BaseException as error:
            around.leave(token, error)
            raise
        around.leave(token, None)

    def sampled(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return _named_like(drive(wrapped(*args, **kwargs)), wrapped)

    return sampled


def _finish_of(around: Around) -> Callable[[Any, Any], None]:
    finish: Callable[[Any, Any], None] | None = getattr(around, "finish", None)
    if finish is not None:
        return finish
    leave = around.leave
    return lambda token, result: leave(token, None)


def _named_like(made: Any, function: Any) -> Any:
    # an un-awaited coroutine is warned of by its name
    made.__name__ = getattr(function, "__name__", made.__name__)
    made.__qualname__ = getattr(function, "__qualname__", made.__qualname__)
    return made


@_skipped_by_stacklevel
def _steps(inner: Any, step: Any, token: Any) -> Generator[Any, Any, Any]:
    """`yield from inner` with ``step(token)`` before every resumption (the expansion of PEP 380)."""
    send: Any = inner.send
    try:
        item = send(None)
        while True:
            try:
                sent = yield item
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as thrown:
                item = inner.throw(thrown)
            else:
                try:
                    step(token)
                except BaseException as refused:
                    # the frame inside gets to run its `finally` with the refusal, as with any exception
                    item = inner.throw(refused)
                else:
                    item = send(sent)
    except StopIteration as stop:
        return stop.value  # what the generator returned


class _Stepped:
    """An awaitable that resumes a coroutine step by step."""

    __slots__ = ("inner", "step", "token")

    def __init__(self, inner: Any, step: Any, token: Any) -> None:
        self.inner, self.step, self.token = inner, step, token

    def __await__(self) -> Any:
        return _steps(self.inner, self.step, self.token)


_WRAPPERS: dict[str, Callable[[Around], Callable[..., Any]]] = {
    "call": _call_wrapper,
    "generator": _generator_wrapper,
    "coroutine": _coroutine_wrapper,
    "async generator": _async_generator_wrapper,
}
