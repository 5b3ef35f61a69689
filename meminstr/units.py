"""Sizes, durations and rates: how users write them and how meminstr prints them.

One GB is 1024**3 bytes here, as in the monitors this project grew from; what is printed says GiB, so that
nobody has to guess.
"""

from __future__ import annotations

import math
import re
from numbers import Real

from .errors import UsageError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

_FACTORS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgtp", start=1):
    for _suffix in ("", "b", "ib"):
        _FACTORS[_letter + _suffix] = 1 << (10 * _power)

_SIZE = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_ALLOWED = 'a positive size such as "2GiB", "500 MB" or a number of bytes'


def parse_bytes(value: str | int | float, what: str = "limit") -> int:
    """Bytes from ``"2GiB"``, ``"500 MB"``, ``"1.5g"`` or a plain number of bytes.

    Args:
        value: the size as the user wrote it.
        what: the argument's name, for the message.

    Returns:
        A positive number of bytes.

    Raises:
        UsageError: not a size, not finite, or not positive.
    """
    refusal = f"{what}={_shown(value)} is not a size: {_ALLOWED} is allowed"
    if isinstance(value, bool) or not isinstance(value, (str, Real)):
        raise UsageError(refusal)
    try:
        if isinstance(value, str):
            match = _SIZE.fullmatch(value)
            factor = _FACTORS.get(match[2].lower()) if match else None
            if match is None or factor is None:
                raise UsageError(refusal)
            amount = float(match[1]) * factor
        else:
            amount = float(value)
        if not amount >= 1:  # also refuses NaN
            raise UsageError(refusal)
        return int(amount)
    except (ValueError, OverflowError):  # "1__0", infinity, integers beyond the range of a float
        raise UsageError(refusal) from None


def scaled_bytes(value: float, factor: int, what: str) -> int:
    """Bytes from a number of ``factor`` units (``gb=2`` with `GIB`).

    Raises:
        UsageError: no number, not finite, or not positive.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{what}={_shown(value)} is not a number: a positive number is allowed")
    try:
        amount = float(value) * factor
        if not amount >= 1:  # also refuses NaN
            raise ValueError
        return int(amount)
    except (ValueError, OverflowError):
        raise UsageError(f"{what}={_shown(value)} is not a limit: a positive, finite number is allowed") from None


def _shown(value: object) -> str:
    # what was given, short: a message is one sentence, whatever was passed (repr of a long int raises)
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:60]}...{text[-10:]}"


def format_bytes(value: float) -> str:
    """``1234567`` as ``1.2 MiB``: three figures at most, binary units, the sign kept; ``unknown`` for NaN."""
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "unlimited"
    size = abs(value)
    sign = "-" if value < 0 else ""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 999.5 or unit == "TiB":
            break
        size /= 1024
    text = f"{size:.0f}" if size >= 99.5 or (unit == "B" and size == int(size)) else f"{size:.3g}"
    return f"{sign}{text} {unit}"


def format_count(value: float) -> str:
    """A count or a rate with thousands separators: ``12,000``, ``0.02``; a plus sign is the caller's matter."""
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "unlimited"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 999.5 <= abs(value) < 1e15 else f"{value:.3g}"


def format_duration(seconds: float) -> str:
    """``11400`` as ``3 h 10 min``: the two largest units, rounded; ``never`` for infinity."""
    if not math.isfinite(seconds):
        return "unknown" if math.isnan(seconds) else "never"
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if seconds < 0.9995:
        if seconds < 0.5e-6:
            return "0 s"
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.0009995 else f"{seconds * 1e6:.0f} us"
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    if seconds < 599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    if days < 365:
        return f"{days} d {hours} h" if hours and days < 30 else f"{days} d"
    years = seconds / 31_557_600
    return f"{years:.2g} years" if years < 99.5 else "over 100 years"
