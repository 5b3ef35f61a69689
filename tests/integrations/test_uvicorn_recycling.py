"""Two real uvicorn workers, one of which leaks: it is replaced by the supervisor, and the other one stays."""

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


def test_a_leaking_worker_of_two_is_replaced(service):
    (service.folder / "shop.py").write_text(APPLICATION)
    service.start("uvicorn", "shop:app", "--port", "{port}", "--workers", "2", "--no-access-log")
    pids, broken = set(), []

    def ask(path):
        answer = service.get(path)
        if answer is not None:
            assert answer[0] == 200
            pids.add(answer[1])
        return answer

    def leak():
        broken.extend(answer for answer in [ask(f"/leak/{leaker}") for _ in range(20)] if answer is None)
        return pids - {leaker, healthy}

    service.wait_until(lambda: ask("/pid") and len(pids) == 2)
    leaker, healthy = sorted(pids)
    service.wait_until(leak)
    text = service.log
    assert len(pids) == 3, text
    assert f"process {leaker} lets itself be replaced: GET /leak leaks" in text
    assert f"process {healthy} lets" not in text
    assert service.runs()
    assert len(broken) <= 5, text
