"""A real gunicorn whose worker leaks: it is replaced while its clients go on, and no request is lost."""

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


def test_a_leaking_worker_is_replaced(service):
    (service.folder / "shop.py").write_text(APPLICATION)
    (service.folder / "gunicorn.conf.py").write_text(CONFIGURATION)
    service.start("gunicorn", "-w", "1", "-b", "127.0.0.1:{port}", "shop:app")
    _, first = service.wait_until(lambda: service.get("/start"))
    pids, refused = {first}, []

    def another():
        for _ in range(50):
            answer = service.get("/leak")
            if answer is None:
                refused.append(answer)
            else:
                assert answer[0] == 200
                pids.add(answer[1])
        return len(pids) > 1

    service.wait_until(another)
    text = service.log
    assert len(pids) == 2, text
    assert f"worker {first} lets itself be replaced: GET /leak leaks" in text, text
    assert service.runs()
    assert not refused, text
