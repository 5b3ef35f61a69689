"""The seeds' instantiation counts: `track_instantiation`, `get_report`, `check_leak_threshold`.

The seeds divided all growth of the process by one type's count.  Here a type's figure is what its surviving instances
account for: live objects x sampled shallow-and-owned size, per thousand instantiations.
"""

from __future__ import annotations

import functools
import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from .class_subject import ClassSubject
from .errors import UsageError
from .evidence.retained import retained_bytes
from .sampling import Sampler
from .units import MIB

_SNAPSHOT_EVERY = 100
_MAX_SNAPSHOTS = 64
_MAX_TYPES = 1000


class _Type:
    __slots__ = ("count", "deaths", "followed", "live", "snapshots", "stride")

    def __init__(self) -> None:
        self.count = 0
        self.followed = 0
        self.live: dict[int, weakref.ref[Any]] = {}
        # counts in C and keeps nothing: the callback of every weak reference
        self.deaths: Any = functools.lru_cache(maxsize=0)(id)
        self.snapshots: list[dict[str, float]] = []
        self.stride = _SNAPSHOT_EVERY

    def alive(self) -> int:
        return self.followed - int(self.deaths.cache_info().misses)

    def sweep(self) -> None:
        if len(self.live) > 2 * self.alive() + 128:
            for key, ref in list(self.live.items()):
                if ref() is None and self.live.get(key) is ref:
                    del self.live[key]

    def sample(self, limit: int = 20) -> list[Any]:
        found = []
        for ref in reversed(list(self.live.values())):
            obj = ref()
            if obj is not None:
                found.append(obj)
                if len(found) >= limit:
                    break
        return found


class SeedCounts:
    """Counts of objects announced by `track_instantiation`, beside those of followed classes.

    Args:
        resident_mb: the process's resident set in MiB.
    """

    def __init__(self, resident_mb: Callable[[], float]) -> None:
        self._resident_mb = resident_mb
        self._initial_mb: float | None = None
        self._types: dict[str, _Type] = {}
        self._lock = threading.Lock()

    def add(self, name: str, obj: Any) -> None:
        """Count one object; follow its death if it takes a weak reference."""
        if not isinstance(name, str) or not name:
            raise UsageError(f"controller_type={name!r} is not a name: a non-empty string is allowed")
        with self._lock:
            if self._initial_mb is None:
                self._initial_mb = self._resident_mb()
            one = self._types.get(name)
            if one is None:
                if len(self._types) >= _MAX_TYPES:
                    name = "<others>"
                one = self._types.setdefault(name, _Type())
            one.count += 1
            try:
                known = one.live.get(id(obj))
                if known is None or known() is not obj:
                    one.live[id(obj)] = weakref.ref(obj, one.deaths)
                    one.followed += 1
            except TypeError:  # takes no weak reference: counted only
                pass
            if one.count % one.stride == 1 or one.stride == 1:
                one.sweep()
                one.snapshots.append(
                    {"instantiations": one.count, "memory_mb": self._resident_mb(), "timestamp": time.time()}
                )
                if len(one.snapshots) > _MAX_SNAPSHOTS:
                    del one.snapshots[1::2]
                    one.stride *= 2

    def report(self, classes: Mapping[str, Any]) -> dict[str, Any]:
        """The seeds' report; followed classes of the tracker are entered under their names."""
        current = self._resident_mb()
        with self._lock:
            initial = self._initial_mb
            by_type: dict[str, dict[str, Any]] = {}
            for name, one in self._types.items():
                survivors = one.sample()
                by_type[name] = {
                    "count": one.count,
                    "memory_per_1000_instantiations_mb": _per_1000(one.alive(), one.count, survivors),
                    "snapshots": [dict(s) for s in one.snapshots],
                    "alive": one.alive(),
                }
                del survivors
        for name, subject in list(classes.items()):
            counts = subject.follower.counts()
            first = subject.series["resident"].first
            if first is not None and (initial is None or first[2] / MIB < initial):
                initial = first[2] / MIB
            view = subject.series["resident"].view()
            by_type[name] = {
                "count": counts.constructed,
                "memory_per_1000_instantiations_mb": _per_1000(
                    counts.alive, counts.constructed, subject.follower.live_objects(20)
                ),
                "snapshots": [
                    {"instantiations": int(x), "memory_mb": mean / MIB, "timestamp": t}
                    for x, t, mean in zip(view.x, view.t, view.mean, strict=True)
                ],
                "alive": counts.alive,
                "retained": counts.retained,
            }
        start = current if initial is None else initial
        return {
            "initial_memory_mb": start,
            "current_memory_mb": current,
            "total_growth_mb": current - start,
            "total_instantiations": sum(one["count"] for one in by_type.values()),
            "by_controller": by_type,
        }

    def check(self, threshold: float, classes: Mapping[str, Any]) -> dict[str, Any]:
        """Types above ``threshold`` MiB per thousand instantiations."""
        bad = isinstance(threshold, bool) or not isinstance(threshold, (int, float))
        if bad or not math.isfinite(threshold) or threshold < 0:
            raise UsageError(f"threshold_mb_per_1000={threshold!r} is not allowed: a finite number of at least 0 is")
        report = self.report(classes)
        leaks = {
            name: {
                "memory_per_1000_mb": one["memory_per_1000_instantiations_mb"],
                "threshold_mb": threshold,
                "exceeded_by_mb": one["memory_per_1000_instantiations_mb"] - threshold,
            }
            for name, one in report["by_controller"].items()
            if one["memory_per_1000_instantiations_mb"] > threshold
        }
        return {
            "has_leaks": bool(leaks),
            "leaks": leaks,
            "total_instantiations": report["total_instantiations"],
            "total_growth_mb": report["total_growth_mb"],
        }

    def size_bytes(self) -> int:
        """Memory of the counts, roughly."""
        return sum(1000 + 220 * len(one.live) for one in self._types.values())


