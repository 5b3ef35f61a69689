"""What the marks and the fixture of the pytest plugin do; imported when one is used.

A failure is the verdict in the words of a report, with the holder path, and no traceback through pytest and meminstr.
Repetitions share the fixtures of the test: what a function-scoped fixture collects on purpose looks like a leak.
"""

from __future__ import annotations

import inspect
import unittest
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ..decorators import memory_limited
from ..errors import LeakDetected, MemoryLimitExceeded, UsageError
from ..settings import current
from ..test_mode import assert_no_leak, assert_no_leak_async
from ..verdict import Finding

_STACK_LINES = 6


def limited(item: pytest.Item, mark: pytest.Mark | None, default: str) -> None:
    """Put the limit around the run of a test; the caller takes it off again.

    Raises:
        pytest.fail.Exception: the mark's arguments are not allowed.
    """
    runtest = item.runtest

    def run() -> None:
        runtest()

    run.__qualname__ = run.__name__ = item.name
    within, message = run, ""
    try:
        within = memory_limited(**_limit_options(mark, default))(run)
    except (UsageError, TypeError) as error:
        message = f"memory_limited of {item.nodeid}: {error}"
    if message:  # outside of the handler: pytest would print what was handled too
        pytest.fail(message, pytrace=False)

    def run_within() -> None:
        try:
            return within()
        except MemoryLimitExceeded as error:
            if error.subject != item.name:
                raise  # a limit inside the test
            message = _broken(error)
        pytest.fail(message, pytrace=False)

    vars(item)["runtest"] = run_within


def _limit_options(mark: pytest.Mark | None, default: str) -> dict[str, Any]:
    if mark is None:
        return {"limit": default, "of": "call"}
    if len(mark.args) > 1:
        raise UsageError(f"{len(mark.args)} limits were given: one is allowed")
    options = {"of": "call", **mark.kwargs}
    if mark.args:
        options["limit"] = mark.args[0]
    if options.get("on_exceed", "raise") != "raise":
        raise UsageError("on_exceed is not allowed: a test above its limit fails")
    return options


def _broken(error: MemoryLimitExceeded) -> str:
    lines = [str(error)]
    stack = (error.breach or {}).get("stack")
    if isinstance(stack, (list, tuple)) and stack:
        lines += ["it was seen here:", *(f"  {line}" for line in stack[:_STACK_LINES])]
    return "\n".join(lines)


def check_function(item: pytest.Function, mark: pytest.Mark | None, seconds: float) -> None:
    """Repeat a test function.

    Raises:
        pytest.fail.Exception: it leaks, or the mark's arguments are not allowed.
    """
    function: Callable[..., Any] = item.obj
    if inspect.iscoroutinefunction(function):
        # its plugin knows how to run it

        def repeat() -> None:
            item.ihook.pytest_pyfunc_call(pyfuncitem=item)

        _check(item, mark, seconds, repeat, {})
    else:
        wanted = item._fixtureinfo.argnames
        _check(item, mark, seconds, function, {name: item.funcargs[name] for name in wanted})


def check_unittest(item: pytest.Item, mark: pytest.Mark | None, seconds: float) -> None:
    """Repeat a test of a `unittest.TestCase`, with its own set-up and tear-down.

    Raises:
        pytest.fail.Exception: it leaks, fails when repeated, or the mark's arguments are not allowed.
    """
    case_class: Any = getattr(item.parent, "obj", None)

    def repeat() -> None:
        outcome = unittest.TestResult()
        case_class(item.name).run(outcome)
        problems = outcome.errors + outcome.failures
        if problems:
            pytest.fail(f"{item.nodeid} passed once and then failed when repeated:\n{problems[0][1]}", pytrace=False)

    _check(item, mark, seconds, repeat, {})


def _check(
    item: pytest.Item, mark: pytest.Mark | None, seconds: float, repeat: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    if not current().enabled:
        return
    try:
        options = _leak_options(mark, seconds)
        function = _named(repeat, item.name)
        assert_no_leak(function, seconds=options["seconds"], allocations=options["allocations"], **arguments)
    except LeakDetected as error:
        message = f"{item.nodeid} leaves something behind each time it runs:\n{error}"
    except UsageError as error:
        message = f"no_leaks of {item.nodeid}: {error}"
    else:
        return
    pytest.fail(message, pytrace=False)


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    if inspect.ismethod(function) or getattr(function, "__qualname__", "").endswith(name):
        return function
    function.__qualname__ = function.__name__ = name
    return function


def _leak_options(mark: pytest.Mark | None, seconds: float) -> dict[str, Any]:
    found = {"seconds": seconds, "allocations": True}
    if mark is not None:
        if mark.args:
            raise UsageError(f"{mark.args[0]!r:.60} is not allowed: only options by name are, as seconds=2")
        unknown = sorted(set(mark.kwargs) - set(found))
        if unknown:
            raise UsageError(f"there is no option {unknown[0]}; there are: seconds, allocations")
        found.update(mark.kwargs)
    return found


class NoLeaks:
    """The fixture ``no_leaks``.

    Args:
        seconds: how long a check tries, unless told otherwise.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(
        self, function: Callable[..., Any], /, *args: Any, seconds: float | None = None, **kwargs: Any
    ) -> Finding:
        """See `meminstr.assert_no_leak`.

        Raises:
            LeakDetected: it leaks.
            UsageError: ``function`` is no plain function, or ``seconds`` is not positive.
        """
        __tracebackhide__ = True
        return assert_no_leak(function, *args, seconds=self._seconds if seconds is None else seconds, **kwargs)

    async def awaiting(
        self, function: Callable[..., Awaitable[Any]], /, *args: Any, seconds: float | None = None, **kwargs: Any
    ) -> Finding:
        """See `meminstr.assert_no_leak_async`."""
        __tracebackhide__ = True
        return await assert_no_leak_async(
            function, *args, seconds=self._seconds if seconds is None else seconds, **kwargs
        )
