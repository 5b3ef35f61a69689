"""A small threaded web server, bare or instrumented, for `benchmarks.whole_program`; and both of them as processes.

``python -m benchmarks.web_server bare|instrumented WARM`` does the work of so many requests, prints the port it listens
on, on the loopback only, and serves until its standard input ends.
"""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Item:
    def __init__(self, number: int) -> None:
        self.number = number
        self.words = [f"word {i} of {number}" for i in range(60)]


def find(number: int) -> Item:
    return Item(number)


def render(item: Item) -> bytes:
    return json.dumps({"number": item.number, "words": sorted(item.words, key=len)}).encode()


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    events: Callable[[], int] = staticmethod(lambda: 0)
    once = (0.0, 0.0)

    def do_GET(self) -> None:
        if self.path == "/events":
            body = str(self.events()).encode()
        elif self.path == "/once":
            body = json.dumps(self.once).encode()
        else:
            body = render(find(int(self.path.rpartition("/")[2])))
        self.send_response(200)
        self.send_header("ETag", digest(body))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


def main(variant: str, warm: int) -> None:
    """Serve."""
    global find, render, digest
    if variant == "instrumented":
        import meminstr

        meminstr.track_instantiations(Item)
        find, render, digest = (meminstr.leak_guard(function) for function in (find, render, digest))

        def events() -> int:
            functions = meminstr.tracker.functions.values()
            constructed = sum(s.follower.counts().constructed for s in meminstr.tracker.classes.values())
            return sum(subject.calls() for subject in functions) + constructed

        Handler.events = staticmethod(events)
        sampler = meminstr.tracker.sampler
    else:
        sampler = None
    for number in range(warm):
        digest(render(find(number % 97)))
    if sampler is not None:
        Handler.once = (sampler.cost_seconds() + sampler.loading_seconds, time.process_time())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    server.shutdown()


class Pair:
    """The bare and the instrumented server, each in a process of its own, ready when each has done `warm` requests'
    work."""

    def __init__(self, warm: int) -> None:
        self._warm = warm

    def __enter__(self) -> Pair:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.web_server", variant, str(self._warm)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parent.parent,
            )
            for variant in ("bare", "instrumented")
        ]  # fmt: skip
        self._ports = [int(process.stdout.readline()) for process in self._processes if process.stdout]
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.communicate(timeout=30)

    def connections(self) -> list[Callable[[str], bytes]]:
        """One kept connection to each; called with a path they return the body."""

        def asker(port: int) -> Callable[[str], bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

            def ask(path: str) -> bytes:
                connection.request("GET", path)
                return connection.getresponse().read()

            return ask

        return [asker(port) for port in self._ports]

    def events(self) -> int:
        """What the instrumented one has counted."""
        return int(self.connections()[1]("/events"))

    def spent(self) -> tuple[float, float]:
        """What samples, looks and loading had taken when it was ready, and its CPU time by then; seconds."""
        seconds, cpu = json.loads(self.connections()[1]("/once"))
        return seconds, cpu


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
