"""`Snapshot`: everything recorded up to a moment, frozen.  The waist between recording and judging.

What the tracker's moving parts hold is copied here under their locks; from here on nothing touches the process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from .series import SeriesView


@dataclass(frozen=True, slots=True)
class DeltaFacts:
    """Sampled per-call changes of one signal."""

    samples: int
    mean: float
    error: float
    """Standard error of the mean; infinite below two samples."""
    estimated_total: float
    """Each delta times the calls it stands for."""
    events: float = math.inf
    """Samples in which growth was to be expected, by how often the signal rises at all; see `Deltas.events`."""
    slack: float = 0.0
    """The mean may be lower by this much: results that may have come from free lists."""
    early: tuple[tuple[int, float], ...] = ()
    """The first sampled calls, each with the growth it stands for."""


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    """One function or class at a moment."""

    name: str
    kind: str
    calls: int
    """Exact calls, or constructions."""
    samples: int
    failures: int
    series: Mapping[str, SeriesView]
    deltas: Mapping[str, DeltaFacts]
    overlapped: bool = False
    """Whether other threads or calls ran during sampled calls, so that deltas may be theirs."""
    seconds_each: float = 0.0
    """Mean duration of its sampled calls."""
    horizon: float | None = None
    idle_seconds: float = 0.0
    """Since the last sampled call or construction."""
    observed_seconds: float = 0.0
    """Since the first one in the histories."""
    idle_work: float = 0.0
    """Of the process's CPU time since the first one, the share that was spent since the last."""
    note: str | None = None
    """A limit of what can be seen of it, in words."""
    across: Mapping[str, DeltaFacts] = field(default_factory=dict)
    """Of calls that are suspended: the changes from begin to end; `deltas` are those of their own steps."""


@dataclass(frozen=True, slots=True)
class Window:
    """Cumulative call counts of all functions beside one reading."""

    seconds: float
    reading: Mapping[str, float]
    calls: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything recorded up to a moment."""

    at_seconds: float
    """On the tracker's clock, since it started."""
    reading: Mapping[str, float]
    process: Mapping[str, SeriesView]
    sources: Mapping[str, str]
    subjects: tuple[SubjectRecord, ...]
    windows: tuple[Window, ...] = ()
    inside: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By function: how many calls of each guarded function lie inside one call of it."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """Materiality floors of the user's own probes."""
