from __future__ import annotations

import json
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_examples import ADAPTIVE, CLASSICAL, FACTS, LOOKUP, NOISE, PROCESS, REPORT, SUPER
from report_strategies import HOSTILE, findings, reports

from meminstr.reports.escape import display_width, safe, wrap
from meminstr.reports.model import Report
from meminstr.reports.text import breach_line, finding_lines
from meminstr.verdict import Finding, Interval, Verdict


def flat(text: str) -> str:
    return " ".join(text.split())


def columns(line: str) -> int:
    # written apart from the code under test
    return sum(2 if unicodedata.east_asian_width(c) in "FW" else 1 for c in line)


def test_first_line_names_the_culprit_and_the_time_left() -> None:
    first = flat("\n".join(str(REPORT).splitlines()[:2]))
    assert first.startswith("1 of 7 subjects is leaking: adaptive. Growing, to be watched: app.lookup.")
    assert first.endswith("At this rate memory reaches 2 GiB in 3 h 3 min (2 h 30 min to 3 h 37 min).")


def test_leaking_line_is_in_the_form_of_the_design() -> None:
    assert (
        "LEAKING adaptive +1.00 instance/construction, 1.2 MiB per 1000, 2 GiB in 3 h 10 min "
        "(2 h 40 min to 3 h 50 min); held by app.bus._listeners[*].callback; born at app/factory.py:41; "
        "not released by cleanup()"
    ) in flat(str(REPORT))


def test_name_of_the_cleanup_method_is_used_when_known() -> None:
    text = flat(str(replace(REPORT, findings=(replace(ADAPTIVE, extra={"cleanup": "aclose"}),))))
    assert "not released by aclose()" in text
    assert "12,000 cleaned up by aclose()" in text


def test_settled_line() -> None:
    assert (
        "CLEAN super_twisting settled: 13.6 MiB one-time growth until construction 100, flat since; "
        "excludes leaks above 3 B per construction"
    ) in flat(str(REPORT))


def test_a_reason_that_tells_its_figures_is_not_told_twice() -> None:
    told = replace(SUPER, reason="settled: 13.6 MiB of heap taken once by construction 100; 3 B excluded at 99 %")
    text = flat(str(replace(REPORT, findings=(told, CLASSICAL))))
    assert "one-time" not in text
    assert "excludes" not in text


@pytest.mark.parametrize(
    "expected",
    [
        "LEAKING process +228 MiB/hour (210 to 250 MiB), 2 GiB in 3 h 3 min",
        "GROWING app.lookup +19.5 KiB/call (19.3 to 19.6 KiB), 2 GiB in 8 h 20 min (6 h 57 min at the earliest)",
        "WARMING UP app.load bounded cache 212/1,024 fills; now +1 MiB/call (512 KiB to 2 MiB)",
        "INCONCLUSIVE app.noise too noisy; excludes leaks above 900 B per call, a smaller one is not",
        "INSUFFICIENT DATA nightly 3 samples of 16; 42 calls so far",
        "held by app.bus._listeners[*].callback (11,997 objects, 14 MiB; root: module); suspect _listeners",
        "the pool remembers what it ran; accepted in the baseline",
        "born at app/factory.py:41 in build (98%)",
        "during request=POST /upload (83%)",
        "grew app.bus._listeners: +11,997 entries, 93.8 KiB",
        "do Unregister the callback in cleanup().",
        "do Look again when it is full.",
        "process pid 4711, node7, CPython 3.11.7, python train.py",
        "memory 640 MiB resident, 700 MiB at the peak, limit 2 GiB",
        "signals resident (/proc/self/statm)",
        "cost meminstr itself took 210 ms, 0.31% of CPU time, 2 MiB of memory",
        "fault in meminstr itself, probe heap: OSError: no such file (3 times)",
        "breach step broke its memory limit: 1.2 GiB held, limit 1 GiB",
        "note 2 classes were skipped",
    ],
)
def test_content(expected: str) -> None:
    assert expected in flat(str(REPORT))


def test_verdicts_come_worst_first() -> None:
    lines = str(REPORT).splitlines()
    words = [
        "LEAKING  adaptive",
        "LEAKING  process",
        "GROWING",
        "WARMING UP",
        "INCONCLUSIVE",
        "INSUFF",
        "CLEAN",
        "process",
    ]
    places = [next(i for i, line in enumerate(lines) if line.startswith(word)) for word in words]
    assert places == sorted(places)


