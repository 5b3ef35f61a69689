"""The highest resident set: of the process's life, and of any stretch of it.

Linux keeps a high-water mark (``VmHWM`` in ``/proc/self/status``) that holds whatever happened between two
readings (kernels from 6.2 on count pages in batches: good to some hundred KB), and lets a process set it back
(``5`` written to ``/proc/self/clear_refs``).  There is one mark for the whole process, so whoever sets it back
would rob everybody else: `PeakMeter` is the one place that does.  It folds the mark into every open window
before it sets it back, which makes nested and concurrent windows exact, and it remembers the highest mark of
the life.

Where the mark cannot be set back (macOS, Windows, a kernel without ``clear_refs``) a window is still exact when
the process reached a new high in it; otherwise its peak is the larger of its first and last reading and says
``exact=False``.

Source: Linux, Documentation/filesystems/proc.rst, "clear_refs".
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..faults import note_fault
from ..forks import loading
from .base import Kind, Unit, psutil_process
from .kept_file import GONE_ERRNOS, KeptFile
from .resident import ResidentProbe, shared_resident

_CREDIBLE_DROP = 1 << 20  # a mark this far above the resident set must fall visibly when it is set back


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest resident set of a window: `bytes`, whether that is `exact`, and the signal it came from."""

    bytes: int
    exact: bool
    source: str


class PeakWindow:
    """An open window of a `PeakMeter`; a handle to give back, with the resident bytes at its start."""

    __slots__ = ("_base_mark", "_peak", "_was_reset", "start_bytes")

    def __init__(self, start_bytes: int, base_mark: int, was_reset: bool) -> None:
        self.start_bytes = start_bytes
        self._base_mark = base_mark
        self._was_reset = was_reset
        self._peak = start_bytes


def portable_mark() -> tuple[int, str] | None:
    """The process's high-water mark in bytes without ``/proc``, and its source; None where there is none.

    ``ru_maxrss`` is in KiB on Linux and the BSDs and in bytes on macOS; on Linux it is inherited over
    ``exec``, so that a small program started by a large one begins with the large one's mark.
    """
    try:
        with loading.of("resource"):
            import resource

        maximum = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if maximum > 0:
            return maximum * (1 if sys.platform == "darwin" else 1024), "getrusage"
    except (ImportError, AttributeError, OSError, ValueError):
        pass
    try:
        working_set = getattr(psutil_process().memory_info(), "peak_wset", None)  # Windows
    except Exception:  # psutil.Error, or a psutil that does not know the system
        return None
    return None if working_set is None else (int(working_set), "psutil peak_wset")


