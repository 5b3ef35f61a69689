"""Both middlewares on real frameworks, in process: what is tallied under which name, and which pages are answered."""

import asyncio
import gc
import json

import pytest

from meminstr import UsageError
from meminstr.integrations import asgi, wsgi
from meminstr.integrations.routes import OTHER, Routes, route_name, tag_of
from meminstr.probes.container import Headroom
from meminstr.registry import ControllerMemoryTracker

fastapi = pytest.importorskip("fastapi")
flask = pytest.importorskip("flask")


@pytest.fixture
def tracker():
    one = ControllerMemoryTracker()
    yield one
    one.uninstall()


def counted(tracker):
    return {name: subject.calls() for name, subject in tracker.functions.items()}


def ask(app, path, *, method="GET", headers=(), client=("127.0.0.1", 1), query=b""):
    """One request to an ASGI application: (status, headers, body)."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query,
        "headers": [(k.encode(), v.encode()) for k, v in headers], "client": client, "server": ("t", 80),
        "scheme": "http", "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    start = next(m for m in sent if m["type"] == "http.response.start")
    body = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, body


def fast_app(tracker, **options):
    app = fastapi.FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: int):
        return {"id": item_id}

    @app.post("/upload")
    def upload():
        return {}

    @app.get("/broken")
    async def broken():
        raise LookupError("theirs")

    inner = fastapi.FastAPI()

    @inner.get("/deep/{z}")
    async def deep(z: str):
        return z

    app.mount("/sub", inner)
    return asgi.MemoryMiddleware(app, tracker=tracker, **options)


def test_requests_are_counted_by_the_route_that_served_them(tracker):
    app = fast_app(tracker)
    for number in range(5):
        assert ask(app, f"/items/{number}")[0] == 200
    assert ask(app, "/upload", method="POST")[0] == 200
    assert ask(app, "/sub/deep/x")[0] == 200
    assert ask(app, "/nowhere")[0] == 404
    assert counted(tracker) == {
        "GET /items/{item_id}": 5,
        "POST /upload": 1,
        "GET /sub/deep/{z}": 1,
        "GET <unmatched>": 1,
    }
    assert {s.kind for s in tracker.functions.values()} == {"route"}


def test_what_the_application_raises_goes_on_and_is_counted(tracker):
    async def app(scope, receive, send):
        raise LookupError("theirs")

    with pytest.raises(LookupError, match="theirs"):
        ask(asgi.MemoryMiddleware(app, tracker=tracker, template=lambda scope: "/x"), "/x")
    assert counted(tracker) == {"GET /x": 1}
    assert tracker.functions["GET /x"].failures == 1


def test_other_protocols_pass_through(tracker):
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["type"], receive, send))

    served = asgi.MemoryMiddleware(app, tracker=tracker, shed_above=0.5, debug_path="/debug/memory")
    served.routes._room = Room(1)
    asyncio.run(served({"type": "lifespan"}, 1, 2))
    asyncio.run(served({"type": "websocket", "path": "/debug/memory"}, 3, 4))
    assert seen == [("lifespan", 1, 2), ("websocket", 3, 4)]
    assert not tracker.functions


def test_survivors_are_tagged_with_the_request(tracker):
    from meminstr.evidence import birth_sites

    tags = []

    async def app(scope, receive, send):
        tags.append(birth_sites._tags.get())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    ask(asgi.MemoryMiddleware(app, tracker=tracker), "/users/17/photos")
    assert tags == [(("request", "GET /users/{}/photos"),)]


@pytest.mark.parametrize(
    ("path", "tag"),
    [
        ("/", "GET /"),
        ("/a/b", "GET /a/b"),
        ("/a/7/b", "GET /a/{}/b"),
        ("/f/0f9e-11", "GET /f/{}"),
        ("/x/" + "y" * 40, "GET /x/{}"),
        ("/a b/\x1b[31m", "GET /{}/{}"),
    ],
)
def test_tags_hold_nothing_of_a_client(path, tag):
    assert tag_of("GET", path) == tag


def test_a_client_cannot_make_names(tracker):
    assert route_name("BREW", None) == "OTHER <unmatched>"
    routes = Routes(tracker=tracker)
    for number in range(500):
        routes.end(routes.begin(), "GET", f"/made/{number}")
    assert len(tracker.functions) == 201
    assert tracker.functions[OTHER].calls() == 300


def test_debug_page_is_for_this_machine_or_the_token(tracker):
    token = "0123456789abcdef"
    app = fast_app(tracker, debug_path="/debug/memory", token=token)
    ask(app, "/items/1")
    status, headers, body = ask(app, "/debug/memory")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert "GET /items/{item_id}" in {f["subject"] for f in json.loads(body)["findings"]}
    assert b"<html" in ask(app, "/debug/memory", headers=[("accept", "text/html,*/*")])[2].lower()
    assert b"GET /items/{item_id}" in ask(app, "/debug/memory", query=b"format=text")[2]
    away = ("203.0.113.9", 1)
    assert ask(app, "/debug/memory", client=away)[0] == 404
    assert ask(app, "/debug/memory", client=None)[0] == 404
    assert ask(app, "/debug/memory", headers=[("x-forwarded-for", "203.0.113.9")])[0] == 404
    assert ask(app, "/debug/memory", client=away, headers=[("authorization", f"Bearer {token}")])[0] == 200
    assert ask(app, "/debug/memory", client=away, headers=[("authorization", "Bearer wrong-wrong-wrong")])[0] == 404
    # not even from here with a wrong token: who shows one wants to be judged by it
    assert ask(app, "/debug/memory", headers=[("authorization", "Bearer wrong-wrong-wrong")])[0] == 404
    assert "GET /debug/memory" not in tracker.functions


def test_readiness_is_answered_before_the_application(tracker, monkeypatch):
    app = fast_app(tracker, ready_path="/ready")
    assert ask(app, "/ready")[::2] == (200, b"ready\n")
    monkeypatch.setattr(app._pages, "_ready", lambda: "step leaks")
    assert ask(app, "/ready", client=("203.0.113.9", 1))[::2] == (503, b"step leaks\n")
    assert not counted(tracker)


def test_debug_page_is_off_by_default(tracker):
    assert ask(fast_app(tracker), "/debug/memory")[0] == 404
    assert counted(tracker) == {"GET <unmatched>": 1}


class Room:
    def __init__(self, left):
        self.left, self.asked = left, 0

    def __call__(self):
        self.asked += 1
        if self.left is None:
            raise OSError("gone")
        return Headroom(self.left, 1000, "scripted")


def test_requests_are_shed_near_the_limit_and_served_again(tracker):
    app = fast_app(tracker, shed_above=0.9)
    room, now = Room(50), [0.0]
    app.routes._room, app.routes._clock = room, lambda: now[0]
    status, headers, _ = ask(app, "/items/1")
    assert (status, headers["retry-after"]) == (503, "5")
    room.left = 500
    assert ask(app, "/items/1")[0] == 503  # the answer is kept for half a second
    assert room.asked == 1
    now[0] += 1
    assert ask(app, "/items/1")[0] == 200
    now[0] += 1
    room.left = None  # unknown: nobody is refused for a fault of ours
    assert ask(app, "/items/1")[0] == 200
    assert app.routes.shed == 2


def test_flask_routes_streams_and_pages(tracker):
    app = flask.Flask("shop")

    @app.get("/items/<int:number>")
    def item(number):
        return {"n": number}

    @app.get("/stream")
    def stream():
        return app.response_class(iter(["a", "b"]))

    app.wsgi_app = wsgi.MemoryMiddleware(app.wsgi_app, tracker=tracker, debug_path="/debug/memory", shed_above=0.9)
    client = app.test_client()

    def get(path):  # buffered: the response is closed, as servers do
        return client.get(path, buffered=True)

    for number in range(3):
        assert get(f"/items/{number}").json == {"n": number}
    assert get("/stream").data == b"ab"
    assert get("/none").status_code == 404
    assert counted(tracker) == {"GET /items/<int:number>": 3, "GET /stream": 1, "GET <unmatched>": 1}
    assert get("/debug/memory").json["findings"]
    app.wsgi_app.routes._room = Room(1)
    app.wsgi_app.routes._room_until = -1
    assert get("/items/1").status_code == 503


def test_a_stream_lasts_until_it_is_closed(tracker):
    closed = []

    class Body:
        def __iter__(self):
            return iter([b"x"])

        def close(self):
            closed.append(True)

    app = wsgi.MemoryMiddleware(lambda environ, start: Body(), tracker=tracker)
    body = app({"PATH_INFO": "/file/9", "REQUEST_METHOD": "GET"}, None)
    assert list(body) == [b"x"]
    assert counted(tracker) == {}
    body.close()
    body.close()
    assert closed == [True, True]
    assert counted(tracker) == {"GET /file/{}": 1}


def test_a_list_is_handed_on_as_it_is(tracker):
    answer = [b"x"]
    app = wsgi.MemoryMiddleware(lambda environ, start: answer, tracker=tracker)
    assert app({"PATH_INFO": "/", "REQUEST_METHOD": "GET"}, None) is answer


def test_a_file_is_left_to_the_server(tracker, tmp_path):
    from wsgiref.util import FileWrapper

    (tmp_path / "f").write_bytes(b"x" * 9000)
    with (tmp_path / "f").open("rb") as file:
        served = wsgi.MemoryMiddleware(lambda environ, start: environ["wsgi.file_wrapper"](file), tracker=tracker)
        body = served({"PATH_INFO": "/f", "REQUEST_METHOD": "GET", "wsgi.file_wrapper": FileWrapper}, None)
        assert type(body) is FileWrapper  # servers look at the type and send the descriptor
    assert counted(tracker) == {"GET /f": 1}


def test_an_application_may_note_its_route(tracker):
    def old(environ, start):
        environ["meminstr.route"] = "/shelf/<id>"
        start("200 OK", [])
        return []

    async def new(scope, receive, send):
        scope["meminstr.route"] = "/table/<id>"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    served = wsgi.MemoryMiddleware(old, tracker=tracker)
    served({"PATH_INFO": "/shelf/alpha", "REQUEST_METHOD": "GET"}, lambda *args: None)
    ask(asgi.MemoryMiddleware(new, tracker=tracker), "/table/alpha")
    assert counted(tracker) == {"GET /shelf/<id>": 1, "GET /table/<id>": 1}


def test_wsgi_errors_go_on(tracker):
    def app(environ, start):
        raise LookupError("theirs")

    with pytest.raises(LookupError):
        wsgi.MemoryMiddleware(app, tracker=tracker)({"PATH_INFO": "/x", "REQUEST_METHOD": "GET"}, None)
    assert tracker.functions["GET /x"].failures == 1


@pytest.mark.parametrize("module", [asgi, wsgi])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every=0"),
        ({"on_leak": "raise"}, "on_leak"),
        ({"shed_above": 1.5}, "shed_above=1.5"),
        ({"shed_above": True}, "shed_above=True"),
        ({"debug_path": "debug"}, "debug_path='debug'"),
        ({"token": "short"}, "at least 16"),
        ({"tracker": 3}, "tracker=3"),
    ],
)
def test_bad_arguments(module, options, words):
    with pytest.raises(UsageError, match=words):
        module.MemoryMiddleware(lambda *a: None, **options)


@pytest.mark.parametrize("module", [asgi, wsgi])
def test_something_that_is_no_application(module):
    with pytest.raises(UsageError, match="application"):
        module.MemoryMiddleware(None)


def test_nothing_of_a_request_stays(tracker):
    class Payload:
        pass

    async def app(scope, receive, send):
        scope["payload"] = Payload()
        raise LookupError

    served = asgi.MemoryMiddleware(app, tracker=tracker, template=lambda scope: "/x")
    gc.collect()
    for _ in range(3):
        with pytest.raises(LookupError):
            ask(served, "/x")
    gc.collect()
    assert not [o for o in gc.get_objects() if type(o) is Payload]
