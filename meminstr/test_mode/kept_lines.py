"""Which lines kept memory in a few more calls of a function that leaks.

With a tracer of our own, `meminstr.evidence.allocations` tells, and the traces say how large the kept blocks are.  A
tracer that the user started is respected: it goes on with the frames it keeps, and loses nothing.  What it holds
already may be a million allocations, which to read twice would take a test half a minute; then the objects that
outlived the calls are asked one by one where they were made.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..evidence.allocations import AllocationSite, Window
from ..evidence.allocations import _site as site_of
from ..evidence.ours import is_our_file
from ..evidence.safe import size_of

_FEW_TRACES_BYTES = 2 * 1024 * 1024
"""Memory of a tracer up to which all that it holds is read: 40,000 allocations, a quarter of a second."""
_MOST_ASKED = 20_000
_WORTH = 1024
"""Bytes of a single block from which its line is told."""
_SMALL = 512
"""Bytes: a larger allocation lies in the C heap, and is counted there (CPython, obmalloc.c)."""


class Tracing:
    """Open before the calls, closed behind them."""

    def __init__(self) -> None:
        self.block_bytes: float | None = None
        """Bytes outside of the C heap for each block that was kept, with the allocator's rounding; None: not known."""
        self._ours = not tracemalloc.is_tracing()
        self._window: Window | None = None
        self._known: set[int] | None = None
        if self._ours or tracemalloc.get_tracemalloc_memory() <= _FEW_TRACES_BYTES:
            self._window = Window()
        else:
            self._known = set(map(id, gc.get_objects()))
        if gc.isenabled():
            gc.collect()  # what the interpreter keeps for reuse was allocated untraced

    def close(self, expected: float) -> list[AllocationSite]:
        """The lines, the most first.

        Args:
            expected: blocks that the calls kept, by the rate that was measured.
        """
        sites: Sequence[AllocationSite] = ()
        try:
            if gc.isenabled():
                gc.collect()
            if self._known is not None:
                sites = _of_new_objects(self._known) if tracemalloc.is_tracing() else ()
            elif self._ours and tracemalloc.is_tracing():
                self.block_bytes = _small_bytes(expected)
        finally:
            if self._window is not None:
                sites = self._window.close()
            self._window = self._known = None
        # of what is left some is there by chance: a cache that was touched, the last call's result
        most = max((site.bytes for site in sites), default=0)
        least = max(2.0, expected / 5)
        return [site for site in sites if site.count >= least or site.bytes >= max(_WORTH, most / 2)]


def _small_bytes(expected: float) -> float | None:
    sizes = [
        trace.size for trace in tracemalloc.take_snapshot().traces if not is_our_file(trace.traceback[-1].filename)
    ]
    # as many as the rate says, or they are not those that leak
    if not sizes or not 0.7 * expected <= len(sizes) <= 1.3 * expected + 20:
        return None
    return sum((size + 15) // 16 * 16 for size in sizes if size <= _SMALL) / len(sizes)


def _of_new_objects(known: set[int]) -> list[AllocationSite]:
    counts: Counter[tuple[str, int]] = Counter()
    sizes: Counter[tuple[str, int]] = Counter()
    objects: list[Any] = gc.get_objects()
    asked, one = 0, None
    try:
        for one in reversed(objects):
            if id(one) in known or one is known or one is objects:
                continue
            asked += 1
            if asked > _MOST_ASKED:
                break
            trace = tracemalloc.get_object_traceback(one)
            site = None if trace is None else site_of([(f.filename, f.lineno) for f in reversed(trace)])
            if site is not None:
                counts[site] += 1
                sizes[site] += size_of(one)
    finally:
        one = None
        objects.clear()
    rows = [AllocationSite(file, line, count, sizes[file, line]) for (file, line), count in counts.items()]
    return sorted(rows, key=lambda row: (-row.bytes, row.file, row.line))[:10]
