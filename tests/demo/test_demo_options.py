"""``meminstr demo``: its options, its words and its exit codes, on a report made by hand."""

import argparse
import io
import json
import sys
import types
from dataclasses import replace

import pytest

from meminstr.commands import demo
from meminstr.commands.pendulum import controllers, loop
from meminstr.commands.pendulum.bus import BUS
from meminstr.commands.pendulum.progress import ProgressBar
from meminstr.errors import MeminstrError, UsageError
from meminstr.settings import Settings, use
from meminstr.verdict import Counts, Finding, OneTimeGrowth, Verdict


def finding(name, verdict=Verdict.CLEAN, reason="flat", **more):
    return Finding(subject=name, subject_kind="class", verdict=verdict, reason=reason, calls=540, **more)


def expected_findings():
    return (
        finding("adaptive", Verdict.LEAKING, "retained", counts=Counts(constructed=540, retained=539)),
        finding("classical"),
        finding("hybrid_adaptive"),
        finding("super_twisting", reason="settled: x", one_time_growth=OneTimeGrowth(14_260_000, 100)),
    )


class FakeReport:
    def __init__(self, findings):
        self.findings = findings
        self.error = None

    def __str__(self):
        return "THE REPORT"

    def to_dict(self):
        return {"findings": [f.subject for f in self.findings]}

    def to_json(self, path):
        if self.error is not None:
            raise self.error
        with open(path, "w") as stream:
            json.dump(self.to_dict(), stream)


class FakeTracker:
    uninstalled = 0

    def uninstall(self):
        FakeTracker.uninstalled += 1
        return []


@pytest.fixture
def fakes(monkeypatch):
    """The instruments scripted, the program real but short; what it was asked to do is in `seen`."""
    seen = types.SimpleNamespace(report=FakeReport(expected_findings()), tracked={}, ran=[])

    def track(name, *, tracker):
        assert isinstance(tracker, FakeTracker)

        def decorate(cls):
            seen.tracked[name] = cls
            return cls

        return decorate

    def report(*, tracker):
        assert isinstance(tracker, FakeTracker)
        seen.listeners_at_report = len(BUS)
        return seen.report

    for name, content in {
        "decorators": {"track_instantiations": track},
        "diagnosis": {"report": report},
        "registry": {"ControllerMemoryTracker": FakeTracker},
    }.items():
        module = types.ModuleType(f"meminstr.{name}")
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, f"meminstr.{name}", module)
    real = demo.run_demo

    def short(**options):
        seen.ran.append(options)
        return real(**{**options, "evaluations": 3, "duration_s": 0.02})

    monkeypatch.setattr(demo, "run_demo", short)
    FakeTracker.uninstalled = 0
    yield seen
    demo.forget_demo()


def parse(*words):
    parser = argparse.ArgumentParser()
    demo.add_parser(parser.add_subparsers())
    return parser.parse_args(["demo", *words])


def run(*words):
    args = parse(*words)
    assert args.main is demo.main
    return args.main(args)


def test_text_says_what_runs_then_reports_then_explains(fakes, capsys):
    assert run() == 0
    out, err = capsys.readouterr()
    assert err == ""  # no terminal, no bar
    order = ["2,800", "What to look for", "13.6 MiB", "Gain search", "THE REPORT", "How to read it"]
    places = [out.index(words) for words in order]
    assert places == sorted(places)
    assert "539 of 540 controllers" in out
    assert "13.6 MiB by construction 100" in out
    assert "self.bus.unsubscribe(self.on_sample)" in out
    assert all(len(line) <= 100 for line in out.splitlines())
    assert fakes.ran[0]["evaluations"] == 700
    assert fakes.ran[0]["seed"] == demo.SEED


def test_the_four_classes_bear_the_promised_names_and_are_reported_before_the_bus_forgets(fakes):
    run("--quick")
    assert fakes.tracked == {
        "classical": controllers.ClassicalSMC,
        "super_twisting": controllers.SuperTwistingSMC,
        "adaptive": controllers.AdaptiveSMC,
        "hybrid_adaptive": controllers.HybridAdaptiveSMC,
    }
    assert fakes.listeners_at_report == 3
    assert len(BUS) == 0
    assert FakeTracker.uninstalled == 1


def test_quick_still_builds_enough_to_judge_a_class(fakes, capsys):
    run("--quick")
    assert fakes.ran[0]["evaluations"] == demo.QUICK_EVALUATIONS >= 520
    assert fakes.ran[0]["duration_s"] < loop.Setup().duration_s
    assert "2,160" in capsys.readouterr().out


