"""Reports of many processes as one: a union of the per-process reports, and findings derived from it.

A merged report keeps every original under ``processes``, so that merging merged reports is the union of
these lists: associative, commutative, idempotent.  A process is known by host, pid and start; of two reports
of one process the later stands.  All else is computed anew from the union.

Counts add, peaks take the maximum, the verdict is the worst one seen, with the number of processes that share
it.  Rates are never summed: the worst process's stands, the median is in ``median_*`` of the finding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from math import isfinite
from statistics import median
from typing import Any, TypeVar

from ..errors import UsageError
from ..verdict import BirthSite, ContextShare, Counts, Finding, Grown, Holder, Interval, Verdict
from .record import FORMAT, VERSION, Cost, ProcessFacts, Record, badness, fields_from_dict

_T = TypeVar("_T")
_MOST = 20
"""Holders, birth sites, contexts and growers kept of a merged finding."""

_RATES = ("bytes_per_call", "blocks_per_call", "live_per_call", "mb_per_hour")


def merged_fields(records: Iterable[Record]) -> dict[str, Any]:
    """The arguments of the `Record` that unites `records`.

    Raises:
        UsageError: there is no record, or one holds damaged entries.
    """
    union: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in records:
        for entry in record.processes or (_entry(record),):
            key = _identity(entry)
            known = union.get(key)
            # a total order decides, so that it does not matter which came first
            if known is None or _age(known) < _age(entry):
                union[key] = entry
    if not union:
        raise UsageError("no report to merge: at least one report is needed")
    entries = [union[key] for key in sorted(union, key=lambda key: json.dumps(key))]
    parts = [
        Record(**fields_from_dict({"format": FORMAT, "version": VERSION, **entry}, f"the report of {_name(entry)}"))
        for entry in entries
    ]
    return {
        "created_at": max(part.created_at for part in parts),
        "process": _process([part.process for part in parts]),
        "cost": Cost(
            seconds=_over(sum, (part.cost.seconds for part in parts)),
            share_of_cpu=_over(max, (part.cost.share_of_cpu for part in parts)),
            bytes=_over(sum, (part.cost.bytes for part in parts)),
        ),
        "findings": _findings(parts),
        "errors": _faults(parts),
        "breaches": tuple(
            {**breach, "host": part.process.host, "pid": part.process.pid} for part in parts for breach in part.breaches
        ),
        "processes": tuple(entries),
    }


def _entry(record: Record) -> dict[str, Any]:
    whole = record.to_dict()
    return {k: v for k, v in whole.items() if k not in ("format", "version", "processes")}


def _identity(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    facts = entry.get("process") or {}
    key = (facts.get("host"), facts.get("pid"), facts.get("started_at"))
    # who does not say which process it is, is not taken for another that does not say either
    return key if facts.get("pid") is not None else (*key, _age(entry))


def _age(entry: Mapping[str, Any]) -> tuple[str, str]:
    return (str(entry.get("created_at") or ""), json.dumps(entry, sort_keys=True))


def _name(entry: Mapping[str, Any]) -> str:
    host, pid, *_ = _identity(entry)
    return f"pid {pid} on {host}"


def _over(function: Callable[[list[Any]], Any], values: Iterable[Any]) -> Any:
    known = [value for value in values if value is not None]
    return function(known) if known else None


def _process(parts: list[ProcessFacts]) -> ProcessFacts:
    if len(parts) == 1:
        return parts[0]

    def shared(name: str, noun: str) -> str | None:
        values = sorted({getattr(part, name) for part in parts} - {None})
        return values[0] if len(values) == 1 else f"{len(values)} {noun}" if values else None

    limits = {part.limit_bytes for part in parts}
    return ProcessFacts(
        pid=None,
        host=shared("host", "hosts"),
        python=shared("python", "versions of Python"),
        command=shared("command", "commands"),
        started_at=_over(min, (part.started_at for part in parts)),
        resident_bytes=_over(sum, (part.resident_bytes for part in parts)),
        peak_bytes=_over(max, (part.peak_bytes for part in parts)),
        limit_bytes=limits.pop() if len(limits) == 1 else None,
        signals=_distinct(signal for part in parts for signal in part.signals),
    )


def _distinct(values: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(values))


def _findings(parts: list[Record]) -> tuple[Finding, ...]:
    groups: dict[tuple[str, str], list[tuple[Finding, Record]]] = {}
    for part in parts:
        for finding in part.findings:
            groups.setdefault((finding.subject, finding.subject_kind), []).append((finding, part))
    if len(parts) == 1:
        return tuple(finding for group in groups.values() for finding, _ in group)
    return tuple(_united(group, len(parts)) for group in groups.values())


def _united(group: list[tuple[Finding, Record]], processes: int) -> Finding:
    # ties in badness fall to the first in the order of identities: the same whatever the merge order
    worst, where = min(group, key=lambda pair: badness(pair[0]))
    all_of = [finding for finding, _ in group]
    tally = {v: sum(f.verdict is v for f in all_of) for v in Verdict}
    rest = [f"{_word(v)} in {n}" for v, n in tally.items() if n and v is not worst.verdict]
    if len(group) < processes:
        rest.append(f"not met in {processes - len(group)}")
    others = f" ({', '.join(rest)})" if rest else ""
    reason = f"{_word(worst.verdict)} in {tally[worst.verdict]} of {processes} processes{others}"
    extra: dict[str, Any] = {
        **worst.extra,
        "in_processes": {"of": processes, "verdicts": {v.value: n for v, n in tally.items() if n}},
        "worst_process": {"host": where.process.host, "pid": where.process.pid},
    }
    for name in _RATES:
        rates = [rate.value for f in all_of if (rate := getattr(f, name)) is not None]
        rates = [rate for rate in rates if isfinite(rate)]
        if rates:
            extra[f"median_{name}"] = median(rates)
    once = [f.one_time_growth for f in all_of if f.one_time_growth is not None]
    etas = [f.eta_seconds for f in all_of if f.eta_seconds is not None]
    return replace(
        worst,
        reason="; ".join(part for part in (reason, worst.reason) if part),
        calls=_over(sum, (f.calls for f in all_of)),
        one_time_growth=max(once, key=lambda g: (g.bytes, g.until_call)) if once else None,
        eta_seconds=min(etas, key=_soonest) if etas else None,
        excluded_bytes_per_call=_over(max, (f.excluded_bytes_per_call for f in all_of)),
        counts=_counts([f.counts for f in all_of if f.counts is not None]),
        holders=_holders(all_of),
        birth_sites=_births(all_of),
        contexts=_contexts(all_of),
        grown=_grown(all_of),
        signals=_distinct(signal for f in all_of for signal in f.signals),
        extra=extra,
    )


def _word(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")


def _soonest(eta: Interval) -> tuple[float, float]:
    return (eta.value, eta.low if eta.low is not None else 0.0)


def _counts(counts: list[Counts]) -> Counts | None:
    if not counts:
        return None
    return Counts(**{f.name: sum(getattr(c, f.name) for c in counts) for f in fields(Counts)})


def _holders(findings: list[Finding]) -> tuple[Holder, ...]:
    united: dict[str, Holder] = {}
    for finding in findings:
        for holder in finding.holders:
            key = holder.fingerprint or holder.path
            known = united.get(key)
            united[key] = (
                holder
                if known is None
                else replace(
                    known,
                    count=known.count + holder.count,
                    retained_bytes=_over(sum, (known.retained_bytes, holder.retained_bytes)),
                    known=known.known and holder.known,
                )
            )
    return tuple(sorted(united.values(), key=lambda h: -h.count)[:_MOST])


def _shares(rows: Iterable[tuple[Any, float, float]]) -> list[tuple[Any, float]]:
    # each process's shares weigh as much as its survivors
    total: dict[Any, float] = {}
    for key, share, weight in rows:
        total[key] = total.get(key, 0.0) + share * weight
    return sorted(total.items(), key=lambda item: -item[1])[:_MOST]


def _weights(findings: list[Finding], name: str) -> list[tuple[Finding, float]]:
    told = [(f, float(max(f.counts.alive if f.counts else 1, 1))) for f in findings if getattr(f, name)]
    whole = sum(weight for _, weight in told)
    return [(f, weight / whole) for f, weight in told]


def _births(findings: list[Finding]) -> tuple[BirthSite, ...]:
    rows = (
        ((site.file, site.line, site.function), site.share, weight)
        for finding, weight in _weights(findings, "birth_sites")
        for site in finding.birth_sites
    )
    return tuple(BirthSite(key[0], key[1], key[2], share) for key, share in _shares(rows))


def _contexts(findings: list[Finding]) -> tuple[ContextShare, ...]:
    rows = (
        (tuple(sorted(context.tags.items())), context.share, weight)
        for finding, weight in _weights(findings, "contexts")
        for context in finding.contexts
    )
    return tuple(ContextShare(dict(key), share) for key, share in _shares(rows))


def _grown(findings: list[Finding]) -> tuple[Grown, ...]:
    united: dict[tuple[str, str], Grown] = {}
    for finding in findings:
        for grown in finding.grown:
            known = united.get((grown.name, grown.what))
            united[grown.name, grown.what] = (
                grown
                if known is None
                else replace(known, count=known.count + grown.count, bytes=_over(sum, (known.bytes, grown.bytes)))
            )
    return tuple(sorted(united.values(), key=lambda g: -g.count)[:_MOST])


def _faults(parts: list[Record]) -> tuple[dict[str, Any], ...]:
    united: dict[str, dict[str, Any]] = {}
    for part in parts:
        for fault in part.errors:
            key = json.dumps([fault.get("where"), fault.get("error"), fault.get("message")], default=str)
            count = fault.get("count")
            count = count if isinstance(count, int) else 1
            if key in united:
                united[key]["count"] += count
            else:
                united[key] = {**fault, "count": count}
    return tuple(sorted(united.values(), key=lambda fault: -fault["count"]))
