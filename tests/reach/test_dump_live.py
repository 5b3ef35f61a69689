"""`meminstr dump` against processes that run, and everything that may be wrong with one."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from reach_programs import LEAKY, started

from meminstr import asked, faults
from meminstr.commands.dump import fetch, process_id
from meminstr.commands.parser import dispatch
from meminstr.errors import UsageError
from meminstr.reports.json import schema
from meminstr.verdict import Verdict


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Sockets in a folder of their own, for this process and for those it starts."""
    short = Path(os.path.realpath(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    yield short / "meminstr"
    asked.stop_serving()


def test_the_live_report_of_a_process(folder, capsys) -> None:
    with started(LEAKY % "", {"MEMINSTR_DUMP": "1"}) as process:
        words = ["dump", str(process.pid)]
        assert dispatch(words) == 0
        out = capsys.readouterr().out
        assert "LEAKING  session  +1.00 instance/construction" in out
        assert "Bus.items" in out
        assert process.poll() is None
        assert dispatch([*words, "--json", "--quick"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert data["process"]["pid"] == process.pid
        assert dispatch([*words, "--html", str(folder / "page.html")]) == 0
        assert "session" in (folder / "page.html").read_text()
        path = folder / asked.socket_name(process.pid)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        process.stdin.close()
        assert process.wait(60) == 0
        assert not path.exists()


def test_full_reports_carry_bounded_series(folder) -> None:
    import jsonschema

    with started(LEAKY % "", {"MEMINSTR_DUMP": "1"}) as process:
        report = fetch(process.pid)
        jsonschema.Draft202012Validator(schema()).validate(report.to_dict())
        found = report.finding("session")
        assert found.verdict is Verdict.LEAKING
        names = {entry["name"]: entry for entry in found.extra["series"]}
        assert {"live", "retained"} <= set(names)
        assert all(len(entry["x"]) == len(entry["mean"]) <= 200 for entry in names.values())
        assert names["retained"]["onset_x"] is not None
        assert names["live"]["x"][-1] == 700
        assert "series" not in fetch(process.pid, diagnose=False).finding("session").extra


def test_children_that_are_forked_answer_for_themselves(folder) -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("error")
import meminstr
meminstr.serve_dump()
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.close(write)
    os.read(read, 1)
    os._exit(0)
print("ready", flush=True)
print(child, flush=True)
sys.stdin.read()
"""
    with started(code) as process:
        child = int(process.stdout.readline())
        assert fetch(process.pid).process.pid == process.pid
        assert fetch(child).process.pid == child
        process.stdin.close()
        assert process.wait(60) == 0, process.stderr.read()


def test_a_signal_prints_the_report_and_nothing_listens(folder) -> None:
    waits = "import signal; signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])"
    with started(LEAKY % waits, {"MEMINSTR_DUMP": "SIGUSR1"}) as process:
        os.kill(process.pid, signal.SIGUSR1)
        for line in process.stderr:
            if line.startswith("LEAKING  session"):
                break
        assert process.poll() is None
        assert not folder.exists()
        with pytest.raises(UsageError, match="does not answer dumps"):
            fetch(process.pid)


def test_nothing_is_claimed_unasked(folder) -> None:
    code = """
import signal, sys, threading
before = {s: signal.getsignal(s) for s in signal.valid_signals()}
import meminstr
meminstr.leak_guard(lambda: 1)()
assert {s: signal.getsignal(s) for s in signal.valid_signals()} == before
assert not [t for t in threading.enumerate() if t.name == "meminstr-dump"]
assert "meminstr.asked" not in sys.modules
print("ready", flush=True)
sys.stdin.read()
"""
    with started(code) as process:
        assert not folder.exists()
        with pytest.raises(UsageError, match=r"MEMINSTR_DUMP=1.*meminstr watch"):
            fetch(process.pid)


def test_in_this_process_and_stopped(folder) -> None:
    import meminstr

    path = meminstr.serve_dump()
    assert meminstr.serve_dump() == path
    assert fetch(os.getpid(), diagnose=False).process.pid == os.getpid()
    asked.stop_serving()
    assert not os.path.exists(path)
    assert not [t for t in threading.enumerate() if t.name == "meminstr-dump"]
    with pytest.raises(UsageError, match="does not answer dumps"):
        fetch(os.getpid())


def test_uninstall_closes_it(folder) -> None:
    import meminstr

    path = meminstr.serve_dump()
    meminstr.uninstall()
    assert not os.path.exists(path)


def test_the_handler_that_stood_before_is_called_and_comes_back(folder) -> None:
    called = []
    before = signal.signal(signal.SIGUSR2, lambda *_: called.append(1))
    mine = signal.getsignal(signal.SIGUSR2)
    try:
        assert asked.serve_dump(signal=signal.SIGUSR2) is None
        asked.serve_dump(signal=signal.SIGUSR2)
        signal.raise_signal(signal.SIGUSR2)
        assert called == [1]
        for thread in threading.enumerate():
            if thread.name == "meminstr-dump":
                thread.join(60)
        asked.stop_serving()
        assert signal.getsignal(signal.SIGUSR2) is mine
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize("number", [signal.SIGKILL, 0, 9999, "x"])
def test_a_signal_that_cannot_be_handled(number) -> None:
    with pytest.raises(UsageError, match="cannot be handled"):
        asked.serve_dump(signal=number)


@pytest.mark.parametrize(
    ("value", "fault"), [("0", False), ("no", False), ("7", True), ("SIGNOPE", True), ("KILL", True)]
)
def test_values_of_the_variable(monkeypatch, value, fault) -> None:
    monkeypatch.setenv("MEMINSTR_DUMP", value)
    asked.register_from_environment()
    assert bool(faults.faults()) is fault


def test_sockets_of_the_dead_are_swept_and_a_foreign_folder_is_refused(folder, monkeypatch) -> None:
    folder.mkdir(mode=0o700)
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait(60)
    stale, alive = folder / asked.socket_name(done.pid), folder / asked.socket_name(os.getppid())
    stale.touch()
    alive.touch()
    asked.serve_dump()
    assert alive.exists()
    assert not stale.exists()
    asked.stop_serving()
    folder.chmod(0o755)
    monkeypatch.setattr(asked, "folders", lambda uid: [folder])
    with pytest.raises(UsageError, match="others may enter it"):
        asked.serve_dump()


class Impostor:
    """A socket where a process's own would be, that gives a fixed answer."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.path = folder / asked.socket_name(os.getpid())
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(1)
        self._answer = answer
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(self._answer)

    def close(self) -> None:
        self._thread.join(60)
        self._listener.close()


HELLO = {"format": "meminstr-dump", "version": 1}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "none of meminstr's"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "none of meminstr's"),
        (json.dumps({**HELLO, "version": 2}).encode() + b"\n{}", "speaks version 2 of the dump"),
        (json.dumps({**HELLO, "error": "not now"}).encode() + b"\n", "answers: not now"),
        (json.dumps(HELLO).encode() + b'\n{"format": "meminstr-rep', "is not JSON"),
        (json.dumps(HELLO).encode() + b'\n{"format": "meminstr-report", "version": 9}', "newer meminstr"),
    ],
)
def test_answers_that_are_none(folder, capsys, answer, says) -> None:
    impostor = Impostor(folder, answer)
    try:
        assert dispatch(["dump", str(os.getpid())]) == 2
    finally:
        impostor.close()
    got = capsys.readouterr()
    assert says in got.err
    assert len(got.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (b"hello\n", "no question of meminstr dump"),
        (b"", "no question of meminstr dump"),
        (b'{"format": "meminstr-dump", "version": 7}\n', "of version 7"),
    ],
)
def test_questions_that_are_none(folder, question, says) -> None:
    path = asked.serve_dump()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(question)
        connection.shutdown(socket.SHUT_WR)
        head = json.loads(connection.recv(4096))
    assert says in head["error"]
    assert fetch(os.getpid(), diagnose=False)  # it serves on


