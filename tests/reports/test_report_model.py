from __future__ import annotations

import json
import os
import pickle
import stat
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_examples import ADAPTIVE, FACTS, PROCESS, REPORT, SIX, SUPER
from report_strategies import findings, reports

from meminstr.errors import MeminstrError, UsageError
from meminstr.reports import files
from meminstr.reports.json import dumps, loads, schema
from meminstr.reports.model import FORMAT, VERSION, Cost, ProcessFacts, Report
from meminstr.reports.record import badness
from meminstr.verdict import Finding, Interval, Verdict

VALIDATOR = jsonschema.Draft202012Validator(schema())
KEYS = "format version created_at process cost findings errors breaches processes".split()


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_schema_refuses_what_is_wrong() -> None:
    for spoil in (
        lambda d: d.pop("cost"),
        lambda d: d.update(version=2),
        lambda d: d["findings"][0].update(verdict="fine"),
        lambda d: d["findings"][0].pop("advice"),
        lambda d: d["findings"][0].update(calls="12"),
        lambda d: d["findings"][0]["holders"][0].pop("root"),
        lambda d: d["process"].update(pid="12"),
    ):
        data = REPORT.to_dict()
        spoil(data)
        assert not VALIDATOR.is_valid(data)


def test_keys_stand_in_the_order_of_the_contract() -> None:
    data = REPORT.to_dict()
    assert list(data) == [*KEYS, "notes"]
    assert list(data["process"]) == (
        "pid host python command started_at resident_bytes peak_bytes limit_bytes signals".split()
    )
    assert list(data["cost"]) == ["seconds", "share_of_cpu", "bytes"]
    assert (data["format"], data["version"]) == (FORMAT, VERSION) == ("meminstr-report", 1)


@pytest.mark.parametrize("finding", SIX, ids=lambda f: f.verdict.value)
def test_every_kind_of_finding_is_of_the_schema(finding: Finding) -> None:
    VALIDATOR.validate(replace(REPORT, findings=(finding,)).to_dict())


@given(reports)
@settings(max_examples=100, deadline=None)
def test_reports_are_of_the_schema_and_read_back(report: Report) -> None:
    data = report.to_dict()
    VALIDATOR.validate(data)
    text = report.to_json()
    assert text.isascii()
    assert json.loads(text) == data
    assert Report.from_dict(data) == report
    assert Report.from_dict(json.loads(text)).to_json() == text


@given(st.lists(findings, max_size=6))
@settings(max_examples=50, deadline=None)
def test_findings_are_sorted_worst_first(found: list[Finding]) -> None:
    report = Report("now", findings=tuple(found))
    ranks = [f.verdict.severity for f in report.findings]
    assert ranks == sorted(ranks, reverse=True)
    assert sorted(map(badness, report.findings)) == [badness(f) for f in report.findings]
    assert all(f.verdict is Verdict.LEAKING for f in report.leaks)
    assert len(report.leaks) == sum(f.verdict is Verdict.LEAKING for f in found)


def test_larger_rate_first_and_the_process_after_its_parts() -> None:
    small = replace(ADAPTIVE, subject="small", mb_per_hour=Interval(1.0))
    none = replace(ADAPTIVE, subject="none", mb_per_hour=None, bytes_per_call=None, mb_per_1000=2.0)
    less = replace(none, subject="less", mb_per_1000=1.0)
    report = Report("now", findings=(PROCESS, less, none, small, ADAPTIVE))
    assert [f.subject for f in report.findings] == ["adaptive", "small", "none", "less", "process"]


def test_lookup_and_immutability() -> None:
    assert REPORT.finding("adaptive") is ADAPTIVE
    assert REPORT.finding("adaptive", "function") is None
    assert REPORT.finding("nobody") is None
    with pytest.raises(FrozenInstanceError):
        REPORT.created_at = "x"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(REPORT)) == REPORT


def test_nan_and_infinity_become_null() -> None:
    bad = Finding(
        "f", "function", Verdict.CLEAN, "r", bytes_per_call=Interval(float("nan"), 0.0, 1.0),
        eta_seconds=Interval(5.0, 1.0, float("inf")), mb_per_1000=float("-inf"), extra={"x": [float("nan")]},
    )  # fmt: skip
    text = Report("now", cost=Cost(float("inf")), findings=(bad,)).to_json()
    found = json.loads(text, parse_constant=pytest.fail)["findings"][0]
    assert found["bytes_per_call"] is None
    assert found["eta_seconds"] == {"value": 5.0, "low": 1.0, "high": None}
    assert found["mb_per_1000"] is None
    assert found["x"] == [None]
    assert loads('{"a": NaN}') == {"a": None}


def test_keys_of_the_contract_cannot_be_overridden() -> None:
    report = replace(REPORT, extra={"version": 7, "more": 1})
    assert report.to_dict()["version"] == 1
    assert report.to_dict()["more"] == 1


# files


