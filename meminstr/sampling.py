"""The sampler: what this process's memory is right now, at a price that stays within a budget.

One sampler serves all subjects of a tracker.  It holds the probes, the process's own histories (over seconds) and
the budget; it knows how much of what it reads is meminstr's own (`own`), so that an analysis never sees itself.
How that is found out is the matter of `brackets`; deciding what the numbers mean is left to `judgement`.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from typing import Any

from .brackets import Brackets
from .brackets import program_froze as program_froze
from .faults import note_fault, settle
from .forks import loading
from .probes.budget import TimedProbe
from .series import Series, array_bytes
from .settings import current
from .spending import Budget

MEMORY_SIGNALS = ("resident", "blocks", "heap")
"""The signals read at every sample, in the order of a reading's slots; slot 3 is the time, slot 4 the reader's, slot 5
the time when it began, those after it the reader's too."""

READING_SLOTS = len(MEMORY_SIGNALS) + 13
BEGAN = len(MEMORY_SIGNALS) + 2

UNKNOWN = -1
"""A slot of a reading whose probe failed, does not exist here, or was too dear to read now."""

SMALL = 512
"""Requests up to this many bytes are small-object blocks; larger ones lie in the C heap (CPython, obmalloc.c)."""

_DEAR_SECONDS = 200e-6
_RECALIBRATE = 64
_LEAST_SHARE = 1e-6