def test_others_are_not_answered(folder, monkeypatch) -> None:
    asked.serve_dump()
    monkeypatch.setattr(asked, "peer", lambda connection: (os.getpid(), os.getuid() + 4711))
    with pytest.raises(UsageError, match="only the owner of the process, or root, is answered"):
        fetch(os.getpid())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_another_user_cannot_even_enter(folder) -> None:
    with started(LEAKY % "", {"MEMINSTR_DUMP": "1"}) as process:
        path = folder / asked.socket_name(process.pid)
        code = (
            "import os, socket, sys\nos.setgid(65534); os.setuid(65534)\n"
            f"try: socket.socket(socket.AF_UNIX).connect({str(path)!r})\n"
            "except PermissionError: sys.exit(7)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 7


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1.5", "99999999999", "²"])
def test_no_process_id(text, capsys) -> None:
    with pytest.raises(UsageError, match="is not a process id"):
        process_id(text)


def test_no_such_process(capsys) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait(60)
    for command in ("dump", "watch"):
        assert dispatch([command, str(done.pid)]) == 2
        assert capsys.readouterr().err == f"meminstr: there is no process {done.pid}\n"


def test_a_process_that_is_busy(folder, capsys) -> None:
    with started(LEAKY % "", {"MEMINSTR_DUMP": "1"}) as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert dispatch(["dump", str(process.pid), "--timeout", "0.2"]) == 2
        assert "did not answer within 0.2 s: it is busy, or stopped" in capsys.readouterr().err
