"""Which figures of a report become metrics, under which names and units.  Pure: reports in, families out.

Names and units follow the conventions of both worlds: base units (bytes, seconds) and ``_total`` on counters for
Prometheus, dotted names and UCUM units for OpenTelemetry.  Labels are bounded: ``subject``, ``subject_kind`` and
``verdict``, for so many subjects at most; never a process id.

Of many processes counters add up over all that ever were, so that a recycled worker does not take its calls with it;
gauges speak of those that run (of all, where none does: a finished job); the worst verdict stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..reports.model import Report
from ..shards import Shard
from ..units import MIB
from ..verdict import Finding, Verdict

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its samples."""

    name: str
    """For Prometheus, with its unit and without ``_total``."""
    dotted: str
    """For OpenTelemetry."""
    unit: str
    """UCUM, as OpenTelemetry writes it."""
    kind: str
    """``counter`` or ``gauge``."""
    help: str
    samples: tuple[tuple[Labels, float], ...] = ()

    @property
    def exposed(self) -> str:
        """The name of a sample line: counters end in ``_total``."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


_PER_SUBJECT = {
    "calls": (
        "meminstr_calls",
        "meminstr.calls",
        "{call}",
        "counter",
        "Calls of a function, constructions of a class.",
    ),
    "live": (
        "meminstr_live_instances",
        "meminstr.instances.live",
        "{instance}",
        "gauge",
        "Living instances of a class.",
    ),
    "retained": (
        "meminstr_retained_instances",
        "meminstr.instances.retained",
        "{instance}",
        "gauge",
        "Instances alive after their cleanup.",
    ),
    "per_call": (
        "meminstr_growth_bytes_per_call",
        "meminstr.growth.per_call",
        "By",
        "gauge",
        "Memory that one call or construction leaves behind.",
    ),
    "rate": (
        "meminstr_growth_bytes_per_second",
        "meminstr.growth.rate",
        "By/s",
        "gauge",
        "Memory growth of a subject over time.",
    ),
    "eta": (
        "meminstr_time_to_limit_seconds",
        "meminstr.time_to_limit",
        "s",
        "gauge",
        "Time until the process reaches its memory limit at the rate of this subject.",
    ),
    "verdict": ("meminstr_verdict", "meminstr.verdict", "1", "gauge", "1 for the verdict that stands for a subject."),
}
_WHOLE = {
    "resident": (
        "meminstr_resident_bytes",
        "meminstr.resident",
        "By",
        "gauge",
        "Resident set of all running processes.",
    ),
    "limit": ("meminstr_limit_bytes", "meminstr.limit", "By", "gauge", "The tightest memory limit around a process."),
    "processes": (
        "meminstr_processes",
        "meminstr.processes",
        "{process}",
        "gauge",
        "Processes by what became of them.",
    ),
    "subjects": ("meminstr_subjects", "meminstr.subjects", "{subject}", "gauge", "Functions and classes followed."),
    "hidden": (
        "meminstr_subjects_not_shown",
        "meminstr.subjects.not_shown",
        "{subject}",
        "gauge",
        "Subjects left out of the labels because there are too many; their calls are counted as (others).",
    ),
    "breaches": (
        "meminstr_limit_breaches",
        "meminstr.limit.breaches",
        "{breach}",
        "counter",
        "Limits that were broken.",
    ),
    "cost": ("meminstr_overhead_seconds", "meminstr.overhead", "s", "counter", "Time that meminstr itself took."),
    "faults": ("meminstr_faults", "meminstr.faults", "{fault}", "counter", "Faults of meminstr itself."),
}
ALL = {**_PER_SUBJECT, **_WHOLE}
OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class Process:
    """One process's report, and whether the process runs: ``running``, ``ended``, ``killed``, ``silent``."""

    report: Report
    state: str = "running"


def of_shards(shards: Iterable[tuple[Shard, str]]) -> list[Process]:
    """Processes from shards and their `status`."""
    return [Process(shard.report, state) for shard, state in shards]


