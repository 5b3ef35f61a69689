"""What the processes of these tests run: a web application and tasks that leak."""

import meminstr

kept = []


@meminstr.leak_guard(every=5)
def handle():
    kept.append(bytearray(3000))


def square(n):
    handle()
    return n * n


def child(calls):
    for _ in range(calls):
        handle()


def metrics(environ, start_response):
    from prometheus_client import CollectorRegistry, make_wsgi_app

    from meminstr.exporters.prometheus import MeminstrCollector

    global _page
    if _page is None:
        registry = CollectorRegistry()
        registry.register(MeminstrCollector(refresh_seconds=0.1))
        _page = make_wsgi_app(registry)
    return _page(environ, start_response)


_page = None


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/metrics":
        return metrics(environ, start_response)
    for _ in range(20):
        handle()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind.endswith("shutdown"):
                return
    for _ in range(20):
        handle()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
