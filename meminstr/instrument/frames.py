"""The one Python frame of a sampled call, of the function's own kind, and what it must not be noticed by.

* Its code has a file name that CPython's `warnings` and `logging` take for the import system's: they skip it, so that
  ``stacklevel=2`` in the function still blames the true caller.
* Its globals are the function's own, so that whoever walks the stack past the frames of a package (structlog,
  deprecation helpers) walks past this one too.  Hence no name in these functions is looked up in the globals: what
  they need are their own variables.

What cannot be hidden: ``sys._getframe(1)`` in the function finds this frame (by wildcard such functions are left
alone, see `by_name`), and a traceback shows it.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Protocol


class Around(Protocol):
    """What is done around a call that the switch lets through.

    `enter` runs before the call and returns a token; `leave` runs after it with the error that ended it, or
    None.  What either raises reaches the caller: a limit refuses that way.  If there is an attribute ``step``, a
    generator or coroutine calls ``step(token)`` each time before it is resumed; if there is ``pause`` too, it calls
    ``pause(token)`` each time after it was suspended, until that answers False, and neither if the token is None.
    If there is an attribute ``finish``,
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


_AtHome = Callable[[Any], Any]

# (to see these lines in a traceback, or in a measurement of coverage, set MEMINSTR_PLAIN_FRAMES)
_HIDDEN = __file__ if os.environ.get("MEMINSTR_PLAIN_FRAMES") else "<meminstr importlib._bootstrap frame>"


def _skipped_by_stacklevel(function: Any) -> Any:
    def renamed(code: types.CodeType) -> types.CodeType:
        consts = tuple(renamed(c) if isinstance(c, types.CodeType) else c for c in code.co_consts)
        return code.replace(co_filename=_HIDDEN, co_consts=consts)

    function.__code__ = renamed(function.__code__)
    return function


