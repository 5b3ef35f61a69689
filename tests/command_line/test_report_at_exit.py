"""`report_at_exit`: whatever way a process ends, its report is there, once; its children leave it alone."""

import io
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from meminstr import at_exit, settings
from meminstr.errors import UsageError
from meminstr.faults import clear_faults, faults

HEAD = """
import os, signal, sys
sys.path.insert(0, os.environ["FAKES"])
import fake_core; fake_core.install()
from meminstr.at_exit import report_at_exit
"""


@pytest.fixture
def program(shell):
    def run(text, head=HEAD, **env):
        shell.write("app.py", head + text)
        return shell.python("app.py", env={"FAKES": os.path.dirname(__file__), **env})

    run.folder = shell.folder
    return run


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(4)", 4),
        ("1/0", 1),
        ("signal.raise_signal(signal.SIGTERM)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", -signal.SIGTERM),
    ],
)
def test_every_end_leaves_a_report(program, end, code):
    ended = program(f"report_at_exit(); report_at_exit(); report_at_exit('out.json')\n{end}")
    assert ended.code == code, ended.err
    assert ended.report  # exactly one, though it was asked for twice
    assert (program.folder / "out.json").exists()


def test_a_handler_from_before_is_called_after_the_report(program):
    ended = program(
        "signal.signal(signal.SIGTERM, lambda *a: (print('mine', os.path.exists('out.json')), sys.exit(6)))\n"
        "report_at_exit('out.json'); report_at_exit()\nsignal.raise_signal(signal.SIGTERM)"
    )
    assert (ended.code, ended.out) == (6, "mine True\n")
    assert ended.report


def test_a_program_that_survives_sigterm_reports_again_at_its_end(program):
    ended = program(
        "signal.signal(signal.SIGTERM, lambda *a: print('reload'))\n"
        "report_at_exit()\nsignal.raise_signal(signal.SIGTERM)\n"
        "fake_core.events['every'].append('later')"
    )
    assert (ended.code, ended.out) == (0, "reload\n")
    assert ended.err.count("REPORT") == 2
    assert "later" in ended.err.splitlines()[-1]


def test_an_ignored_sigterm_stays_ignored(program):
    ended = program(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nreport_at_exit()\n"
        "signal.raise_signal(signal.SIGTERM)\nprint(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)"
    )
    assert (ended.code, ended.out) == (0, "True\n")
    assert ended.report


def test_a_handler_from_later_replaces_ours_and_its_exit_still_reports(program):
    ended = program(
        "report_at_exit()\nsignal.signal(signal.SIGTERM, lambda *a: sys.exit(8))\nsignal.raise_signal(signal.SIGTERM)"
    )
    assert ended.code == 8
    assert ended.report


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("end", ["sys.exit(3)", "signal.raise_signal(signal.SIGTERM)"])
def test_a_forked_child_does_not_write_its_parents_report(program, end):
    ended = program(
        "report_at_exit('out.json')\npid = os.fork()\n"
        f"if pid == 0:\n    {end}\n"
        "_, status = os.waitpid(pid, 0)\n"
        "print(os.path.exists('out.json'), os.waitstatus_to_exitcode(status))"
    )
    expected = 3 if "exit" in end else -signal.SIGTERM
    assert ended.out == f"False {expected}\n"
    assert (program.folder / "out.json").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_may_ask_for_its_own(program):
    ended = program(
        "report_at_exit('parent.json')\npid = os.fork()\n"
        "if pid == 0:\n    report_at_exit('child.json')\n    sys.exit()\n"
        "os.waitpid(pid, 0)\nprint(sorted(name for name in os.listdir() if name.endswith('.json')))"
    )
    assert ended.out == "['child.json']\n"
    assert (program.folder / "parent.json").exists()


def test_a_report_that_needs_a_lock_the_program_holds_does_not_stop_sigterm(program):
    ended = program(
        "import threading, meminstr.diagnosis as d, meminstr.settings\n"
        "lock = threading.Lock()\nmeminstr.settings.configure(exit_seconds=0.05)\n"
        "def stuck():\n    with lock:\n        return None\n"
        "sys.modules['meminstr.diagnosis'].report = stuck\n"
        "report_at_exit()\nwith lock:\n    signal.raise_signal(signal.SIGTERM)"
    )
    assert ended.code == -signal.SIGTERM
    assert "not ready in time for SIGTERM" in ended.err


def test_the_environment_asks(program):
    ended = program("from meminstr.at_exit import register_from_environment as r; r()", MEMINSTR_REPORT="by-{pid}.txt")
    assert ended.err == ""
    (path,) = program.folder.glob("by-*.txt")
    assert path.read_text().startswith("REPORT")


