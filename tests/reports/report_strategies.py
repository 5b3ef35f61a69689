"""Hypothesis strategies for reports, hostile names included."""

from __future__ import annotations

from hypothesis import strategies as st

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

HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "a\nLEAKING  innocent",
    "\u202eevil\u2066",
    "<script>alert(1)</script>",
    "\ud800",
    "名前" * 60,
    "x" * 500,
    "e" + "\u0301" * 40,
    "a|b `c` @d",
    "",
    " ",
    "\x00\x7f\x9b31m",
)
names = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40), st.text(alphabet="ab.[*] /", max_size=300))
naturals = st.integers(0, 10**12)
numbers = st.one_of(st.integers(-(10**6), 10**6).map(float), st.floats(-1e15, 1e15))
shares = st.floats(0, 1)


def maybe(strategy):
    return st.none() | strategy


intervals = st.builds(Interval, numbers, maybe(numbers), maybe(numbers))
counts = st.builds(Counts, *[naturals] * 7)
holders = st.builds(
    Holder, names, names, naturals, maybe(naturals), maybe(names), maybe(names), maybe(names), st.booleans()
)
leaves = st.one_of(st.none(), st.booleans(), st.integers(), numbers, names)
extras = st.dictionaries(
    st.sampled_from(["history", "cleanup", "other", "notes"]),
    st.recursive(leaves, lambda s: st.lists(s, max_size=3) | st.dictionaries(names, s, max_size=2), max_leaves=6),
    max_size=2,
)


def few(strategy):
    return st.lists(strategy, max_size=2).map(tuple)


findings = st.builds(
    Finding,
    subject=names | st.sampled_from("abc"),
    subject_kind=st.sampled_from(["function", "class", "process", "route", "task", "odd"]),
    verdict=st.sampled_from(Verdict),
    reason=names,
    memory_kind=maybe(st.sampled_from(["python_objects", "native_heap"]) | names),
    calls=maybe(naturals),
    onset_call=maybe(naturals),
    one_time_growth=maybe(st.builds(OneTimeGrowth, naturals, naturals)),
    bytes_per_call=maybe(intervals),
    blocks_per_call=maybe(intervals),
    live_per_call=maybe(intervals),
    mb_per_1000=maybe(numbers),
    mb_per_hour=maybe(intervals),
    eta_seconds=maybe(intervals),
    excluded_bytes_per_call=maybe(numbers),
    culprit_type=maybe(names),
    counts=maybe(counts),
    holders=few(holders),
    birth_sites=few(st.builds(BirthSite, names, naturals, names, shares)),
    contexts=few(st.builds(ContextShare, st.dictionaries(names, names, max_size=2), shares)),
    grown=few(st.builds(Grown, names, st.sampled_from(["type", "container"]), naturals, maybe(naturals))),
    advice=maybe(names),
    signals=few(names),
    extra=extras,
)

moments = st.sampled_from([f"2026-01-02T03:04:{s:02}+00:00" for s in range(4)])
processes = st.builds(
    ProcessFacts,
    pid=st.integers(1, 4),
    host=st.sampled_from(["node7", "node8"]) | names,
    python=maybe(names),
    command=maybe(names),
    started_at=moments,
    resident_bytes=maybe(naturals),
    peak_bytes=maybe(naturals),
    limit_bytes=maybe(naturals),
    signals=few(names),
)
faults = st.fixed_dictionaries({"where": names, "error": names, "message": names, "count": naturals})
breaches = st.dictionaries(
    st.sampled_from(["subject", "limit_bytes", "observed_bytes", "peak_bytes", "entry_bytes", "of", "action", "note"]),
    leaves | st.just("call"),
    max_size=6,
)
reports = st.builds(
    Report,
    created_at=moments,
    process=processes,
    cost=st.builds(Cost, maybe(numbers), maybe(shares), maybe(naturals)),
    findings=st.lists(findings, max_size=3).map(tuple),
    errors=few(faults),
    breaches=few(breaches),
    extra=extras,
)
