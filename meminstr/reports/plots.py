"""What is drawn of a finding: which of its histories, over what, with onset, horizon, limit and forecast.

From `histories.History` to `charts.Chart`; how a chart looks is left to `charts`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..units import MIB, format_bytes, format_count, format_duration
from ..verdict import Finding, Interval, Verdict
from .charts import Chart, Cone, Curve, Mark, Point, draw
from .escape import NBSP
from .histories import History, histories
from .scales import BYTES, COUNT, SECONDS, spanning
from .wording import until_limit

_TITLES = {
    "resident": "Resident memory",
    "heap": "C heap",
    "blocks": "Python memory blocks",
    "live": "Instances alive",
    "retained": "Instances alive after cleanup",
    "descriptors": "Open descriptors",
    "threads": "Threads",
    "tasks": "asyncio tasks",
}
_MEMORY = ("resident", "heap", "blocks")
_FEWEST = 3
"""Points: fewer are a dash in a corner."""
_AHEAD = 0.3
_REACH = 2.0
_SECONDS_PER_HOUR = 3600.0


def main_charts(finding: Finding, limit_bytes: int | None) -> list[str]:
    """What a card shows at once: the history that decided, over events and over time; of the process, its memory."""
    found = _drawable(finding)
    if finding.subject_kind == "process":
        return [_drawn(finding, [found[name]], True, limit_bytes) for name in _MEMORY if name in found]
    group = _lead(finding, found)
    if not group:
        return []
    axes = (True,) if group[0].x_unit == "second" else (False, True)
    return [_drawn(finding, group, over_time, limit_bytes) for over_time in axes]


def more_charts(finding: Finding, limit_bytes: int | None) -> list[str]:
    """The histories that `main_charts` leaves out."""
    found = _drawable(finding)
    process = finding.subject_kind == "process"
    shown = set(_MEMORY) if process else {h.name for h in _lead(finding, found)}
    return [_drawn(finding, [h], process, limit_bytes) for h in found.values() if h.name not in shown]


def _drawable(finding: Finding) -> dict[str, History]:
    return {h.name: h for h in histories(finding) if len(h.x) >= _FEWEST}


def _lead(finding: Finding, found: dict[str, History]) -> list[History]:
    if "live" in found:
        return [found[name] for name in ("retained", "live") if name in found]
    growing = [h for h in found.values() if h.rate is not None]
    ordered = [*growing, *(found[n] for n in ("heap", "blocks", "resident") if n in found), *found.values()]
    return ordered[:1]


def _drawn(finding: Finding, group: Sequence[History], over_time: bool, limit_bytes: int | None) -> str:
    lead = group[0]
    over_time = over_time or lead.x_unit == "second"
    kind = BYTES if lead.unit in ("byte", "bytes") else COUNT
    curves = [_curve(h, over_time, "main" if h is lead else "side") for h in group]
    limit = limit_bytes if lead.name == "resident" else None
    end = max(curve.points[-1][0] for curve in curves)
    start = min(0.0, *(curve.points[0][0] for curve in curves))
    marks, notes = _x_marks(finding, lead, over_time, start, end)
    cone = _cone(finding, lead, over_time, curves[0].points[-1], end - start, limit)
    ends = [end, *(mark.at for mark in marks)]
    ends += [cone.x] if cone else []
    levels = [y for curve in curves for _, y in curve.points]
    levels += [y for curve in curves for row in curve.band for y in row[1:]]
    levels += [cone.middle] if cone else []
    low, high = min(levels), max(levels)
    if limit is not None and limit <= high + 0.5 * (high - low):
        high = max(high, float(limit))
    y = spanning(low, high, kind, from_zero="live" in {h.name for h in group}, least=_least(kind, high))
    if limit is not None and y.low <= limit <= y.high:
        marks.append(Mark("limit", float(limit), f"limit {format_bytes(limit)}"))
    elif limit is not None and limit > y.high:
        left = until_limit(finding, limit)
        notes.append(f"limit {format_bytes(limit)}, far above" if left is None else f"limit {left}")
    x = spanning(start, max(ends), SECONDS if over_time else COUNT, from_zero=True, least=1e-3 if over_time else 1.0)
    title = "Instances alive" if "live" in {h.name for h in group} else _title(lead)
    axis = "time" if over_time else f"{lead.x_unit}s"
    return draw(Chart(title, axis, x, y, curves, marks, cone, "; ".join(notes).replace(NBSP, " ")))


def _title(history: History) -> str:
    return _TITLES.get(history.name, history.name)


def _least(kind: str, level: float) -> float:
    return max(MIB, 0.05 * abs(level)) if kind == BYTES else max(10.0, 0.05 * abs(level))


def _curve(history: History, over_time: bool, tone: str) -> Curve:
    xs = history.seconds if over_time else history.x
    name = {"live": "alive", "retained": "alive after cleanup"}.get(history.name, _title(history))
    spread = history.low != history.mean or history.high != history.mean
    band = tuple(zip(xs, history.low, history.high, strict=True)) if spread else ()
    return Curve(name, tuple(zip(xs, history.mean, strict=True)), band, tone)


def _x_marks(
    finding: Finding, history: History, over_time: bool, start: float, end: float
) -> tuple[list[Mark], list[str]]:
    marks: list[Mark] = []
    notes: list[str] = []
    alarming = finding.verdict in (Verdict.LEAKING, Verdict.GROWING)
    onset = history.onset_x
    if onset is None and alarming and finding.onset_call is not None and history.rate is not None:
        onset = float(finding.onset_call)
    seconds_axis = history.x_unit == "second"
    if onset is not None:
        at = history.seconds_at(onset) if over_time else onset
        if start <= at <= end:
            where = format_duration(onset) if seconds_axis else f"{history.x_unit} {format_count(max(1, round(onset)))}"
            marks.append(Mark("onset", at, f"onset: {where}"))
    if history.horizon_x and alarming and history.rate is not None:
        length = history.horizon_x
        words = f"{format_duration(length)}" if seconds_axis else f"{format_count(length)} {history.x_unit}s"
        reached = (onset or history.x[0]) + length
        at = history.seconds_at(reached) if over_time else reached
        if at <= end + 0.5 * (end - start):
            marks.append(Mark("horizon", at, f"horizon: {words}"))
        else:
            notes.append(f"the horizon of {words} lies ahead")
    return marks, notes


def _cone(
    finding: Finding, history: History, over_time: bool, origin: Point, span: float, limit: int | None
) -> Cone | None:
    rate = _rate(finding, history, over_time)
    if rate is None or rate.value <= 0 or span <= 0:
        return None
    ahead = _AHEAD * span
    if limit is not None and limit > origin[1]:
        reach = (limit - origin[1]) / rate.value
        if reach <= _REACH * span:
            ahead = max(ahead, 1.08 * reach)
    low = rate.value if rate.low is None else min(rate.low, rate.value)
    high = rate.value if rate.high is None else max(rate.high, rate.value)
    x, y = origin
    return Cone(origin, x + ahead, y + low * ahead, y + rate.value * ahead, y + high * ahead)


def _rate(finding: Finding, history: History, over_time: bool) -> Interval | None:
    if finding.verdict not in (Verdict.LEAKING, Verdict.GROWING):
        return None
    hourly = finding.mb_per_hour
    if history.name == "resident" and over_time and hourly is not None:
        return hourly.scaled(MIB / _SECONDS_PER_HOUR)
    rate = history.rate
    if rate is None or not over_time or history.x_unit == "second":
        return rate
    return rate.scaled(history.speed) if history.speed > 0 else None
