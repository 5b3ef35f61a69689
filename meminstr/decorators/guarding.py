"""`leak_guard`: does a call of this function leave memory behind?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, overload

from ..errors import UsageError
from ..faults import settle
from ..forks import cannot_finish, loading
from ..instrument.functions import instrumented
from ..instrument.switches import checked_every
from ..registry import ControllerMemoryTracker, Subject, set_look_hook
from ..settings import current

F = TypeVar("F")


@overload
def leak_guard(target: F, /) -> F: ...
@overload
def leak_guard(
    *,
    every: int | None = None,
    on_leak: str | Callable[[Any], object] = "warn",
    horizon: float | None = None,
    tracker: ControllerMemoryTracker | None = None,
) -> Callable[[F], F]: ...
def leak_guard(
    target: Any = None,
    /,
    *,
    every: int | None = None,
    on_leak: str | Callable[[Any], object] = "warn",
    horizon: float | None = None,
    tracker: ControllerMemoryTracker | None = None,
) -> Any:
    """Watch whether calls of a function leave memory behind.

    Works bare and with options, on functions, methods, class and static methods, coroutine functions, generators and
    async generators.  Every call is counted exactly; one in ``every`` (and a few of the first) reads memory before
    and after.  A call that is not sampled enters no Python frame of meminstr.

    Args:
        target: the function, when used bare.
        every: sample one call in so many, 1 to 1,000,000 (default: the setting, 100).
        on_leak: what happens when the verdict becomes ``leaking``: ``"warn"`` (one WARNING on the logger
            ``meminstr``), ``"raise"`` (`LeakDetected` from the call that was being looked at, after it finished) or a
            callable that is given the `Finding`.
        horizon: calls that growth must last before it is called a leak (default: the setting, 5,000).
        tracker: where it is registered (default: `meminstr.tracker`).

    Raises:
        UsageError: an argument that is not allowed, or a target that is no function.
    """
    every = current().every if every is None else every
    checked_every(every)
    check_on_leak(on_leak)
    if horizon is not None and (
        isinstance(horizon, bool) or not isinstance(horizon, (int, float)) or not math.isfinite(horizon) or horizon < 1
    ):
        raise UsageError(f"horizon={horizon!r} is not allowed: a finite number of calls, at least 1, is")

    def decorate(function: Any) -> Any:
        if not current().enabled or instrumented_by(function, tracker):
            return function
        options = {"every": every, "on_leak": on_leak, "horizon": horizon}
        return chosen(tracker).guard(
            function, every=every, on_leak=on_leak, horizon=horizon, recipe=(leak_guard, options)
        )

    return decorate if target is None else decorate(target)


_FIRST_LOOK = 12


def _first_look(tracker: ControllerMemoryTracker, subject: Subject) -> None:
    # the diagnosis is loaded when there is something to look at, not when a module is imported that has a decorator
    if subject.samples < _FIRST_LOOK or cannot_finish() or not loading.acquire(blocking=False):
        return
    try:
        with tracker.sampler.not_ours("loading"):
            from ..diagnosis import looking

            looking.install()
    except Exception as error:
        settle("loading the diagnosis", error)  # a signal handler's error goes on, and the next sample tries again
        set_look_hook(None)
    finally:
        loading.release()


set_look_hook(_first_look)


def chosen(tracker: ControllerMemoryTracker | None) -> ControllerMemoryTracker:
    """The given tracker, or the global one.

    Raises:
        UsageError: something else was given.
    """
    if tracker is None:
        from ..registry import tracker as the_global_one

        return the_global_one
    if not isinstance(tracker, ControllerMemoryTracker):
        raise UsageError(f"tracker={tracker!r} is not allowed: a ControllerMemoryTracker, or None for the global one")
    return tracker


def check_on_leak(on_leak: object) -> None:
    """Refuse what is neither ``warn``, ``raise`` nor callable."""
    if on_leak not in ("warn", "raise") and not callable(on_leak):
        raise UsageError(f'on_leak={on_leak!r} is not allowed: "warn", "raise" or a callable is')


def instrumented_by(function: Any, tracker: ControllerMemoryTracker | None) -> bool:
    """Whether this very function is guarded by the same tracker already (a reload, a second wildcard)."""
    record = instrumented(function)
    subjects = chosen(tracker).functions.values()
    return record is not None and any(record.around is subject for subject in subjects)
