"""A clean report and a leaking one of the same program."""

from __future__ import annotations

from dataclasses import replace

from meminstr.reports.model import ProcessFacts, Report
from meminstr.verdict import BirthSite, Finding, Holder, Interval, Verdict

CLEAN = Finding("app.ingest", "function", Verdict.CLEAN, "no growth", calls=9000, excluded_bytes_per_call=12.0)
LEAK = Finding(
    "app.ingest",
    "function",
    Verdict.LEAKING,
    "heap grew steadily",
    calls=9000,
    onset_call=1500,
    bytes_per_call=Interval(20_000.0, 19_000.0, 21_000.0),
    mb_per_hour=Interval(137.0, 130.0, 144.0),
    eta_seconds=Interval(2_200.0, 2_000.0, 2_500.0),
    holders=(Holder("app.cache.RESULTS[*]", "module", 5700, 114 << 20, "ab12", "RESULTS[*]"),),
    birth_sites=(BirthSite("app/in gest.py", 112, "decode", 0.97),),
    advice="Give the cache a bound.",
    extra={"history": [[i, i * i] for i in range(40)]},
)
SESSION = Finding(
    "app.Session",
    "class",
    Verdict.GROWING,
    "instances stay",
    calls=300,
    live_per_call=Interval(0.5, 0.4, 0.6),
    extra={"history": [[i, i] for i in range(40)]},
)
OLD = Finding("app.old", "function", Verdict.CLEAN, "no growth")
NASTY = Finding("x<y>&\"'\x1b[31m|`](x)\ud800", "function", Verdict.CLEAN, "no growth")
FACTS = ProcessFacts(4711, "node7", "CPython 3.12.1", "python app.py", None, 400 << 20, 410 << 20, 512 << 20)
BASE = Report("2026-01-01T00:00:00+00:00", FACTS, findings=(CLEAN, OLD, NASTY))
HEAD = Report("2026-01-02T00:00:00+00:00", FACTS, findings=(LEAK, SESSION, NASTY))


def worse(factor: float) -> Report:
    """HEAD with another rate."""
    assert LEAK.bytes_per_call is not None
    return replace(HEAD, findings=(replace(LEAK, bytes_per_call=LEAK.bytes_per_call.scaled(factor)), SESSION, NASTY))
