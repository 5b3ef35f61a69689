"""Programs that the tests start, and how they are started and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

# a class that leaks, then a wait for the end of standard input
LEAKY = """
import sys, meminstr
class Bus:
    items = []
@meminstr.track_instantiations("session")
class Session:
    def __init__(self): self.data = [0] * 50; Bus.items.append(self)
    def cleanup(self): pass
for _ in range(700):
    Session().cleanup()
%s
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def started(code: str, env: dict[str, str] | None = None):
    """A Python process that runs `code`, once it has said ``ready``; it ends with the block."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MEMINSTR_")}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**kept, **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.strip() == "ready", line + process.stderr.read()
        yield process
    finally:
        process.kill()
        process.wait(60)
        for stream in (process.stdin, process.stdout, process.stderr):
            try:
                stream.close()
            except BrokenPipeError:
                pass
