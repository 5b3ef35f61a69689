"""A FastAPI application on a real uvicorn under concurrent load: of ten routes one leaks, and that one is named."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

ROUTES, CLIENTS, REQUESTS, LEAKING = 10, 8, 6000, 7

APPLICATION = """
import asyncio, random
from fastapi import FastAPI
from meminstr.integrations.asgi import MemoryMiddleware

app = FastAPI()
sessions = {}

class Session:
    def __init__(self, n):
        self.n = n
        self.rows = [f"row {n} {i}" for i in range(40)]

def route_of(i):
    async def route(n: int):
        await asyncio.sleep(random.random() * 0.003)
        junk = [object() for _ in range(random.randrange(2000))]
        if i == LEAKING:
            sessions[len(sessions)] = Session(n)
        return {"route": i, "n": n, "junk": len(junk)}
    return route

for i in range(ROUTES):
    app.get(f"/r{i}/{{n}}")(route_of(i))
app.add_middleware(MemoryMiddleware, debug_path="/debug/memory", ready_path="/ready", horizon=200)
"""


@pytest.fixture
def port(tmp_path):
    text = APPLICATION.replace("ROUTES", str(ROUTES)).replace("LEAKING", str(LEAKING))
    (tmp_path / "shop.py").write_text(text)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        free = one.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MEMINSTR_")}
    log = tmp_path / "log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "uvicorn", "shop:app", "--port", str(free), "--log-level", "warning"]
        server = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out, env=environment)
        try:
            while server.poll() is None and get(free, "/ready") is None:
                threading.Event().wait(0.05)
            assert server.poll() is None, log.read_text()
            yield free
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except ConnectionError:
        return None
    finally:
        connection.close()


def client(port, seed, statuses):
    connection, chosen = http.client.HTTPConnection("127.0.0.1", port, timeout=60), random.Random(seed)
    for _ in range(REQUESTS // CLIENTS):
        connection.request("GET", f"/r{chosen.randrange(ROUTES)}/{chosen.randrange(1000)}")
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()


def test_the_leaking_route_of_ten_is_named(port):
    statuses = []
    threads = [threading.Thread(target=client, args=(port, seed, statuses), daemon=True) for seed in range(CLIENTS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(100)
    assert statuses == [200] * REQUESTS
    found = json.loads(get(port, "/debug/memory?diagnose=1")[1])["findings"]
    text = get(port, "/debug/memory?format=text")[1].decode()
    routes = [f for f in found if f["subject_kind"] == "route"]
    assert len(routes) == ROUTES
    assert sum(f["calls"] for f in routes) == REQUESTS
    leaking = {f["subject"] for f in found if f["verdict"] == "leaking"}
    assert leaking == {f"GET /r{LEAKING}/{{n}}"}, text
    accused = {f["subject"] for f in found if f["verdict"] in ("leaking", "growing")}
    assert accused <= {f"GET /r{LEAKING}/{{n}}", "process"}, text
    worst = found[0]
    assert any("sessions" in (holder["path"] or "") for holder in worst["holders"]), worst
    assert get(port, "/ready")[0] == 200
