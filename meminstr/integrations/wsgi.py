"""`MemoryMiddleware` for WSGI applications (Flask, Django, Pyramid); imports none of them.

Flask's route is found in the environment when the response starts (werkzeug puts the request there); other frameworks
note it as ``environ["meminstr.route"]`` (Django: ``request.META``) or give a ``template`` function, without which the
path stands for the route, its identifiers left out.

    app.wsgi_app = MemoryMiddleware(app.wsgi_app, debug_path="/debug/memory")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from ..decorators.guarding import chosen
from ..errors import UsageError
from ..evidence.birth_sites import context
from ..registry import ControllerMemoryTracker
from .debug_page import DebugPages
from .recycling import not_ready
from .routes import NOTED, Routes, tag_of

Environ = dict[str, Any]
RETRY_AFTER_SECONDS = 5


class MemoryMiddleware:
    """Tallies the requests of a WSGI application by route, and tags what is born in them.

    A request lasts until its response was iterated and closed, as streaming ones want; a file that the server sends by
    itself is handed on untouched.

    Args:
        app: the application.
        every: one request in so many reads memory (and the first 32), as far as the budget allows.
        on_leak: ``"warn"`` or a callable that is given the `Finding`.
        horizon: requests that growth must last before it is called a leak (default: the setting).
        shed_above: answer 503 with ``Retry-After`` while more than this share of the memory limit is in use.
        debug_path: where the live report is shown, as ``"/debug/memory"``; None: nowhere.
        token: shown as ``Authorization: Bearer ...`` by clients that are not on this machine.
        ready_path: where 200 or 503 says whether requests should be sent here; None: nowhere.
        template: the route of an environment when the response starts.
        tracker: where routes are registered (default: `meminstr.tracker`).

    Raises:
        UsageError: an argument that is not allowed.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        *,
        every: int = 10,
        on_leak: Any = "warn",
        horizon: float | None = None,
        shed_above: float | None = None,
        debug_path: str | None = None,
        token: str | None = None,
        ready_path: str | None = None,
        template: Callable[[Environ], str | None] | None = None,
        tracker: ControllerMemoryTracker | None = None,
    ) -> None:
        if not callable(app):
            raise UsageError(f"app={app!r} is not allowed: a WSGI application is")
        self.app = app
        self.routes = Routes(every=every, on_leak=on_leak, horizon=horizon, shed_above=shed_above, tracker=tracker)
        self._pages = DebugPages(debug_path, token, ready_path, not_ready, chosen(tracker))
        self._template = template or template_of

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request."""
        path = environ.get("PATH_INFO", "")
        if self._pages.owns(path):
            headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
            page = self._pages.answer(path, environ.get("QUERY_STRING", ""), environ.get("REMOTE_ADDR"), headers)
            return _respond(start_response, *page)
        if self.routes.is_full():
            retry = [("Retry-After", str(RETRY_AFTER_SECONDS))]
            return _respond(start_response, 503, "text/plain; charset=utf-8", b"short of memory, try later\n", retry)
        method = environ.get("REQUEST_METHOD", "GET")
        tag = context(request=tag_of(method, path))
        begun = self.routes.begin()
        found: list[str | None] = []

        def started(*args: Any, **more: Any) -> Any:
            # now, not at the end: Flask takes its request out of the environment before it returns
            found[:] = [self._template(environ)]
            return start_response(*args, **more)

        def ended(error: BaseException | None = None) -> None:
            self.routes.end(begun, method, found[0] if found else self._template(environ), error)

        try:
            with tag:
                body = self.app(environ, started)
        except BaseException as error:
            ended(error)
            raise
        if type(body) in (list, tuple) or _is_file(body, environ):
            ended()
            return body
        return _Streaming(body, ended)


class _Streaming:
    """A response that ends its request when the server closes it."""

    def __init__(self, body: Iterable[bytes], ended: Callable[[], None]) -> None:
        self._body = body
        self._ended: Callable[[], None] | None = ended

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        ended, self._ended = self._ended, None
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            if ended is not None:
                ended()


def _is_file(body: Any, environ: Environ) -> bool:
    """Whether the server recognises this response as a file, which it sends by itself: if nobody wraps it."""
    kind = environ.get("wsgi.file_wrapper")
    return isinstance(kind, type) and isinstance(body, kind)


def template_of(environ: Environ) -> str | None:
    """The route of an environment: what the application noted, or what Flask did, else the path without its
    identifiers; None: no route matched."""
    if isinstance(noted := environ.get(NOTED), str):
        return noted
    request = environ.get("werkzeug.request")
    if request is not None and hasattr(request, "url_rule"):
        rule = getattr(request.url_rule, "rule", None)
        return f"{environ.get('SCRIPT_NAME', '')}{rule}" if isinstance(rule, str) else None
    return tag_of("GET", environ.get("PATH_INFO", "")).removeprefix("GET ")


def _respond(
    start_response: Callable[..., Any],
    status: int,
    content_type: str,
    body: bytes,
    more: list[tuple[str, str]] | None = None,
) -> list[bytes]:
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response(f"{status} {HTTPStatus(status).phrase}", headers + (more or []))
    return [body]
