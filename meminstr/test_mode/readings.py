"""What a trial reads: exact counters, each behind a collection, into arrays made beforehand.

Covers blocks, C heap, descriptors, threads, and what is mapped outside of the C heap (Linux); the collections, which
leave out what was there before; and what is left of each until the process runs out of it.  Leaves to others: how often
to read (`trial`), and what the readings mean (`meminstr.judgement`).
"""

from __future__ import annotations

import gc
import os
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ..faults import note_fault
from ..policy import Signal
from ..sampling import Sampler, program_froze
from ..series import Series

UNITS: Mapping[str, str] = {
    "blocks": "block",
    "heap": "byte",
    "descriptors": "descriptor",
    "threads": "thread",
    "mapped": "byte",
}
FIRST = 1_000
"""Calls are counted from here: a number up to 256 is no block, a larger one is, which would look like growth."""
_MOST = 256
"""Readings of one trial, at most."""
_FEW = 3
_MOST_THREADS = 200
_MOST_BYTES = 1 << 30


class Readings:
    """The readings of one trial.

    Args:
        readers: a callable for each signal; None: those that this platform has.
        clock: seconds, never going back.
    """

    def __init__(
        self, readers: Mapping[str, Callable[[], int]] | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.sources: dict[str, str] = {}
        self._readers = dict(readers) if readers is not None else self._of_platform()
        self._clock = clock
        self._calls = array("d", bytes(8 * _MOST))
        self._times = array("d", bytes(8 * _MOST))
        self._values = {name: array("d", bytes(8 * _MOST)) for name in self._readers}
        self._own = dict.fromkeys(self._readers, 0.0)
        self.count = 0
        self.begin = 0
        """The first reading that is judged."""
        self.round_begin = 0
        """The first reading of the latest round."""
        self._take(FIRST)  # allocates what reading needs, once
        self._take(FIRST)
        self._room = self._limits()
        self.count = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The signals that can be read here."""
        return tuple(self._readers)

    def read(self, calls: int) -> None:
        """One reading, at this count of calls."""
        if gc.isenabled():
            gc.collect()
        self._take(calls)

    def _take(self, calls: int) -> None:
        at = self.count
        if at == _MOST:
            return
        self._calls[at] = calls - FIRST
        self._times[at] = self._clock()
        for name, reader in self._readers.items():
            try:
                self._values[name][at] = reader() - self._own[name]
            except Exception as error:  # out of descriptors to look with: as it was
                note_fault(f"reading {name} in a trial", error)
                self._values[name][at] = self._values[name][at - 1] if at else 0.0
        self.count += 1

    def resume(self, calls: int) -> None:
        """Take off all later readings what was gained since the last one, between which nothing was called."""
        if self.count == 0:
            self.read(calls)
            return
        self.read(calls)
        self.count -= 1
        for name, column in self._values.items():
            self._own[name] += column[self.count] - column[self.count - 1]

    def column(self, name: str, begin: int | None = None) -> array[float]:
        """The values of one signal from a reading on, by default from the first that is judged."""
        return self._values[name][self.begin if begin is None else begin : self.count]

    def calls(self, begin: int | None = None) -> array[float]:
        """How many calls had been made at each reading."""
        return self._calls[self.begin if begin is None else begin : self.count]

    def gained(self, name: str, begin: int | None = None) -> float:
        """What a signal gained since a reading; 0.0 where it is not known."""
        column = self.column(name, begin) if name in self._values else array("d")
        return column[-1] - column[0] if len(column) > 1 else 0.0

    def signals(self, names: tuple[str, ...], begin: int | None = None) -> list[Signal]:
        """Histories to judge."""
        return [
            Signal(name, UNITS[name], self.series(name, begin).view(), self.sources.get(name, ""))
            for name in names
            if name in self._values
        ]

    def series(self, name: str, begin: int | None = None) -> Series:
        """The history of one signal."""
        series = Series()
        begin = self.begin if begin is None else begin
        for at in range(begin, self.count):
            series.add(self._calls[at], self._times[at], self._values[name][at])
        return series

    def room(self, wanted: int, batches: int) -> int:
        """How many calls, of those wanted, each of the batches to come may make before something runs out."""
        for name, limit in self._room.items():
            gained, calls = self.gained(name, 0), self._calls[self.count - 1] - self._calls[0]
            if gained > 0 and calls > 0:
                wanted = min(wanted, int((limit - gained) * calls / gained / max(1, batches)))
        return max(1, wanted)

    def spent(self) -> str | None:
        """The signal of which so much is gone that no more calls are made."""
        for name, limit in self._room.items():
            if self.gained(name, 0) >= 1.5 * limit:
                return name
        return None

    def rises(self, name: str) -> bool:
        """Whether a signal rose by about as much a call from each reading to the next, from the first calls on."""
        calls, values = self._calls, self._values[name]
        rates = [
            (values[at + 1] - values[at]) / (calls[at + 1] - calls[at])
            for at in range(self.count - 1)
            if calls[at + 1] > calls[at]
        ]
        return len(rates) >= _FEW and min(rates) > max(rates) / 2

    def _limits(self) -> dict[str, float]:
        limits: dict[str, float] = {"threads": _MOST_THREADS, "heap": _MOST_BYTES, "mapped": _MOST_BYTES}
        try:
            import resource

            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            if soft != resource.RLIM_INFINITY and "descriptors" in self._values:
                limits["descriptors"] = max(8.0, (soft - self._values["descriptors"][1]) / 2)
        except (ImportError, OSError, ValueError):
            pass
        try:
            import psutil

            free = psutil.virtual_memory().available / 4
            limits["heap"], limits["mapped"] = min(_MOST_BYTES, free), min(_MOST_BYTES, free)
        except Exception as error:
            note_fault("asking for the memory that is left", error)
        return {name: limit for name, limit in limits.items() if name in self._values}

    def _of_platform(self) -> dict[str, Callable[[], int]]:
        found = {}
        for name, timed in Sampler().probes().items():
            if name in UNITS:
                found[name] = timed.probe.read
                self.sources[name] = timed.source
        if "heap" in found:
            found["heap"] = _without_tracer(found["heap"])
        mapped = _mapped_reader(found.get("heap"))
        if mapped is not None:
            found["mapped"] = mapped
            self.sources["mapped"] = "/proc/self/statm, less the C heap"
        return found


def _without_tracer(heap: Callable[[], int]) -> Callable[[], int]:
    """The C heap without what a tracer of the user's keeps of each allocation: of a leak it would be the most."""
    import tracemalloc

    def read() -> int:
        return heap() - (tracemalloc.get_tracemalloc_memory() if tracemalloc.is_tracing() else 0)

    return read


def _mapped_reader(heap: Callable[[], int] | None) -> Callable[[], int] | None:
    """Bytes of address space that neither malloc's own segment nor what malloc handed out accounts for."""
    if heap is None:
        return None
    try:
        import ctypes

        end_of_segment = ctypes.CDLL(None).sbrk
        end_of_segment.restype, end_of_segment.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
        page = os.sysconf("SC_PAGE_SIZE")
        with open("/proc/self/statm", "rb") as file:
            int(file.read().split()[0])
    except (ImportError, OSError, ValueError, AttributeError, TypeError):
        return None

    def read() -> int:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            pages = int(file.read(64).split()[0])
        return pages * page - (end_of_segment(0) or 0) - heap()

    return read


@contextmanager
def left_out() -> Iterator[None]:
    """Leave what there is now out of the collections to come: they look at what the function made alone.

    Before each of fifty readings a large program's whole heap would be gone through: 40 ms and more each time.
    Who looks at objects wants them all: not within.
    """
    frozen = False
    try:
        if gc.isenabled() and not program_froze():  # a program that froze objects itself: let them be
            gc.collect()
            frozen = True
            gc.freeze()
        yield
    finally:
        if frozen:
            gc.unfreeze()


_STILL = {"blocks": 16, "heap": 4096, "descriptors": 2, "threads": 2, "mapped": 256 * 1024}
"""How far the least and the greatest reading of a signal called flat may lie apart."""
_HALF = 14


def is_flat(readings: Readings) -> bool:
    """Whether nothing at all was gained over the later half of the latest round, and nothing moved much either."""
    for name in readings.names:
        column = readings.column(name, max(readings.round_begin, readings.count - _HALF))
        if len(column) < 8 or column[-1] > min(column[:4]) or max(column) - min(column) > _STILL[name]:
            return False
    return True


def no_higher(readings: Readings) -> bool:
    """Whether every signal is no higher in the last quarter of the latest round than in its first, on average."""
    for name in readings.names:
        column = readings.column(name, readings.round_begin)
        part = len(column) // 4
        if part < 4 or sum(column[-part:]) - sum(column[:part]) > part * _STILL[name]:
            return False
    return True
