"""Which figures become metrics: pure, on reports made by hand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.exporters.families import OTHERS, Process, chosen, families
from meminstr.exporters.textfile import render
from meminstr.reports.model import Cost, ProcessFacts, Report
from meminstr.verdict import Counts, Finding, Interval, Verdict

LEAK = Finding(
    "Cart",
    "class",
    Verdict.LEAKING,
    "grew",
    calls=1000,
    mb_per_1000=2.0,
    mb_per_hour=Interval(3600.0),
    eta_seconds=Interval(1800.0),
    counts=Counts(constructed=1000, alive=400, retained=300),
)
CLEAN = Finding("step", "function", Verdict.CLEAN, "flat", calls=50, bytes_per_call=Interval(0.0))
WHOLE = Finding("process", "process", Verdict.GROWING, "grew", mb_per_hour=Interval(7200.0))


def report(*findings, pid=1, **changes):
    facts = ProcessFacts(pid=pid, host="web", started_at=str(pid), resident_bytes=100, limit_bytes=1000 + pid)
    return replace(Report("2026", facts, Cost(0.5, 0.01, 10), tuple(findings)), **changes)


def samples(found):
    return {(family.exposed, *(value for _, value in labels)): n for family in found for labels, n in family.samples}


def test_every_figure_has_its_base_unit():
    got = samples(families([Process(report(LEAK, CLEAN, WHOLE))]))
    assert got["meminstr_calls_total", "Cart", "class"] == 1000
    assert got["meminstr_live_instances", "Cart", "class"] == 400
    assert got["meminstr_retained_instances", "Cart", "class"] == 300
    assert got["meminstr_growth_bytes_per_call", "Cart", "class"] == pytest.approx(2 * 2**20 / 1000)
    assert got["meminstr_growth_bytes_per_second", "Cart", "class"] == pytest.approx(2**20)
    assert got["meminstr_growth_bytes_per_second", "process", "process"] == pytest.approx(2 * 2**20)
    assert got["meminstr_time_to_limit_seconds", "Cart", "class"] == 1800
    assert got["meminstr_verdict", "Cart", "class", "leaking"] == 1
    assert got["meminstr_verdict", "step", "function", "clean"] == 1
    assert got["meminstr_growth_bytes_per_call", "step", "function"] == 0
    assert (got["meminstr_resident_bytes",], got["meminstr_limit_bytes",]) == (100, 1001)
    assert got["meminstr_overhead_seconds_total",] == 0.5
    assert (got["meminstr_subjects",], got["meminstr_subjects_not_shown",]) == (2, 0)


def test_counters_keep_the_dead_and_gauges_do_not():
    processes = [
        Process(report(LEAK, pid=1), "ended"),
        Process(report(replace(LEAK, verdict=Verdict.CLEAN), pid=2), "running"),
        Process(report(LEAK, pid=3, breaches=({"limit": 1},)), "killed"),
    ]
    got = samples(families(processes))
    assert got["meminstr_calls_total", "Cart", "class"] == 3000
    assert got["meminstr_limit_breaches_total",] == 1
    assert got["meminstr_live_instances", "Cart", "class"] == 400
    assert ("meminstr_verdict", "Cart", "class", "leaking") not in got
    assert [got["meminstr_processes", state] for state in ("running", "ended", "killed", "silent")] == [1, 1, 1, 0]


def test_of_a_finished_job_the_last_figures_stand():
    got = samples(families([Process(report(LEAK, pid=n), "ended") for n in (1, 2)]))
    assert got["meminstr_live_instances", "Cart", "class"] == 800
    assert got["meminstr_verdict", "Cart", "class", "leaking"] == 1


def test_a_counter_does_not_fall_when_a_worker_is_recycled():
    before = families([Process(report(LEAK, pid=1))])
    after = families([Process(report(LEAK, pid=1), "ended"), Process(report(replace(LEAK, calls=None), pid=2))])
    key = ("meminstr_calls_total", "Cart", "class")
    assert samples(before)[key] == samples(after)[key] == 1000


def test_too_many_subjects_are_counted_together_and_the_worst_are_shown():
    many = [replace(CLEAN, subject=f"f{n:04}", calls=1) for n in range(1000)]
    got = samples(families([Process(report(*many, LEAK))], most=10))
    shown = [key for key in got if key[0] == "meminstr_verdict"]
    assert len(shown) == 10
    assert ("meminstr_verdict", "Cart", "class", "leaking") in shown
    assert got["meminstr_calls_total", OTHERS, "function"] == 991
    assert got["meminstr_subjects_not_shown",] == 991


def test_who_had_a_label_keeps_it_until_a_leak_needs_the_place():
    many = [replace(CLEAN, subject=f"f{n}") for n in range(5)]
    shown = frozenset({("f3", "function"), ("f4", "function")})
    assert [f.subject for f in chosen(many, shown, 2)] == ["f3", "f4"]
    assert [f.subject for f in chosen([*many, LEAK], shown, 2)] == ["Cart", "f3"]


def test_nothing_gives_nothing():
    assert families([]) == ()
    assert render(()) == ""


@given(
    st.lists(
        st.tuples(st.text(max_size=20), st.sampled_from(list(Verdict)), st.floats()),
        max_size=8,
        unique_by=lambda t: t[0],
    ),
    st.integers(0, 10),
)
def test_any_report_reads_back_with_the_librarys_own_parser(rows, most):
    parser = pytest.importorskip("prometheus_client.parser")
    found = families(
        [Process(report(*(Finding(s, "function", v, "x", calls=1, bytes_per_call=Interval(n)) for s, v, n in rows)))],
        most,
    )
    text = render(found)
    back = {
        (sample.name, *sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(
            text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        )
        for sample in family.samples
    }
    assert back == samples(found)
    assert all(math.isfinite(value) for value in back.values())
    assert sum(name == "meminstr_verdict" for name, *_ in back) == min(most, len(rows))
