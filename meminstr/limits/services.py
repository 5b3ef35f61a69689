"""What guards share in one process: readings, the watcher, the signal, the kernel's limit, admission.

One set for the process, made at first use; tests make their own from scripted readings and a fake clock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from ..faults import note_fault
from ..probes.container import tightest_limit
from ..probes.resident import ResidentProbe
from . import threads
from .admission import Admission
from .breach import Notices, RecentCalls, memory_kinds
from .interrupt import MainThread
from .kernel import KernelLimits
from .reading import MeterWindows, Readings
from .relief import Relief
from .ticker import Ticker
from .watcher import Watcher

_TIGHTEST_SECONDS = 1.0


@dataclass(slots=True)
class Services:
    """Everything a guard uses of the process.

    Attributes:
        readings: resident bytes and peaks.
        tightest: the tightest limit around the process in bytes, None when unknown.
        watcher, main_thread, kernel, relief, notices, recent, admission: see their files.
        kinds: resident bytes by kind.
        cores: how many cores may allocate at once.
    """

    readings: Readings
    tightest: Callable[[], int | None]
    watcher: Watcher
    kernel: KernelLimits
    relief: Relief
    notices: Notices
    recent: RecentCalls
    admission: Admission
    kinds: Callable[[], dict[str, int]] = memory_kinds
    cores: int = 1
    main_thread: MainThread = field(init=False)

    def __post_init__(self) -> None:
        watcher = self.watcher
        self.main_thread = MainThread(
            lambda: sorted((c for c in tuple(watcher.active.values()) if c.is_main), key=lambda c: c.entered_at)
        )
        watcher.quiet = self.main_thread.retire

    def start_ticking(self) -> None:
        """From here on the main thread looks at its own limits too."""
        watcher, main = self.watcher, self.main_thread
        watcher.ticker = Ticker(self.readings.peek, main.wanted, main.arm, watcher.have_looked)
        main.tick = watcher.ticker.tick

    def after_fork(self) -> None:
        """Make the set usable in a forked child, which starts without calls and threads."""
        in_main = threading.current_thread() is threading.main_thread()
        self.watcher.switch.after_fork()
        for part in (self.readings, self.watcher, self.kernel, self.relief, self.admission):
            part.after_fork()
        self.main_thread.after_fork(in_main)


class _Tightest:
    """The tightest surrounding limit, asked at most once a second (a look costs 0.3 ms)."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._bytes: int | None = None

    def __call__(self) -> int | None:
        now = self._clock()
        if now >= self._until:
            found = tightest_limit()
            self._bytes, self._until = None if found is None else found.bytes, now + _TIGHTEST_SECONDS
        return self._bytes


def make_services(
    read: Callable[[], int],
    *,
    readings: Readings | None = None,
    tightest: Callable[[], int | None] = lambda: None,
    clock: Callable[[], float] = monotonic,
    kernel: KernelLimits | None = None,
    relief: Relief | None = None,
    kinds: Callable[[], dict[str, int]] = memory_kinds,
    cores: int = 1,
) -> Services:
    """A set of services over one way of reading the resident set."""
    readings = readings or Readings(read, None, clock)
    return Services(
        readings=readings,
        tightest=tightest,
        watcher=Watcher(readings.peek, clock),
        kernel=kernel or KernelLimits(),
        relief=relief or Relief(clock),
        notices=Notices(clock),
        recent=RecentCalls(),
        admission=Admission(clock),
        kinds=kinds,
        cores=cores,
    )


_lock = threading.RLock()
_services: Services | None = None


def process_services() -> Services:
    """The services of this process."""
    global _services
    services = _services
    if services is None:
        with _lock:
            services = _services
            if services is None:
                # always the way that keeps the interpreter's lock: a watcher that gave it up to read would wait
                # a switch interval to have it back, in which a busy call grows on
                read = ResidentProbe(active_threads=lambda: 2).read
                services = make_services(
                    read,
                    readings=Readings(read, MeterWindows()),
                    tightest=_Tightest(),
                    cores=os.cpu_count() or 1,
                )
                services.start_ticking()
                _services = services
    return services


def settle() -> None:
    """Unless calls are being watched: end the thread that lingers after the last, and give its signal back now."""
    if _services is not None:
        _services.watcher.settle()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    threads.after_fork()
    if _services is not None:
        try:
            _services.after_fork()
        except Exception as error:
            note_fault("limits after fork", error)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
