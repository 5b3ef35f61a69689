"""The frames that a memory limit puts around a function.

One frame each, compiled under a file name that `warnings` and `logging` skip, so that ``stacklevel=2`` in the
function blames the true caller (see `instrument.functions`).  They are registered as places where a call may be
interrupted, because they arm it inside their ``try`` only.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from ..limits.guard import Guard
from ..limits.interrupt import TRAMPOLINES
from ..limits.threads import disarm, forget

_HIDDEN = "<meminstr importlib._bootstrap limit>"


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
def guarded(function: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    """Every other mode, for a plain function."""

    def limited(*args: Any, **kwargs: Any) -> Any:
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
