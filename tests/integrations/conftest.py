"""Real servers and workers as child processes of a test: started, asked over HTTP, and ended with it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

PATIENCE_SECONDS = 100.0


class Service:
    """One child process in a folder of its own, its output in a file, and the port it may listen on."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MEMINSTR_")}
        path = (str(folder), environment.get("PYTHONPATH"))
        self.environment = environment | {"PYTHONPATH": os.pathsep.join(p for p in path if p)}
        self._process = None

    def start(self, *words):
        """``python -m WORDS``, ``{port}`` being the free port."""
        words = [word.format(port=self.port) for word in words]
        with (self.folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words], cwd=self.folder, stdout=log, stderr=log, env=self.environment
            )

    @property
    def log(self):
        return (self.folder / "log").read_text()

    def runs(self):
        return self._process.poll() is None

    def get(self, path):
        """(status, body), or None while nobody listens or where the connection was closed before it was served."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (ConnectionError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def wait_until(self, condition):
        """What `condition` gives as soon as it holds, while the process lives."""
        pause, end = threading.Event(), time.monotonic() + PATIENCE_SECONDS
        while not (outcome := condition()):
            assert self.runs(), self.log
            assert time.monotonic() < end, f"waited in vain\n{self.log}"
            pause.wait(0.02)
        return outcome

    def close(self):
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def service(tmp_path):
    one = Service(tmp_path)
    yield one
    one.close()
