"""Programs as child processes that write shards, and what they left."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meminstr.shards import read_shards

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60.0


class Programs:
    """Starts programs that write shards; ends what is left of them."""

    def __init__(self, folder):
        self.folder = folder / "shards"
        self._running = []

    def start(self, *words, **changes):
        environ = dict(os.environ, MEMINSTR_SHARDS=str(self.folder), MEMINSTR_SHARD_SECONDS="0.2", **changes)
        environ["PYTHONPATH"] = os.pathsep.join([str(HERE), environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        process = subprocess.Popen(
            [sys.executable, *words],
            env=environ,
            cwd=self.folder.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # its workers can be ended with it, and no one else
        )
        self._running.append(process)
        return process

    def run(self, *words, **changes):
        process = self.start(*words, **changes)
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, out
        return out

    def shards(self):
        return read_shards(self.folder).shards if self.folder.exists() else ()

    def calls(self):
        """Calls of the leaking function, by process id."""
        found = {one.pid: one.report.finding("handle") for one in self.shards()}
        return {pid: finding.calls for pid, finding in found.items() if finding is not None and finding.calls}

    def wait_until(self, condition, process=None):
        """Wait for something to become true of the shards."""
        ends = time.monotonic() + PATIENCE_SECONDS
        while not (outcome := condition()):
            dead = process is not None and process.poll() is not None
            assert not dead, f"the program ended with {process.returncode}: {process.stdout.read()}"
            assert time.monotonic() < ends, f"waited in vain; there are {self.shards()}"
            time.sleep(0.02)
        return outcome

    def close(self):
        for process in self._running:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait(PATIENCE_SECONDS)
            process.stdout.close()


@pytest.fixture
def programs(tmp_path):
    them = Programs(tmp_path)
    yield them
    them.close()


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def ask(port):
    """``ask(n)``: n requests to the server on the free port, which may not listen yet."""

    def requests(n, path="/"):
        answers = []
        ends = time.monotonic() + PATIENCE_SECONDS
        while len(answers) < n:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
            try:
                connection.request("GET", path)
                answers.append(connection.getresponse().read())
            except OSError:
                assert time.monotonic() < ends, "nobody answers"
                time.sleep(0.02)
            finally:
                connection.close()
        return answers

    return requests
