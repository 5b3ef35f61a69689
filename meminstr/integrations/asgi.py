"""`MemoryMiddleware`: growth by route for any ASGI application (FastAPI, Starlette, Quart, Django); imports none of
them.

A plain ASGI callable, not a subclass of a framework's: context variables and streaming stay as they are.  The template
of the route is in the scope once the application has run (Starlette and FastAPI put it there); other frameworks note it
as ``scope["meminstr.route"]`` or give a ``template`` function.

    app.add_middleware(MemoryMiddleware, debug_path="/debug/memory", shed_above=0.95)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..decorators.guarding import chosen
from ..errors import UsageError
from ..evidence.birth_sites import context
from ..registry import ControllerMemoryTracker
from .debug_page import DebugPages
from .recycling import not_ready
from .routes import NOTED, Routes, tag_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

RETRY_AFTER_SECONDS = 5


class MemoryMiddleware:
    """Tallies the requests of an ASGI application by route, and tags what is born in them.

    Args:
        app: the application.
        every: one request in so many reads memory (and the first 32), as far as the budget allows.
        on_leak: ``"warn"`` or a callable that is given the `Finding`.
        horizon: requests that growth must last before it is called a leak (default: the setting).
        shed_above: answer 503 with ``Retry-After`` while more than this share of the memory limit is in use.
        debug_path: where the live report is shown, as ``"/debug/memory"``; None: nowhere.
        token: shown as ``Authorization: Bearer ...`` by clients that are not on this machine.
        ready_path: where 200 or 503 says whether requests should be sent here; None: nowhere.
        template: the route of a scope after the application has run, where it is not in ``scope["route"]``.
        tracker: where routes are registered (default: `meminstr.tracker`).

    Raises:
        UsageError: an argument that is not allowed.
    """

    def __init__(
        self,
        app: Application,
        *,
        every: int = 10,
        on_leak: Any = "warn",
        horizon: float | None = None,
        shed_above: float | None = None,
        debug_path: str | None = None,
        token: str | None = None,
        ready_path: str | None = None,
        template: Callable[[Scope], str | None] | None = None,
        tracker: ControllerMemoryTracker | None = None,
    ) -> None:
        if not callable(app):
            raise UsageError(f"app={app!r} is not allowed: an ASGI application is")
        self.app = app
        self.routes = Routes(every=every, on_leak=on_leak, horizon=horizon, shed_above=shed_above, tracker=tracker)
        self._pages = DebugPages(debug_path, token, ready_path, not_ready, chosen(tracker))
        self._template = template or template_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; anything but HTTP passes through untouched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope.get("path", "")
        if self._pages.owns(path):
            headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
            client = (scope.get("client") or (None,))[0]
            query = scope.get("query_string", b"").decode("latin-1")
            page = await asyncio.to_thread(self._pages.answer, path, query, client, headers)
            await _respond(send, *page)
            return
        if self.routes.is_full():
            retry = [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())]
            await _respond(send, 503, "text/plain; charset=utf-8", b"short of memory, try again later\n", retry)
            return
        method = scope.get("method", "GET")
        begun = self.routes.begin()
        error: BaseException | None = None
        try:
            with context(request=tag_of(method, path)):
                await self.app(scope, receive, send)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.routes.end(begun, method, self._template(scope), error)
            error = None  # the frame would hold it, and through its traceback this frame


def template_of(scope: Scope) -> str | None:
    """The route's template of a scope: what the application noted, or Starlette and FastAPI did, mounts included; None:
    no route matched."""
    if isinstance(noted := scope.get(NOTED), str):
        return noted
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    if isinstance(path, str):
        return f"{scope.get('root_path', '')}{path}"
    endpoint = scope.get("endpoint")  # Starlette below FastAPI: the endpoint is known, the route is not
    name = getattr(endpoint, "__qualname__", None)
    return f"<{name}>" if isinstance(name, str) else None


async def _respond(
    send: Send, status: int, content_type: str, body: bytes, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *(more or ()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