def test_streams_that_break_cost_nothing(program):
    ended = program("s = open('out.txt', 'w')\nreport_at_exit(s)\ns.close()\nprint('ran')")
    assert (ended.code, ended.out) == (0, "ran\n")
    assert "could not be written to its stream (I/O operation on closed file.)" in ended.err
    assert ended.report
    ended = program("report_at_exit()\nsys.stderr.close()\nsys.stderr = sys.__stderr__ = None\nprint('ran')")
    assert (ended.code, ended.out) == (0, "ran\n")


def test_a_report_that_fails_is_said_and_harms_nothing(program):
    ended = program("import meminstr.diagnosis as d\nd.report = lambda: 1/0\nreport_at_exit('x.json')\nprint('ran')")
    assert (ended.code, ended.out) == (0, "ran\n")
    assert "the report at exit could not be made: ZeroDivisionError" in ended.err


def test_switched_off_nothing_is_registered(program):
    ended = program(
        "report_at_exit()\nprint(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)", MEMINSTR_DISABLED="1"
    )
    assert (ended.out, ended.err) == ("True\n", "")


# ------------------------------------------------------------------ in this process


class FakeReport:
    def __init__(self, fails=None):
        self.fails = fails

    def __str__(self):
        return "the text"

    def to_json(self, path):
        if self.fails:
            raise self.fails
        Path(path).write_text("json")

    def to_html(self, path):
        Path(path).write_text("html")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(at_exit, "_owner_pid", os.getpid())
    for name in ("_duties",):
        monkeypatch.setattr(at_exit, name, {})
    for name in ("_once", "_done"):
        monkeypatch.setattr(at_exit, name, set())
    monkeypatch.setattr(at_exit, "_previous_handler", None)
    before = signal.getsignal(signal.SIGTERM)
    settings.use(settings.Settings())
    clear_faults()
    yield
    settings.use(None)
    clear_faults()
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("bad", [5, "", "  ", b"bytes", "a\0b", object()])
def test_what_is_neither_name_nor_stream_is_refused(bad):
    with pytest.raises(UsageError, match="path_or_stream="):
        at_exit.report_at_exit(bad)


@pytest.mark.parametrize(
    ("name", "form"), [("a.json", "json"), ("a", "json"), ("a.html", "html"), ("a.txt", "the text\n")]
)
def test_the_form_follows_the_ending(tmp_path, name, form):
    at_exit.report_at_exit(tmp_path / name)
    at_exit._fulfil(FakeReport)
    assert (tmp_path / name).read_text() == form


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("odd")])
def test_a_full_disk_sends_the_text_to_stderr(tmp_path, capsys, error):
    at_exit.write_file(FakeReport(error), str(tmp_path / "a.json"))
    shown = capsys.readouterr().err
    assert str(error.args[-1]) in shown
    assert shown.endswith("here it is instead.\nthe text\n")
    assert faults()[0]["where"] == "writing the report"


def test_a_duty_that_fails_does_not_keep_the_others(capsys):
    done = []
    at_exit.at_exit("bad", lambda report: 1 / 0)
    at_exit.at_exit("good", done.append)
    at_exit._fulfil(FakeReport)
    assert len(done) == 1
    assert capsys.readouterr().err == "the text\n"


def test_a_stream_is_written_and_stays_open():
    stream = io.StringIO()
    at_exit.report_at_exit(stream)
    at_exit._fulfil(FakeReport)
    assert stream.getvalue() == "the text\n"


def test_another_thread_registers_without_touching_signals():
    before = signal.getsignal(signal.SIGTERM)
    worker = threading.Thread(target=at_exit.report_at_exit)
    worker.start()
    worker.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(at_exit._duties) == ["stderr"]


def test_a_handler_installed_in_c_is_left_alone(monkeypatch):
    installed = []
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda *words: installed.append(words))
    at_exit.report_at_exit()
    assert installed == []


def test_a_refused_handler_is_a_fault_and_no_error(monkeypatch):
    def refuse(*words):
        raise ValueError("main thread of the main interpreter only")

    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", refuse)
        at_exit.report_at_exit()
    assert faults()[0]["where"] == "handling SIGTERM"


def test_a_broken_environment_never_stops_an_import(monkeypatch):
    monkeypatch.setattr(at_exit, "report_at_exit", lambda path: 1 / 0)
    settings.use(settings.Settings(report="x.json"))
    at_exit.register_from_environment()
    assert faults()[0]["where"] == "MEMINSTR_REPORT"


def test_stderr_closed_by_the_program_falls_back_to_the_first_one(monkeypatch):
    closed, first = io.StringIO(), io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    monkeypatch.setattr(sys, "__stderr__", first)
    at_exit.to_stderr("words")
    assert first.getvalue() == "words\n"
