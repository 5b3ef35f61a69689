"""What a tracker keeps beside its subjects: the sampling thread, and the windows that attribution works on."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Mapping
from typing import Any

from .faults import note_fault
from .sampling import READING_SLOTS, Sampler

_MAX_WINDOWS = 128


class SamplingThread:
    """A daemon thread that reads the process every few seconds, for programs whose calls do not.

    Args:
        sampler: what is read and kept.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._stop: threading.Event | None = None
        self.enabled = True

    def start(self, seconds: float) -> None:
        """Start it, if it does not run."""
        if self._stop is None:
            self._stop = threading.Event()
            threading.Thread(target=self._run, args=(self._stop, seconds), name="meminstr-sampler", daemon=True).start()

    def stop(self) -> None:
        """End it, if it runs."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop.set()

    def after_fork(self) -> None:
        """A forked child has no such thread."""
        self._stop = None

    def _run(self, stop: threading.Event, seconds: float) -> None:
        buffer = self._sampler.buffer()
        while not stop.wait(seconds):
            try:
                if self.enabled:
                    self._sampler.read(buffer)
                    self._sampler.keep(buffer)
            except Exception as error:
                note_fault("sampling thread", error)


class Windows:
    """Cumulative call counts of all functions beside a reading, kept evenly over the whole run in bounded memory.

    Args:
        sampler: where the reading comes from.
        functions: the functions' subjects by name, as the tracker holds them.
    """

    def __init__(self, sampler: Sampler, functions: Mapping[str, Any]) -> None:
        self._sampler = sampler
        self._functions = functions
        self._kept: list[tuple[array[float], dict[str, int]]] = []
        self._stride = 8
        self._passed = 0
        self._lock = threading.Lock()

    def sampled(self) -> None:
        """A sample was taken; now and then it becomes a window."""
        self._passed += 1
        if self._passed < self._stride or len(self._functions) < 2 or not self._lock.acquire(blocking=False):
            return
        try:
            self._passed = 0
            with self._sampler.not_ours():
                reading = array("d", [0.0] * READING_SLOTS)
                self._sampler.read(reading)
                self._kept.append((reading, {n: s.calls() for n, s in list(self._functions.items())}))
                if len(self._kept) >= _MAX_WINDOWS:
                    del self._kept[1::2]
                    self._stride *= 2
        except Exception as error:
            note_fault("attribution windows", error)
        finally:
            self._lock.release()

    def kept(self) -> list[tuple[array[float], dict[str, int]]]:
        """The windows so far, oldest first."""
        with self._lock:
            return list(self._kept)

    def clear(self) -> None:
        """Begin anew."""
        self._lock = threading.Lock()
        self._kept = []
        self._stride, self._passed = 8, 0
