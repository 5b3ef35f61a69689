"""The resident set: physical memory this process holds, in bytes.

Linux: second field of ``/proc/self/statm`` times the page size, on a kept descriptor (about 1.5 us, at any
heap size).  Elsewhere, or when ``/proc`` goes away: psutil (15 to 50 us).  The resident set lags behind
what the program frees and is page granular; leaks below a page show in the block and heap probes first.

Source: Linux, Documentation/filesystems/proc.rst, "statm".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from ..forks import loading
from .base import Kind, Unit, psutil_process
from .kept_file import GONE_ERRNOS, KeptFile, Pread, pread_keeping_the_lock

_CHECK_EVERY = 64


def psutil_resident() -> int:
    """Resident bytes as psutil has them (the working set on Windows)."""
    return int(psutil_process().memory_info().rss)


def page_bytes() -> int:
    """The size of a page of memory."""
    try:
        return int(os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        with loading.of("mmap"):
            import mmap

        return mmap.PAGESIZE


class ResidentProbe:
    """Resident bytes of this process.

    Args:
        proc_root: where ``/proc`` is; tests give a folder of their own.
        pread: replaces `os.pread`, in tests.
        fallback: read when the ``/proc`` file cannot be.
        active_threads: how many Python threads run (decides which ``pread`` is the cheaper one).
    """

    name = "resident"
    unit: Unit = "bytes"
    kind: Kind = "memory"

    def __init__(
        self,
        proc_root: str = "/proc",
        *,
        pread: Pread | None = None,
        fallback: Callable[[], int] = psutil_resident,
        active_threads: Callable[[], int] = threading.active_count,
    ) -> None:
        self._file = KeptFile(os.path.join(proc_root, "self", "statm"), 256, pread)
        self._page = page_bytes()
        self._fallback = fallback
        self._active_threads = active_threads
        self._may_hold_lock = pread is None and hasattr(os, "pread")
        self._held: Pread | None = None
        self._gone = False
        self._low, self._high, self._countdown = 0, -1, 0  # nothing is credible before the first check
        # open it, and choose the reader, now: in a crowd of threads the opening costs milliseconds, which
        # would otherwise be taken for the price of the first reading
        try:
            self.read()
        except Exception:  # it may work later; whoever reads then is told
            pass

    @property
    def source(self) -> str:
        """``/proc/self/statm`` or ``psutil``."""
        return "psutil" if self._gone else "/proc/self/statm"

    def read(self) -> int:
        """Resident bytes now.

        Raises:
            OSError: neither ``/proc`` nor psutil could answer.
        """
        if self._gone:
            return self._fallback()
        try:
            held = self._held
            text = self._file.read() if held is None else held(self._file.fd, 256, 0)
            resident = self._parse(text)
        except (OSError, ValueError):
            return self._after_doubt()
        self._countdown -= 1
        if self._countdown < 0 or not self._low <= resident <= self._high:
            # a reading twice or half the last one may be another process's statm under our number
            if not self._file.is_ours():
                return self._after_doubt()
            self._believe(resident)
        return resident

    def _parse(self, text: bytes) -> int:
        if text.count(b" ") != 6:
            raise ValueError(f"{self._file.path} holds {text[:40]!r}, not seven numbers")
        return int(text.split(b" ", 2)[1]) * self._page

    def _believe(self, resident: int) -> None:
        self._low, self._high, self._countdown = resident >> 1, resident << 1, _CHECK_EVERY
        if self._may_hold_lock:
            crowded = self._active_threads() > 1
            if crowded != (self._held is not None):
                self._held = pread_keeping_the_lock() if crowded else None
                self._may_hold_lock = not crowded or self._held is not None

    def _after_doubt(self) -> int:
        self._file.reopen()
        self._held = None
        self._countdown = 0  # the next reading is checked too
        try:
            return self._parse(self._file.read())
        except ValueError:
            self._gone = True
        except OSError as error:
            # out of descriptors passes, a missing /proc does not
            self._gone = error.errno in GONE_ERRNOS
        return self._fallback()


_shared: ResidentProbe | None = None


def shared_resident() -> ResidentProbe:
    """One probe for all who only want a figure now and then: monitors, the peak meter."""
    global _shared
    if _shared is None:
        _shared = ResidentProbe()
    return _shared
