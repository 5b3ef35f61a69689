"""Two real uvicorn workers, one of which leaks: it is replaced by the supervisor, and the other one stays."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("uvicorn")

APPLICATION = """
import logging, os
from meminstr.integrations.asgi import MemoryMiddleware
from meminstr.integrations.recycling import Recycler

logging.basicConfig()
kept = []

async def serve(scope, receive, send):
    if scope["type"] == "lifespan":
        message = await receive()
        Recycler(leaking=True, check_seconds=0.3, cooldown_seconds=0).start()
        await send({"type": message["type"] + ".complete"})
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        return
    if scope["path"] == f"/leak/{os.getpid()}":
        kept.append([f"row {len(kept)} {i}" for i in range(20)])
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

app = MemoryMiddleware(serve, horizon=200, template=lambda scope: "/leak")
"""


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def test_a_leaking_worker_of_two_is_replaced(tmp_path):
    (tmp_path / "shop.py").write_text(APPLICATION)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MEMINSTR_")}
    log = tmp_path / "log"
    command = [sys.executable, "-m", "uvicorn", "shop:app", "--port", str(port), "--workers", "2", "--no-access-log"]
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out, env=environment)
        try:
            pause, pids, broken = threading.Event(), set(), 0
            end = time.monotonic() + 90
            while server.poll() is None and len(pids) < 2 and time.monotonic() < end:
                answer = get(port, "/pid")
                if answer is None:
                    pause.wait(0.05)
                else:
                    pids.add(answer[1])
            assert len(pids) == 2, log.read_text()
            leaker, healthy = sorted(pids)
            while time.monotonic() < end and not pids - {leaker, healthy}:
                answer = get(port, f"/leak/{leaker}")
                if answer is None:
                    broken += 1
                else:
                    assert answer[0] == 200
                    pids.add(answer[1])
            text = log.read_text()
            assert len(pids) == 3, text
            assert f"process {leaker} lets itself be replaced: GET /leak leaks" in text
            assert f"process {healthy} lets" not in text
            assert server.poll() is None
            assert broken <= 5, text
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
