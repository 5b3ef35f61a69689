"""Blocks of Python memory: exact to the object, blind to a list or bytearray that only gets longer.

``sys.getallocatedblocks()`` sums over all pools: 0.4 us on a small heap, 12 ms at 39 million blocks, with the
interpreter lock held.  It must therefore only be read through `meminstr.probes.budget`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from .base import Kind, ProbeUnavailable, Unit


def _getallocatedblocks() -> Callable[[], int] | None:
    return getattr(sys, "getallocatedblocks", None)  # an implementation detail of CPython


class BlocksProbe:
    """Allocated blocks of CPython's object allocator.

    Raises:
        ProbeUnavailable: another Python, or an allocator that does not count (``PYTHONMALLOC=malloc``
            answers 0 for ever).
    """

    name = "blocks"
    unit: Unit = "blocks"
    kind: Kind = "memory"
    source = "sys.getallocatedblocks"

    def __init__(self, reader: Callable[[], int] | None = None) -> None:
        found = reader if reader is not None else _getallocatedblocks()
        if found is None:
            raise ProbeUnavailable("this Python has no sys.getallocatedblocks")
        if found() <= 0:
            raise ProbeUnavailable("the object allocator counts no blocks (PYTHONMALLOC=malloc?)")
        self._reader = found

    def read(self) -> int:
        """Blocks now."""
        return self._reader()
