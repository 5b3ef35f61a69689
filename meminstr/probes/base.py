"""What a probe is: the protocol, the probe of a user's own, and the two helpers every probe shares.

A probe answers one question, "how much now?", with one integer.  How often it may be asked is decided in
`meminstr.probes.budget`; what the answers mean is decided in `meminstr.trend`.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Callable
from typing import Any, Literal, Protocol, cast, runtime_checkable

from ..errors import UsageError
from ..forks import loading

Unit = Literal["bytes", "blocks", "count"]
Kind = Literal["memory", "resource"]

UNITS: tuple[str, ...] = ("bytes", "blocks", "count")
KINDS: tuple[str, ...] = ("memory", "resource")

_LARGEST = 1 << 60  # an exbibyte: nothing a process can hold, so a reading above it is a fault of the source
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


@runtime_checkable
class Probe(Protocol):
    """One figure of this process.

    Attributes:
        name: short name, unique among the probes in use.
        unit: ``bytes``, ``blocks`` or ``count``.
        kind: ``memory`` or ``resource``.
        source: human name of the signal that is in use right now; it may change when a source goes away.
    """

    @property
    def name(self) -> str:
        """Short name, unique among the probes in use."""
        ...

    @property
    def unit(self) -> Unit:
        """What the figure counts."""
        ...

    @property
    def kind(self) -> Kind:
        """Whether it is memory or another resource that runs out."""
        ...

    @property
    def source(self) -> str:
        """Human name of the signal in use."""
        ...

    def read(self) -> int:
        """The figure now.  Raises OSError, ValueError or RuntimeError when it cannot be had."""
        ...


class ProbeUnavailable(RuntimeError):
    """A source of readings does not exist on this system (no ``/proc``, musl, another Python)."""


def checked_reading(value: Any, where: str) -> int:
    """An integer from what a reader returned.

    Raises:
        ValueError: no number, NaN, infinite, negative, or beyond what any process can hold.
    """
    if isinstance(value, bool):
        raise ValueError(f"{where} returned {value!r}, not a number")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} returned {value!r}")
        number = int(value)
    else:
        try:
            number = operator.index(value)  # also numpy's integers, and nothing that merely looks like one
        except TypeError:
            raise ValueError(f"{where} returned {value!r:.80}, not a number") from None
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"{where} returned {number}, which no process can have")
    return number


_process: tuple[int, Any] | None = None


def psutil_process() -> Any:
    """The `psutil.Process` of this very process, kept (a new one costs three times a reading) until a fork.

    Raises:
        ImportError: psutil cannot be imported.
    """
    global _process
    pid = os.getpid()
    kept = _process
    if kept is None or kept[0] != pid:
        with loading.of("psutil"):
            import psutil

        _process = kept = (pid, psutil.Process(pid))
    return kept[1]


class UserProbe:
    """A figure of the user's own, for `meminstr.register_probe`: GPU bytes, a pool's size, a queue's length.

    Args:
        name: letters, digits, ``_``, ``.`` and ``-``, at most 64 characters.
        read: called without arguments; returns a number of ``unit`` (0 or more).
        unit: ``bytes``, ``blocks`` or ``count``.
        kind: ``memory`` or ``resource``.
        floor: growth below this many units is never called a leak; None leaves that to the unit's default.

    Raises:
        UsageError: an argument that cannot be taken, named with what is allowed.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], float],
        unit: str = "bytes",
        kind: str = "memory",
        floor: float | None = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(
                f"probe name {name!r:.80} is not allowed: a string of 1 to 64 letters, digits, '_', '.' or '-' "
                "that starts with a letter or '_' is"
            )
        if not callable(read):
            raise UsageError(f"read={read!r:.80} of probe {name!r} is not callable: a function without arguments is")
        if unit not in UNITS:
            raise UsageError(f"unit={unit!r:.80} of probe {name!r} is not known: {', '.join(UNITS)} are allowed")
        if kind not in KINDS:
            raise UsageError(f"kind={kind!r:.80} of probe {name!r} is not known: {', '.join(KINDS)} are allowed")
        if floor is not None:
            number = isinstance(floor, (int, float)) and not isinstance(floor, bool)
            if not number or not math.isfinite(floor) or floor < 0:
                raise UsageError(f"floor={floor!r:.80} of probe {name!r} is not allowed: None or a number from 0 up is")
        self._read = read
        self.name = name
        self.unit = cast(Unit, unit)
        self.kind = cast(Kind, kind)
        self.floor = floor

    @property
    def source(self) -> str:
        """The reader's own name."""
        return f"registered: {getattr(self._read, '__qualname__', type(self._read).__name__)}"

    def read(self) -> int:
        """What the reader returns, as an integer.

        Raises:
            ValueError: the reader returned no usable number.
            Exception: whatever the reader raises.
        """
        return checked_reading(self._read(), f"probe {self.name}")
