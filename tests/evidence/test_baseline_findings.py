"""Baselines of whole findings: what is accepted is told so, and what is new can fail a build."""

import json

import pytest

from meminstr.commands.parser import dispatch
from meminstr.errors import UsageError
from meminstr.evidence import baseline
from meminstr.reports.model import Cost, ProcessFacts, Report
from meminstr.verdict import Finding, Holder, Verdict

BUS = Holder("app.bus._listeners[*]", "module", 10, fingerprint="aaaa", suspect="_listeners[*]")
CACHE = Holder("app.cache[*]", "module", 5, fingerprint="bbbb", suspect="cache[*]")
LOST = Holder("<not reached: app.Session>", "unknown", 3, fingerprint="cccc")


def leak(name="handle", *holders, kind="python_objects"):
    return Finding(name, "function", Verdict.LEAKING, "grows", memory_kind=kind, holders=holders)


def report(*findings):
    facts = ProcessFacts(
        pid=1, host="here", python="CPython 3.11", command="app", started_at="2026-01-01T00:00:00+00:00"
    )
    return Report(created_at="2026-01-01T00:00:00+00:00", process=facts, cost=Cost(), findings=findings)


def test_a_finding_is_known_when_all_its_holders_are():
    both = baseline.mark_finding(leak("handle", BUS, CACHE), frozenset(("aaaa",)))
    assert [h.known for h in both.holders] == [True, False]
    assert not baseline.is_known(both)
    assert baseline.is_known(baseline.mark_finding(leak("handle", BUS, CACHE), frozenset(("aaaa", "bbbb"))))


def test_what_was_not_reached_in_time_decides_nothing():
    assert baseline.is_known(baseline.mark_finding(leak("handle", BUS, LOST), frozenset(("aaaa",))))
    assert not baseline.is_known(baseline.mark_finding(leak("handle", LOST), frozenset(("cccc",))))


def test_a_leak_without_holders_goes_by_its_subject_and_kind(tmp_path):
    native = leak("decode", kind="native_heap")
    assert baseline.save_findings(tmp_path / "known.json", [native]) == 1
    accepted = baseline.load(tmp_path / "known.json")
    assert baseline.is_known(baseline.mark_finding(native, accepted))
    assert not baseline.is_known(baseline.mark_finding(leak("decode"), accepted))
    assert not baseline.is_known(baseline.mark_finding(leak("other", kind="native_heap"), accepted))


def test_a_report_writes_its_baseline_and_the_next_one_speaks_of_what_is_new(tmp_path):
    path = tmp_path / "known.json"
    assert report(leak("handle", BUS)).to_baseline(path) == 1
    later = report(leak("handle", BUS), leak("search", CACHE)).marked(path)
    assert [f.subject for f in later.leaks] == ["handle", "search"]
    assert [f.subject for f in later.new_leaks] == ["search"]
    assert "Accepted in the baseline: handle." in str(later)
    assert " ".join(str(later).split()).count("; accepted in the baseline") == 1
    again = Report.from_dict(json.loads(later.to_json()))
    assert [f.subject for f in again.new_leaks] == ["search"]


def test_without_a_baseline_all_leaks_are_new():
    one = report(leak("handle", BUS))
    assert one.new_leaks == one.leaks
    assert "Accepted" not in str(one)


def test_a_baseline_that_cannot_be_written_is_a_mistake_of_usage(tmp_path):
    with pytest.raises(UsageError, match="cannot be written"):
        report(leak("handle", BUS)).to_baseline(tmp_path / "no" / "such" / "known.json")
    assert list(tmp_path.iterdir()) == []


def test_the_command_fails_on_new_leaks_only(tmp_path, capsys):
    made, known = tmp_path / "report.json", tmp_path / "known.json"
    report(leak("handle", BUS)).to_json(made)
    assert dispatch(["report", str(made)]) == 0
    assert dispatch(["report", str(made), "--fail-on-new"]) == 1
    assert dispatch(["report", str(made), "--write-baseline", str(known)]) == 0
    assert dispatch(["report", str(made), "--baseline", str(known), "--fail-on-new"]) == 0
    assert "Accepted in the baseline: handle." in capsys.readouterr().out
    report(leak("handle", BUS), leak("search", CACHE)).to_json(made)
    page = tmp_path / "page.html"
    assert dispatch(["report", str(made), "--baseline", str(known), "--fail-on-new", "--html", str(page)]) == 1
    assert page.exists()
