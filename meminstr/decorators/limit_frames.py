"""The frames that a memory limit puts around a function.

One frame each, compiled under a file name that `warnings` and `logging` skip, so that ``stacklevel=2`` in the
function blames the true caller (see `instrument.functions`).  They are registered as places where a call may be
interrupted, because they arm it inside their ``try`` only.

Coverage measures nothing under a name that is no file: with ``MEMINSTR_PLAIN_FRAMES`` set in the environment the
frames keep theirs.  Nobody else needs that.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Coroutine, Generator
from threading import get_ident
from typing import Any

from ..limits.guard import Guard
from ..limits.interrupt import HOT, TRAMPOLINES
from ..limits.threads import disarm, forget

_HIDDEN = __file__ if os.environ.get("MEMINSTR_PLAIN_FRAMES") else "<meminstr importlib._bootstrap limit>"


def _hidden(function: Any) -> Any:
    def renamed(code: types.CodeType, inner: bool) -> types.CodeType:
        consts = tuple(renamed(c, True) if isinstance(c, types.CodeType) else c for c in code.co_consts)
        code = code.replace(co_filename=_HIDDEN, co_consts=consts)
        if inner:
            TRAMPOLINES.add(code)
        return code

    function.__code__ = renamed(function.__code__, False)
    return function


@_hidden
def checked(function: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    """``mode="check"``: short calls live on one reading, without a token or a handler."""
    clock = guard.services.readings.clock

    def limited(*args: Any, **kwargs: Any) -> Any:
        granted = guard.granted
        if clock() < granted.until:
            # short calls live on one reading: no token, no handler
            result = function(*args, **kwargs)
            if clock() >= granted.until:
                guard.late(granted)
            return result
        call = guard.enter(arm=False)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            guard.leave(call, error)
            raise
        guard.leave(call)
        return result

    return limited


@_hidden
def checked_coroutine(guard: Guard, function: Callable[..., Any], slow: Callable[..., Any]) -> Callable[..., Any]:
    """`checked` for a coroutine function; ``slow`` is the general frame for whoever has no young reading."""
    clock = guard.services.readings.clock

    async def hot(inner: Coroutine[Any, Any, Any]) -> Any:
        # asked when it begins to run: it may have been made long before
        granted = guard.granted
        if clock() >= granted.until:
            return await slow(_itself, None, (inner,), {})
        result = await inner
        if clock() >= granted.until:
            guard.late(granted)
        return result

    _name(hot, function)

    def limited(*args: Any, **kwargs: Any) -> Any:
        # the coroutine is made at the call, so that wrong arguments fail there, as they do without us
        return hot(function(*args, **kwargs))

    return limited


@_hidden
def checked_generator(guard: Guard, function: Callable[..., Any], slow: Callable[..., Any]) -> Callable[..., Any]:
    """`checked` for a generator function; one that starts on a young reading is judged at its end, not at its steps.

    After one that took long the next gets readings, and steps, of its own.
    """
    clock = guard.services.readings.clock

    def hot(inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        granted = guard.granted
        if clock() >= granted.until:
            return (yield from slow(_itself, None, (inner,), {}))
        result = yield from inner
        if clock() >= granted.until:
            guard.late(granted)
        return result

    _name(hot, function)

    def limited(*args: Any, **kwargs: Any) -> Any:
        return hot(function(*args, **kwargs))

    return limited


def _itself(inner: Any) -> Any:
    return inner


def _name(frame: Any, function: Any) -> None:
    # an un-awaited coroutine is warned of by its name
    frame.__name__ = getattr(function, "__name__", frame.__name__)
    frame.__qualname__ = getattr(function, "__qualname__", frame.__qualname__)


@_hidden
def guarded(function: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    """Every other mode, for a plain function.

    A call that starts on a young reading registers nowhere: the watcher, which lives on for a while, finds this
    frame on the thread's stack by its code and reads ``guard`` and ``granted`` from it (`Guard.promote`).
    """
    clock = guard.services.readings.clock

    def limited(*args: Any, **kwargs: Any) -> Any:
        granted = guard.granted
        if clock() < granted.until and (granted.thread_id is None or granted.thread_id == get_ident()):
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                if clock() >= granted.until or guard.promoted:
                    guard.late(granted, error)
                raise
            # `promoted` is asked last: from there to the return no other thread gets a turn
            if clock() >= granted.until or guard.promoted:
                guard.late(granted)
            return result
        granted = None  # type: ignore[assignment]  # the watcher is not to take this frame for a hot one
        call = guard.enter(arm=False)
        try:
            try:
                if call is not None:
                    call.armed = True
                result = function(*args, **kwargs)
            finally:
                # an interruption between here and the `try` outside it still lands in the latter
                if call is not None:
                    call.armed = False
        except BaseException as error:
            guard.leave(call, error)
            raise
        guard.leave(call)
        return result

    return limited


@_hidden
def guarded_in_threads(function: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    """`guarded`, ready for an asynchronous exception."""

    def limited(*args: Any, **kwargs: Any) -> Any:
        call = guard.enter(arm=False)
        if call is None:
            return function(*args, **kwargs)
        call.in_own_wrapper = True
        try:
            try:
                call.armed = True
                result = function(*args, **kwargs)
            finally:
                disarm(call)
        except BaseException as error:
            disarm(call)
            forget(call)
            guard.leave(call, error)
            raise
        forget(call)
        guard.leave(call)
        return result

    return limited


@_hidden
def admitted(function: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    """A coroutine function that waits for room without holding up the loop."""

    async def limited(*args: Any, **kwargs: Any) -> Any:
        taken = await guard.room.take_async()
        try:
            return await function(*args, **kwargs)
        finally:
            if taken:
                guard.room.give_back()

    return limited


HOT.add(next(id(c) for c in guarded.__code__.co_consts if isinstance(c, types.CodeType) and c.co_name == "limited"))
