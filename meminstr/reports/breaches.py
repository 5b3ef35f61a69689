"""A broken limit in one sentence: how far, who noticed, what grew, where the call stood, what ran before it.

The record is `meminstr.limits.breach`'s; the JSON of a report holds it whole, this says what a reader needs first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..units import format_count
from .escape import safe
from .wording import duration, size

_ACTIONS = {
    "warn": "only a warning was given",
    "raised": "MemoryLimitExceeded was raised",
    "stopped": "the call was stopped",
    "refused": "the call was refused",
    "callback": "a function of the program's was called",
}
_FRAMES = 3
_ROWS = 3
_WORTH_TELLING_SECONDS = 0.05


def breach_line(entry: Mapping[str, Any]) -> str:
    """The sentence, from whichever of the facts are known."""
    one_call = entry.get("of") == "call"
    base = (_figure(entry, "entry_bytes") or 0) if one_call else 0
    limit, observed, peak = (_figure(entry, key) for key in ("limit_bytes", "observed_bytes", "peak_bytes"))
    over = _figure(entry, "overshoot_bytes")
    amounts = [] if observed is None else [f"{size(observed - base)} {'added by the call' if one_call else 'held'}"]
    if peak is not None and peak != observed:
        amounts.append(f"{size(peak - base)} at the peak")
    amounts += [] if limit is None else [f"limit {size(limit)}"]
    amounts += [f"passed by {size(over)}"] if over else []
    text = f"{safe(entry.get('subject') or 'a call', 120)} broke its memory limit"
    text += f": {', '.join(amounts)}" if amounts else ""
    parts = [_noticed(entry), _grown(entry), _classes(entry), _place(entry)]
    action = safe(entry.get("action") or "", 200)
    parts += [_ACTIONS.get(action, action)] if action else []
    parts += [safe(entry["note"], 200)] if entry.get("note") else []
    late = _figure(entry, "uninterruptible_seconds")
    if late is not None and late > _WORTH_TELLING_SECONDS:
        parts.append(f"not to be interrupted for {duration(late)}")
    parts.append(_before(entry))
    if "pid" in entry:  # of a merged report
        parts.append(f"pid {safe(entry['pid'], 20)} on {safe(entry.get('host'), 80)}")
    return "; ".join([text, *filter(None, parts)])


def _figure(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _noticed(entry: Mapping[str, Any]) -> str:
    if not entry.get("mechanism"):
        return ""
    after = _figure(entry, "noticed_after_seconds")
    return f"noticed by {safe(entry['mechanism'], 40)}" + ("" if after is None else f" within {duration(after)}")


def _grown(entry: Mapping[str, Any]) -> str:
    kinds = entry.get("grown_by_kind")
    if not isinstance(kinds, Mapping):
        return ""
    rows = [f"{size(n)} {safe(kind, 40).replace('_', ' ')}" for kind, n in kinds.items() if isinstance(n, int)]
    return f"grown by {', '.join(rows[:_ROWS])}" if rows else ""


def _classes(entry: Mapping[str, Any]) -> str:
    classes = entry.get("grown_classes")
    if not isinstance(classes, Mapping):
        return ""
    rows = [f"{format_count(n)} {safe(name, 80)}" for name, n in classes.items() if isinstance(n, int)]
    return f"{', '.join(rows[:_ROWS])} more than before it" if rows else ""


def _place(entry: Mapping[str, Any]) -> str:
    stack = entry.get("stack")
    if not isinstance(stack, (list, tuple)) or not stack:
        return ""
    return f"in {', called from '.join(safe(row, 200) for row in stack[:_FRAMES])}"


def _before(entry: Mapping[str, Any]) -> str:
    calls = entry.get("recent_calls")
    if not isinstance(calls, (list, tuple)):
        return ""
    rows: list[str] = []
    for call in calls[:_ROWS]:
        if isinstance(call, Mapping):
            peak, ago = _figure(call, "peak_bytes"), _figure(call, "seconds_ago")
            facts = [] if peak is None else [f"{size(peak)} at the peak"]
            facts += [] if ago is None else [f"{duration(ago)} earlier"]
            rows.append(f"{safe(call.get('subject'), 120)} ({', '.join(facts)})")
    return f"before it ran {', '.join(rows)}" if rows else ""
