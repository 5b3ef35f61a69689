"""A scripted process for the tests of limits: its memory and its clock are what the test says."""

from __future__ import annotations

import threading
from typing import Any

from meminstr.decorators.limiting import MemoryLimited
from meminstr.limits.kernel import KernelLimits
from meminstr.limits.policy import make_limit
from meminstr.limits.reading import Readings
from meminstr.limits.relief import Relief
from meminstr.limits.services import make_services

MB = 1 << 20


class FakeResource:
    RLIMIT_DATA = 2
    RLIM_INFINITY = -1

    def __init__(self, soft: int = -1) -> None:
        self.limits = (soft, -1)
        self.history: list[int] = []

    def getrlimit(self, resource: int, /) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, resource: int, limits: tuple[int, int], /) -> None:
        self.limits = limits
        self.history.append(limits[0])


class World:
    """Resident bytes, the kernel's high-water mark and the time, all scripted; a tracker that notes breaches."""

    def __init__(self, *, mark: bool = True) -> None:
        self.now = 100.0
        self.resident = 100 * MB
        self.mark = self.resident
        self.collectable = 0
        self.collections = 0
        self.around: int | None = None
        self.breaches: list[dict[str, Any]] = []
        self.classes = {"app.Session": 3}
        self.data = 1000 * MB
        self.resource = FakeResource()
        self._started = False
        self.services = make_services(
            self.read,
            readings=Readings(self.read, self if mark else None, self.clock),
            tightest=lambda: self.around,
            clock=self.clock,
            kernel=KernelLimits(self.resource, lambda: self.data),
            relief=Relief(self.clock, collect=self.collect, trim=lambda: None),
            kinds=lambda: {"anonymous": self.resident - 10 * MB, "file_and_shared": 10 * MB},
        )
        self.watcher = self.services.watcher
        self.watcher._start = lambda: None  # type: ignore[method-assign]  # looks are made by the test

    # the tracker
    def note_breach(self, record: dict[str, Any]) -> None:
        self.breaches.append(record)

    def live_counts(self) -> dict[str, int]:
        return dict(self.classes)

    # the process
    def clock(self) -> float:
        return self.now

    def read(self) -> int:
        return self.resident

    def turn(self) -> tuple[int, bool] | None:
        peak, self.mark = self.mark, self.resident
        started, self._started = self._started, True
        return (peak, True) if started else None

    def forget(self) -> None:
        self._started = False

    def collect(self) -> None:
        self.collections += 1
        self.resident -= self.collectable
        self.collectable = 0

    # the script
    def use(self, mb: float, seconds: float = 0.01) -> None:
        """Memory moves to so many MB while so much time passes."""
        self.resident = int(mb * MB)
        self.mark = max(self.mark, self.resident)
        self.now += seconds

    def look(self) -> float:
        """One look of the watcher, from a thread as in life: its signal arrives while this one waits."""
        seconds: list[float] = []
        thread = threading.Thread(target=lambda: seconds.append(self.watcher.look()))
        thread.start()
        thread.join()
        return seconds[0]

    def limited(self, tracker: Any = None, **arguments: Any) -> MemoryLimited:
        if not {"gb", "mb", "limit", "fraction"} & set(arguments):
            arguments["mb"] = 200
        return MemoryLimited(make_limit(**arguments), self if tracker is None else tracker, self.services)
