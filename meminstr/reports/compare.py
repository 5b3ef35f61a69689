"""Two reports side by side: what got worse, what is new, what is better or gone.

Rates differ only when their intervals do not overlap: two runs are never the same to the byte, and a report
that cries at noise is soon ignored.  Where there are no two intervals to compare, only a step between a firm
``leaking`` and a firm ``clean`` counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..units import MIB
from ..verdict import Finding, Interval, Verdict, plain
from .escape import NBSP, safe, wrap
from .record import Record, badness
from .wording import WORDS, event_of, plural, signed, size, span

NEW, GONE, WORSE, BETTER, SAME = "new", "gone", "worse", "better", "same"

_ORDER = {WORSE: 0, NEW: 1, BETTER: 2, GONE: 3, SAME: 4}
_UNITS = ("bytes_per_call", "live_per_call", "mb_per_hour", "blocks_per_call")


@dataclass(frozen=True, slots=True)
class Change:
    """One subject in both reports."""

    subject: str
    subject_kind: str
    what: str
    """new, gone, worse, better or same."""
    base_verdict: Verdict | None
    head_verdict: Verdict | None
    unit: str | None
    """The field of the finding whose intervals were compared; None where there were none."""
    base_rate: Interval | None
    head_rate: Interval | None

    @property
    def is_regression(self) -> bool:
        """Worse than before, or new and leaking or growing."""
        if self.what == WORSE:
            return True
        return self.what == NEW and self.head_verdict in (Verdict.LEAKING, Verdict.GROWING)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All subjects of two reports, what got worse first."""

    records: tuple[Change, ...]

    @property
    def regressions(self) -> tuple[Change, ...]:
        """What should stop a merge."""
        return tuple(change for change in self.records if change.is_regression)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as for JSON."""
        return {"records": plain(self.records)}

    def summary(self) -> str:
        """One sentence."""
        counted = {what: sum(c.what == what for c in self.records) for what in _ORDER}
        parts = [f"{n} {what}" for what, n in counted.items() if n]
        if not parts:
            return "Nothing to compare: neither report holds a subject."
        bad = len(self.regressions)
        verdict = f"{plural(bad, 'regression')}" if bad else "No regression"
        return f"{verdict}; of {plural(len(self.records), 'subject')}: {', '.join(parts)}."

    def to_text(self, width: int = 100) -> str:
        """Plain text, no line longer than `width` columns (at least 40)."""
        width = max(width, 40)
        lines = wrap(self.summary(), width)
        for change in self.records:
            if change.what != SAME:
                line = f"{safe(change.subject, 120).replace(' ', NBSP)}{NBSP} {sentence(change)}"
                lines += wrap(line, width, f"{change.what.upper():<8}", " " * 8)
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """A table for a pull request; subjects that are the same are only counted."""
        lines = [f"**meminstr**: {self.summary()}"]
        changed = [change for change in self.records if change.what != SAME]
        if changed:
            lines += ["", "| | subject | before | after |", "|---|---|---|---|"]
        for change in changed:
            what = f"**{change.what}**" if change.is_regression else change.what
            before = _side(change.base_verdict, change.base_rate, change)
            after = _side(change.head_verdict, change.head_rate, change)
            lines.append(f"| {what} | {markdown_text(safe(change.subject, 120))} | {before} | {after} |")
        return "\n".join(lines).replace(NBSP, " ") + "\n"


def compare(base: Record, head: Record) -> Comparison:
    """What changed from report `base` to report `head`, subject by subject."""
    before = {(f.subject, f.subject_kind): f for f in reversed(base.findings)}
    after = {(f.subject, f.subject_kind): f for f in reversed(head.findings)}
    changes = [_change(before.get(key), after.get(key)) for key in before | after]
    severity: Callable[[Change], tuple[Any, ...]] = lambda c: (  # noqa: E731
        _ORDER[c.what],
        -(c.head_verdict or c.base_verdict or Verdict.CLEAN).severity,
        badness(after.get((c.subject, c.subject_kind)) or before[c.subject, c.subject_kind]),
    )
    return Comparison(tuple(sorted(changes, key=severity)))


def _change(base: Finding | None, head: Finding | None) -> Change:
    some = head or base
    assert some is not None
    unit, base_rate, head_rate = _comparable(base, head)
    what = SAME
    if base is None:
        what = NEW
    elif head is None:
        what = GONE
    elif base_rate and head_rate and _bounded(base_rate) and _bounded(head_rate):
        if _low(head_rate) > _high(base_rate):
            what = WORSE
        elif _low(base_rate) > _high(head_rate):
            what = BETTER
    elif (base.verdict, head.verdict) == (Verdict.CLEAN, Verdict.LEAKING):
        what = WORSE
    elif (base.verdict, head.verdict) == (Verdict.LEAKING, Verdict.CLEAN):
        what = BETTER
    return Change(
        some.subject,
        some.subject_kind,
        what,
        base.verdict if base else None,
        head.verdict if head else None,
        unit,
        base_rate,
        head_rate,
    )


def _comparable(base: Finding | None, head: Finding | None) -> tuple[str | None, Interval | None, Interval | None]:
    # the first unit that both know; beside a finding that is alone, the first it knows
    for unit in _UNITS:
        rates = [_rate(finding, unit) if finding else None for finding in (base, head)]
        known = [rate for rate in rates if rate is not None]
        if known and len(known) == (base is not None) + (head is not None):
            return unit, rates[0], rates[1]
    return None, None, None


def _rate(finding: Finding, unit: str) -> Interval | None:
    rate: Interval | None = getattr(finding, unit)
    bound = finding.excluded_bytes_per_call
    if rate is None and unit == "bytes_per_call" and bound is not None and finding.verdict is Verdict.CLEAN:
        return Interval(0.0, 0.0, max(bound, 0.0))  # clean means: no leak above this
    return rate


def _bounded(rate: Interval) -> bool:
    return rate.low is not None and rate.high is not None


def _low(rate: Interval) -> float:
    # of a damaged file the limits may be crossed: what is compared is the span of all three figures
    return min(rate.value, *(v for v in (rate.low, rate.high) if v is not None))


def _high(rate: Interval) -> float:
    return max(rate.value, *(v for v in (rate.low, rate.high) if v is not None))


def sentence(change: Change) -> str:
    """Before and after in words."""
    before = _side(change.base_verdict, change.base_rate, change)
    after = _side(change.head_verdict, change.head_rate, change)
    if change.what == NEW:
        return after
    return f"was {before}" if change.what == GONE else f"{before} -> {after}"


def _side(verdict: Verdict | None, rate: Interval | None, change: Change) -> str:
    if verdict is None:
        return "-"
    word = WORDS[verdict].lower()
    return f"{word}, {_shown(rate, change)}" if rate is not None and change.unit else word


def _shown(rate: Interval, change: Change) -> str:
    event = event_of(change.subject_kind)
    if change.unit == "mb_per_hour":
        rate = rate.scaled(MIB)
    if change.unit in ("mb_per_hour", "bytes_per_call"):
        per = "hour" if change.unit == "mb_per_hour" else event
        return f"{size(rate.value)}/{per}{span(rate, size)}"
    noun = "instance" if change.unit == "live_per_call" else "memory blocks"
    return f"{signed(rate.value)}{NBSP}{noun}/{event}{span(rate, signed)}"


def markdown_text(name: str) -> str:
    """A name from the program as harmless text of a Markdown document."""
    # a name must not end the cell, open a tag, or turn into formatting or a mention
    name = safe(name, 300)
    return "".join(f"&#{ord(char)};" if char in "|<>&`*_[]()!\\@#~" else char for char in name)
