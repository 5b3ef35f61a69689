"""A FastAPI application on a real uvicorn under concurrent load: of ten routes one leaks, and that one is named."""

import http.client
import json
import random
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
def served(service):
    text = APPLICATION.replace("ROUTES", str(ROUTES)).replace("LEAKING", str(LEAKING))
    (service.folder / "shop.py").write_text(text)
    service.start("uvicorn", "shop:app", "--port", "{port}", "--log-level", "warning")
    service.wait_until(lambda: service.get("/ready"))
    return service


def client(port, seed, statuses):
    connection, chosen = http.client.HTTPConnection("127.0.0.1", port, timeout=60), random.Random(seed)
    for _ in range(REQUESTS // CLIENTS):
        connection.request("GET", f"/r{chosen.randrange(ROUTES)}/{chosen.randrange(1000)}")
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()


def test_the_leaking_route_of_ten_is_named(served):
    statuses = []
    threads = [
        threading.Thread(target=client, args=(served.port, seed, statuses), daemon=True) for seed in range(CLIENTS)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(100)
    assert statuses == [200] * REQUESTS
    found = json.loads(served.get("/debug/memory?diagnose=1")[1])["findings"]
    text = served.get("/debug/memory?format=text")[1]
    routes = [f for f in found if f["subject_kind"] == "route"]
    assert len(routes) == ROUTES
    assert sum(f["calls"] for f in routes) == REQUESTS
    leaking = {f["subject"] for f in found if f["verdict"] == "leaking"}
    assert leaking == {f"GET /r{LEAKING}/{{n}}"}, text
    accused = {f["subject"] for f in found if f["verdict"] in ("leaking", "growing")}
    assert accused <= {f"GET /r{LEAKING}/{{n}}", "process"}, text
    worst = found[0]
    assert any("sessions" in (holder["path"] or "") for holder in worst["holders"]), worst
    assert served.get("/ready")[0] == 200
