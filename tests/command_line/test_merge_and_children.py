"""``meminstr merge`` and ``meminstr run --follow-children``, as a user calls them."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import multiprocessing, subprocess, sys
kept = []
class Job: pass
def handle():
    kept.append(Job())
def child(calls):
    for _ in range(calls):
        handle()
if __name__ == "__main__":
    child(10)
    for way in WAYS:
        worker = multiprocessing.get_context(way).Process(target=child, args=(20,))
        worker.start()
        worker.join()
        assert worker.exitcode == 0
    other = "import wsgiref.util as u\\nfor _ in range(50): u.guess_scheme({})"
    subprocess.run([sys.executable, "-c", other], check=True)
    print("done")
"""


@pytest.fixture
def meminstr(tmp_path):
    def run(*words, code=0, **changes):
        environ = {k: v for k, v in os.environ.items() if not k.startswith("MEMINSTR_")} | changes
        done = subprocess.run(
            [sys.executable, "-m", "meminstr", *words],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert done.returncode == code, done.stderr
        return done

    return run


def calls(report, subject):
    return {f["subject"]: f["calls"] for f in report["findings"]}.get(subject)


def test_children_of_every_kind_are_followed_into_one_report(meminstr, tmp_path):
    ways = ("fork", "spawn", "forkserver") if hasattr(os, "fork") else ("spawn",)
    (tmp_path / "app.py").write_text(PROGRAM.replace("WAYS", repr(ways)))
    targets = ("--guard", "__main__:handle", "--track", "app:Job", "--guard", "wsgiref.util:guess_scheme")
    done = meminstr("run", *targets, "--follow-children", "--report", "out.json", "--shards", "shards", "app.py")
    assert done.stdout == "done\n"
    report = json.loads((tmp_path / "out.json").read_text())
    expected = 10 + 20 * len(ways)
    assert calls(report, "handle") == expected
    assert calls(report, "Job") == expected
    assert calls(report, "guess_scheme") == 50
    assert len(report["processes"]) == len(ways) + 2
    assert f"{len(ways) + 2} processes merged" in done.stderr
    assert "guess_scheme was never" not in done.stderr
    merged = meminstr("merge", "shards", "--json")
    assert calls(json.loads(merged.stdout), "handle") == expected


def test_without_a_folder_of_its_own_nothing_is_left_behind(meminstr, tmp_path):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "app.py").write_text("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'pass'])\n")
    meminstr("run", "--quiet", "--follow-children", "app.py", TMPDIR=str(tmp_path / "tmp"))
    assert os.listdir(tmp_path / "tmp") == []


def test_a_sitecustomize_that_is_hidden_runs_all_the_same(meminstr, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import builtins\nbuiltins.theirs = 42\n")
    (tmp_path / "app.py").write_text(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(theirs)'], check=True)\n"
    )
    done = meminstr("run", "--quiet", "--follow-children", "app.py", PYTHONPATH=str(tmp_path / "site"))
    assert done.stdout == "42\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("merge",), "the following arguments are required: DIR"),
        (("merge", "nowhere"), "cannot read the shards in 'nowhere': No such file or directory"),
        (("merge", "."), "no shards in '.'"),
        (("merge", " "), "a folder's name is empty"),
        (("run", "--shards", "app.py/x", "app.py"), "cannot write shards to"),
        (("run", "--follow-children", "--shards", "app.py", "app.py"), "cannot write shards to"),
    ],
)
def test_mistakes_are_one_sentence_and_2(meminstr, tmp_path, words, why):
    (tmp_path / "app.py").write_text("print('ran')\n")
    done = meminstr(*words, code=2)
    assert why in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
