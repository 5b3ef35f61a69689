"""The frames that a memory limit puts around a function.

One frame each, compiled under a file name that `warnings` and `logging` skip, so that ``stacklevel=2`` in the
function blames the true caller (see `instrument.functions`).  They are registered as places where a call may be
interrupted, because they arm it inside their ``try`` only.

Coverage measures nothing under a name that is no file: with ``MEMINSTR_PLAIN_FRAMES`` set in the environment the
frames keep theirs.  Nobody else needs that.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Callable
from threading import get_ident
from typing import Any

from ..instrument.parameters import parameters_of
from ..limits.guard import Guard
from ..limits.interrupt import HOT, TRAMPOLINES
from ..limits.threads import disarm, forget

_HIDDEN = __file__ if os.environ.get("MEMINSTR_PLAIN_FRAMES") else "<meminstr importlib._bootstrap limit>"
_GENERATED = "<meminstr importlib._bootstrap limit>"


def _hidden(function: Any) -> Any:
    def renamed(code: types.CodeType, inner: bool) -> types.CodeType:
        consts = tuple(renamed(c, True) if isinstance(c, types.CodeType) else c for c in code.co_consts)
        code = code.replace(co_filename=_HIDDEN, co_consts=consts)
        if inner:
            TRAMPOLINES.add(code)
        return code

    function.__code__ = renamed(function.__code__, False)
    return function


_CHECK = """\
def limited({shown}):
    _mi_granted = _mi_guard.granted
    if _mi_clock() < _mi_granted.until:
        _mi_result = _mi_function({passed})
        if _mi_clock() >= _mi_granted.until:
            _mi_guard.late(_mi_granted)
        return _mi_result
    _mi_call = _mi_guard.enter(arm=False)
    try:
        _mi_result = _mi_function({passed})
    except _mi_anything as _mi_error:
        _mi_guard.leave(_mi_call, _mi_error)
        raise
    _mi_guard.leave(_mi_call)
    return _mi_result
"""
"""Short calls live on one reading, without a token or a handler."""

# asked when it begins to run: it may have been made long before
_CHECK_COROUTINE = """\
async def limited({shown}):
    _mi_granted = _mi_guard.granted
    if _mi_clock() >= _mi_granted.until:
        return await _mi_slow(_mi_itself, None, (_mi_function({passed}),), _mi_none)
    _mi_result = await _mi_function({passed})
    if _mi_clock() >= _mi_granted.until:
        _mi_guard.late(_mi_granted)
    return _mi_result
"""

# one that starts on a young reading is judged at its end, not at its steps; after one that took long the next gets
# readings, and steps, of its own
_CHECK_GENERATOR = """\
def limited({shown}):
    _mi_granted = _mi_guard.granted
    if _mi_clock() >= _mi_granted.until:
        return (yield from _mi_slow(_mi_itself, None, (_mi_function({passed}),), _mi_none))
    _mi_result = yield from _mi_function({passed})
    if _mi_clock() >= _mi_granted.until:
        _mi_guard.late(_mi_granted)
    return _mi_result
"""


@functools.lru_cache(maxsize=256)
def _compiled(source: str) -> types.CodeType:
    scratch: dict[str, Any] = {}
    exec(compile(source, _GENERATED, "exec", dont_inherit=True), scratch)
    code: types.CodeType = scratch["limited"].__code__
    return code


def _generated(template: str, function: Any, guard: Guard, **more: Any) -> Callable[..., Any]:
    """A wrapper with the function's own parameters: half of what passing ``*args, **kwargs`` on would cost.

    Measured against a do-nothing wrapt decorator: functions 0.26 instead of 0.42, methods 0.28 instead of 0.44,
    coroutine functions, which need one frame less that way, 0.48 instead of 0.77, generators 0.47 instead of 0.63.
    """
    plain = type(function) is types.FunctionType
    found = parameters_of(function) if plain else None
    shown, passed = ("*args, **kwargs",) * 2 if found is None else (found.shown, ", ".join(found.passed))
    names = {
        "__name__": getattr(function, "__module__", None) or __name__,
        "__builtins__": __builtins__,
        "_mi_function": function,
        "_mi_guard": guard,
        "_mi_clock": guard.services.readings.clock,
        "_mi_anything": BaseException,
        **more,
    }
    code = _compiled(template.format(shown=shown, passed=passed))
    name = getattr(function, "__name__", code.co_name)
    code = code.replace(co_name=name, co_qualname=getattr(function, "__qualname__", name))
    made = types.FunctionType(code, names, name)
    if found is not None:
        made.__defaults__, made.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return made


def checked(function: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    """``mode="check"`` for a plain function."""
    return _generated(_CHECK, function, guard)


def checked_coroutine(guard: Guard, function: Callable[..., Any], slow: Callable[..., Any]) -> Callable[..., Any]:
    """`checked` for a coroutine function; ``slow`` is the general frame for whoever has no young reading."""
    return _generated(_CHECK_COROUTINE, function, guard, _mi_slow=slow, _mi_itself=_itself, _mi_none={})


def checked_generator(guard: Guard, function: Callable[..., Any], slow: Callable[..., Any]) -> Callable[..., Any]:
    """`checked` for a generator function."""
    return _generated(_CHECK_GENERATOR, function, guard, _mi_slow=slow, _mi_itself=_itself, _mi_none={})


def _itself(inner: Any) -> Any:
    return inner


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
