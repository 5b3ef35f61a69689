"""`meminstr compare` and `meminstr history`: forms, conditions, exit codes, and what is refused."""

from __future__ import annotations

import json
import sqlite3
import stat
from dataclasses import replace
from xml.etree import ElementTree

import jsonschema
import pytest
from reach_reports import BASE, CLEAN, HEAD, LEAK, worse

from meminstr.commands.parser import dispatch
from meminstr.errors import UsageError
from meminstr.reports.compare import compare
from meminstr.reports.conditions import failures, parse_conditions
from meminstr.reports.model import Report
from meminstr.verdict import Holder, Interval

# what SARIF 2.1.0 and code scanning demand of a log, of what we write
SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "properties": {
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "items": {
                                            "required": ["id", "shortDescription"],
                                            "properties": {"shortDescription": {"required": ["text"]}},
                                        }
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "items": {
                            "required": ["ruleId", "level", "message", "locations", "partialFingerprints"],
                            "properties": {
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "baselineState": {"enum": ["new", "unchanged", "updated", "absent"]},
                                "message": {"required": ["text"]},
                                "locations": {
                                    "items": {
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation"],
                                                "properties": {
                                                    "artifactLocation": {
                                                        "properties": {"uri": {"type": "string", "pattern": r"^\S+$"}}
                                                    },
                                                    "region": {
                                                        "properties": {"startLine": {"type": "integer", "minimum": 1}}
                                                    },
                                                },
                                            }
                                        }
                                    }
                                },
                            },
                        }
                    },
                },
            },
        },
    },
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    BASE.to_json("base.json")
    HEAD.to_json("head.json")
    return tmp_path


def met(condition: str, base: Report = BASE, head: Report = HEAD) -> list[str]:
    found = failures(compare(base, head), base, head, parse_conditions(condition))
    return [failure.change.subject for failure in found]


@pytest.mark.parametrize(
    ("condition", "subjects"),
    [
        ("leaking", ["app.ingest"]),
        ("growing", ["app.ingest", "app.Session"]),
        ("new", ["app.ingest", "app.Session"]),
        ("worse", ["app.ingest"]),
        ("slope>64B/call", ["app.ingest"]),
        ("slope > 18 KiB/call", ["app.ingest"]),
        ("slope>19.4KiB/call", []),  # the estimate lies above, the interval's lower limit does not
        ("slope>129MiB/hour", ["app.ingest"]),
        ("slope>131MiB/h", []),
        ("slope>0/call", ["app.ingest"]),
        ("live>0.3", ["app.Session"]),
        ("live>0.45", []),
        ("eta<1h", ["app.ingest"]),
        ("eta<30min", []),
    ],
)
def test_conditions(condition: str, subjects: list[str]) -> None:
    assert met(condition) == subjects


def test_a_relative_slope_asks_both_intervals() -> None:
    assert met("slope>+20%", HEAD, worse(1.5)) == ["app.ingest"]
    assert met("slope>+20%", HEAD, worse(1.25)) == []  # 23.75 to 26.25 KB against at most 21: less than a fifth is sure
    assert met("worse", HEAD, worse(1.05)) == []  # the intervals overlap
    assert met("worse", HEAD, worse(1.2)) == ["app.ingest"]


def test_nothing_new_where_it_leaked_before_unless_another_holds_it() -> None:
    assert met("new", HEAD, HEAD) == []
    other = replace(LEAK, holders=(*LEAK.holders, Holder("app.bus[*]", "module", 3, fingerprint="cd34")))
    assert met("new", HEAD, replace(HEAD, findings=(other,))) == ["app.ingest"]


def test_what_is_accepted_fails_nothing(files, capsys) -> None:
    HEAD.to_baseline("accepted.json")
    words = ["compare", "base.json", "head.json", "--fail-on", "leaking"]
    assert dispatch(words) == 1
    assert dispatch([*words, "--baseline", "accepted.json"]) == 0


