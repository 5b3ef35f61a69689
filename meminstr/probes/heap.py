"""The C heap: bytes that ``malloc`` has handed out and not got back, over all arenas and threads.

``psutil.heap_info()`` is glibc's ``mallinfo2`` on Linux and its cousins on macOS, Windows and the BSDs; there
is none on musl.  The sum of ``heap_used`` and ``mmap_used`` is what counts: the C library moves blocks from one
to the other as it adapts its threshold.  Cost 1.3 us, and up to 207 ms on a fragmented heap, under the
allocator's lock: to be read through `meminstr.probes.budget` only.  Blind under a replaced malloc (jemalloc).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..forks import loading
from .base import Kind, ProbeUnavailable, Unit


def _psutil_heap_info() -> Callable[[], Any] | None:
    try:
        with loading.of("psutil"):
            import psutil
    except ImportError:
        return None
    return getattr(psutil, "heap_info", None)


class HeapProbe:
    """Bytes of the C heap in use.

    Raises:
        ProbeUnavailable: no such figure on this system (musl, an old psutil), or it cannot be read.
    """

    name = "heap"
    unit: Unit = "bytes"
    kind: Kind = "memory"
    source = "mallinfo2 via psutil.heap_info"

    def __init__(self, heap_info: Callable[[], Any] | None = None) -> None:
        found = heap_info if heap_info is not None else _psutil_heap_info()
        if found is None:
            raise ProbeUnavailable("this system has no psutil.heap_info (musl, or psutil older than 7.2)")
        self._heap_info = found
        try:
            usable = self.read() > 0
        except Exception as error:  # whatever the C library or psutil finds wrong here
            raise ProbeUnavailable(f"psutil.heap_info failed: {error}") from error
        if not usable:
            raise ProbeUnavailable("psutil.heap_info knows of no heap (another malloc is loaded?)")

    def read(self) -> int:
        """Bytes in use now."""
        info = self._heap_info()
        return int(info.heap_used) + int(info.mmap_used)
