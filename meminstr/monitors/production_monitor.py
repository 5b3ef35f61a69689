"""`ProductionMemoryMonitor`: growth over a baseline, alerts on it, and the trend of the last samples.

The trend here is a plain robust slope over a short window.  It says how fast memory moves, not whether that is
a leak: programs also grow while they warm up.  That judgement is `meminstr.report()`'s.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from ..units import MIB
from .alert import (
    AlertCallback,
    Cooldown,
    MemoryAlert,
    ReadsMemory,
    deliver,
    finite_number,
    logger,
    optional_callable,
    severity_of,
    whole_number,
)
from .periodic import Periodic

_LEAST_SAMPLES = 10
_MOST_SLOPE_POINTS = 200  # 19,900 pairs, a few milliseconds
_GC_INTERVAL_SECONDS = 3600.0


def robust_slope(samples: Iterable[tuple[float, float]]) -> float:
    """The median slope over all pairs of samples, in y per x; 0.0 when no two samples differ in x.

    Unlike a least-squares line it is not moved by up to 29 % of outliers, such as one short peak.  More than 200
    samples are thinned evenly.  Pairs in which the clock did not advance are left out.

    Source: Theil (1950), Proc. KNAW 53; Sen (1968), JASA 63 (324).
    """
    points = list(samples)
    if len(points) > _MOST_SLOPE_POINTS:
        step = (len(points) - 1) / (_MOST_SLOPE_POINTS - 1)
        points = [points[round(index * step)] for index in range(_MOST_SLOPE_POINTS)]
    slopes = [
        (y_later - y) / (x_later - x)
        for index, (x, y) in enumerate(points)
        for x_later, y_later in points[index + 1 :]
        if x_later > x
    ]
    return median(slopes) if slopes else 0.0


class ProductionMemoryMonitor(ReadsMemory, Periodic):
    """Alerts when memory has grown by more than a threshold since the baseline.

    Args:
        threshold_mb: growth over the baseline that is too much, in MB of 1024**2 bytes.
        alert_callback: called with each `MemoryAlert`; None logs it, ``critical`` as ERROR, else as WARNING.
        trend_window: how many samples are kept for the trend.
        cooldown_seconds: an alert of the same severity as one delivered less than this long ago is returned, but
            not delivered; 0 delivers all.
        read: resident bytes now, in place of this process's own.
        clock: seconds since the epoch.

    Attributes:
        baseline_mb: resident set at construction or at the last `reset_baseline`.
        memory_history: the last `trend_window` samples as ``(timestamp, rss_mb)``.
        last_gc_time: when a collection was last suggested (at first: the construction).
        gc_interval: seconds between two suggestions.

    Raises:
        UsageError: an argument that cannot be taken.
    """

    def __init__(
        self,
        threshold_mb: float = 500.0,
        alert_callback: AlertCallback | None = None,
        trend_window: int = 100,
        *,
        cooldown_seconds: float = 0.0,
        read: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.threshold_mb = finite_number(threshold_mb, "threshold_mb", above=0.0)
        optional_callable(alert_callback, "alert_callback")
        self.trend_window = whole_number(trend_window, "trend_window")
        ReadsMemory.__init__(self, read)
        Periodic.__init__(self, self.check_memory)
        self.alert_callback = alert_callback
        self._cooldown = Cooldown(cooldown_seconds)
        self._clock = clock
        self.memory_history: deque[tuple[float, float]] = deque(maxlen=self.trend_window)
        self.baseline_mb = self._resident_bytes() / MIB
        self.last_gc_time = clock()
        self.gc_interval = _GC_INTERVAL_SECONDS

    def check_memory(self) -> MemoryAlert | None:
        """Take a sample; the alert when growth over the baseline is above the threshold, else None.

        A reading that fails gives no sample and no alert.

        Raises:
            MeminstrError: the callback raised it; other exceptions of a callback are noted only.
        """
        resident, now = self._try_reading(), self._clock()
        if resident is None:
            return None
        current_mb = resident / MIB
        if self.baseline_mb == 0.0:  # no reading has succeeded before: growth over nothing is no growth
            self.baseline_mb = current_mb
        self.memory_history.append((now, current_mb))
        self._suggest_collection(now, current_mb)
        growth_mb, threshold_mb = current_mb - self.baseline_mb, self.threshold_mb
        if growth_mb <= threshold_mb:
            return None
        message = f"Memory grew {growth_mb:.1f} MB over its baseline (threshold: {threshold_mb:.1f} MB)"
        severity = severity_of(growth_mb, threshold_mb)
        alert = MemoryAlert(now, current_mb, growth_mb, threshold_mb, message, severity)
        if self._cooldown.allows(severity, now):
            callback = self.alert_callback if self.alert_callback is not None else self._default_alert
            deliver(callback, alert, "alert_callback of ProductionMemoryMonitor")
        return alert

    def analyze_trend(self) -> dict[str, Any]:
        """The trend of the kept samples, or ``{'insufficient_data': True}`` below ten of them.

        ``growth_rate_mb_per_hour`` is the `robust_slope` over wall time; ``monotonic_growth`` says that no sample
        was below the one before it (which a constant series satisfies too).
        """
        samples = self._samples()
        if len(samples) < _LEAST_SAMPLES:
            return {"insufficient_data": True}
        current_mb = samples[-1][1]
        return {
            "current_mb": current_mb,
            "baseline_mb": self.baseline_mb,
            "growth_mb": current_mb - self.baseline_mb,
            "growth_rate_mb_per_hour": robust_slope(samples) * 3600.0,
            "samples": len(samples),
            "time_span_hours": max(0.0, samples[-1][0] - samples[0][0]) / 3600.0,
            "monotonic_growth": all(a[1] <= b[1] for a, b in pairwise(samples)),
        }

    def reset_baseline(self) -> None:
        """Count growth from now on, and forget the samples so far."""
        self.baseline_mb = self._resident_bytes() / MIB
        self.memory_history.clear()
        logger.info("Memory baseline set to %.1f MB", self.baseline_mb)

    def get_memory_report(self) -> str:
        """A few lines of text for a person."""
        trend = self.analyze_trend()
        if "insufficient_data" in trend:
            return f"Memory report: {len(self.memory_history)} of the {_LEAST_SAMPLES} samples it needs so far"
        rows = (
            ("Resident now", f"{trend['current_mb']:.1f} MB"),
            ("Baseline", f"{trend['baseline_mb']:.1f} MB"),
            ("Growth", f"{trend['growth_mb']:+.1f} MB of {self.threshold_mb:.1f} MB allowed"),
            ("Growth rate", f"{trend['growth_rate_mb_per_hour']:+.2f} MB/hour"),
            ("Never fell", "yes" if trend["monotonic_growth"] else "no"),
            ("Samples", f"{trend['samples']} over {trend['time_span_hours']:.2f} hours"),
        )
        return "\n".join(["Memory report", *(f"  {label:<13} {value}" for label, value in rows)])

    def _default_alert(self, alert: MemoryAlert) -> None:
        """Log the alert: ``critical`` as ERROR, else as WARNING."""
        if alert.severity == "critical":
            logger.error("%s", alert.message)
        else:
            logger.warning("%s", alert.message)

    def _suggest_collection(self, now: float, current_mb: float) -> None:
        if now < self.last_gc_time:  # the clock was set back: count the hour from here
            self.last_gc_time = now
        elif now - self.last_gc_time > self.gc_interval:
            self.last_gc_time = now
            logger.info("A garbage collection is suggested, once an hour (resident now: %.1f MB)", current_mb)

    def _samples(self) -> Sequence[tuple[float, float]]:
        return list(self.memory_history.copy())  # copying first: a thread may append while we look
