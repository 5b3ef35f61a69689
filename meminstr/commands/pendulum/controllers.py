"""The four sliding-mode controllers that the demonstration builds by the thousand.

| class | switching law | memory |
|---|---|---|
| `ClassicalSMC` | constant reaching force inside a boundary layer, plus damping | clean |
| `SuperTwistingSMC` | second-order sliding, sampled by its precomputed mean action | a table, once |
| `AdaptiveSMC` | reaching force that grows while off the surface | **leaks: see its `cleanup`** |
| `HybridAdaptiveSMC` | super-twisting with an adapted gain | clean: subscribes, and unsubscribes |

All run without meminstr's instrumentation; `meminstr demo` decorates them for the time of its run.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import sqrt

from .bus import TelemetryBus
from .reaching import ReachingTable, interpolate
from .surface import PERIOD_S, SURFACE_BOUNDS, SlidingModeController, StateVars

BOUNDARY = 0.15
"""Half width of the layer around the surface in which the switching is made smooth, in N s."""
DEAD_ZONE = 0.01
"""Nearer than this to the surface an adapted gain no longer grows, in N s."""
MAX_ADAPTED = 30.0
KEPT_SAMPLES = 192
"""Samples of telemetry an adaptive controller keeps for the operator's plot: 1.5 KB."""

_TWISTING_K1 = (1.0, 20.0)
_TWISTING_K2 = (0.5, 40.0)

TABLE = ReachingTable(_TWISTING_K1, _TWISTING_K2)


def _saturated(sigma: float) -> float:
    return max(-1.0, min(1.0, sigma / BOUNDARY))


def _sign(value: float) -> float:
    return 1.0 if value > 0.0 else -1.0 if value < 0.0 else 0.0


class ClassicalSMC(SlidingModeController):
    """First-order sliding mode with a boundary layer; the last gains are the force (N) and damping (1/s)."""

    bounds = (*SURFACE_BOUNDS, (0.5, 25.0), (0.5, 40.0))

    def __init__(self, gains: Sequence[float], *, bus: TelemetryBus | None = None, period_s: float = PERIOD_S) -> None:
        super().__init__(gains, bus=bus, period_s=period_s)
        self._force, self._damping = self.gains[6:]

    def _switching(self, sigma: float, state_vars: StateVars) -> float:
        return -self._force * _saturated(sigma) - self._damping * sigma

    def cleanup(self) -> None:
        """Nothing is shared: nothing to let go of."""
        self.released = True


class SuperTwistingSMC(SlidingModeController):
    """Second-order sliding mode; the last gains are k1 in N / sqrt(N s) and k2 in N/s.

    Its one-time cost is the table of `reaching`: 13.6 MiB over the first hundred constructions.
    """

    bounds = (*SURFACE_BOUNDS, _TWISTING_K1, _TWISTING_K2)

    def __init__(self, gains: Sequence[float], *, bus: TelemetryBus | None = None, period_s: float = PERIOD_S) -> None:
        super().__init__(gains, bus=bus, period_s=period_s)
        k1, self._k2 = self.gains[6:]
        region = TABLE.region(k1, self._k2)
        self._mean_actions = region.mean_actions(period_s, k1)
        self.reaching_time_s = region.reaching_time_s()

    def initialize_state(self) -> StateVars:
        """The integral part of the law, in N."""
        return [0.0]

    def _switching(self, sigma: float, state_vars: StateVars) -> float:
        force = interpolate(self._mean_actions, sigma) + state_vars[0]
        state_vars[0] -= self.period_s * self._k2 * _saturated(sigma)
        return force

    def cleanup(self) -> None:
        """Drop this controller's extract; the table itself is shared and stays."""
        self._mean_actions = ()
        self.released = True


class AdaptiveSMC(SlidingModeController):
    """Sliding mode whose force adapts; the last gains are the first force (N) and its growth (1/s^2).

    It keeps the latest telemetry for the operator's plot, and for that listens to the bus.
    """

    bounds = (*SURFACE_BOUNDS, (0.5, 25.0), (1.0, 300.0))

    def __init__(self, gains: Sequence[float], *, bus: TelemetryBus | None = None, period_s: float = PERIOD_S) -> None:
        super().__init__(gains, bus=bus, period_s=period_s)
        self._first_force, self._growth = self.gains[6:]
        self._samples = array("d", bytes(8 * KEPT_SAMPLES))
        self._taken = 0
        self.bus.subscribe(self.on_sample)

    def initialize_state(self) -> StateVars:
        """The adapted force, in N."""
        return [self._first_force]

    def on_sample(self, topic: str, value: float) -> None:
        """Keep a published value, over the oldest one."""
        self._samples[self._taken % KEPT_SAMPLES] = value
        self._taken += 1

    def _switching(self, sigma: float, state_vars: StateVars) -> float:
        force = state_vars[0]
        if abs(sigma) > DEAD_ZONE:
            state_vars[0] = min(MAX_ADAPTED, force + self.period_s * self._growth * abs(sigma))
        else:
            state_vars[0] = force - self.period_s * (force - self._first_force)
        return -force * (_saturated(sigma) + 0.5 * sigma)

    def cleanup(self) -> None:
        """Let go of what is shared -- and this is the demonstration's leak: one line is missing.

        The bus still holds ``self.on_sample`` and with it this controller.
        """
        self.released = True


class HybridAdaptiveSMC(SlidingModeController):
    """Super-twisting with an adapted proportional gain; the last gains are its start and its growth.

    It listens to the bus as `AdaptiveSMC` does, and unsubscribes.
    """

    bounds = (*SURFACE_BOUNDS, (1.0, 30.0), (1.0, 200.0))

    def __init__(self, gains: Sequence[float], *, bus: TelemetryBus | None = None, period_s: float = PERIOD_S) -> None:
        super().__init__(gains, bus=bus, period_s=period_s)
        self._first_k1, self._growth = self.gains[6:]
        self.last_sample = 0.0
        self.bus.subscribe(self.on_sample)

    def initialize_state(self) -> StateVars:
        """The adapted gain and the integral part, in N / sqrt(N s) and N."""
        return [self._first_k1, 0.0]

    def on_sample(self, topic: str, value: float) -> None:
        """Keep the latest published value."""
        self.last_sample = value

    def _switching(self, sigma: float, state_vars: StateVars) -> float:
        k1, integral = state_vars
        # the square root is made linear near zero, where a sampled one would chatter
        size = abs(sigma)
        root = sqrt(size) if size > BOUNDARY else size / sqrt(BOUNDARY)
        if size > DEAD_ZONE:
            state_vars[0] = min(MAX_ADAPTED, k1 + self.period_s * self._growth * root)
        state_vars[1] = integral - self.period_s * 0.5 * k1 * _saturated(sigma)
        return integral - k1 * root * _sign(sigma)

    def cleanup(self) -> None:
        """Let go of what is shared: the bus must forget this controller."""
        self.bus.unsubscribe(self.on_sample)
        self.released = True