def chosen(findings: Sequence[Finding], shown: frozenset[tuple[str, str]], most: int) -> list[Finding]:
    """The subjects that get labels: those that grow, then those that had labels before, then the rest, worst first."""
    findings = [f for f in findings if f.subject_kind != "process"]
    if len(findings) <= most:
        return findings
    return sorted(
        findings,
        key=lambda f: (f.verdict.severity < Verdict.GROWING.severity, (f.subject, f.subject_kind) not in shown),
    )[:most]


def families(
    processes: Sequence[Process], most: int = 1000, shown: frozenset[tuple[str, str]] = frozenset()
) -> tuple[Family, ...]:
    """The metrics of some processes.

    Args:
        processes: their reports.
        most: how many subjects get labels of their own, beside the process itself.
        shown: ``(subject, kind)`` that had labels before: they keep them where there is room.
    """
    if not processes:
        return ()
    alive = [one.report for one in processes if one.state in ("running", "silent")] or [p.report for p in processes]
    everyone = [one.report for one in processes]
    calls: dict[tuple[str, str], float] = {}
    for report in everyone:
        for finding in report.findings:
            if finding.calls:
                key = (finding.subject, finding.subject_kind)
                calls[key] = calls.get(key, 0) + finding.calls
    united: Report = alive[0] if len(alive) == 1 else Report.merge(alive)
    wanted = chosen(united.findings, shown, most)
    visible = {(f.subject, f.subject_kind) for f in wanted}
    rows: dict[str, list[tuple[Labels, float]]] = {name: [] for name in ALL}
    for finding in [*wanted, *(f for f in united.findings if f.subject_kind == "process")]:
        _add(rows, finding, calls)
    rest = sum(n for key, n in calls.items() if key not in visible)
    if rest:
        rows["calls"].append((_labels(OTHERS, "function"), rest))
    _whole(rows, processes, everyone, alive)
    followed = sum(f.subject_kind != "process" for f in united.findings)
    rows["subjects"].append(((), followed))
    rows["hidden"].append(((), followed - len(wanted)))
    return tuple(Family(*ALL[name], tuple(samples)) for name, samples in rows.items() if samples)


def _add(rows: dict[str, list[tuple[Labels, float]]], finding: Finding, calls: dict[tuple[str, str], float]) -> None:
    labels = _labels(finding.subject, finding.subject_kind)

    def put(name: str, value: float | None, factor: float = 1.0) -> None:
        if value is not None and math.isfinite(value):
            rows[name].append((labels, value * factor))

    put("calls", calls.get((finding.subject, finding.subject_kind)))
    if finding.counts is not None:
        put("live", finding.counts.alive)
        put("retained", finding.counts.retained)
    if finding.bytes_per_call is not None:
        put("per_call", finding.bytes_per_call.value)
    elif finding.mb_per_1000 is not None:
        put("per_call", finding.mb_per_1000, MIB / 1000)
    if finding.mb_per_hour is not None:
        put("rate", finding.mb_per_hour.value, MIB / 3600)
    if finding.eta_seconds is not None:
        put("eta", finding.eta_seconds.value)
    rows["verdict"].append(((*labels, ("verdict", finding.verdict.value)), 1))


def _whole(
    rows: dict[str, list[tuple[Labels, float]]],
    processes: Sequence[Process],
    everyone: Sequence[Report],
    alive: Sequence[Report],
) -> None:
    resident = [r.process.resident_bytes for r in alive if r.process.resident_bytes is not None]
    if resident:
        rows["resident"].append(((), sum(resident)))
    limits = [r.process.limit_bytes for r in alive if r.process.limit_bytes is not None]
    if limits:
        rows["limit"].append(((), min(limits)))
    for state in ("running", "ended", "killed", "silent"):
        rows["processes"].append(((("state", state),), sum(one.state == state for one in processes)))
    rows["breaches"].append(((), sum(len(r.breaches) for r in everyone)))
    rows["cost"].append(((), sum(r.cost.seconds or 0.0 for r in everyone)))
    rows["faults"].append(((), sum(n for r in everyone for e in r.errors if isinstance(n := e.get("count", 1), int))))


def _labels(subject: str, kind: str) -> Labels:
    return (("subject", subject), ("subject_kind", kind))
