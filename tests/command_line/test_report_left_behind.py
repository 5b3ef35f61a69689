"""Where the report of `meminstr run` goes, and `meminstr report` on files of every sort."""

import json

import pytest

APP = "class A: pass\nA()\nprint('ran')\n"


def test_the_report_goes_to_stderr_and_to_the_file(shell):
    shell.write("app.py", APP)
    ended = shell.meminstr("run", "--track", "__main__:A", "--report", "out.json", "app.py")
    assert ended.report["born"] == {"A": 1}
    assert json.loads((shell.folder / "out.json").read_text()) == ended.report
    assert ended.out == "ran\n"


def test_quiet_leaves_the_file_only(shell):
    shell.write("app.py", APP)
    ended = shell.meminstr("run", "--quiet", "--report", "out.json", "app.py")
    assert ended.err == ""
    assert (shell.folder / "out.json").exists()


def test_the_file_is_where_it_was_asked_for_when_the_program_moves(shell):
    shell.write("app.py", "import os; os.chdir('/')")
    shell.meminstr("run", "--report", "out-{pid}.json", "app.py")
    assert [path.suffix for path in shell.folder.glob("out-*.json")] == [".json"]
    assert not (shell.folder / "out-{pid}.json").exists()


@pytest.mark.parametrize("quiet", [True, False])
def test_an_unwritable_file_costs_one_sentence_and_nothing_else(shell, quiet):
    shell.write("app.py", APP + "import sys; sys.exit(5)")
    words = ["--quiet"] if quiet else []
    ended = shell.meminstr("run", *words, "--report", "no/such/folder/out.json", "app.py")
    assert (ended.code, ended.out) == (5, "ran\n")
    assert ended.report  # exactly once
    sentences = ended.err_without_report.strip().splitlines()
    assert len(sentences) == 1
    assert "could not be written" in sentences[0]
    assert "No such file or directory" in sentences[0]


def test_the_environment_and_the_project_file_can_ask_for_the_file(shell):
    shell.write("app.py", APP)
    shell.write("pyproject.toml", "[tool.meminstr]\nreport = 'project.json'\n")
    shell.meminstr("run", "app.py")
    assert (shell.folder / "project.json").exists()
    shell.meminstr("run", "app.py", env={"MEMINSTR_REPORT": "env.json"})
    assert (shell.folder / "env.json").exists()
    shell.meminstr("run", "--report", "argument.json", "app.py", env={"MEMINSTR_REPORT": "env2.json"})
    assert (shell.folder / "argument.json").exists()
    assert not (shell.folder / "env2.json").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), ("{", "JSON"), ("[1, 2]", ""), ('{"hello": 1}', ""), ("\x00\xff", "")],
)
def test_files_that_are_no_reports(shell, content, says):
    if content is not None:
        shell.write("bad.json", content)
    ended = shell.real("report", "bad.json")
    assert ended.code == 2, ended.err
    assert "bad.json" in ended.err
    assert says in ended.err
    assert ended.err.startswith("meminstr: ")
    assert ended.err.count("\n") == 1
    assert ended.out == ""


def test_a_real_run_and_its_report_in_every_form(shell):
    shell.write("app.py", APP)
    ended = shell.real("run", "--track", "__main__:A", "--report", "out.json", "app.py")
    assert (ended.code, ended.out) == (0, "ran\n")
    assert "A" in ended.err
    shown = shell.real("report", "out.json")
    assert shown.code == 0, shown.err
    assert shown.out.strip() in ended.err
    data = json.loads(shell.real("report", "out.json", "--json").out)
    assert data["format"] == "meminstr-report"
    assert [found["counts"]["constructed"] for found in data["findings"] if found["subject"] == "A"] == [1]
    page = shell.real("report", "out.json", "--html", "page.html")
    assert (page.code, page.out, page.err) == (0, "", "")
    assert "<html" in (shell.folder / "page.html").read_text()
    refused = shell.real("report", "out.json", "--html", "no/such/page.html")
    assert refused.code == 2
    assert refused.err.count("\n") == 1


def test_a_real_guard_and_limit_keep_the_program_whole(shell):
    shell.write("lib.py", "def work(n):\n    return bytearray(n)\n")
    shell.write("app.py", "from lib import work\nfor _ in range(50): work(10)\nprint('ran')")
    ended = shell.real("run", "--guard", "lib:work", "--limit", "lib:work=64GiB", "--every", "5", "app.py")
    assert (ended.code, ended.out) == (0, "ran\n"), ended.err
    assert "work" in ended.err
