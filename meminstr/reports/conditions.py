"""``--fail-on``: in which cases a comparison is a failure, parsed from words and asked of each subject.

    leaking               a subject of HEAD is leaking, unless its baseline accepts it
    growing               ... or growing
    new                   a leak, growth or holder that BASE does not have
    worse                 a rate whose interval lies above that of BASE
    slope>64B/call        more bytes per call (construction, request, task), at the lower limit of the interval
    slope>1MiB/hour       more bytes an hour
    slope>+20%            a fifth more than BASE, at the limits of both intervals
    live>0.01             more instances per construction
    eta<2h                the memory limit is nearer than that (s, min, h, d)

A figure is held against the limit of the interval that speaks for the subject: what may be noise fails nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UsageError
from ..evidence import baseline
from ..units import MIB, format_bytes, format_duration, parse_bytes
from ..verdict import Finding, Interval, Verdict
from .compare import WORSE, Change, Comparison
from .record import Record

Met = Callable[[Change, Finding | None, Finding], str | None]

_ALARMING = (Verdict.LEAKING, Verdict.GROWING)
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_ALLOWED = "leaking, growing, new, worse, slope>64B/call, slope>1MiB/hour, slope>+20%, live>0.01 or eta<2h"
_FIGURE = re.compile(r"(slope|live|eta)\s*([<>])\s*(\S.*)")


@dataclass(frozen=True, slots=True)
class Condition:
    """One case in which a comparison is a failure."""

    text: str
    """As the user wrote it."""
    met: Met
    """Given the change and the findings of both sides: why it is met, or None."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A subject that met a condition."""

    change: Change
    condition: str
    why: str


def parse_conditions(text: str) -> tuple[Condition, ...]:
    """The conditions of a ``--fail-on``, separated by commas.

    Raises:
        UsageError: one that does not exist; the message lists those that do.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"--fail-on {text!r}: a condition is missing; allowed are {_ALLOWED}")
    return tuple(Condition(word, _condition(word)) for word in dict.fromkeys(words))


def failures(comparison: Comparison, base: Record, head: Record, conditions: tuple[Condition, ...]) -> list[Failure]:
    """Every subject of `head` that meets a condition, in the order of the comparison."""
    before = {(f.subject, f.subject_kind): f for f in reversed(base.findings)}
    after = {(f.subject, f.subject_kind): f for f in reversed(head.findings)}
    found = []
    for change in comparison.records:
        key = (change.subject, change.subject_kind)
        finding = after.get(key)
        if finding is None:
            continue
        for condition in conditions:
            why = condition.met(change, before.get(key), finding)
            if why is not None:
                found.append(Failure(change, condition.text, why))
    return found


def _condition(word: str) -> Met:
    simple: dict[str, Met] = {"leaking": _leaking, "growing": _growing, "new": _new, "worse": _worse}
    if word.lower() in simple:
        return simple[word.lower()]
    match = _FIGURE.fullmatch(word)
    if match is None:
        raise UsageError(f"--fail-on {word!r} is not allowed: {_ALLOWED} is")
    name, sign, amount = match.groups()
    try:
        if name == "slope" and sign == ">":
            return _relative(amount) if amount.endswith("%") else _slope(amount)
        if name == "live" and sign == ">":
            return _live(float(amount))
        if name == "eta" and sign == "<":
            return _eta(amount)
    except (ValueError, KeyError):
        pass
    raise UsageError(f"--fail-on {word!r} is not allowed: {_ALLOWED} is")


def _leaking(change: Change, base: Finding | None, head: Finding) -> str | None:
    return "it is leaking" if head.verdict is Verdict.LEAKING and not baseline.is_known(head) else None


def _growing(change: Change, base: Finding | None, head: Finding) -> str | None:
    alarming = head.verdict in _ALARMING and not baseline.is_known(head)
    return f"it is {head.verdict.value}" if alarming else None


def _new(change: Change, base: Finding | None, head: Finding) -> str | None:
    if head.verdict not in _ALARMING or baseline.is_known(head):
        return None
    if base is None or base.verdict not in _ALARMING:
        return f"it is {head.verdict.value}, and was not before"
    known = {h.fingerprint for h in base.holders}
    fresh = [h for h in head.holders if h.fingerprint and h.fingerprint not in known and not h.known]
    return f"it is held by {fresh[0].path}, and was not before" if known and fresh else None


def _worse(change: Change, base: Finding | None, head: Finding) -> str | None:
    return "it is worse than before" if change.what == WORSE else None


def _slope(amount: str) -> Met:
    size, _, per = amount.partition("/")
    if per not in ("call", "construction", "request", "task", "hour", "h"):
        raise ValueError(per)
    hourly = per in ("hour", "h")
    least = 0.0 if re.fullmatch(r"0+\s*[A-Za-z]*", size.strip()) else float(parse_bytes(size, "--fail-on slope"))

    def met(change: Change, base: Finding | None, head: Finding) -> str | None:
        rate = head.mb_per_hour.scaled(MIB) if hourly and head.mb_per_hour else None if hourly else head.bytes_per_call
        if rate is None or rate.low is None or rate.low <= least:
            return None
        return f"it grows by at least {format_bytes(rate.low)}/{per}, more than {format_bytes(least)}"

    return met


def _relative(amount: str) -> Met:
    factor = 1 + float(amount.rstrip("%")) / 100
    if not 1 <= factor < 1e6:
        raise ValueError(amount)

    def met(change: Change, base: Finding | None, head: Finding) -> str | None:
        before, after = change.base_rate, change.head_rate
        if before is None or after is None or before.high is None or after.low is None:
            return None
        worst = max(before.high, before.value)
        if after.low <= max(worst, 0.0) * factor or after.low <= 0:
            return None
        return f"its rate rose by more than {(factor - 1):.0%}"

    return met


def _live(least: float) -> Met:
    def met(change: Change, base: Finding | None, head: Finding) -> str | None:
        rate: Interval | None = head.live_per_call
        if rate is None or rate.low is None or rate.low <= least:
            return None
        return f"at least {rate.low:.3g} instances stay per construction, more than {least:g}"

    return met


def _eta(amount: str) -> Met:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)", amount.strip())
    if match is None:
        raise ValueError(amount)
    least = float(match[1]) * _SECONDS[match[2]]

    def met(change: Change, base: Finding | None, head: Finding) -> str | None:
        eta = head.eta_seconds
        if eta is None or eta.value >= least:
            return None
        return f"memory reaches its limit in {format_duration(max(0.0, eta.value))}"

    return met