def _per_1000(alive: int, count: int, sample: list[Any]) -> float:
    """MiB that a thousand instantiations leave alive, by the mean owned size of a sample of survivors."""
    if not alive or not count or not sample:
        return 0.0
    return alive / count * 1000 * each_bytes(sample) / MIB


def each_bytes(sample: list[Any], budget_seconds: float = 0.05) -> float:
    """Mean bytes that one of these objects keeps alive, itself included; 0.0 for none."""
    if not sample:
        return 0.0
    deadline = time.perf_counter() + budget_seconds
    total = retained_bytes(sample, clock=time.perf_counter, deadline=deadline)
    return (total or 0) / len(sample)


class SeedTracker:
    """The methods of a tracker that the seeds defined: counts under names, MiB per thousand of them."""

    sampler: Sampler
    classes: dict[str, ClassSubject]
    _seeds: SeedCounts

    def resident_mb(self) -> float:
        """Resident set of this process in MiB."""
        return self.sampler.now().get("resident", 0.0) / MIB

    def track_instantiation(self, controller_type: str, controller: Any) -> None:
        """Count one object under a name of the caller's own, without patching its class.

        Raises:
            UsageError: ``controller_type`` is no non-empty string.
        """
        self._seeds.add(controller_type, controller)

    def get_report(self) -> dict[str, Any]:
        """The seeds' dictionary: totals, and per type the count and MiB per thousand instantiations.

        ``memory_per_1000_instantiations_mb`` is what the type's surviving instances account for (live count x sampled
        size), so that one-time warm-up and another class's leak do not accuse it.
        """
        return self._seeds.report(self.classes)

    def check_leak_threshold(self, threshold_mb_per_1000: float = 1.0) -> dict[str, Any]:
        """Which types exceed a threshold in MiB per thousand instantiations.

        Raises:
            UsageError: the threshold is no finite number of at least nought.
        """
        return self._seeds.check(threshold_mb_per_1000, self.classes)
