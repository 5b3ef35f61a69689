"""What a person sees: colours and sparklines on a terminal, plain text everywhere else."""

from __future__ import annotations

import builtins
import io
import os
import pty
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reach_reports import BASE, HEAD

from meminstr.commands import looks
from meminstr.commands.parser import dispatch
from meminstr.reports.escape import display_width

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    BASE.to_json("base.json")
    HEAD.to_json("head.json")
    return tmp_path


def on_terminal(*words: str, columns: int = 100, **env: str) -> str:
    """What the command line writes to a real pseudo-terminal."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "meminstr", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env={**kept, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **env},
    )
    os.close(theirs)
    out = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        out += piece
    os.close(ours)
    process.wait(60)
    return out.decode()


@pytest.mark.parametrize("columns", [80, 140])
def test_a_report_on_a_terminal(files, columns) -> None:
    text = on_terminal("report", "head.json", columns=columns)
    assert "\x1b[1;31mLEAKING" in text
    plain = ANSI.sub("", text)
    assert re.search(r"LEAKING +app\.ingest +▁[▁-█]+█ +\+19\.5 KiB/call", plain)
    assert bool(re.search(r"^verdict .* limit", plain, re.MULTILINE)) == (columns == 140)
    assert "Give the cache a bound." in plain
    assert "\\x1b[31m" in plain  # what the program's names held is shown, not sent
    assert max(display_width(line) for line in plain.splitlines()) <= columns


def test_a_comparison_on_a_terminal(files) -> None:
    plain = ANSI.sub("", on_terminal("compare", "base.json", "head.json", "--fail-on", "leaking", columns=120))
    assert re.search(r"WORSE +app\.ingest", plain)
    assert "FAILED  app.ingest: it is leaking (leaking)" in plain
    assert "█" in plain


def test_a_live_view_on_a_terminal() -> None:
    text = on_terminal("watch", str(os.getpid()), "--for", "0.05", "--interval", "0.01", "--no-children")
    plain = ANSI.sub("", text)
    assert f"(pid {os.getpid()}): " in plain
    assert "INSUFFICIENT DATA" in plain
    assert "\x1b[?25l" in text  # the cursor is hidden while it is drawn again,
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and shown at the end


def test_no_color(files) -> None:
    text = on_terminal("report", "head.json", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)
    assert "LEAKING" in text


def test_plain_when_asked_when_dumb_and_when_piped(files, capsys) -> None:
    for text in (
        on_terminal("report", "head.json", "--plain", NO_COLOR="1"),
        on_terminal("report", "head.json", TERM="dumb"),
    ):
        assert "\x1b" not in text
        assert "LEAKING  app.ingest  +19.5 KiB/call" in text
    assert dispatch(["report", "head.json"]) == 0
    assert capsys.readouterr().out == f"{HEAD}\n".replace("\ud800", "\\ud800")


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_without_rich_a_terminal_gets_coloured_plain_text(files, monkeypatch) -> None:
    real = builtins.__import__

    def refuse(name, *rest):
        if name.partition(".")[0] == "rich":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setattr(looks, "find_spec", lambda name: None)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Tty()
    monkeypatch.setattr(sys, "stdout", screen)
    assert dispatch(["report", "head.json"]) == 0
    assert "\x1b[1;31mLEAKING" in screen.getvalue()
    assert dispatch(["compare", "base.json", "head.json"]) == 0
    assert "WORSE   app.ingest" in screen.getvalue()
    assert dispatch(["watch", str(os.getpid()), "--for", "0.02", "--interval", "0.01"]) == 0
    assert "INSUFFICIENT DATA" in screen.getvalue()


@pytest.mark.parametrize("rich", [True, False])
def test_progress_on_a_terminal_only(monkeypatch, rich) -> None:
    screen = Tty()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    if not rich:
        monkeypatch.setattr(looks, "find_spec", lambda name: None)
    assert list(looks.progress([1, 2, 3], "reading")) == [1, 2, 3]
    assert "reading" in screen.getvalue()
    quiet = io.StringIO()
    monkeypatch.setattr(sys, "stderr", quiet)
    assert list(looks.progress([1, 2, 3], "reading")) == [1, 2, 3]
    assert quiet.getvalue() == ""


@given(st.lists(st.floats(-1e9, 1e9), max_size=200), st.integers(1, 40))
def test_sparklines(values, width) -> None:
    line = looks.sparkline(values, width, Tty())
    assert len(line) == min(len(values), width)
    assert set(line) <= set("▁▂▃▄▅▆▇█")
    if len(values) <= width and values and max(values) > min(values):
        assert line[values.index(max(values))] == "█"
        assert line[values.index(min(values))] == "▁"


def test_sparklines_in_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert looks.sparkline([0, 1, 2, 3, 4, 5], 6, stream) == "_.-=*#"