def test_an_estimate_without_limits_is_not_certain() -> None:
    loose = replace(HEAD, findings=(replace(LEAK, bytes_per_call=Interval(20_000.0)),))
    assert met("slope>64B/call", BASE, loose) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "leak",
        "leaking,",
        "slope",
        "slope>",
        "slope>5",
        "slope>5B/week",
        "slope<5B/call",
        "slope>+x%",
        "eta<5",
        "live>x",
    ],
)
def test_unknown_conditions_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="allowed"):
        parse_conditions(text)


def test_exit_codes_and_text(files, capsys) -> None:
    assert dispatch(["compare", "base.json", "head.json"]) == 0
    out = capsys.readouterr().out
    assert "WORSE   app.ingest  clean, 0 B/call (0 to 12 B) -> leaking, 19.5 KiB/call (18.6 to 20.5 KiB)" in out
    assert "NEW     app.Session" in out
    assert "\x1b" not in out
    assert dispatch(["compare", "base.json", "head.json", "--fail-on", "leaking,slope>64B/call"]) == 1
    out = capsys.readouterr().out
    assert "FAILED  app.ingest: it is leaking (leaking)" in out
    assert "FAILED  app.ingest: it grows by at least 18.6 KiB/call, more than 64 B (slope>64B/call)" in out
    assert dispatch(["compare", "head.json", "base.json", "--fail-on", "leaking,new,worse"]) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["base.json", "nowhere.json"], "No such file"),
        (["base.json", "foreign.json"], "is not a meminstr report"),
        (["base.json", "newer.json"], "written by a newer meminstr"),
        (["base.json", "half.json"], "it is not JSON"),
        (["base.json", "head.json", "--fail-on", "foo"], "'foo' is not allowed"),
        (["base.json", "head.json", "--output", "x.pdf"], "the form is not known"),
        (["base.json", "head.json", "--output", "no/such/x.md"], "No such file or directory"),
        (["history:1", "head.json"], "there is no history"),
        (["base.json"], "HEAD"),
    ],
)
def test_bad_input_is_one_sentence_and_2(files, capsys, words, says) -> None:
    (files / "foreign.json").write_text('{"hello": 1}')
    (files / "newer.json").write_text(json.dumps({**HEAD.to_dict(), "version": 2}))
    (files / "half.json").write_text(HEAD.to_json()[:500])
    assert dispatch(["compare", *words]) == 2
    got = capsys.readouterr()
    assert got.out == ""
    assert says in got.err
    assert len(got.err.strip().splitlines()) == 1


def test_junit(files) -> None:
    words = ["compare", "base.json", "head.json", "--fail-on", "leaking,new", "--output", "out.xml"]
    assert dispatch(words) == 1
    root = ElementTree.parse("out.xml").getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    cases = suite.findall("testcase")
    assert int(suite.get("tests")) == len(cases) == 4
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure")) == 2
    assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped")) == 1
    assert suite.get("timestamp") == "2026-01-02T00:00:00"
    by_name = {case.get("name"): case for case in cases}
    assert "it is leaking (leaking)" in by_name["app.ingest"].find("failure").get("message")
    assert by_name["app.ingest"].get("classname") == "meminstr.function"
    assert any("\\x1b" in name for name in by_name)


