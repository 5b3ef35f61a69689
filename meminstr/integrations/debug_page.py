"""The pages a middleware may answer itself: the live report, and whether this worker should be sent requests.

Both are off until a path is named.  The report is for the machine's own people: a client on the loopback address that
no proxy stands behind, or one that shows the token.  It carries names of types and functions, no values.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from ..diagnosis import report
from ..errors import UsageError
from ..faults import note_fault
from ..registry import ControllerMemoryTracker

Page = tuple[int, str, bytes]
"""Status, content type, body."""

_TEXT = "text/plain; charset=utf-8"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
_LEAST_TOKEN = 16


class DebugPages:
    """Decides which paths are answered here, and answers them.

    Args:
        debug_path: where the live report is shown; None: nowhere.
        token: what a client that is not on this machine shows as ``Authorization: Bearer ...``; None: no such client.
        ready_path: where 200 or 503 says whether to send requests here; None: nowhere.
        ready: whether this worker is ready, with the reason if it is not.
        tracker: whose report.

    Raises:
        UsageError: a path that does not begin with ``/``, or a token that could be guessed.
    """

    def __init__(
        self,
        debug_path: str | None,
        token: str | None,
        ready_path: str | None,
        ready: Callable[[], str | None],
        tracker: ControllerMemoryTracker,
    ) -> None:
        for what, path in (("debug_path", debug_path), ("ready_path", ready_path)):
            if path is not None and (not isinstance(path, str) or not path.startswith("/") or len(path) < 2):
                raise UsageError(f'{what}={path!r} is not allowed: a path as "/debug/memory" is, or None')
        if token is not None and (not isinstance(token, str) or len(token) < _LEAST_TOKEN):
            raise UsageError(f"the token is not allowed: a string of at least {_LEAST_TOKEN} characters is")
        self._debug_path, self._ready_path = debug_path, ready_path
        self._token = None if token is None else token.encode()
        self._ready = ready
        self._tracker = tracker

    def owns(self, path: str) -> bool:
        """Whether a path is answered here."""
        return path is not None and path in (self._debug_path, self._ready_path)

    def answer(self, path: str, query: str, client: str | None, headers: Mapping[str, str]) -> Page:
        """The page for a path that `owns` said yes to; never raises.

        Args:
            path: the request's path.
            query: its query string: ``diagnose=1`` looks for holders too, ``format=json|html|text``.
            client: the peer's address; None when it is not known.
            headers: names in lower case.
        """
        try:
            if path == self._ready_path:
                reason = self._ready()
                return (200, _TEXT, b"ready\n") if reason is None else (503, _TEXT, f"{reason}\n".encode())
            if not self._allowed(client, headers):
                # as if there were nothing: who may not see it need not know of it
                return 404, _TEXT, b"not found\n"
            asked = parse_qs(query)
            live = report(asked.get("diagnose", ["0"])[-1] == "1", tracker=self._tracker)
            wanted = asked.get("format", [""])[-1]
            if wanted == "html" or (not wanted and "text/html" in headers.get("accept", "")):
                return 200, "text/html; charset=utf-8", live.to_html().encode()
            if wanted == "text":
                return 200, _TEXT, f"{live.to_text()}\n".encode()
            return 200, "application/json", json.dumps(live.to_dict()).encode()
        except Exception as error:
            note_fault("debug page", error)
            return 500, _TEXT, b"the report could not be made; the log says why\n"

    def _allowed(self, client: str | None, headers: Mapping[str, str]) -> bool:
        shown = headers.get("authorization", "")
        if self._token is not None and shown[:7].lower() == "bearer ":
            return hmac.compare_digest(shown[7:].strip().encode(), self._token)
        # behind a proxy on the same machine everybody comes from the loopback address
        if any(name in headers for name in _FORWARDED) or client is None:
            return False
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback
