"""`ControllerMemoryTracker`: everything instrumented in this process, and the global `tracker` on the last line.

The tracker owns subjects, sampler, ledger and switchboard (enable, disable, uninstall, fork).  It hands out readings
and records; what they mean is decided in `diagnosis`, which registers its look here (`on_sample`) so that a tracker
never imports upward.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from array import array
from collections.abc import Callable
from typing import Any

from .background import SamplingThread, Windows
from .calibration import calibrate
from .class_subject import ClassSubject
from .errors import UsageError
from .evidence.expected_dead import Watchlist
from .faults import forget_faults_of_the_parent, note_fault
from .instrument.functions import instrument, instrumented
from .instrument.ledger import Ledger
from .instrument.switches import checked_every, sampling_switch
from .names import free_name, name_of
from .nesting import Nesting
from .sampling import Sampler
from .seed_counts import SeedCounts, SeedTracker
from .settings import current
from .subjects import FunctionSubject

Subject = FunctionSubject | ClassSubject

_MAX_BREACHES = 100

_on_uninstall: list[Callable[[], object]] = []

_look_hook: Callable[[ControllerMemoryTracker, Subject], None] | None = None
_trackers: weakref.WeakSet[ControllerMemoryTracker] = weakref.WeakSet()


def on_uninstall(close: Callable[[], object]) -> None:
    """Have something closed when everything is uninstalled: worker processes of limits, for one."""
    if close not in _on_uninstall:
        _on_uninstall.append(close)


def set_look_hook(hook: Callable[[ControllerMemoryTracker, Subject], None] | None) -> None:
    """Name what is asked to judge a subject after a sample; `diagnosis` does, once."""
    global _look_hook
    _look_hook = hook


class ControllerMemoryTracker(SeedTracker):
    """The registry of what is instrumented, exact under threads, bounded in memory, clean in a forked child.

    Args:
        probes: timed probes by name, for tests; None: this platform's.
        clock: seconds, never going back.
        max_subjects: how many functions and classes are followed at most; None: the setting.
    """

    def __init__(
        self,
        *,
        probes: dict[str, Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        max_subjects: int | None = None,
    ) -> None:
        settings = current()
        self.sampler = Sampler(probes, clock=clock)
        self.ledger = Ledger()
        self.functions: dict[str, FunctionSubject] = {}
        self.classes: dict[str, ClassSubject] = {}
        self.watchlist = Watchlist()
        self.first_census: Any = None
        """What there was at the first look; see `diagnosis`."""
        self.breaches: list[dict[str, Any]] = []
        self.breach_count = 0
        self.dropped = 0
        """Subjects refused because there were too many already."""
        self.max_subjects = settings.max_subjects if max_subjects is None else max_subjects
        self.pid = os.getpid()
        self.parent_pid: int | None = None
        """The process this one was forked from, when the tracker came along."""
        self.started_wall = time.time()
        self.started_cpu = time.process_time()
        self.enabled = True
        self.reckon_at = 0
        """Samples of all functions from which on it is worth asking again whose a growth is; see `diagnosis`."""
        self._lock = threading.RLock()
        self._seeds = SeedCounts(self.resident_mb)
        self._windows = Windows(self.sampler, self.functions)
        self.nesting = Nesting()
        self._thread = SamplingThread(self.sampler, self)
        _trackers.add(self)

    # ------------------------------------------------------------ what the decorators call

    def guard(
        self,
        target: Any,
        *,
        every: int = 100,
        on_leak: Any = "warn",
        horizon: float | None = None,
        recipe: tuple[Callable[..., Any], dict[str, Any]] | None = None,
    ) -> Any:
        """Wrap a function so that one call in ``every`` is sampled; see `meminstr.leak_guard`."""
        every = checked_every(every)
        inner = getattr(target, "__func__", None) or getattr(target, "fget", None) or target
        calibrate()
        with self._lock:
            if len(self.functions) + len(self.classes) >= self.max_subjects:
                self.dropped += 1
                return target
            name = free_name(name_of(inner), getattr(inner, "__module__", ""), self.functions)
            subject = FunctionSubject(
                name, every, self.sampler, function=inner, horizon=horizon, on_leak=on_leak, recipe=recipe
            )
            subject.on_sample = self._sampled
            wrapper = instrument(target, subject, enabled=sampling_switch(every, subject.pace))
            record = instrumented(getattr(wrapper, "fget", None) or wrapper)
            if record is not None:
                subject.calls = record.calls
            subject.enabled = self.enabled
            self.functions[name] = subject
            self.nesting.add(name, inner)
        return wrapper

    def follow(
        self, cls: Any, *, name: str | None = None, cleanup: str | None = None, on_leak: Any = "warn"
    ) -> ClassSubject | None:
        """Follow a class in place; see `meminstr.track_instantiations`.  None when there are too many subjects."""
        from .instrument.classes import follow_class

        with self._lock:
            if len(self.functions) + len(self.classes) >= self.max_subjects:
                self.dropped += 1
                return None
            wanted = name if name is not None else getattr(cls, "__qualname__", repr(cls))
            known = self.ledger.followed.get(id(cls))
            existing = self.classes.get(known.name) if known is not None else None
            if existing is not None and existing.follower.cls is cls:
                if name is not None and existing.name != name:
                    raise UsageError(
                        f"{cls.__qualname__} is followed as {existing.name!r} already, not as {name!r}: "
                        "one class has one name"
                    )
                return existing
            if name is not None and name in self.classes:
                raise UsageError(
                    f"name={name!r} is taken by class {self.classes[name].follower.cls.__qualname__}: "
                    "another name, or none, is allowed"
                )
            wanted = free_name(wanted, getattr(cls, "__module__", ""), self.classes)
            subject = ClassSubject(wanted, self.sampler, on_leak=on_leak, on_sample=self._sampled)
            subject.follower = follow_class(cls, name=wanted, cleanup=cleanup, ledger=self.ledger, observer=subject)
            subject.birth_sites = current().birth_sites
            subject.enabled = self.enabled
            self.classes[wanted] = subject
        return subject

    def adopt(self, subject: FunctionSubject) -> bool:
        """Take in a subject that is counted without a wrapper (see `tallied`); False when there are too many."""
        with self._lock:
            if len(self.functions) + len(self.classes) >= self.max_subjects or subject.name in self.functions:
                self.dropped += subject.name not in self.functions
                return False
            subject.on_sample, subject.enabled = self._sampled, self.enabled
            self.functions[subject.name] = subject
        return True

    def note_breach(self, breach: dict[str, Any]) -> None:
        """Keep the record of a limit that was broken; the first and the latest are kept."""
        with self._lock:
            self.breach_count += 1
            self.breaches.append(breach)
            if len(self.breaches) > _MAX_BREACHES:
                del self.breaches[_MAX_BREACHES // 2]

    # ------------------------------------------------------------ looks

    def _sampled(self, subject: Subject) -> None:
        self._windows.sampled(subject.weight if isinstance(subject, FunctionSubject) else 1)
        if isinstance(subject, FunctionSubject):
            self.nesting.sampled(subject.name)
        if _look_hook is not None:
            _look_hook(self, subject)

    def windows(self) -> list[tuple[array[float], dict[str, int]]]:
        """Cumulative call counts of all functions, each with the reading taken then, oldest first."""
        return self._windows.kept()

    def live_counts(self) -> dict[str, int]:
        """Living instances of each followed class, by its name."""
        return {name: subject.follower.counts().alive for name, subject in list(self.classes.items())}

    def subjects(self) -> list[Subject]:
        """All functions and classes, functions first."""
        with self._lock:
            return [*self.functions.values(), *self.classes.values()]

    def read_now(self) -> dict[str, float]:
        """A reading now, entered into the histories of all subjects."""
        reading = self.sampler.now()
        now = self.sampler.clock()
        for subject in self.subjects():
            try:
                subject.level_now(reading, now)
            except Exception as error:
                note_fault(f"reading {subject.name}", error)
        return reading

    # ------------------------------------------------------------ the switchboard

    def enable(self) -> None:
        """Sample again after `disable`."""
        self._set_enabled(True)

    def disable(self) -> None:
        """Take no more samples; calls, constructions and deaths are still counted."""
        self._set_enabled(False)

    def _set_enabled(self, enabled: bool) -> None:
        with self._lock:
            self.enabled = self._thread.enabled = enabled
            for subject in self.subjects():
                subject.enabled = enabled

    def mark_warm(self) -> None:
        """Start-up is over: all histories begin anew here."""
        for subject in self.subjects():
            subject.restart()
        self._windows.clear()

    def register_probe(
        self, name: str, read: Callable[[], float], *, unit: str = "bytes", floor: float | None = None
    ) -> None:
        """Judge one more figure of the process.

        Args:
            name: the signal's name in the report.
            read: returns the figure now; called as often as the budget allows.
            unit: ``bytes``, ``blocks`` or ``count``.
            floor: growth below this is immaterial; None: one hundredth of the level.

        Raises:
            UsageError: a name that is taken, a unit that is unknown, or ``read`` is not callable.
        """
        from .probes import UserProbe

        if name in self.sampler.probes():
            raise UsageError(f"name={name!r} is a probe already: another name is allowed")
        self.sampler.add_probe(UserProbe(name, read, unit=unit, floor=floor))

    def start_sampling(self, interval: float | None = None) -> None:
        """Read the process in a daemon thread too, every ``interval`` seconds (default: the setting).

        For programs in which nothing is instrumented, or rarely called: otherwise samples do it without a thread.
        Stopped by `stop_sampling` and by `uninstall`; a forked child has no such thread.
        """
        self._thread.start(current().sample_interval_seconds if interval is None else interval)

    def stop_sampling(self) -> None:
        """End the thread of `start_sampling`, if there is one."""
        self._thread.stop()

    def uninstall(self) -> list[str]:
        """Remove every patch exactly, and stop sampling in wrappers that others still hold.

        Returns:
            What could not be removed because somebody patched on top of it (ours passes through there).
        """
        self.stop_sampling()
        for close in list(_on_uninstall):
            close()
        with self._lock:
            left = [str(item) for item in self.ledger.undo()]
            for subject in self.subjects():
                subject.enabled = False
            self.functions.clear()
            self.classes.clear()
            self._windows.clear()
            self.nesting.clear()
        return left

    def after_fork(self) -> None:
        """In a forked child: own pid, nothing counted yet, the parent remembered."""
        self._lock = threading.RLock()
        self.parent_pid, self.pid = self.pid, os.getpid()
        self.started_wall = time.time()
        self.started_cpu = time.process_time()
        self.breaches = []
        self.breach_count = 0
        self.watchlist = Watchlist()
        self._windows.clear()
        self._thread.after_fork()
        self.sampler.after_fork()
        for subject in self.subjects():
            subject.after_fork()
        self._seeds = SeedCounts(self.resident_mb)

    def cpu_seconds(self) -> float:
        """CPU time of this process since the tracker began."""
        return time.process_time() - self.started_cpu

    def size_bytes(self) -> int:
        """Memory that the tracker and its subjects take, roughly."""
        return 4000 + sum(s.size_bytes() for s in self.subjects()) + self._seeds.size_bytes()


def _forked() -> None:
    try:
        forget_faults_of_the_parent()
        for one in list(_trackers):
            one.after_fork()
    except Exception as error:
        note_fault("after fork", error)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

tracker = ControllerMemoryTracker()
