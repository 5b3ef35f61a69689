"""A report names types, functions and places: no value of the program's objects, and nobody else reads the file."""

import ast
import os
import stat
from pathlib import Path
from typing import ClassVar

import pytest

import meminstr

SECRET = "hunter2-s3cret"


class Session:
    def __init__(self, token):
        self.token = token
        self.pages = [token] * 3

    def close(self):
        self.token = None

    def __repr__(self):
        return f"<Session {self.token} {SECRET}>"


class Place:
    by_token: ClassVar[dict] = {}
    listeners: ClassVar[list] = []


@pytest.fixture
def leaky():
    tracker = meminstr.ControllerMemoryTracker()
    cls = type("Session", (Session,), {"__module__": __name__})
    meminstr.track_instantiations("session", tracker=tracker)(cls)

    @meminstr.leak_guard(every=3, tracker=tracker)
    def login(token, again=SECRET):
        session = cls(token)
        Place.by_token[token] = session
        Place.listeners.append(session.close)
        session.close()
        return token

    for i in range(1200):
        login(f"{SECRET}-{i}")
    yield tracker
    tracker.uninstall()
    Place.by_token.clear()
    Place.listeners.clear()


def test_no_value_of_the_program_is_in_any_form_of_a_report(leaky, tmp_path):
    from meminstr.diagnosis import report

    made = report(tracker=leaky)
    found = [finding for finding in made.findings if finding.subject == "session"]
    assert found
    assert found[0].counts is not None
    assert found[0].counts.retained == 1200, "the leak itself is seen"
    made.to_json(tmp_path / "r.json")
    made.to_html(tmp_path / "r.html")
    for text in (str(made), (tmp_path / "r.json").read_text(), (tmp_path / "r.html").read_text()):
        assert "session" in text
        assert SECRET not in text
    if os.name == "posix":
        for name in ("r.json", "r.html"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "r.json"], "no temporary file stays"


def test_nothing_is_executed_from_a_file_that_is_read():
    """Code runs in three places, none of which reads a file of somebody's but the program that the user runs; what is
    unpickled comes over a pipe from a process of our own."""
    allowed = {
        ("instrument/constructors.py", "exec"), ("decorators/limit_frames.py", "exec"), ("commands/runner.py", "exec"),
        ("limits/worker.py", "loads"), ("limits/transport.py", "loads"),
    }  # fmt: skip
    dangerous = {"eval", "exec", "run_path"}
    found = set()
    folder = Path(meminstr.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            owner = getattr(getattr(node.func, "value", None), "id", "")
            if name in dangerous or (name in ("load", "loads", "Unpickler") and owner in ("pickle", "marshal", "yaml")):
                found.add((path.relative_to(folder).as_posix(), name))
    assert found == allowed
