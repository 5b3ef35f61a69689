"""The public functions that act on the global tracker."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import registry
from .diagnosis import overdue
from .errors import UsageError
from .evidence.caches import declare_bounded


def enable() -> None:
    """Sample again after `disable`."""
    registry.tracker.enable()


def disable() -> None:
    """Take no more samples.  Calls, constructions and deaths are still counted."""
    registry.tracker.disable()


def uninstall() -> list[str]:
    """Remove every patch exactly; returns what could not be removed because somebody patched on top of it."""
    return registry.tracker.uninstall()


def mark_warm() -> None:
    """Start-up is over: histories begin here, and what was taken before is nobody's leak."""
    registry.tracker.mark_warm()


def register_probe(name: str, read: Callable[[], float], *, unit: str = "bytes", floor: float | None = None) -> None:
    """Judge one more figure of the process; see `ControllerMemoryTracker.register_probe`."""
    registry.tracker.register_probe(name, read, unit=unit, floor=floor)


def bounded(container: Any, maxsize: int) -> Any:
    """Declare that a container of one's own is a cache that never exceeds ``maxsize`` entries.

    While it fills, growth is a cache filling and no leak.  Returns the container.

    Raises:
        UsageError: no sized container, or a bound that is no positive whole number.
    """
    try:
        declare_bounded(container, maxsize)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None
    return container


def watch(obj: Any, reason: str, grace: float = 5.0) -> None:
    """This object should be dead soon: what outlives ``grace`` seconds is reported, with who holds it.

    The log says so too (one WARNING for each type and reason) when a sample or another `watch` comes by afterwards.

    Args:
        obj: any object that takes a weak reference; it is not kept alive.
        reason: why it should be gone, as ``"session closed"``.
        grace: seconds; `report` settles the question at once.

    Raises:
        UsageError: the object takes no weak reference, or an argument is not allowed.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise UsageError(f"reason={reason!r} is not a reason: a non-empty string is allowed")
    if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not 0 <= grace < math.inf:
        raise UsageError(f"grace={grace!r} is not allowed: a number of seconds, at least 0, is")
    refused = registry.tracker.watchlist.watch(obj, reason, grace)
    if refused is not None:
        raise UsageError(refused)
    overdue.check(registry.tracker)
