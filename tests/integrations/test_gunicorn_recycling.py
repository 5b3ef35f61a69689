"""A real gunicorn whose worker leaks: it is replaced while its clients go on, and no request is lost."""

import http.client
import os
import signal
import socket
import subprocess
import sys

import pytest

pytest.importorskip("gunicorn")

CONFIGURATION = """
from meminstr.integrations.gunicorn import recycling
post_worker_init, worker_exit = recycling(leaking=True, check_seconds=0.5, cooldown_seconds=0)
"""

APPLICATION = """
import os
from meminstr.integrations.wsgi import MemoryMiddleware

kept = []

class Row:
    def __init__(self, n):
        self.n = n

def serve(environ, start_response):
    if environ["PATH_INFO"] == "/leak":
        kept.append(Row(len(kept)))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]

app = MemoryMiddleware(serve, horizon=200, every=1)
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def served(tmp_path):
    (tmp_path / "shop.py").write_text(APPLICATION)
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION)
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MEMINSTR_")}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-w", "1", "-b", f"127.0.0.1:{port}", "shop:app"],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            env=environment,
        )
        try:
            yield port, server, tmp_path / "log"
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def ask(port, path):
    """The answer, or None while nobody listens or the connection was closed before it was served."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def test_a_leaking_worker_is_replaced(served):
    port, server, log = served
    first = None
    while first is None and server.poll() is None:
        first = ask(port, "/start")
    assert first is not None, log.read_text()
    pids, refused = {first[1]}, 0
    for _ in range(20_000):
        answer = ask(port, "/leak")
        if answer is None:
            refused += 1
            continue
        assert answer[0] == 200
        pids.add(answer[1])
        if len(pids) > 1:
            break
    text = log.read_text()
    assert len(pids) == 2, text
    assert f"worker {first[1]} lets itself be replaced: GET /leak leaks" in text, text
    assert server.poll() is None
    assert refused == 0, text
