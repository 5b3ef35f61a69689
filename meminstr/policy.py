"""The records of judging: the `Signal` that goes in, the `Policy` it is judged by, the judgements that come out.

Facts and defaults, no arithmetic: what is decided is decided in `meminstr.judgement`, which also exports these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from .series import SeriesView
from .verdict import Interval, Verdict

FLOORS: Mapping[str, float] = {
    "blocks": 64,
    "heap": 128 * 1024,  # tcache entries count as used: up to 236 KB a thread, 54 KB of it early
    "live": 32,
    "retained": 8,
    "resident": 16 * 1024 * 1024,
    "descriptors": 8,
    "threads": 8,
    "tasks": 8,
}
"""Growth below this is what interpreters and allocators do by themselves (VERDICTS.md, 3.5)."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One history to judge."""

    name: str
    """blocks, heap, resident, live, retained, descriptors, threads, tasks, or a probe of the user's."""
    unit: str
    """What one of it is: ``block``, ``byte``, ``instance``; bytes are printed as KiB and MiB."""
    view: SeriesView
    source: str = ""
    """Where it was read, as ``sys.getallocatedblocks``."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked of growth before it is called a leak."""

    alpha: float = 1e-4
    """Chance, per signal and process life, that a trendless history ever passes the test."""
    horizon: float = 5000.0
    """How far growth must persist, in x: the one real choice, as what fills for longer looks like a leak."""
    x_unit: str = "call"
    """call, construction or second."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """Growth below this is nobody's leak; replaces `FLOORS` by name.  Probes not named: 1 % of their level."""
    min_seconds_horizon: float | None = None
    """Growth must also have persisted for this long by the clock."""
    min_samples_horizon: int = 0
    """Growth must also span this many samples."""
    retained_horizon: float = 500.0
    """Horizon for instances that outlived their cleanup: structure has spoken, statistics need not wait."""
    rare_seconds: float | None = 86_400.0
    """A subject that runs rarely may meet the horizon by lasting this long instead, with ..."""
    rare_samples: int = 24
    """... at least this many samples since the onset: 24 nights for a nightly job.  The reason states how sure
    that is."""

    def horizon_of(self, signal: str) -> float:
        """The horizon that applies to a signal of this name, in x."""
        return min(self.horizon, self.retained_horizon) if signal == "retained" else self.horizon

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha={self.alpha!r}: a probability between 0 and 1 is allowed")
        if not self.horizon >= 0 or math.isinf(self.horizon):
            raise ValueError(f"horizon={self.horizon!r}: a finite number of at least 0 is allowed")


@dataclass(frozen=True, slots=True)
class SignalJudgement:
    """What is said of one signal."""

    name: str
    unit: str
    source: str
    verdict: Verdict
    reason: str
    """One sentence that names the gate that decided."""
    gates: tuple[str, ...] = ()
    """Failed gates by name; see `meminstr.trend.episode`."""
    log10_evidence: float = 0.0
    """Decimal log of the e-value: 5 is one chance in 100,000 under no trend."""
    rate: Interval | None = None
    """Current rate in `unit` per x, with 99 % limits."""
    growth: float = 0.0
    """Retained growth, since the onset when there is one, in `unit`."""
    onset_x: float | None = None
    one_time_growth: tuple[float, float] | None = None
    """(amount in `unit`, x by which it was over), of a growth that came once and stayed."""
    excluded_rate: float | None = None
    """The smallest steady rate that is excluded, in `unit` per x at 99 %."""
    shape: str = "flat"


@dataclass(frozen=True, slots=True)
class BoundedFill:
    """What a census of containers with a known bound says."""

    description: str
    """As ``lru_cache app.load``."""
    growing: bool
    """It gained entries and has room left: an alarm is held."""
    entries_gained: int
    entries_max: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What all signals of a subject say together."""

    verdict: Verdict
    reason: str
    memory_kind: str | None = None
    onset_x: float | None = None
    signals: tuple[SignalJudgement, ...] = ()
    rates: Mapping[str, Interval] = field(default_factory=dict)
    """Rate per x by signal name, where one is known."""
