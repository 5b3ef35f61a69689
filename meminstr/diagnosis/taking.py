"""From a live tracker to a frozen `Snapshot`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..class_subject import ClassSubject
from ..deltas import Deltas
from ..registry import ControllerMemoryTracker, Subject
from ..sampling import MEMORY_SIGNALS
from ..series import SeriesView
from ..snapshot import DeltaFacts, Snapshot, SubjectRecord, Window
from ..subjects import FunctionSubject


def take(tracker: ControllerMemoryTracker, reading: Mapping[str, float]) -> Snapshot:
    """Freeze everything the tracker recorded, with a reading taken just now."""
    sampler = tracker.sampler
    now = sampler.clock()
    floors = {
        name: float(floor)
        for name, probe in sampler.probes().items()
        if (floor := getattr(probe.probe, "floor", None)) is not None
    }
    return Snapshot(
        at_seconds=now - sampler.started,
        reading=dict(reading),
        process={name: series.view() for name, series in list(sampler.series.items())},
        sources={name: probe.source for name, probe in sampler.probes().items()},
        subjects=tuple(record_of(subject, now) for subject in tracker.subjects()),
        windows=tuple(
            Window(
                seconds=values[len(MEMORY_SIGNALS)] - sampler.started,
                reading={s: values[i] for i, s in enumerate(MEMORY_SIGNALS) if values[i] >= 0},
                calls=calls,
            )
            for values, calls in tracker.windows()
        ),
        inside=tracker.nesting.inside({name: subject.calls() for name, subject in list(tracker.functions.items())}),
        floors=floors,
    )


def record_of(subject: Subject, now: float, *, early: bool = True) -> SubjectRecord:
    """Freeze one subject.

    Args:
        subject: function or class.
        now: on the sampler's clock.
        early: with the early changes one by one.  A look does without: their hundreds of pairs would refill the
            interpreter's free lists each time, and hide the pairs that the program takes from there and keeps.
    """
    if isinstance(subject, ClassSubject):
        calls = subject.follower.counts().constructed
        failures = 0
    else:
        calls = subject.calls()
        failures = subject.failures
    series = {name: one.view() for name, one in subject.series.items()}
    idle, observed, work = _idleness(subject, series, now)
    return SubjectRecord(
        name=subject.name,
        kind=subject.kind,
        calls=calls,
        samples=subject.samples,
        failures=failures,
        series=series,
        deltas=_deltas(subject.deltas, early),
        across=(
            _deltas(subject.across, False)
            if isinstance(subject, FunctionSubject) and subject.across is not None
            else {}
        ),
        overlapped=isinstance(subject, FunctionSubject) and subject.overlapped(),
        # calls that are not suspended enter only the changes of samples in which nobody else worked
        seconds_each=(
            subject.across.seconds[0] / max(1, subject.across.samples)
            if isinstance(subject, FunctionSubject) and subject.across is not None
            else 0.0
        ),
        horizon=subject.horizon,
        idle_seconds=idle,
        observed_seconds=observed,
        idle_work=work,
        note=subject.follower.note if isinstance(subject, ClassSubject) else None,
    )


def _idleness(subject: Subject, series: Mapping[str, SeriesView], now: float) -> tuple[float, float, float]:
    """Seconds since the last and since the first event, and the share of the work that fell into the former."""
    if isinstance(subject, FunctionSubject):
        last = max((view.last[1] for view in series.values() if view.last), default=now)
        first = min((view.first[1] for view in series.values() if view.first), default=now)
        return max(0.0, now - last), max(0.0, now - first), 0.0
    if subject.active is None or subject.began is None:
        return 0.0, 0.0, 0.0
    cpu = time.process_time()
    work, idle_work = cpu - subject.began[1], cpu - subject.active[1]
    return max(0.0, now - subject.active[0]), max(0.0, now - subject.began[0]), idle_work / work if work > 0 else 0.0


def _deltas(deltas: Deltas, early: bool) -> dict[str, Any]:
    out = {}
    for index, name in enumerate(MEMORY_SIGNALS):
        samples, mean, error = deltas.recent(index)
        out[name] = DeltaFacts(
            samples=samples,
            mean=mean,
            error=error,
            estimated_total=deltas.gap_sum[index],
            events=deltas.events(index),
            slack=deltas.slack() if name == "blocks" else 0.0,
            early=tuple(deltas.early_growth(index)) if early else (),
        )
    return out