def test_a_baseline_holder_is_not_the_headline() -> None:
    assert "; held by app.bus" in flat(str(REPORT))
    assert "; held by worker" not in flat(str(REPORT))


def test_nothing_instrumented_says_how_to() -> None:
    text = flat(str(Report("2026-01-02T04:04:05+00:00", FACTS)))
    assert text.startswith("Nothing was instrumented")
    assert "@meminstr.leak_guard" in text
    assert "meminstr run --track" in text
    alone = flat(str(Report("now", FACTS, findings=(PROCESS,))))
    assert alone.startswith("The process is leaking.")
    assert "meminstr run --track" in alone


def test_conclusions() -> None:
    def first(*found: Finding) -> str:
        return flat(str(Report("now", FACTS, findings=found))).partition(" CLEAN")[0]

    assert first(SUPER, CLASSICAL) == "No leak is proven; of 2 subjects: 2 clean."
    assert "none of the 1 subject is proven to" in first(PROCESS, SUPER)
    assert "2 of 2 subjects are leaking: adaptive, b." in first(ADAPTIVE, replace(ADAPTIVE, subject="b"))
    many = [replace(ADAPTIVE, subject=f"s{i}") for i in range(6)]
    assert "6 of 6 subjects are leaking: s0, s1, s2 and 3 more." in first(*many)
    assert "1 growing, 1 inconclusive" in first(LOOKUP, NOISE)
    over = replace(PROCESS, eta_seconds=Interval(0.0))
    assert "Memory limit 2 GiB reached." in first(over)


def test_color_only_when_asked_and_only_on_words() -> None:
    assert "\x1b" not in REPORT.to_text()
    colored = REPORT.to_text(color=True)
    assert "\x1b[1;31mLEAKING\x1b[0m  adaptive" in colored
    import re

    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == REPORT.to_text()


def test_rates_without_bytes_fall_back_to_blocks_and_thousands() -> None:
    blocks = Finding("f", "function", Verdict.LEAKING, "r", blocks_per_call=Interval(2.0, None, 3.0))
    assert "+2.00 memory blocks/call (at most +3.00)" in flat(str(Report("now", findings=(blocks,))))
    thousands = Finding("f", "function", Verdict.LEAKING, "r", mb_per_1000=2.0)
    assert "2 MiB per 1000 calls" in flat(str(Report("now", findings=(thousands,))))
    fewer = Finding("C", "class", Verdict.LEAKING, "r", bytes_per_call=Interval(-5.0, float("nan"), 1.0))
    assert "-5 B/construction (at most 1 B)" in flat(str(Report("now", findings=(fewer,))))
    assert "no limit known" in flat(str(Report("now", findings=(fewer,))))


def test_many_faults_and_breaches_are_cut() -> None:
    faults = tuple({"where": f"w{i}", "error": "E"} for i in range(12))
    breaches = tuple({"subject": f"s{i}"} for i in range(12))
    text = flat(str(replace(REPORT, errors=faults, breaches=breaches)))
    assert "and 2 more kinds of fault" in text
    assert "and 2 earlier ones" in text
    assert "s11 broke its memory limit" in text


def test_lines_of_one_finding_are_those_of_the_report() -> None:
    lines = finding_lines(ADAPTIVE, 100, limit_bytes=2 << 30)
    assert "\n".join(lines) in str(REPORT)
    assert len(lines) > 5
    assert "its limit in 3 h 10 min" in flat("\n".join(finding_lines(ADAPTIVE)))


def test_breach_of_a_call_counts_from_its_entry() -> None:
    record = {
        "subject": "load", "of": "call", "limit_bytes": 1 << 30, "observed_bytes": 3 << 30,
        "entry_bytes": 1 << 30, "peak_bytes": 4 << 30, "stack": ["load (app.py:7)", "main (app.py:1)"],
        "action": "raised", "note": None, "pid": 7, "host": "node7",
    }  # fmt: skip
    assert breach_line(record).replace("\u00a0", " ") == (
        "load broke its memory limit: 2 GiB added by the call, 3 GiB at the peak, limit 1 GiB; "
        "in load (app.py:7), called from main (app.py:1); MemoryLimitExceeded was raised; pid 7 on node7"
    )


