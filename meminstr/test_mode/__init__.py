"""`assert_no_leak`: in a test, does calling this leave memory behind?  A verdict in about a second.

The function is warmed up, then called in rounds; before each reading garbage is collected, so that the counters (live
blocks, C heap, descriptors, threads, mappings) are exact.  The readings are judged by the same test and the same gates
as in production, because nothing but the function runs meanwhile.

Here are the two functions that users call, and what they refuse; the course of a trial is in `trial`, what it reads in
`readings`, the lines that kept memory in `kept_lines`, and the words in `saying`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import UsageError
from ..verdict import Finding
from .trial import Trial

__all__ = ["assert_no_leak", "assert_no_leak_async"]


def assert_no_leak(
    function: Callable[..., Any], /, *args: Any, seconds: float = 1.0, allocations: bool = True, **kwargs: Any
) -> Finding:
    """Assert that calling a function leaves no memory, descriptor or thread behind.

    A function that keeps nothing is called some 900 times, one that leaks some 6,000 times, or less often where that
    would take longer than ``seconds``, or where descriptors, threads or memory would run out.

    Args:
        function: called many times with ``args`` and ``kwargs``; it must be repeatable.
        seconds: about how long to try (a slow function is called at least 24 times).
        allocations: of a function that leaks, trace some more calls with `tracemalloc` and tell the lines that kept
            memory; a tracer that runs already is used and left running.

    Returns:
        The `Finding`, whose verdict is none of ``leaking`` and ``growing``.

    Raises:
        LeakDetected: it leaks; the error's ``finding`` and message say how much, of what, and who holds it.
        UsageError: ``function`` is not callable, or calling it runs nothing (a coroutine or generator function), or
            ``seconds`` is not positive.
        BaseException: what the function raised, with a note that says in which call.
    """
    _check(function, seconds)
    for test, what in (
        (inspect.isgeneratorfunction, "a generator"),
        (inspect.isasyncgenfunction, "an async generator"),
    ):
        if _is(function, test):
            raise UsageError(
                f"{function!r:.80} is {what} function: calling it runs nothing; "
                f"pass one that goes through it, as lambda: list({_name(function)}())"
            )
    if _is(function, inspect.iscoroutinefunction):
        raise UsageError(f"{function!r:.80} is a coroutine function: await assert_no_leak_async for those")
    trial = Trial(_name(function), seconds, allocations)
    steps = trial.steps()
    try:
        first = _repeat(function, args, kwargs, next(steps), trial)
        if inspect.iscoroutine(first):
            first.close()
            raise UsageError(f"{trial.name} returned a coroutine: await assert_no_leak_async for those")
        del first
        while number := next(steps, 0):
            _repeat(function, args, kwargs, number, trial)
    finally:
        steps.close()
    return _found(trial)


async def assert_no_leak_async(
    function: Callable[..., Awaitable[Any]],
    /,
    *args: Any,
    seconds: float = 1.0,
    allocations: bool = True,
    **kwargs: Any,
) -> Finding:
    """The twin of `assert_no_leak` for coroutine functions, in the running loop; tasks left running are a leak too."""
    _check(function, seconds)
    trial = Trial(_name(function), seconds, allocations)
    steps = trial.steps()
    try:
        first = _repeat(function, args, kwargs, next(steps), trial)
        if not inspect.isawaitable(first):
            raise UsageError(
                f"{trial.name} is no coroutine function: it returned {type(first).__name__}, which cannot be awaited"
            )
        await first
        del first
        while number := next(steps, 0):
            await _repeat_async(function, args, kwargs, number, trial)
    finally:
        steps.close()
    return _found(trial)


def _repeat(function: Callable[..., Any], args: Any, kwargs: Any, number: int, trial: Trial) -> Any:
    made = 0
    try:
        for made in range(number - 1):  # noqa: B007 - told when the function raises
            function(*args, **kwargs)
        made = number - 1
        return function(*args, **kwargs)
    except Exception as error:
        _note(error, trial, made)
        raise


async def _repeat_async(
    function: Callable[..., Awaitable[Any]], args: Any, kwargs: Any, number: int, trial: Trial
) -> None:
    made = 0
    try:
        for made in range(number):  # noqa: B007 - told when the function raises
            await function(*args, **kwargs)
    except Exception as error:
        _note(error, trial, made)
        raise
    await asyncio.sleep(0)  # tasks that are done let go of what they hold


def _note(error: Exception, trial: Trial, made: int) -> None:
    if trial.calls + made:  # what fails at once is not repeatable anyhow
        error.add_note(f"in call {trial.calls + made + 1:,} of {trial.name} by assert_no_leak; it must be repeatable")


def _found(trial: Trial) -> Finding:
    assert trial.finding is not None, "steps ended"
    return trial.finding


def _check(function: Any, seconds: Any) -> None:
    if not callable(function):
        raise UsageError(f"function={function!r:.80} is not callable: a function is allowed")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise UsageError(f"seconds={seconds!r} is not allowed: a positive number of seconds is")


def _is(function: Any, test: Callable[[Any], bool]) -> bool:
    if test(function) or isinstance(function, type):
        return test(function)
    return test(vars(type(function)).get("__call__"))  # of an object that is called


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__qualname__", type(function).__name__)).rpartition("<locals>.")[2]
