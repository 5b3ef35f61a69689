from __future__ import annotations

from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_examples import ADAPTIVE, CLASSICAL, FACTS, LOOKUP, PROCESS, REPORT
from report_strategies import reports

from meminstr.errors import UsageError
from meminstr.reports.json import schema
from meminstr.reports.model import Cost, ProcessFacts, Report
from meminstr.verdict import (
    BirthSite,
    ContextShare,
    Counts,
    Finding,
    Grown,
    Holder,
    Interval,
    OneTimeGrowth,
    Verdict,
)


def worker(pid: int, *found: Finding, **facts: object) -> Report:
    return Report("2026-01-02T04:04:05+00:00", replace(FACTS, pid=pid, **facts), Cost(0.5, 0.01, 100), found)


some = st.lists(reports, min_size=1, max_size=2)


@given(some, some, some)
@settings(max_examples=25, deadline=None)
def test_merging_is_associative(a: list[Report], b: list[Report], c: list[Report]) -> None:
    left = Report.merge([Report.merge(a + b), Report.merge(c)])
    right = Report.merge([Report.merge(a), Report.merge(b + c)])
    assert left.to_json() == right.to_json() == Report.merge(a + b + c).to_json()


@given(some, st.randoms())
@settings(max_examples=25, deadline=None)
def test_merging_is_commutative_and_idempotent(several: list[Report], chance) -> None:  # type: ignore[no-untyped-def]
    once = Report.merge(several)
    mixed = several * 2
    chance.shuffle(mixed)
    assert Report.merge(mixed).to_json() == once.to_json()
    assert Report.merge([once, once]).to_json() == once.to_json()
    assert Report.merge([once]).to_json() == once.to_json()


@given(some)
@settings(max_examples=25, deadline=None)
def test_a_merged_report_is_of_the_schema_and_reads_back(several: list[Report]) -> None:
    merged = Report.merge(several)
    jsonschema.Draft202012Validator(schema()).validate(merged.to_dict())
    again = Report.from_dict(merged.to_dict())
    assert again.to_json() == merged.to_json()
    assert Report.merge([again]).to_json() == merged.to_json()
    assert all(len(line) <= 100 for line in str(merged).split("\n"))


def test_seven_of_eight() -> None:
    leaky = [worker(pid, replace(ADAPTIVE, calls=pid)) for pid in range(7)]
    well = worker(7, replace(CLASSICAL, subject="adaptive", calls=7))
    merged = Report.merge([*leaky, well])
    (found,) = merged.findings
    assert found.verdict is Verdict.LEAKING
    assert found.reason == f"leaking in 7 of 8 processes (clean in 1); {ADAPTIVE.reason}"
    assert found.calls == sum(range(8))
    assert found.counts == Counts(*[7 * n for n in (12000, 0, 12000, 3, 11997, 11997, 0)])
    assert found.extra["in_processes"] == {"of": 8, "verdicts": {"leaking": 7, "clean": 1}}
    assert len(merged.processes) == 8
    assert "8 processes merged" in str(merged)


def test_rates_are_never_summed_worst_and_median_are_told() -> None:
    values = (10.0, 30.0, 20.0)
    parts = [
        worker(i, replace(LOOKUP, bytes_per_call=Interval(v, v - 1, v + 1), eta_seconds=Interval(1000 / v)))
        for i, v in enumerate(values)
    ]
    (found,) = Report.merge(parts).findings
    assert found.bytes_per_call == Interval(30.0, 29.0, 31.0)
    assert found.extra["median_bytes_per_call"] == 20.0
    assert found.extra["worst_process"] == {"host": "node7", "pid": 1}
    assert found.eta_seconds == Interval(1000 / 30)


def test_what_only_some_processes_met() -> None:
    merged = Report.merge([worker(1, LOOKUP), worker(2, PROCESS)])
    found = merged.finding("app.lookup")
    assert found is not None
    assert found.reason.startswith("growing in 1 of 2 processes (not met in 1); ")


def test_the_later_report_of_a_process_stands() -> None:
    early = worker(1, CLASSICAL)
    late = replace(worker(1, ADAPTIVE), created_at="2026-01-02T05:00:00+00:00")
    merged = Report.merge([late, early])
    assert [f.subject for f in merged.findings] == ["adaptive"]
    assert merged.findings == late.findings
    assert merged.process == late.process
    restarted = worker(1, LOOKUP, started_at="2026-01-03T00:00:00+00:00")
    assert len(Report.merge([late, restarted]).processes) == 2


def test_processes_without_an_identity_are_kept_apart() -> None:
    nobody = Report("now", ProcessFacts(), findings=(LOOKUP,))
    other = replace(nobody, findings=(ADAPTIVE,))
    assert len(Report.merge([nobody, other, nobody]).processes) == 2


def test_facts_of_many_processes() -> None:
    one = worker(1, resident_bytes=10, peak_bytes=20, host="a", started_at="2026-01-02")
    two = worker(2, resident_bytes=5, peak_bytes=30, host="b", started_at="2026-01-01", limit_bytes=7)
    merged = Report.merge([one, two])
    facts = merged.process
    assert (facts.pid, facts.host, facts.command) == (None, "2 hosts", "python train.py")
    assert (facts.resident_bytes, facts.peak_bytes, facts.limit_bytes) == (15, 30, None)
    assert facts.started_at == "2026-01-01"
    assert merged.cost == Cost(1.0, 0.01, 200)
    assert Report.merge([worker(1, host=None), worker(2, host=None)]).process.host is None


def test_evidence_is_united() -> None:
    def with_evidence(pid: int, alive: int, share: float) -> Report:
        finding = replace(
            ADAPTIVE,
            counts=Counts(alive=alive),
            one_time_growth=OneTimeGrowth(pid, 1),
            holders=(Holder(f"p{pid}", "module", 2, None, "same"), Holder("q", "module", 1, 5)),
            birth_sites=(BirthSite("f.py", 1, "g", share),),
            contexts=(ContextShare({"a": "1", "b": "2"}, share),),
            grown=(Grown("T", "type", 3, None), Grown("T", "container", 1, 1)),
            signals=("s", f"s{pid}"),
        )
        return worker(pid, finding)

    (found,) = Report.merge([with_evidence(1, 10, 1.0), with_evidence(2, 30, 0.2)]).findings
    assert [(h.path, h.count, h.retained_bytes) for h in found.holders] == [("p1", 4, None), ("q", 2, 10)]
    assert found.birth_sites == (BirthSite("f.py", 1, "g", pytest.approx(0.4)),)
    assert found.contexts == (ContextShare({"a": "1", "b": "2"}, pytest.approx(0.4)),)
    assert found.grown == (Grown("T", "type", 6, None), Grown("T", "container", 2, 2))
    assert found.signals == ("s", "s1", "s2")
    assert found.one_time_growth == OneTimeGrowth(2, 1)


def test_faults_add_and_breaches_say_where() -> None:
    merged = Report.merge([REPORT, replace(REPORT, process=replace(FACTS, pid=9))])
    assert [fault["count"] for fault in merged.errors] == [6]
    assert [(b["pid"], b["host"]) for b in merged.breaches] == [(4711, "node7"), (9, "node7")]
    assert "pid 9 on node7" in " ".join(str(merged).split())


def test_nothing_to_merge() -> None:
    with pytest.raises(UsageError, match="at least one report"):
        Report.merge([])
