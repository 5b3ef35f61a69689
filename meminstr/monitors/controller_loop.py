"""`monitor_controller_loop`: run one controller for thousands of control steps and watch its memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import UsageError
from ..faults import note_fault
from .alert import MemoryAlert, finite_number, whole_number
from .production_monitor import ProductionMemoryMonitor, robust_slope

_METHODS = ("initialize_state", "initialize_history", "compute_control", "cleanup")
_KEPT_ALERTS = 100
_TREND_POINTS = 200
_STATE_SIZE = 6


def monitor_controller_loop(
    controller_class: Callable[..., Any],
    config: Mapping[str, Any],
    iterations: int = 10000,
    cleanup_interval: int = 100,
    *,
    threshold_mb: float = 100.0,
    tolerance_mb: float = 50.0,
    progress: Callable[[int, int], object] | None = None,
    monitor: ProductionMemoryMonitor | None = None,
) -> dict[str, Any]:
    """Build ``controller_class(**config)``, run it, and tell what memory did.

    Each iteration computes one control for a 6-vector state drawn from a fixed seed, with a fresh
    ``initialize_state()`` and ``initialize_history()``, and takes one sample.  After each `cleanup_interval`
    iterations ``cleanup()`` is called and garbage collected; ``cleanup()`` is called once more at the end.

    Args:
        controller_class: the class, or a factory.
        config: its keyword arguments.
        iterations: control steps, 1 or more.
        cleanup_interval: steps between two cleanups, 1 or more.
        threshold_mb: growth that counts as an alert, in MB of 1024**2 bytes.
        tolerance_mb: growth at the end with which the run still passes, in MB.
        progress: called with steps done and steps in all, at each cleanup and at the end.
        monitor: takes the samples, in place of one with `threshold_mb`; its callback is left alone.

    Returns:
        ``iterations``, ``alerts`` (how many samples were above the threshold), ``final_memory_mb``, ``growth_mb``
        (over the baseline before the controller was built), ``growth_rate_mb_per_hour`` (robust slope over the
        whole run; None below ten samples), ``passed`` (no alert, and growth below the tolerance); and, beyond the
        seeds' keys, ``alert_records`` (the first hundred), ``baseline_mb``, ``threshold_mb``, ``tolerance_mb``.

    Raises:
        UsageError: a bad argument, or a controller without one of the four methods, which is named.
        Exception: whatever the controller raises.
    """
    if not callable(controller_class):
        raise UsageError(f"controller_class={controller_class!r:.80} cannot be called: a class is allowed")
    if not isinstance(config, Mapping):
        raise UsageError(f"config={config!r:.80} is not a mapping of the controller's arguments, which is allowed")
    whole_number(iterations, "iterations")
    whole_number(cleanup_interval, "cleanup_interval")
    finite_number(tolerance_mb, "tolerance_mb", above=0.0)
    if progress is not None and not callable(progress):
        raise UsageError(f"progress={progress!r:.80} is not callable: a function of (done, total), or None, is allowed")
    watcher = monitor or ProductionMemoryMonitor(threshold_mb, alert_callback=_ignore)
    import numpy as np

    controller = controller_class(**config)
    _require_methods(controller)
    generator = np.random.default_rng(0)
    alerts: list[MemoryAlert] = []
    alert_count = 0
    points: list[tuple[float, float]] = []
    stride = max(1, iterations // _TREND_POINTS)
    for step in range(iterations):
        state = generator.standard_normal(_STATE_SIZE)
        controller.compute_control(state, controller.initialize_state(), controller.initialize_history())
        if step > 0 and step % cleanup_interval == 0:
            controller.cleanup()
            gc.collect()
            _tell(progress, step, iterations)
        alert = watcher.check_memory()
        if alert is not None:
            alert_count += 1
            if len(alerts) < _KEPT_ALERTS:
                alerts.append(alert)
        if (
            step % stride == 0 and watcher.memory_history
        ):  # the monitor's own window would show the last steps only, milliseconds of the run
            points.append(watcher.memory_history[-1])
    controller.cleanup()
    _tell(progress, iterations, iterations)
    final_mb = watcher.memory_history[-1][1] if watcher.memory_history else watcher.baseline_mb
    growth_mb = final_mb - watcher.baseline_mb
    return {
        "iterations": iterations,
        "alerts": alert_count,
        "final_memory_mb": final_mb,
        "growth_mb": growth_mb,
        "growth_rate_mb_per_hour": robust_slope(points) * 3600.0 if len(points) >= 10 else None,
        "passed": alert_count == 0 and growth_mb < tolerance_mb,
        "alert_records": alerts,
        "baseline_mb": watcher.baseline_mb,
        "threshold_mb": watcher.threshold_mb,
        "tolerance_mb": tolerance_mb,
    }


def _require_methods(controller: Any) -> None:
    missing = [f"{name}()" for name in _METHODS if not callable(getattr(controller, name, None))]
    if missing:
        raise UsageError(
            f"{type(controller).__qualname__} has no {', '.join(missing)}: monitor_controller_loop calls "
            f"{', '.join(f'{name}()' for name in _METHODS)}"
        )


def _tell(progress: Callable[[int, int], object] | None, done: int, total: int) -> None:
    if progress is None:
        return
    try:
        progress(done, total)
    except Exception as error:
        note_fault("progress of monitor_controller_loop", error)


def _ignore(alert: MemoryAlert) -> None:
    """The loop collects what `check_memory` returns; each alert in the log as well would be thousands of lines."""