def test_breach_tells_all_that_its_record_holds() -> None:
    record = {
        "subject": "load", "of": "process", "limit_bytes": 1 << 30, "observed_bytes": 1200 << 20,
        "overshoot_bytes": 176 << 20, "mechanism": "watcher", "noticed_after_seconds": 0.004,
        "grown_by_kind": {"anonymous": 900 << 20, "file_and_shared": 1 << 20}, "grown_classes": {"app.Row": 12},
        "stack": ["a (x.py:3)", "b (x.py:2)", "c (x.py:1)", "d (x.py:0)"], "action": "stopped",
        "uninterruptible_seconds": 3.1, "note": "could not be interrupted at once",
        "recent_calls": [{"subject": "warm", "seconds_ago": 5.0, "seconds": 1.0, "peak_bytes": 300 << 20}],
    }  # fmt: skip
    line = breach_line(record).replace("\u00a0", " ")
    for part in (
        "passed by 176 MiB", "noticed by watcher within 4 ms", "grown by 900 MiB anonymous, 1 MiB file and shared",
        "12 app.Row more than before it",
        "in a (x.py:3), called from b (x.py:2), called from c (x.py:1); the call was stopped",
        "could not be interrupted at once; not to be interrupted for 3.1 s",
        "before it ran warm (300 MiB at the peak, 5.0 s earlier)",
    ):  # fmt: skip
        assert part in line, line
    report = replace(REPORT, breaches=(record,))
    assert "passed by" in flat(str(report))
    assert "passed by" in report.to_html().replace("\u00a0", " ")
    assert json.loads(report.to_json())["breaches"] == [record]


@given(reports, st.integers(40, 140))
@settings(max_examples=100, deadline=None)
def test_every_line_fits_and_is_harmless(report: Report, width: int) -> None:
    text = report.to_text(width=width)
    for line in text.split("\n"):
        assert columns(line) <= width
        assert all(unicodedata.category(c)[0] != "C" and unicodedata.category(c) not in ("Zl", "Zp") for c in line)
    text.encode("utf-8")


@given(findings)
@settings(max_examples=100, deadline=None)
def test_no_name_can_fake_a_verdict_line(finding: Finding) -> None:
    # the only line that starts with a verdict word is the one of this finding
    lines = Report("now", FACTS, findings=(finding,)).to_text().split("\n")
    words = ("LEAKING  ", "GROWING  ", "WARMING UP  ", "INCONCLUSIVE  ", "INSUFFICIENT DATA  ", "CLEAN  ")
    assert sum(line.startswith(words) or line in [w.strip() for w in words] for line in lines) == 1


@given(st.text(max_size=900), st.integers(10, 300))
def test_safe_is_short_printable_and_keeps_plain_text(text: str, limit: int) -> None:
    out = safe(text, limit)
    assert len(out) <= limit
    assert all(c.isprintable() for c in out)
    if text.isascii() and text.isprintable() and len(text) <= limit:
        assert out == text


def test_safe_shows_what_it_escapes() -> None:
    assert safe("\x1b[31m") == "\\x1b[31m"
    assert safe("a\nb\tc\r") == "a\\nb\\tc\\r"
    assert safe("\u202e") == "\\u202e"
    assert safe("\U000e0041") == "\\U000e0041"
    assert safe("naïve 名前") == "naïve 名前"
    assert safe("x" * 30, 20) == "xxxxxxxxxxx...xxxxxx"
    assert safe("e\u0301\u0301\u0301") == "e\u0301\u0301\\u0301"

    class Rude:
        def __str__(self) -> str:
            raise RuntimeError

    assert safe(Rude()) == "<Rude>"
    assert len(HOSTILE) > 5


@given(st.text(alphabet="ab ./名", max_size=200), st.integers(20, 60))
def test_wrap_loses_nothing(text: str, width: int) -> None:
    lines = wrap(text, width, ">> ", "   ")
    assert all(display_width(line) <= width for line in lines)
    assert lines[0].startswith(">>")
    joined = "".join(line[3:] for line in lines)
    assert joined.replace(" ", "") == text.replace(" ", "")