def test_json_prints_the_report_and_nothing_else(fakes, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert run("--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == fakes.report.to_dict()
    assert err == ""


def test_the_report_is_written_to_the_file_as_well(fakes, tmp_path, capsys):
    file = tmp_path / "out.json"
    assert run("--report", str(file)) == 0
    assert json.loads(file.read_text()) == fakes.report.to_dict()
    assert "THE REPORT" in capsys.readouterr().out


@pytest.mark.parametrize("error", [MeminstrError("disk full"), UsageError("no permission"), OSError("lost")])
def test_a_file_that_fails_late_loses_nothing(fakes, tmp_path, capsys, error):
    fakes.report.error = error
    assert run("--report", str(tmp_path / "out.json")) == 2
    out, err = capsys.readouterr()
    assert "THE REPORT" in out
    assert err == f"meminstr demo: {error}\n"


def test_a_file_that_cannot_be_written_is_refused_before_the_run(fakes, tmp_path):
    for bad in (str(tmp_path), str(tmp_path / "nowhere" / "out.json"), ""):
        with pytest.raises(UsageError, match="existing, writable directory"):
            run("--report", bad)
    assert fakes.ran == []


def test_a_switched_off_meminstr_is_refused_before_the_run(fakes):
    use(Settings(enabled=False))
    try:
        with pytest.raises(UsageError, match="switched off"):
            run()
    finally:
        use(None)
    assert fakes.ran == []


@pytest.mark.parametrize("bad", ["-1", "x", "1.5", ""])
def test_a_seed_that_is_none_is_refused(bad, capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--seed", bad)
    assert caught.value.code == 2
    assert "a whole number from 0 is allowed" in capsys.readouterr().err


def test_the_seed_reaches_the_search(fakes):
    run("--seed", "7")
    assert fakes.ran[0]["seed"] == 7


def test_an_unexpected_verdict_is_said_and_gives_exit_code_1(fakes, capsys):
    good = expected_findings()
    fakes.report.findings = (good[0], replace(good[1], verdict=Verdict.LEAKING), *good[2:])
    assert run() == 1
    out = capsys.readouterr().out
    assert "not what the demonstration should show" in out
    assert "classical: leaking" in out
    assert "How to read it" not in out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f[:3], "super_twisting: not in the report"),
        (lambda f: (*f[:3], replace(f[3], reason="flat")), "one-time growth was not seen"),
        (lambda f: (replace(f[0], verdict=Verdict.GROWING), *f[1:]), "adaptive: growing"),
        (lambda f: (replace(f[0], subject_kind="function"), *f[1:]), "adaptive: not in the report"),
    ],
)
def test_surprises(change, says):
    assert demo.surprises(expected_findings()) == []
    (one,) = demo.surprises(change(expected_findings()))
    assert says in one


def test_figures_that_are_not_known_are_not_invented():
    findings = tuple(replace(f, counts=None, one_time_growth=None) for f in expected_findings())
    assert "None" not in demo.explanation(findings)


def test_interrupted_it_says_so_and_leaves_nothing(fakes, capsys, monkeypatch):
    def interrupted(**_):
        controllers.AdaptiveSMC([1.0] * 8)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", interrupted)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert run() == 130
    assert "interrupted" in capsys.readouterr().err
    assert len(BUS) == 0
    assert FakeTracker.uninstalled == 1


def test_on_a_terminal_a_bar_is_shown_and_wiped(fakes, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run()
    out, err = capsys.readouterr()
    assert "#" in err
    assert "12/12" in err
    assert "\n" not in err
    assert err.endswith("\r")
    assert "#" not in out
    run("--plain")
    assert capsys.readouterr().err == ""


def test_the_bar_draws_on_change_only_and_leaves_no_letter_behind():
    stream = io.StringIO()
    bar = ProgressBar(stream)
    bar.close()
    assert stream.getvalue() == ""
    for done in range(1, 1001):
        bar(done, 1000, "a rather long label" if done < 500 else "short")
    lines = stream.getvalue().split("\r")[1:]
    assert len(lines) <= 103
    assert lines[0].startswith("[....")
    assert lines[-1].startswith("[####")
    assert "100 %" in lines[-1]
    change = next(i for i, line in enumerate(lines) if "short" in line)
    assert len(lines[change]) == len(lines[change - 1])
    bar.close()
    assert stream.getvalue().split("\r")[-2].strip() == ""


def test_the_line_named_is_in_the_cleanup_of_the_leaking_class():
    file, line = demo.leaking_line()
    assert file == "meminstr/commands/pendulum/controllers.py"
    with open(controllers.__file__) as source:
        text = source.read().splitlines()
    assert text[line - 1].strip() == "self.released = True"
    assert any("class HybridAdaptiveSMC" in later for later in text[line : line + 4])


def test_progress_counts_every_construction():
    seen = []
    outcomes = demo.run_demo(
        evaluations=4, duration_s=0.02, progress=lambda done, total, name: seen.append((done, total, name))
    )
    demo.forget_demo()
    assert [done for done, _, _ in seen] == list(range(1, 17))
    assert {total for _, total, _ in seen} == {16}
    assert [name for _, _, name in seen[::4]] == list(demo.EXPECTED)
    assert [o.constructions for o in outcomes] == [4] * 4


def test_two_runs_are_alike_and_the_second_pays_the_warm_up_again():
    def once():
        outcomes = demo.run_demo(evaluations=5, duration_s=0.05)
        return outcomes, len(controllers.TABLE), len(BUS)

    first = once()
    assert first == once()
    assert first[1:] == (5, 5)
    demo.forget_demo()
    assert (len(controllers.TABLE), len(BUS)) == (0, 0)
