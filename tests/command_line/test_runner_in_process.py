"""The corners of finding and ending a program that are awkward to reach through a whole process."""

import sys
import types

import pytest

from meminstr.commands import parser, runner
from meminstr.commands.run import split_program
from meminstr.errors import UsageError


@pytest.mark.parametrize(
    ("words", "own", "program"),
    [
        (["run", "a.py"], ["run"], ["a.py"]),
        (["run", "--every", "5", "a.py", "--every", "6"], ["run", "--every", "5"], ["a.py", "--every", "6"]),
        (["run", "--every=5", "a.py"], ["run", "--every=5"], ["a.py"]),
        (["run", "--quiet", "-m", "a", "-x"], ["run", "--quiet"], ["-m", "a", "-x"]),
        (["run", "-ma"], ["run"], ["-ma"]),
        (["run", "--", "-odd.py"], ["run"], ["-odd.py"]),
        (["run", "-"], ["run"], ["-"]),
        (["run", "--help"], ["run", "--help"], []),
        (["report", "run", "x"], ["report", "run", "x"], None),
    ],
)
def test_where_the_program_begins(words, own, program):
    assert split_program(words) == (own, program)


def test_safe_path_puts_nothing_on_the_search_path(monkeypatch):
    monkeypatch.setattr(sys, "path", ["first", "second"])
    monkeypatch.setattr(sys, "flags", types.SimpleNamespace(safe_path=True))
    runner.enter_path("mine")
    assert sys.path == ["first", "second"]
    monkeypatch.setattr(sys, "flags", types.SimpleNamespace(safe_path=False))
    runner.enter_path("mine")
    assert sys.path == ["mine", "second"]


def test_a_file_with_null_bytes_is_no_script(tmp_path):
    (tmp_path / "app.py").write_bytes(b"a\0b")
    with pytest.raises(UsageError, match="null bytes"):
        runner.find_script(str(tmp_path / "app.py"), [])


@pytest.mark.parametrize("line", ["import nothing_of_that_name", "raise OSError('nothing_of_that_name')"])
def test_a_package_that_cannot_be_imported_is_said_in_one_sentence(tmp_path, monkeypatch, line):
    (tmp_path / "needy").mkdir()
    (tmp_path / "needy" / "__init__.py").write_text(line)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with pytest.raises(UsageError, match=r"the package above it cannot be imported: .*nothing_of_that_name"):
        runner.find_module("needy.part", [])


@pytest.mark.parametrize("name", ["..x", ".", "x.", "nothing_of_that_name.part"])
def test_odd_names_of_modules_are_refused(name, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(UsageError, match="there is no module"):
        runner.find_module(name, [])


def test_a_reader_that_goes_away_is_no_error(monkeypatch, tmp_path):
    def gone(options):
        raise BrokenPipeError

    monkeypatch.setattr("meminstr.commands.report.execute", gone)
    with open(tmp_path / "out", "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert parser.dispatch(["report", "x.json"]) == 0