@_skipped_by_stacklevel
def _call_frame(around: Around, at_home: _AtHome) -> Any:
    enter, leave, finish = around.enter, around.leave, _finish_of(around)
    anything = BaseException

    def sampled(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        token = enter()
        try:
            result = wrapped(*args, **kwargs)
        except anything as error:
            leave(token, error)
            raise
        finish(token, result)
        return result

    return at_home(sampled)


@_skipped_by_stacklevel
def _generator_frame(around: Around, at_home: _AtHome) -> Any:
    step, pause = getattr(around, "step", None), getattr(around, "pause", None)
    anything, named, steps = BaseException, _named_like, at_home(_steps)

    def delegated(inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        token = around.enter()
        try:
            result = yield from inner
        except anything as error:
            around.leave(token, error)
            raise
        around.leave(token, None)
        return result

    def stepped(inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        token = around.enter()
        try:
            if pause is not None and token is None:
                result = yield from inner
            else:
                result = yield from steps(inner, step, token, pause)
        except anything as error:
            around.leave(token, error)
            raise
        around.leave(token, None)
        return result

    drive = at_home(delegated if step is None else stepped)

    def sampled(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return named(drive(wrapped(*args, **kwargs)), wrapped)

    return at_home(sampled)


@_skipped_by_stacklevel
def _coroutine_frame(around: Around, at_home: _AtHome) -> Any:
    step, pause, finish = getattr(around, "step", None), getattr(around, "pause", None), _finish_of(around)
    anything, named, stepped = BaseException, _named_like, functools.partial(_Stepped, at_home(_steps))

    async def drive(inner: Coroutine[Any, Any, Any]) -> Any:
        try:
            token = around.enter()
        except anything:
            inner.close()  # refused: it is not to be warned of as never awaited
            raise
        try:
            plain = step is None or (pause is not None and token is None)
            result = await (inner if plain else stepped(inner, step, token, pause))
        except anything as error:
            around.leave(token, error)
            raise
        finish(token, result)
        return result

    drive = at_home(drive)

    def sampled(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        # the coroutine is made at the call, so that wrong arguments fail there, as they do without us
        return named(drive(wrapped(*args, **kwargs)), wrapped)

    return at_home(sampled)


@_skipped_by_stacklevel
def _async_generator_frame(around: Around, at_home: _AtHome) -> Any:
    step: Any = getattr(around, "step", None)
    pause: Any = getattr(around, "pause", None)
    anything, closing, over, named = BaseException, GeneratorExit, StopAsyncIteration, _named_like
    stepped = functools.partial(_Stepped, at_home(_steps))

    async def drive(inner: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
        token = around.enter()
        paused = token is not None and pause is not None  # suspensions inside an item are told of too
        try:
            try:
                item = await (stepped(inner.__anext__(), step, token, pause) if paused else inner.__anext__())
                while True:
                    try:
                        if paused:
                            pause(token)  # pyright: ignore[reportOptionalCall]
                        sent = yield item
                    except closing:
                        if paused:
                            step(token)  # pyright: ignore[reportOptionalCall]
                        await inner.aclose()
                        raise
                    except anything as thrown:
                        if paused:
                            step(token)  # pyright: ignore[reportOptionalCall]
                        item = await inner.athrow(thrown)
                    else:
                        try:
                            if step is not None and (paused or pause is None):
                                step(token)
                        except anything as refused:
                            item = await inner.athrow(refused)  # its `finally` blocks run now
                        else:
                            more = inner.asend(sent)
                            item = await (stepped(more, step, token, pause) if paused else more)
            except over:
                pass
        except anything as error:
            around.leave(token, error)
            raise
        around.leave(token, None)

    drive = at_home(drive)

    def sampled(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return named(drive(wrapped(*args, **kwargs)), wrapped)

    return at_home(sampled)


def frame_of(kind: str, function: Any, around: Around) -> Callable[..., Any]:
    """The wrapper for wrapt, ``(wrapped, instance, args, kwargs)``, that calls `around` around a function.

    Args:
        kind: of the function, see `functions.kind_of`.
        function: what is wrapped.
        around: what is done.
    """
    home = getattr(function, "__globals__", None)

    def at_home(made: Any) -> Any:
        if type(home) is not dict:  # a callable that is no Python function
            return made
        return types.FunctionType(made.__code__, home, made.__name__, made.__defaults__, made.__closure__)

    return _FRAMES[kind](around, at_home)


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
def _steps(
    inner: Any,
    step: Any,
    token: Any,
    pause: Any = None,
    rest: Any = None,
    anything: type[BaseException] = BaseException,
    closing: type[GeneratorExit] = GeneratorExit,
    over: type[StopIteration] = StopIteration,
) -> Generator[Any, Any, Any]:
    """`yield from inner` with ``step(token)`` before every resumption (the expansion of PEP 380).

    With ``pause`` also that after every suspension, until it answers False; from there on ``rest`` is delegated to.
    """
    send: Any = inner.send
    try:
        item = send(None)
        while True:
            if pause is not None and not pause(token):
                step = pause = None
            try:
                sent = yield item
            except closing:
                if pause is not None:
                    step(token)  # pyright: ignore[reportOptionalCall]
                inner.close()
                raise
            except anything as thrown:
                if pause is not None:
                    step(token)  # pyright: ignore[reportOptionalCall]
                item = inner.throw(thrown)
            else:
                if step is None:
                    if sent is None:
                        return (yield from inner if rest is None else rest())
                    item = send(sent)
                    continue
                try:
                    step(token)
                except anything as refused:
                    # the frame inside gets to run its `finally` with the refusal, as with any exception
                    item = inner.throw(refused)
                else:
                    item = send(sent)
    except over as stop:
        return stop.value  # what the generator returned


class _Stepped:
    """An awaitable that resumes a coroutine step by step."""

    __slots__ = ("inner", "pause", "step", "steps", "token")

    def __init__(self, steps: Any, inner: Any, step: Any, token: Any, pause: Any = None) -> None:
        self.steps, self.inner, self.step, self.token, self.pause = steps, inner, step, token, pause

    def __await__(self) -> Any:
        return self.steps(self.inner, self.step, self.token, self.pause, self.inner.__await__)


_FRAMES: dict[str, Callable[[Around, _AtHome], Callable[..., Any]]] = {
    "call": _call_frame,
    "generator": _generator_frame,
    "coroutine": _coroutine_frame,
    "async generator": _async_generator_frame,
}
