"""The errors meminstr raises, and nothing else.

Every error carries the figures it speaks of, so that a handler need not parse a message.  At run time no
fault of meminstr itself is raised into the host program: what is raised here was asked for (a limit with
``on_exceed="raise"``, a guard with ``on_leak="raise"``) or is a mistake in a call (`UsageError`).
"""

from __future__ import annotations

from typing import Any


class MeminstrError(Exception):
    """The root of everything meminstr raises."""


class UsageError(MeminstrError, ValueError):
    """A decorator, function or command was given something it cannot take.

    The message says what was given, where, and which values are allowed.
    """


class MemoryLimitExceeded(MeminstrError, MemoryError):
    """A call was refused at its start, or was found above its limit.

    Attributes:
        subject: name of the limited call, as in the report.
        limit_bytes: the limit that applied.
        observed_bytes: the reading that broke it.
        peak_bytes: highest reading of the call so far, or None when the call was refused.
        breach: the full breach record, a mapping as in the report's ``breaches``.
    """

    def __init__(
        self,
        message: str,
        *,
        subject: str = "",
        limit_bytes: int = 0,
        observed_bytes: int = 0,
        peak_bytes: int | None = None,
        breach: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.subject = subject
        self.limit_bytes = limit_bytes
        self.observed_bytes = observed_bytes
        self.peak_bytes = peak_bytes
        self.breach = breach

    def __reduce__(self) -> tuple[Any, ...]:
        # keyword-only attributes would be lost by BaseException's own reduction, and a worker process
        # sends this error to its parent
        return (type(self), (self.args[0] if self.args else "",), dict(self.__dict__))


class LeakDetected(MeminstrError, AssertionError):
    """A leak was found where ``on_leak="raise"`` or an assertion asked for an error.

    Attributes:
        finding: the `meminstr.Finding` with the evidence.
    """

    def __init__(self, message: str, finding: Any = None) -> None:
        super().__init__(message)
        self.finding = finding

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.args[0] if self.args else "", self.finding), dict(self.__dict__))
