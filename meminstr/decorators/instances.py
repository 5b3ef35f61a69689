"""`track_instantiations`: construction, cleanup and death of every instance of a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from ..errors import UsageError
from ..registry import ControllerMemoryTracker
from ..settings import current
from .guarding import check_on_leak, chosen

C = TypeVar("C", bound=type)


@overload
def track_instantiations(name: C, /) -> C: ...
@overload
def track_instantiations(
    name: str | None = None,
    *,
    cleanup: str | None = None,
    on_leak: str | Callable[[Any], object] = "warn",
    tracker: ControllerMemoryTracker | None = None,
) -> Callable[[C], C]: ...
def track_instantiations(
    name: Any = None,
    *,
    cleanup: str | None = None,
    on_leak: str | Callable[[Any], object] = "warn",
    tracker: ControllerMemoryTracker | None = None,
) -> Any:
    """Follow construction, cleanup and death of a class's instances.

    The class is patched in place and stays the same object; `ControllerMemoryTracker.uninstall` restores it exactly.
    Not seen: copies, unpickled objects and ``cls.__new__(cls)``, which run no constructor, and objects made before.

    Args:
        name: the subject's name in reports (default: the class's qualified name); or the class itself, when used bare.
        cleanup: the method after which an instance should soon be gone (default: the first there is of ``cleanup``,
            ``close``, ``aclose``, ``shutdown``, ``dispose``; ``__exit__`` and ``__aexit__`` count too).
        on_leak: as for `leak_guard`.
        tracker: where it is registered (default: `meminstr.tracker`).

    Raises:
        UsageError: an argument that is not allowed, or a class that cannot be followed (builtin, Enum, NamedTuple,
            Protocol), with the reason.
    """
    check_on_leak(on_leak)
    bare = isinstance(name, type)
    if not bare and name is not None and (not isinstance(name, str) or not name.strip()):
        raise UsageError(f"name={name!r} is not a name: a non-empty string is allowed")
    if cleanup is not None and (not isinstance(cleanup, str) or not cleanup.isidentifier()):
        raise UsageError(f"cleanup={cleanup!r} is not a method's name: an identifier is allowed")

    def decorate(cls: Any) -> Any:
        if not isinstance(cls, type):
            raise UsageError(
                f"track_instantiations was given {type(cls).__name__} {cls!r:.80}: a class is allowed (for functions "
                "there is leak_guard)"
            )
        if current().enabled:
            chosen(tracker).follow(cls, name=None if bare else name, cleanup=cleanup, on_leak=on_leak)
        return cls

    return decorate(name) if bare else decorate