def test_written_for_the_owner_only_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    path.chmod(0o644)
    text = REPORT.to_json(path)
    assert path.read_text(encoding="utf-8") == text == dumps(REPORT)
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    assert Report.load(path) == REPORT
    assert Report.load(str(path)) == REPORT
    page = REPORT.to_html(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    link = tmp_path / "r.json"
    link.symlink_to(precious)
    REPORT.to_json(link)
    assert precious.read_text() == "mine"
    assert not link.is_symlink()


def test_a_device_is_written_to_not_replaced() -> None:
    REPORT.to_json(os.devnull)
    assert not stat.S_ISREG(os.stat(os.devnull).st_mode)


def test_failure_on_the_way_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(MeminstrError, match="No space left") as caught:
        REPORT.to_json(path)
    assert not isinstance(caught.value, UsageError)
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("name", ["missing/r.json", ".", "a\0b", "file/r.json", "n" * 300])
def test_unwritable_paths(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write the report to .* is allowed"):
        REPORT.to_json(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_path_of_the_wrong_type() -> None:
    with pytest.raises(UsageError, match="cannot write"):
        REPORT.to_json(3.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot read"):
        Report.load(3.5)  # type: ignore[arg-type]


BROKEN = {
    "empty": (b"", "it is not JSON"),
    "not json": (b"{'a': 1}", "it is not JSON"),
    "html": (b"<html>", "it is not JSON"),
    "half": (dumps(REPORT).encode()[:500], "it is not JSON"),
    "utf-16": (dumps(REPORT).encode("utf-16"), "not UTF-8"),
    "deep": (b"[" * 100_000, "(nested too deeply|not JSON)"),
    "long number": (b"1" * 5000, "not JSON|not a meminstr report"),
    "foreign": (b'{"a": 1}', 'a JSON object with "format": "meminstr-report" is allowed'),
    "list": (b"[1]", "is not a meminstr report"),
    "format": (b'{"format": "other"}', "is not a meminstr report"),
    "no version": (b'{"format": "meminstr-report"}', "no valid format version"),
    "true": (b'{"format": "meminstr-report", "version": true}', "no valid format version"),
    "newer": (b'{"format": "meminstr-report", "version": 2}', "newer meminstr .format version 2.*upgrade"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named_in_one_sentence(tmp_path: Path, name: str) -> None:
    content, expected = BROKEN[name]
    path = tmp_path / "given.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=expected) as caught:
        Report.load(path)
    assert "given.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_directory_and_oversized_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "none.json", tmp_path, "a\0b"):
        with pytest.raises(UsageError, match=r"cannot read the report .* is allowed"):
            Report.load(path)
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    REPORT.to_json(tmp_path / "r.json")
    with pytest.raises(UsageError, match="larger than a report can be"):
        Report.load(tmp_path / "r.json")


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(dumps(REPORT), encoding="utf-8-sig")
    assert Report.load(tmp_path / "r.json") == REPORT


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda d: d.update(findings=7), "findings must be a list"),
        (lambda d: d.update(findings=[7]), "a finding must be an object"),
        (lambda d: d.update(processes=[7]), "processes must be a list of objects"),
        (lambda d: d.update(processes=[{"findings": [{}]}]), "a finding without reason, subject"),
        (lambda d: d.update(process=[1]), "process must be an object"),
        (lambda d: d["process"].update(pid="x"), "pid must be int . None, not a string"),
        (lambda d: d["process"].update(signals="x"), "signals must be a list"),
        (lambda d: d.update(cost=[1]), "Cost must be an object"),
        (lambda d: d.update(created_at=7), "created_at must be a string"),
        (lambda d: d["findings"][0].pop("reason"), "finding 'adaptive' without reason"),
        (lambda d: d["findings"][0].update(verdict="bad"), "verdict 'bad' is none of leaking, growing"),
        (lambda d: d["findings"][0].update(verdict=[]), "is none of leaking"),
        (lambda d: d["findings"][0].update(calls=[1]), "finding 'adaptive': calls must be int"),
    ],
)
def test_damaged_parts_are_named(spoil, expected: str) -> None:  # type: ignore[no-untyped-def]
    data = REPORT.to_dict()
    spoil(data)
    with pytest.raises(UsageError, match=expected):
        Report.from_dict(data)


def test_what_is_absent_is_unknown() -> None:
    report = Report.from_dict({"format": FORMAT, "version": 1, "process": None, "errors": None})
    assert report.process == ProcessFacts()
    assert report.findings == ()
    str(report)
    report.to_html()


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=5), s, max_size=3),
    max_leaves=8,
)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_value_anywhere_is_read_or_refused_never_a_crash(data: st.DataObject) -> None:
    whole = json.loads(dumps(replace(REPORT, findings=(ADAPTIVE, SUPER), processes=({"process": {"pid": 1}},))))
    spot = whole
    while True:
        key = data.draw(st.sampled_from(list(spot)) if isinstance(spot, dict) else st.integers(0, len(spot) - 1))
        deeper = spot[key]
        if isinstance(deeper, (dict, list)) and deeper and data.draw(st.booleans()):
            spot = deeper
        else:
            break
    spot[key] = data.draw(_json)
    try:
        report = Report.from_dict(whole)
    except UsageError:
        return
    str(report)
    report.to_html()
    report.to_json()
    try:
        Report.merge([report, REPORT])
    except UsageError:
        pass


def test_example_facts_are_complete() -> None:
    assert FACTS.limit_bytes == 2 << 30