class PeakMeter:
    """Peaks of nested and concurrent stretches of one process.

    Args:
        proc_root: where ``/proc`` is.
        resident: reads resident bytes, where the mark's file does not say them.
        mark: the high-water mark without ``/proc``, as `portable_mark`.
    """

    def __init__(
        self,
        proc_root: str = "/proc",
        *,
        resident: Callable[[], int] | None = None,
        mark: Callable[[], tuple[int, str] | None] = portable_mark,
    ) -> None:
        # 16 KiB: the list of groups comes before the marks and may be long
        self._status: KeptFile | None = KeptFile(os.path.join(proc_root, "self", "status"), 16384)
        self._clear_refs = os.path.join(proc_root, "self", "clear_refs")
        self._proc_root = proc_root
        self._resident = resident
        self._portable = mark
        self._resettable: bool | None = None  # None: not tried yet
        self._lifetime = 0
        self._open: list[PeakWindow] = []
        self._lock = threading.RLock()
        self._source = "two readings"
        _meters.add(self)

    @property
    def source(self) -> str:
        """The signal in use: ``VmHWM``, ``getrusage``, ``psutil peak_wset`` or ``two readings``."""
        return self._source

    def lifetime_bytes(self) -> int:
        """The highest resident set since the process started, whoever has set the mark back meanwhile.

        Raises:
            OSError: nothing on this system answers.
        """
        with self._lock:
            mark, resident = self._read()
            self._lifetime = max(self._lifetime, mark, resident)
            return self._lifetime

    def begin(self) -> PeakWindow:
        """Open a window (25 us; 60 us when the mark has to be set back).

        Raises:
            OSError: nothing on this system answers.
        """
        with self._lock:
            mark, resident = self._read()
            self._fold(mark, resident)
            was_reset = mark <= resident
            if not was_reset and self._set_back(mark, resident):
                was_reset = True
            window = PeakWindow(resident, mark, was_reset)
            self._open.append(window)
            return window

    def end(self, window: PeakWindow) -> Peak:
        """Close a window; a second time gives the same peak or a higher one.

        Raises:
            OSError: nothing on this system answers.
        """
        with self._lock:
            if window in self._open:
                self._open.remove(window)
            mark, resident = self._read()
            self._lifetime = max(self._lifetime, mark, resident)
            return self._judge(window, mark, resident)

    @contextmanager
    def window(self) -> Iterator[Callable[[], Peak]]:
        """A window as a context; what it yields tells the peak so far, and after the end the peak."""
        handle = self.begin()
        final: list[Peak] = []
        try:
            yield lambda: final[0] if final else self.so_far(handle)
        finally:
            final.append(self.end(handle))

    def so_far(self, window: PeakWindow) -> Peak:
        """The peak of a window that stays open.

        Raises:
            OSError: nothing on this system answers.
        """
        with self._lock:
            mark, resident = self._read()
            return self._judge(window, mark, resident)

    def _judge(self, window: PeakWindow, mark: int, resident: int) -> Peak:
        known = window._was_reset or mark > window._base_mark
        window._peak = max(window._peak, resident, mark if known else 0)
        return Peak(window._peak, known and self._source != "two readings", self._source)

    def _fold(self, mark: int, resident: int) -> None:
        self._lifetime = max(self._lifetime, mark, resident)
        for window in self._open:
            self._judge(window, mark, resident)

    def _set_back(self, mark: int, resident: int) -> bool:
        if self._status is None or self._resettable is False:
            return False
        try:
            with open(self._clear_refs, "wb", buffering=0) as file:
                file.write(b"5")
        except OSError:
            self._resettable = False
            return False
        if self._resettable is None and mark - resident >= _CREDIBLE_DROP:
            # some sandboxes take the write and do nothing
            self._resettable = self._read()[0] < mark
        if self._resettable is False:
            return False
        for window in self._open:
            window._was_reset = True
        return True

    def _read(self) -> tuple[int, int]:
        """The mark and the resident set, in bytes."""
        if self._status is not None:
            try:
                text = self._status.read()
                if not self._status.is_ours():
                    self._status.reopen()
                    text = self._status.read()
                values = _kilobytes(text, b"VmHWM:"), _kilobytes(text, b"VmRSS:")
                self._source = "VmHWM"
                return values
            except (OSError, ValueError) as error:
                if isinstance(error, ValueError) or error.errno in GONE_ERRNOS:
                    self._status = None
        if self._resident is None:
            probe = shared_resident() if self._proc_root == "/proc" else ResidentProbe(self._proc_root)
            self._resident = probe.read
        resident = self._resident()
        portable = self._portable()
        if portable is None:
            self._source = "two readings"
            return resident, resident
        self._source = portable[1]
        return max(portable[0], resident), resident

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        self._lifetime = 0
        self._open = []


def _kilobytes(text: bytes, label: bytes) -> int:
    at = text.find(label)
    if at < 0:
        raise ValueError(f"no {label.decode()} in the status of the process")
    return int(text[at + len(label) :].split(None, 1)[0]) * 1024


class PeakProbe:
    """The life's highest resident set, as a probe."""

    name = "peak"
    unit: Unit = "bytes"
    kind: Kind = "memory"

    def __init__(self, meter: PeakMeter | None = None) -> None:
        self._meter = meter

    @property
    def source(self) -> str:
        """The meter's signal."""
        return (self._meter or process_meter).source

    def read(self) -> int:
        """Highest resident bytes so far."""
        return (self._meter or process_meter).lifetime_bytes()


_meters: weakref.WeakSet[PeakMeter] = weakref.WeakSet()


def _forget_in_child() -> None:
    try:
        for meter in list(_meters):
            meter._after_fork()
    except Exception as error:
        note_fault("peak meter after fork", error)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)

process_meter = PeakMeter()
