"""One realistic report with all six verdicts."""

from __future__ import annotations

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

ADAPTIVE = Finding(
    "adaptive",
    "class",
    Verdict.LEAKING,
    "instances outlive cleanup() and their number keeps growing",
    memory_kind="python_objects",
    calls=12000,
    onset_call=1,
    live_per_call=Interval(1.0, 1.0, 1.0),
    bytes_per_call=Interval(1258.0, 1200.0, 1300.0),
    mb_per_1000=1.2,
    mb_per_hour=Interval(160.0, 150.0, 170.0),
    eta_seconds=Interval(11400.0, 9600.0, 13800.0),
    counts=Counts(12000, 0, 12000, 3, 11997, 11997, 0),
    holders=(
        Holder("worker.seen[*]", "class", 13000, library="the pool remembers what it ran", known=True),
        Holder("app.bus._listeners[*].callback", "module", 11997, 14 << 20, "3fa9", "_listeners"),
    ),
    birth_sites=(BirthSite("app/factory.py", 41, "build", 0.98),),
    contexts=(ContextShare({"request": "POST /upload"}, 0.83),),
    grown=(Grown("app.bus._listeners", "container", 11997, 96000), Grown("app.Adaptive", "type", 11997)),
    advice="Unregister the callback in cleanup().",
)
LOOKUP = Finding(
    "app.lookup",
    "function",
    Verdict.GROWING,
    "3,100 calls of the horizon of 5,000 calls",
    calls=3100,
    bytes_per_call=Interval(19965.0, 19809.0, 20071.0),
    eta_seconds=Interval(30000.0, 25000.0, None),
)
PROCESS = Finding(
    "process",
    "process",
    Verdict.LEAKING,
    "steady growth for 40 min",
    mb_per_hour=Interval(228.0, 210.0, 250.0),
    eta_seconds=Interval(11000.0, 9000.0, 13000.0),
)
LOAD = Finding(
    "app.load",
    "function",
    Verdict.WARMING_UP,
    "bounded cache 212/1,024 fills",
    bytes_per_call=Interval(1048576.0, 524288.0, 2097152.0),
    advice="Look again when it is full.",
)
NOISE = Finding("app.noise", "function", Verdict.INCONCLUSIVE, "too noisy", excluded_bytes_per_call=900.0)
NIGHTLY = Finding("nightly", "function", Verdict.INSUFFICIENT_DATA, "3 samples of 16", calls=42)
SUPER = Finding(
    "super_twisting",
    "class",
    Verdict.CLEAN,
    "settled",
    calls=12000,
    one_time_growth=OneTimeGrowth(int(13.6 * (1 << 20)), 100),
    excluded_bytes_per_call=3.0,
)
CLASSICAL = Finding(
    "classical", "class", Verdict.CLEAN, "no growth: more than 1 B excluded", excluded_bytes_per_call=0.4
)
FACTS = ProcessFacts(
    4711,
    "node7",
    "CPython 3.11.7",
    "python train.py",
    "2026-01-02T03:04:05+00:00",
    640 << 20,
    700 << 20,
    2 << 30,
    ("resident (/proc/self/statm)",),
)
SIX = (CLASSICAL, SUPER, NIGHTLY, NOISE, LOAD, PROCESS, LOOKUP, ADAPTIVE)
REPORT = Report(
    "2026-01-02T04:04:05+00:00",
    FACTS,
    Cost(0.21, 0.0031, 2 << 20),
    SIX,
    errors=({"where": "probe heap", "error": "OSError", "message": "no such file", "count": 3},),
    breaches=({"subject": "step", "limit_bytes": 1 << 30, "observed_bytes": 1288490189},),
    extra={"notes": ["2 classes were skipped"]},
)
