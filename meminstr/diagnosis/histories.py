"""The histories that a report carries: bounded copies of what was judged, for charts and for other tools.

Each is a plain mapping of columns (`array`, so that a report stays cheap to copy and holds no boxed numbers) beside
what was decided of it: onset, horizon and rate.  Drawing is left to `reports`.  Pure.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..policy import Policy, SignalJudgement
from ..series import SeriesView
from ..verdict import Finding, Interval, Verdict
from .reckoning import PROCESS, Reckoned

POINTS = 200
"""The most points of one history."""
SUBJECTS = 60
"""Findings of a report that carry histories, the worst first: a report of 10,000 subjects stays a small file."""

_GROWS = (Verdict.LEAKING, Verdict.GROWING)
_OF_CLASSES = ("live", "retained")
_X_UNITS = {"class": "construction", PROCESS: "second"}
_PROCESS_HORIZON = 600.0


def with_series(
    finding: Finding, reckoned: Reckoned, process: Mapping[str, SeriesView], horizon: float, started: float
) -> Finding:
    """The finding with its ``series``.

    Args:
        finding: of the subject.
        reckoned: what it was made of.
        process: the process's own histories, for the finding of the process.
        horizon: calls or constructions that growth must last, where the subject has no horizon of its own.
        started: the tracker's start on the clock of the histories, from which ``seconds`` count.
    """
    record = reckoned.record
    views = process if record is None else record.series
    kind = PROCESS if record is None else record.kind
    if kind == PROCESS:
        policy = Policy(horizon=_PROCESS_HORIZON)
    else:
        policy = Policy(horizon=horizon if record is None or record.horizon is None else record.horizon)
    judged = {signal.name: signal for signal in reckoned.judgement.signals}
    grows = finding.verdict in _GROWS
    found = [
        _entry(name, view, kind, judged.get(name), grows, policy.horizon_of(name), started)
        for name, view in views.items()
        if len(view) and (kind != "class" or name in _OF_CLASSES)
    ]
    return replace(finding, extra={**finding.extra, "series": found}) if found else finding


def _entry(
    name: str, view: SeriesView, kind: str, judged: SignalJudgement | None, grows: bool, horizon: float, started: float
) -> dict[str, Any]:
    speaks = judged is not None and grows and judged.verdict in _GROWS
    entry: dict[str, Any] = {
        "name": name,
        "unit": judged.unit if judged is not None else "byte",
        "x_unit": _X_UNITS.get(kind, "call"),
        "verdict": judged.verdict.value if judged is not None else None,
        "onset_x": judged.onset_x if judged is not None and speaks else None,
        "horizon_x": horizon,
        "rate_per_x": _bounded(judged.rate) if judged is not None and speaks else None,
    }
    return {**entry, **columns(view, started)}


def columns(view: SeriesView, started: float) -> dict[str, array[float]]:
    """``x``, ``seconds`` since `started`, ``mean``; ``low`` and ``high`` where a point is of several readings."""
    x, seconds, mean = view.x, [t - started for t in view.t], view.mean
    low, high = view.low, view.high
    if view.last is not None and len(x) and view.last[0] > x[-1]:  # what stands in an unfinished slot
        at, t, value = view.last
        x, mean = x + array("d", [at]), mean + array("d", [value])
        low, high = low + array("d", [value]), high + array("d", [value])
        seconds.append(t - started)
    step = -(-len(x) // POINTS)
    picked = list(range(len(x) - 1, -1, -step))[::-1]
    out = {
        "x": array("d", [round(x[i], 3) for i in picked]),
        "seconds": array("d", [round(max(0.0, seconds[i]), 3) for i in picked]),
        "mean": array("d", [round(mean[i], 1) for i in picked]),
    }
    if any(low[i] != high[i] for i in picked):
        out["low"] = array("d", [round(low[i], 1) for i in picked])
        out["high"] = array("d", [round(high[i], 1) for i in picked])
    return out


def _bounded(rate: Interval | None) -> dict[str, float | None] | None:
    return None if rate is None else {"value": rate.value, "low": rate.low, "high": rate.high}
