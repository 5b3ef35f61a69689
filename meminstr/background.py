"""What a tracker keeps beside its subjects: the sampling thread, and the windows that attribution works on."""

from __future__ import annotations

import threading
import weakref
from array import array
from collections.abc import Callable, Mapping
from typing import Any

from .faults import note_fault, settle
from .sampling import MEMORY_SIGNALS, Sampler

_MAX_WINDOWS = 256
_FIRST_STRIDE = 8
_KEPT = len(MEMORY_SIGNALS) + 1
"""Of a reading: the signals and the time."""


_tick_hook: Callable[[object, int], None] | None = None


def set_tick_hook(hook: Callable[[object, int], None] | None) -> None:
    """What every sampling thread calls after a reading, with its owner and the number of readings so far."""
    global _tick_hook
    _tick_hook = hook


class SamplingThread:
    """A daemon thread that reads the process every few seconds, for programs whose calls do not.

    Args:
        sampler: what is read and kept.
        owner: told to the tick hook; referred to weakly.
    """

    def __init__(self, sampler: Sampler, owner: object = None) -> None:
        self._sampler = sampler
        self._owner = weakref.ref(owner) if owner is not None else lambda: None
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
        ticks = 0
        while not stop.wait(seconds):
            try:
                if self.enabled and not self._sampler.analysing():
                    self._sampler.read(buffer)
                    self._sampler.keep(buffer)
                    ticks += 1
                    if _tick_hook is not None:
                        _tick_hook(self._owner(), ticks)
            except Exception as error:
                note_fault("sampling thread", error)


class Windows:
    """Cumulative call counts of all functions beside a reading, kept evenly over the whole run in bounded memory.

    Taking one allocates nothing that stays: rows are made for all windows at once, 2 KiB a function.

    Args:
        sampler: where the reading comes from.
        functions: the functions' subjects by name, as the tracker holds them.
    """

    def __init__(self, sampler: Sampler, functions: Mapping[str, Any]) -> None:
        self._sampler = sampler
        self._functions = functions
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._used = 0
        self._stride = _FIRST_STRIDE
        self._passed = 0
        self._readings: list[array[float]] = []
        self._counts: dict[str, array[int]] = {}

    def sampled(self, weight: int = 1) -> None:
        """A sample was taken; now and then it becomes a window: one in eight at first, of heavier ones more."""
        self._passed += weight
        functions = self._functions
        if self._passed < max(self._stride, len(functions) // 4) or len(functions) < 2:
            return
        sampler = self._sampler
        if sampler.brackets or not self._lock.acquire(blocking=False):
            return
        try:
            self._passed = 0
            began = sampler.clock()
            self._make_room()
            reading = sampler.buffer()
            sampler.read(reading)
            for index in range(_KEPT):
                self._readings[index][self._used] = reading[index]
            for name, counts in self._counts.items():
                subject = functions.get(name)
                counts[self._used] = 0 if subject is None else subject.calls()
            sampler.release(reading)
            self._used += 1
            if self._used == _MAX_WINDOWS:
                for column in self._readings:
                    column[: _MAX_WINDOWS // 2] = column[::2]
                for counts in self._counts.values():
                    counts[: _MAX_WINDOWS // 2] = counts[::2]
                self._used //= 2
                self._stride *= 2
            sampler.budget.charge(sampler.clock() - began)
        except Exception as error:
            settle("attribution windows", error)
        finally:
            self._lock.release()

    def _make_room(self) -> None:
        if self._readings and len(self._counts) == len(self._functions):
            return
        with self._sampler.not_ours():
            if not self._readings:
                self._readings = [array("d", [0.0]) * _MAX_WINDOWS for _ in range(_KEPT)]
            for name in list(self._functions):
                if name not in self._counts:
                    self._counts[name] = array("q", [0]) * _MAX_WINDOWS
            for name in list(self._counts):
                if name not in self._functions:
                    del self._counts[name]

    def kept(self) -> list[tuple[array[float], dict[str, int]]]:
        """The windows so far, oldest first."""
        with self._lock:
            return [
                (
                    array("d", [column[i] for column in self._readings]),
                    {name: counts[i] for name, counts in self._counts.items()},
                )
                for i in range(self._used)
            ]

    def clear(self) -> None:
        """Begin anew."""
        self._lock = threading.Lock()
        self._begin()
