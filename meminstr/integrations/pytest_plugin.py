"""The pytest plugin: two marks, a fixture, and ``--meminstr`` for a whole suite.

    @pytest.mark.memory_limited("100 MB")        # the test may grow the process by so much, and is stopped above it
    @pytest.mark.no_leaks                        # called again and again, the test leaves nothing behind
    def test_it(no_leaks): no_leaks(function)    # the same of one function

    pytest --meminstr                            # what each test left behind, the most first, in the summary
    pytest --meminstr-no-leaks                   # as if every test bore the mark

pytest imports this file in every run of everyone who has meminstr installed, so that it imports nothing of meminstr's
until a mark, the fixture or an option is used; the work is done in `pytest_checks` and `pytest_suite`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .pytest_checks import NoLeaks

MARKS = ("memory_limited", "no_leaks")
_KEY = pytest.StashKey[Any]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options and the ini settings, which say the same."""
    group = parser.getgroup("meminstr", "memory (meminstr)")
    group.addoption("--meminstr", action="store_true", help="measure what each test leaves behind, and sum it up")
    group.addoption("--meminstr-no-leaks", action="store_true", help="check every test as if it bore the mark no_leaks")
    parser.addini("meminstr", "measure every test, as --meminstr does", type="bool", default=False)
    parser.addini(
        "meminstr_no_leaks", "check every test for leaks, as --meminstr-no-leaks does", type="bool", default=False
    )
    parser.addini("meminstr_seconds", "how long a check for leaks tries, in seconds", default="1.0")
    parser.addini("meminstr_top", "how many tests the summary names", default="10")
    parser.addini("meminstr_memory_limit", "limit of every test without a limit of its own, as 500 MB", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks; check the settings; measure if asked to."""
    for line in (
        'memory_limited(limit, of="call", mode="watch"): stop the test when it takes more than the limit, as "100 MB"',
        "no_leaks(seconds=1.0, allocations=True): repeat the test; fail if it leaves memory, files or threads behind",
    ):
        config.addinivalue_line("markers", line)
    checked = _settings(config)
    config.stash[_KEY] = checked
    if config.getoption("--meminstr") or config.getini("meminstr"):
        from .pytest_suite import Suite

        config.pluginmanager.register(Suite(config, checked["top"]), "meminstr-suite")


def _settings(config: pytest.Config) -> dict[str, Any]:
    found: dict[str, Any] = {"limit": config.getini("meminstr_memory_limit").strip()}
    found["every"] = bool(config.getoption("--meminstr-no-leaks") or config.getini("meminstr_no_leaks"))
    for name, kind, least in (("seconds", float, 1e-3), ("top", int, 0)):
        written = config.getini(f"meminstr_{name}")
        try:
            found[name] = kind(written)
            if not least <= found[name] < 1e9:
                raise ValueError
        except ValueError:
            raise pytest.UsageError(f"meminstr_{name}={written!r} is not allowed: a number from {least:g} is") from None
    if found["limit"]:
        from ..errors import UsageError
        from ..units import parse_bytes

        try:
            parse_bytes(found["limit"], "meminstr_memory_limit")
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Keep a marked test under its limit, and check a marked `unittest` test for leaks."""
    mark = item.get_closest_marker("memory_limited")
    default = item.config.stash[_KEY]["limit"]
    if mark is not None or default:
        from .pytest_checks import limited

        limited(item, mark, default)
    try:
        outcome = yield
    finally:
        if mark is not None or default:
            vars(item).pop("runtest", None)
    if not isinstance(item, pytest.Function) or _is_unittest(item):
        seconds = _leak_check(item)
        if seconds is not None and _is_unittest(item):
            from .pytest_checks import check_unittest

            check_unittest(item, item.get_closest_marker("no_leaks"), seconds)
    return outcome


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Once a marked test has passed, repeat it and see what it leaves behind."""
    outcome = yield
    seconds = None if _KEY in pyfuncitem.stash else _leak_check(pyfuncitem)
    if seconds is not None:
        from .pytest_checks import check_function

        pyfuncitem.stash[_KEY] = True  # the repetitions come by here too
        try:
            check_function(pyfuncitem, pyfuncitem.get_closest_marker("no_leaks"), seconds)
        finally:
            del pyfuncitem.stash[_KEY]
    return outcome


def _leak_check(item: pytest.Item) -> float | None:
    """How long to try, None when this test is not to be checked."""
    settings = item.config.stash[_KEY]
    wanted = item.get_closest_marker("no_leaks") is not None or settings["every"]
    return settings["seconds"] if wanted else None


def _is_unittest(item: pytest.Item) -> bool:
    return type(item).__module__ == "_pytest.unittest"


@pytest.fixture
def no_leaks(request: pytest.FixtureRequest) -> NoLeaks:
    """``no_leaks(function, *args, seconds=1.0, **kwargs)``: fail when calling it again and again leaves memory behind.

    ``await no_leaks.awaiting(function, ...)`` does the same of a coroutine function.  Both return the
    `meminstr.Finding`.
    """
    from .pytest_checks import NoLeaks

    return NoLeaks(request.config.stash[_KEY]["seconds"])
