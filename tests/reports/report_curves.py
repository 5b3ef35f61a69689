"""A report with histories: a function and the process that leak, a class that leaks, one that is clean."""

from __future__ import annotations

from dataclasses import replace

from report_examples import ADAPTIVE, CLASSICAL, FACTS, LOAD, LOOKUP, PROCESS

from meminstr.reports.model import Report

POINTS = 96
NASTY = "app.<script>document.title='taken'</script>\"'&"


def column(function):
    return [float(function(i)) for i in range(POINTS)]


CALLS = column(lambda i: (i + 1) * 75)
SECONDS = column(lambda i: (i + 1) * 37.5)
NOISE = column(lambda i: (i * 7919 % 13) * 1e5)
HEAP = [80e6 + 20_000 * max(0.0, x - 1500) + n for x, n in zip(CALLS, NOISE, strict=True)]
RESIDENT = [value + 300e6 for value in HEAP]


def series(name, unit, x_unit, x, y, *, rate=None, onset=None, horizon=None, spread=0.0):
    out = {
        "name": name,
        "unit": unit,
        "x_unit": x_unit,
        "verdict": None,
        "onset_x": onset,
        "horizon_x": horizon,
        "rate_per_x": None if rate is None else dict(zip(("value", "low", "high"), rate, strict=True)),
        "x": x,
        "seconds": SECONDS[: len(x)],
        "mean": y,
    }
    if spread:
        out |= {"low": [v - spread for v in y], "high": [v + spread for v in y]}
    return out


def with_series(finding, *entries, **changes):
    return replace(finding, extra={**finding.extra, "series": list(entries)}, **changes)


PER_CALL = (20_000.0, 19_000.0, 21_000.0)
PER_SECOND = (40_000.0, 38_000.0, 42_000.0)
UPLOAD = with_series(
    LOOKUP,
    series("heap", "byte", "call", CALLS, HEAP, rate=PER_CALL, onset=1500.0, horizon=5000.0, spread=3e6),
    series("resident", "byte", "call", CALLS, RESIDENT, horizon=5000.0),
    subject=NASTY,
)
WHOLE = with_series(
    PROCESS,
    series("resident", "byte", "second", SECONDS, RESIDENT, rate=PER_SECOND, onset=700.0, horizon=600.0, spread=6e6),
    series("heap", "byte", "second", SECONDS, HEAP, rate=PER_SECOND, onset=700.0, horizon=600.0),
    series("blocks", "block", "second", SECONDS, column(lambda i: 200_000 + i)),
)
INSTANCES = with_series(
    ADAPTIVE,
    series("live", "instance", "construction", CALLS, CALLS, rate=(1.0, 1.0, 1.0), onset=1.0, horizon=5000.0),
    series("retained", "instance", "construction", CALLS, CALLS, rate=(1.0, 1.0, 1.0), onset=1.0, horizon=500.0),
)
CALM = with_series(CLASSICAL, series("live", "instance", "construction", CALLS, column(lambda i: i % 2)))
CURVES = Report(
    "2026-01-02T04:04:05+00:00", replace(FACTS, limit_bytes=700 << 20), findings=(UPLOAD, WHOLE, INSTANCES, CALM, LOAD)
)
