"""The arguments of ``memory_limited`` turned into a frozen `Limit`, or refused in one sentence.

What this system can do is asked here too, so that a mode that cannot work is named at decoration and not at the
first breach.  Keeping the limit is the matter of the other files of this folder.
"""

from __future__ import annotations

import importlib.util
import math
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..units import GIB, MIB, parse_bytes, scaled_bytes

STALENESS_SECONDS = 0.001
"""How old the reading may be that a short call is judged by."""

FAULT_BYTES_PER_SECOND = 40e9
"""Most that one core can add to the resident set: a page fault of 4 KiB takes 0.1 us at least."""

NEAR_SHARE = 0.8
"""From this share of the limit on, readings are fresh and the first notice is given."""

_OF = ("process", "call")
_ON_EXCEED = ("raise", "warn")
_MODES = ("watch", "check", "kernel", "process")
_WAYS = "one of gb=, mb=, limit= and fraction= must be given"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit as the user wrote it, checked.

    Attributes:
        limit_bytes: the limit; None when it is a fraction of what surrounds the process.
        fraction: share (0 to 1] of the tightest limit around the process, read at use.
        of: ``process``: the resident set as a whole; ``call``: its growth since the call began.
        mode: ``watch``, ``check``, ``kernel`` or ``process``.
        on_exceed: ``raise``, ``warn`` or a callable that gets the breach record.
        wait_seconds: how long a call may wait for room before it is refused; None: it is not asked.
        interrupt_threads: whether calls outside the main thread are stopped by an asynchronous exception.
    """

    limit_bytes: int | None
    fraction: float | None = None
    of: str = "process"
    mode: str = "watch"
    on_exceed: str | Callable[[dict[str, Any]], Any] = "raise"
    wait_seconds: float | None = None
    interrupt_threads: bool = False

    @property
    def staleness_seconds(self) -> float:
        """How old a reading may be: 1 ms, and less where a small growth is to be measured."""
        if self.of == "process" or self.limit_bytes is None:
            return STALENESS_SECONDS
        return min(STALENESS_SECONDS, 0.05 * self.limit_bytes / FAULT_BYTES_PER_SECOND)

    @property
    def raises(self) -> bool:
        """Whether a breach ends in `MemoryLimitExceeded`."""
        return self.on_exceed == "raise"


def make_limit(
    *,
    gb: float | None = None,
    mb: float | None = None,
    limit: str | int | float | None = None,
    fraction: float | None = None,
    of: str = "process",
    mode: str = "watch",
    on_exceed: str | Callable[[dict[str, Any]], Any] = "raise",
    wait: float | None = None,
    interrupt_threads: bool = False,
) -> Limit:
    """Check the arguments of ``memory_limited``.

    Raises:
        UsageError: none or several limits, a limit that is none, an unknown word, a mode this system lacks.
    """
    given = {"gb": gb, "mb": mb, "limit": limit, "fraction": fraction}
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        said = f"got {' and '.join(f'{n}={given[n]!r}' for n in names)}" if names else "got none"
        raise UsageError(f"memory_limited: exactly {_WAYS}, {said}")
    size: int | None = None
    if gb is not None:
        size = scaled_bytes(gb, GIB, "gb")
    elif mb is not None:
        size = scaled_bytes(mb, MIB, "mb")
    elif limit is not None:
        size = parse_bytes(limit, "limit")
    _one_of("of", of, _OF)
    _one_of("mode", mode, _MODES)
    if not callable(on_exceed):
        _one_of("on_exceed", on_exceed, _ON_EXCEED, " or a callable")
    _refuse_missing_mode(mode)
    if interrupt_threads:
        _refuse_unsafe_threads()
    return Limit(
        limit_bytes=size,
        fraction=None if fraction is None else _share(fraction),
        of=of,
        mode=mode,
        on_exceed=on_exceed,
        wait_seconds=None if wait is None else _seconds(wait),
        interrupt_threads=bool(interrupt_threads),
    )


def available_modes() -> tuple[str, ...]:
    """The modes that work on this system, the default first."""
    modes = ["watch", "check"]
    if sys.platform == "linux" and _has("resource"):
        modes.append("kernel")
    if sys.platform not in ("emscripten", "wasi", "win32") and _has("_posixsubprocess"):
        modes.append("process")
    return tuple(modes)


def _has(module: str) -> bool:
    # a module hidden by None in sys.modules (tests do so) makes find_spec raise
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:
        return False


def _refuse_missing_mode(mode: str) -> None:
    modes = available_modes()
    if mode not in modes:
        raise UsageError(
            f"mode={mode!r} is not available on this system ({sys.platform}): {', '.join(map(repr, modes))} are"
        )


def _refuse_unsafe_threads() -> None:
    # measured (LIMITS.md): on 3.13 such exceptions escape their handler, on 3.11 they go to a stale thread after
    # a failed Thread.start(), and free-threaded builds were not tried
    if platform.python_implementation() != "CPython" or sys.version_info[:2] != (3, 12):
        version = f"{platform.python_implementation()} {platform.python_version()}"
        raise UsageError(
            f"interrupt_threads=True is refused on {version}, where an asynchronous exception can miss its "
            "handler: CPython 3.12 is allowed; elsewhere use mode='kernel' or mode='process'"
        )


def _one_of(name: str, value: object, allowed: tuple[str, ...], more: str = "") -> None:
    if not isinstance(value, str) or value not in allowed:
        raise UsageError(f"{name}={value!r} is not allowed: {', '.join(map(repr, allowed))}{more} is")


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise UsageError(f"fraction={value!r} is not a share: a number above 0 and up to 1 is allowed")
    return float(value)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value >= 0):
        raise UsageError(f"wait={value!r} is not a time: a number of seconds from 0 on is allowed")
    return float(value)
