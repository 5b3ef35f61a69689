"""What the four controllers have in common: the sliding surface, the equivalent control, the life cycle.

The surface is one linear combination of the whole state,
``sigma = (cx x - c1 theta1 + c2 theta2 + dx x' - d1 theta1' + d2 theta2') / n``, with all six gains
positive and n such that one newton of force changes sigma by one per second at the upright state: sigma is
in N s and every switching gain in newtons.  A surface over the angles alone would leave the cart adrift.
The equivalent control is the force that holds sigma constant in the controller's model, which knows nothing
of the friction in the plant: that, and the push of `loop`, is what the switching part has to overcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import ClassVar

from .bus import BUS, TelemetryBus
from .dynamics import Plant

MAX_FORCE_N = 150.0
PERIOD_S = 0.005

History = dict[str, list[float]]
StateVars = list[float]

SURFACE_BOUNDS = ((0.1, 1.5), (6.0, 16.0), (8.0, 24.0), (0.2, 1.6), (0.02, 1.0), (1.0, 3.6))
"""Lowest and highest value of cx, c1, c2, dx, d1, d2 in a search."""

_MODEL = Plant(Plant().parameters.without_friction())


class SlidingModeController:
    """The common part.  A subclass adds its switching law, its own `cleanup` and two further gains.

    Args:
        gains: eight positive numbers: cx, c1, c2, dx, d1, d2, then the two of the switching law.
        bus: where telemetry is listened to; the process-wide bus by default.
        period_s: sampling period in seconds.

    Raises:
        ValueError: not eight finite positive gains.
    """

    bounds: ClassVar[tuple[tuple[float, float], ...]] = SURFACE_BOUNDS

    def __init__(self, gains: Sequence[float], *, bus: TelemetryBus | None = None, period_s: float = PERIOD_S) -> None:
        values = tuple(float(gain) for gain in gains)
        if len(values) != len(self.bounds) or not all(isfinite(v) and v > 0.0 for v in values):
            raise ValueError(f"gains={gains!r}: {len(self.bounds)} finite positive numbers are allowed")
        self.gains = values
        self.bus = bus if bus is not None else BUS
        self.period_s = period_s
        self.released = False
        cx, c1, c2, dx, d1, d2 = values[:6]
        _, _, _, gx, g1, g2 = _MODEL.accelerations(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        n = dx * gx - d1 * g1 + d2 * g2
        self._surface = (cx / n, -c1 / n, c2 / n, dx / n, -d1 / n, d2 / n)

    def initialize_state(self) -> StateVars:
        """Fresh controller variables for one run; `compute_control` updates them in place."""
        return []

    def initialize_history(self) -> History:
        """Empty records of one run, owned by the caller."""
        return {"control": [], "surface": []}

    def compute_control(self, state: Sequence[float], state_vars: StateVars, history: History) -> float:
        """The force in N for the coming period, within +-`MAX_FORCE_N`.

        Args:
            state: x, theta1, theta2 and their rates.
            state_vars: from `initialize_state`, changed in place.
            history: from `initialize_history`, appended to.
        """
        sigma, equivalent = self._on_surface(state)
        force = equivalent + self._switching(sigma, state_vars)
        force = max(-MAX_FORCE_N, min(MAX_FORCE_N, force))
        history["control"].append(force)
        history["surface"].append(sigma)
        return force

    def cleanup(self) -> None:
        """Let go of everything shared; the controller is not used again."""
        self.released = True

    def _switching(self, sigma: float, state_vars: StateVars) -> float:
        raise NotImplementedError

    def _on_surface(self, state: Sequence[float]) -> tuple[float, float]:
        """Sigma, and the force that would hold it constant in the model."""
        x, t1, t2, dx, w1, w2 = state
        cx, c1, c2, ex, e1, e2 = self._surface
        ax, a1, a2, gx, g1, g2 = _MODEL.accelerations(t1, t2, dx, w1, w2, 0.0)
        drift = cx * dx + c1 * w1 + c2 * w2 + ex * ax + e1 * a1 + e2 * a2
        authority = ex * gx + e1 * g1 + e2 * g2
        # far from upright the force loses its hold on the surface: never divide by next to nothing
        equivalent = -drift / max(authority, 0.2)
        return cx * x + c1 * t1 + c2 * t2 + ex * dx + e1 * w1 + e2 * w2, equivalent