def test_sarif(files) -> None:
    assert dispatch(["compare", "base.json", "head.json", "--fail-on", "leaking", "--output", "out.sarif"]) == 1
    log = json.loads((files / "out.sarif").read_text())
    jsonschema.Draft202012Validator(SARIF).validate(log)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    leak, session = run["results"]
    for result in (leak, session):
        assert rules[result["ruleIndex"]] == result["ruleId"]
    assert (leak["ruleId"], leak["level"], leak["baselineState"]) == ("meminstr/leaking", "error", "updated")
    place = leak["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "app/in%20gest.py"}, "region": {"startLine": 112}}
    assert "held by app.cache.RESULTS[*]" in leak["message"]["text"]
    assert (session["level"], session["baselineState"]) == ("warning", "new")
    assert "physicalLocation" not in session["locations"][0]
    dispatch(["compare", "base.json", "head.json", "--output", "out.sarif"])
    unasked = json.loads((files / "out.sarif").read_text())["runs"][0]["results"][0]
    assert unasked["level"] == "warning"
    assert unasked["partialFingerprints"] == leak["partialFingerprints"]


def test_markdown_and_json(files, capsys) -> None:
    dispatch(
        ["compare", "base.json", "head.json", "--fail-on", "leaking", "--format", "markdown", "--output", "out.json"]
    )
    out = capsys.readouterr().out
    assert "| **worse** | app.ingest | clean, 0 B/call (0 to 12 B) |" in out
    assert "- app.ingest: it is leaking (leaking)" in out
    data = json.loads((files / "out.json").read_text())
    assert data["failures"] == [{"subject": "app.ingest", "condition": "leaking", "why": "it is leaking"}]
    assert {record["what"] for record in data["records"]} == {"worse", "new", "gone", "same"}


def test_history(files, capsys) -> None:
    assert dispatch(["history", "add", "base.json", "--label", "v1"]) == 0
    assert dispatch(["history", "add", "head.json", "base.json", "--label", "v2"]) == 0
    out = capsys.readouterr().out
    assert "base.json is run 1 in .meminstr" in out
    assert "head.json is run 2" in out
    assert "base.json is there already" in out
    assert stat.S_IMODE((files / ".meminstr/history.sqlite").stat().st_mode) == 0o600
    assert dispatch(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["run", "made", "leaking", "subjects"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]
    assert "v2" in lines[2]
    assert dispatch(["history", "show", "app.ingest"]) == 0
    out = capsys.readouterr().out
    assert "CLEAN" in out
    assert "2e+04 (1.9e+04 to 2.1e+04)" in out
    for base in ("history:1", "history:-2"):
        assert dispatch(["compare", base, "head.json", "--fail-on", "leaking"]) == 1
    assert dispatch(["compare", "history:latest", "head.json", "--fail-on", "worse,new"]) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["history"], "there is no history"),
        (["history", "add"], "which report?"),
        (["history", "add", "nowhere.json"], "No such file"),
        (["history", "show", "x", "--history", "foreign.db"], "no meminstr history"),
        (["history", "--history", "text.db"], "not a database"),
        (["history", "--history", "newer.db"], "written by a newer meminstr"),
        (["history", "--last", "0"], "a whole number from 1"),
        (["history", "list", "x"], "is not expected"),
        (["compare", "history:7", "head.json", "--history", "good.db"], "has no such run"),
        (["compare", "history:x", "head.json", "--history", "good.db"], "is not allowed"),
        (["history", "show", "nobody", "--history", "good.db"], "knows a subject 'nobody'"),
    ],
)
def test_a_history_that_cannot_be_used(files, capsys, words, says) -> None:
    with sqlite3.connect("foreign.db") as foreign:
        foreign.execute("CREATE TABLE t (x)")
    foreign.close()
    (files / "text.db").write_text("hello " * 400)
    for name in ("good.db", "newer.db"):
        dispatch(["history", "add", "head.json", "--history", name])
    with sqlite3.connect("newer.db") as newer:
        newer.execute("PRAGMA user_version = 2")
    newer.close()
    capsys.readouterr()
    assert dispatch(words) == 2
    got = capsys.readouterr()
    assert says in got.err
    assert len(got.err.strip().splitlines()) == 1
    assert not (files / ".meminstr").exists()


def test_the_history_keeps_whole_reports(files) -> None:
    from meminstr.commands.history_store import HistoryStore

    with HistoryStore.opened("h.db", create=True) as store:
        number = store.add(HEAD)
        assert store.add(HEAD) is None
        assert store.report(str(number)).to_dict() == HEAD.to_dict()
        assert [entry.verdict for entry in store.subject("app.ingest")] == ["leaking"]
    assert CLEAN.subject == "app.ingest"