class Sampler(Brackets):
    """Reads the memory signals into a caller's array, and keeps the process's histories.

    Args:
        probes: timed probes by name; None: those of this platform, made at the first reading.
        share: of wall time that sampling may cost once the credit is spent; None: the setting.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        probes: dict[str, TimedProbe] | None = None,
        *,
        share: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(len(MEMORY_SIGNALS), clock)
        self.budget = Budget(current().sample_budget_share if share is None else share)
        self.series: dict[str, Series] = {}
        self.analysis_seconds = 0.0
        """Spent on looks; accounted apart from samples."""
        self.reporting_seconds = 0.0
        """Spent on reports that somebody asked for, so that one report does not blind the next hour."""
        self.loading_seconds = 0.0
        """Spent once, on importing the analysis and having it allocate what it keeps."""
        self.started = clock()
        self._probes = probes
        self._fast: list[Callable[[], int] | None] = []
        self._count = 0
        self._next_history = 0.0
        self._lock = threading.Lock()
        self._buffers = [array("d", [0.0] * READING_SLOTS)]

    # ------------------------------------------------------------ readings

    def probes(self) -> dict[str, TimedProbe]:
        """The probes by name; made on first use, because that imports psutil."""
        if self._probes is None:
            try:
                with loading.of("psutil"):
                    from .probes import default_probes

                self._probes = {name: _timed(probe) for name, probe in default_probes().items()}
            except Exception as error:  # a psutil that does not know the system: counts are kept, memory is not read
                self._probes = {}
                note_fault("making the probes", error)
        return self._probes

    def add_probe(self, probe: Any) -> None:
        """Take one more probe into the process's histories."""
        self.probes()[probe.name] = _timed(probe)

    def sources(self) -> tuple[str, ...]:
        """Each signal with the source it is read from, as ``blocks (sys.getallocatedblocks)``."""
        return tuple(f"{name} ({probe.source})" for name, probe in self.probes().items())

    def source(self, name: str) -> str:
        """The source of one signal, or an empty string."""
        probe = self.probes().get(name)
        return probe.source if probe is not None else ""

    def buffer(self) -> array[float]:
        """An array for one reading; give it back with `release`.  Reused, so that a reading leaves no block."""
        # the last one stays: a list that becomes empty gives its own block back (3.12 on), and how many are in use
        # differs from sample to sample where calls overlap
        if len(self._buffers) > 1:
            try:
                return self._buffers.pop()
            except IndexError:  # another thread was quicker
                pass
        return array("d", [0.0] * READING_SLOTS)

    def release(self, buffer: array[float]) -> None:
        """Give an array back."""
        if len(self._buffers) < 256:
            self._buffers.append(buffer)

    def book(self, size: int) -> None:
        """Take an allocation of meminstr's own, just made and kept, off all later readings.

        Args:
            size: bytes; those above 512 are a block too, and in the C heap, which rounds up to 16 and adds 8 (glibc).
        """
        self.own[1] += 1
        if size > SMALL:
            self.own[2] += (size + 23) // 16 * 16

    def enter(self, series: Series, x: float, now: float, value: float) -> None:
        """Add a sample to a history, and book what its arrays took to grow: that is not the program's memory."""
        room = series.room
        series.add(x, now, value)
        if series.room != room:
            self.own[1] += 0 if room else 2  # the arrays beside what they hold
            for had, has in zip(array_bytes(room), array_bytes(series.room), strict=True):
                self.own[1] += not had
                if has > SMALL:
                    self.own[2] += (has + 23) // 16 * 16 - ((had + 23) // 16 * 16 if had > SMALL else 0)

    def read(self, into: array[float]) -> None:
        """One reading of the memory signals, less what is meminstr's own; ``into[3]`` is the time."""
        into[BEGAN] = self.clock()
        self._count += 1
        # not while a bracket is open: the closing reading would see the new list beside the old one
        if not self._fast or (self._count % _RECALIBRATE == 0 and not self.brackets):
            self._recalibrate()
        own = self.own
        for index, read in enumerate(self._fast):
            if read is None:
                into[index] = UNKNOWN
                continue
            try:
                value = read()
                into[index] = value - own[index] if value >= 0 else UNKNOWN
            except Exception as error:
                into[index] = UNKNOWN
                settle(f"probe {MEMORY_SIGNALS[index]}", error)
        into[3] = self.clock()

    def _recalibrate(self) -> None:
        # Cheap probes are read directly; a probe that has become dear (12 ms for the blocks of a 2 GB heap of small
        # objects) goes through its own budget and mostly answers "not now".
        fast: list[Callable[[], int] | None] = []
        for name in MEMORY_SIGNALS:
            probe = self.probes().get(name)
            if probe is None:
                fast.append(None)
                continue
            value = probe.read_if_due() if probe.cost_seconds > _DEAR_SECONDS else probe.read()
            if value is None and probe.cost_seconds <= _DEAR_SECONDS:
                fast.append(None)
            elif probe.cost_seconds > _DEAR_SECONDS:
                fast.append(_when_due(probe))
            else:
                fast.append(probe.probe.read)
        self._fast = fast

    # ------------------------------------------------------------ the process's histories

    def keep(self, reading: array[float]) -> None:
        """Enter a reading into the process's histories, if the last one is long enough ago."""
        now = reading[3]
        if now < self._next_history or not self._lock.acquire(blocking=False):
            return
        try:
            elapsed = now - self.started
            self._next_history = now + max(0.01, elapsed / 2000)
            for index, name in enumerate(MEMORY_SIGNALS):
                if reading[index] >= 0:
                    self.enter(self._series(name), elapsed, now, reading[index])
            for name, probe in self.probes().items():
                if name not in MEMORY_SIGNALS:
                    value = probe.read_if_due(now)
                    if value is not None:
                        self.enter(self._series(name), elapsed, now, float(value))
        finally:
            self._lock.release()

    def _series(self, name: str) -> Series:
        series = self.series.get(name)
        if series is None:
            series = self.series[name] = Series()
        return series

    def now(self) -> dict[str, float]:
        """A reading by name, dear probes included, kept in the histories; for reports."""
        buffer = self.buffer()
        try:
            self.read(buffer)
            for index, name in enumerate(MEMORY_SIGNALS):
                if buffer[index] < 0 and name in self.probes():
                    value = self.probes()[name].read()
                    if value is not None:
                        buffer[index] = value - self.own[index]
            self._next_history = 0.0
            self.keep(buffer)
            return {name: buffer[i] for i, name in enumerate(MEMORY_SIGNALS) if buffer[i] >= 0}
        finally:
            self.release(buffer)

    def cost_seconds(self) -> float:
        """What samples and looks took so far; imports, paid once, and reports, asked for, have their own accounts."""
        return self.budget.spent + self.analysis_seconds

    def _book(self, purpose: str, seconds: float) -> None:
        if purpose == "reporting":
            self.reporting_seconds += seconds
        elif purpose == "loading":
            self.loading_seconds += seconds
        else:
            self.analysis_seconds += seconds

    def after_fork(self) -> None:
        """Start anew in a forked child: its own clock, histories and budget; descriptors are the probes' matter."""
        self._lock = threading.Lock()
        self.forget_brackets()
        self.series = {}
        self.started = self.clock()
        self.budget = Budget(self.budget.share)
        self.analysis_seconds = self.reporting_seconds = self.loading_seconds = 0.0
        self._next_history = 0.0


def _timed(probe: Any) -> TimedProbe:
    settings = current()
    return TimedProbe(
        probe, budget_share=max(_LEAST_SHARE, settings.sample_budget_share), cap_seconds=settings.cap_seconds
    )


def _when_due(probe: TimedProbe) -> Callable[[], int]:
    def read() -> int:
        value = probe.read_if_due()
        return UNKNOWN if value is None else value

    return read
