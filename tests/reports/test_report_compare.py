from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from report_examples import ADAPTIVE, CLASSICAL, LOOKUP, NOISE, PROCESS, REPORT, SUPER
from report_strategies import reports

from meminstr.reports.compare import BETTER, GONE, NEW, SAME, WORSE, Comparison, compare
from meminstr.reports.model import Report
from meminstr.verdict import Finding, Interval, Verdict


def rated(low: float | None, high: float | None, verdict: Verdict = Verdict.LEAKING) -> Finding:
    middle = ((low or 0.0) + (high or 0.0)) / 2
    return Finding("f", "function", verdict, "r", bytes_per_call=Interval(middle, low, high))


def of(base: Finding | None, head: Finding | None) -> Comparison:
    return compare(*(Report("now", findings=() if f is None else (f,)) for f in (base, head)))


CLEAN = Finding("f", "function", Verdict.CLEAN, "flat")


@pytest.mark.parametrize(
    ("base", "head", "expected"),
    [
        (rated(1, 2), rated(3, 4), WORSE),
        (rated(3, 4), rated(1, 2), BETTER),
        (rated(1, 3), rated(2, 4), SAME),
        (rated(1, 2), rated(2, 3), SAME),
        (rated(1, 3, Verdict.GROWING), rated(2, 4, Verdict.LEAKING), SAME),
        (replace(CLEAN, excluded_bytes_per_call=2.0), rated(3, 4), WORSE),
        (replace(CLEAN, excluded_bytes_per_call=5.0), rated(3, 4), SAME),
        (rated(3, 4), replace(CLEAN, excluded_bytes_per_call=2.0), BETTER),
        (CLEAN, rated(3, 4), WORSE),
        (rated(None, 4), CLEAN, BETTER),
        (rated(None, 4), rated(5, 6), SAME),
        (CLEAN, replace(CLEAN, verdict=Verdict.INCONCLUSIVE), SAME),
        (CLEAN, replace(CLEAN, verdict=Verdict.GROWING), SAME),
        (None, rated(1, 2), NEW),
        (rated(1, 2), None, GONE),
        (CLEAN, CLEAN, SAME),
    ],
)
def test_what_changed(base: Finding | None, head: Finding | None, expected: str) -> None:
    (change,) = of(base, head).records
    assert change.what == expected


def test_the_unit_both_know_is_compared() -> None:
    base = Finding("C", "class", Verdict.LEAKING, "r", live_per_call=Interval(1.0, 0.9, 1.1))
    head = replace(base, bytes_per_call=Interval(9.0, 8.0, 10.0), live_per_call=Interval(2.0, 1.9, 2.1))
    (change,) = of(base, head).records
    assert (change.unit, change.what) == ("live_per_call", WORSE)
    assert "+1.00 instance/construction (+0.90 to +1.10) -> " in " ".join(of(base, head).to_text().split())


def test_regressions_are_what_is_worse_or_newly_alarming() -> None:
    assert of(None, rated(1, 2)).regressions
    assert not of(None, CLEAN).regressions
    assert not of(rated(1, 2), None).regressions
    assert of(CLEAN, rated(1, 2)).regressions


def test_order_and_text() -> None:
    base = replace(REPORT, findings=(ADAPTIVE, LOOKUP, PROCESS, SUPER))
    faster = replace(PROCESS, mb_per_hour=Interval(400.0, 390.0, 410.0))
    slower = replace(LOOKUP, bytes_per_call=Interval(1.0, 0.0, 2.0), verdict=Verdict.CLEAN)
    head = replace(REPORT, findings=(slower, faster, SUPER, CLASSICAL, NOISE))
    comparison = compare(base, head)
    assert [c.what for c in comparison.records] == [WORSE, NEW, NEW, BETTER, GONE, SAME]
    text = " ".join(comparison.to_text().split())
    assert text.startswith("1 regression; of 6 subjects: 1 worse, 2 new, 1 better, 1 gone, 1 same.")
    assert "WORSE process leaking, 228 MiB/hour (210 to 250 MiB) -> leaking, 400 MiB/hour" in text
    assert "NEW app.noise inconclusive" in text
    assert "BETTER app.lookup growing, 19.5 KiB/call (19.3 to 19.6 KiB) -> clean, 1 B/call (0 to 2 B)" in text
    assert "GONE adaptive was leaking" in text
    assert "super_twisting" not in text
    assert comparison.to_dict()["records"][0]["what"] == "worse"
    assert comparison.to_dict()["records"][0]["head_rate"] == {"value": 400.0, "low": 390.0, "high": 410.0}


def test_markdown() -> None:
    evil = replace(rated(1, 2), subject="a|b <img src=x> `c` @team [x](y)\nz")
    text = of(None, evil).to_markdown()
    assert text.startswith("**meminstr**: 1 regression; of 1 subject: 1 new.\n\n| | subject | before | after |\n|---|")
    row = text.splitlines()[-1]
    assert row.count("|") == 5
    assert not set("<>`@[") & set(row)
    assert row.startswith("| **new** | a&#124;b ")
    assert row.endswith("| - | leaking, 1.5 B/call (1 to 2 B) |")
    assert of(CLEAN, CLEAN).to_markdown() == "**meminstr**: No regression; of 1 subject: 1 same.\n"


def test_nothing_at_all() -> None:
    assert of(None, None).to_text() == "Nothing to compare: neither report holds a subject."


@given(reports, reports)
@settings(max_examples=50, deadline=None)
def test_symmetry_width_and_no_change_against_itself(a: Report, b: Report) -> None:
    assert {c.what for c in compare(a, a).records} <= {SAME}
    mirror = {WORSE: BETTER, BETTER: WORSE, NEW: GONE, GONE: NEW, SAME: SAME}
    there = {(c.subject, c.subject_kind): c.what for c in compare(a, b).records}
    back = {(c.subject, c.subject_kind): mirror[c.what] for c in compare(b, a).records}
    assert there == back
    assert all(len(line) <= 60 for line in compare(a, b).to_text(60).split("\n"))
    for row in compare(a, b).to_markdown().splitlines()[2:]:
        assert row.count("|") == 5
