"""A double inverted pendulum on a cart: equations of motion and a fixed-step Runge-Kutta integrator.

The state is six floats ``(x, theta1, theta2, dx, dtheta1, dtheta2)``: metres, radians and their rates per
second.  Both angles are measured from the upright vertical and are absolute (theta2 is not relative to
link 1), clockwise positive, so that upright at rest is the zero state.

With the generalised coordinates q = (x, theta1, theta2), Lagrange's equations of the three bodies give
``D(q) q'' + C(q, q') q' + G(q) = H force - friction``; the constants d1..d6 and the layout of D, C and G
are the usual ones (A. Bogdanov, "Optimal Control of a Double Inverted Pendulum on a Cart", 2004).  One
state at a time is integrated, so this is plain float arithmetic with the 3x3 system solved by hand: numpy
would spend some ten times as long on the call overhead of arrays that small.

What drives the cart is the matter of `controllers`, what is pushed against it that of `loop`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, sin

State = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Parameters:
    """Masses, lengths, inertias and viscous friction of a laboratory-sized rig, in SI units.

    The figures are of the size used throughout the literature on sliding-mode control of this plant.
    """

    cart_mass_kg: float = 1.5
    link1_mass_kg: float = 0.2
    link2_mass_kg: float = 0.15
    link1_length_m: float = 0.4
    link1_centre_m: float = 0.2
    link2_centre_m: float = 0.15
    link1_inertia_kgm2: float = 0.0081
    link2_inertia_kgm2: float = 0.0034
    gravity_mps2: float = 9.81
    cart_friction: float = 0.2
    """N s/m."""
    joint1_friction: float = 0.005
    """N m s/rad, between cart and link 1."""
    joint2_friction: float = 0.004
    """N m s/rad, between link 1 and link 2."""

    def without_friction(self) -> Parameters:
        """The same rig on ideal bearings: what the controllers take for their model."""
        return replace(self, cart_friction=0.0, joint1_friction=0.0, joint2_friction=0.0)


class Plant:
    """The equations of motion for one set of parameters; holds no state of the motion."""

    __slots__ = ("_constants", "parameters")

    def __init__(self, parameters: Parameters | None = None) -> None:
        p = parameters if parameters is not None else Parameters()
        self.parameters = p
        d2 = p.link1_mass_kg * p.link1_centre_m + p.link2_mass_kg * p.link1_length_m
        d3 = p.link2_mass_kg * p.link2_centre_m
        self._constants = (
            p.cart_mass_kg + p.link1_mass_kg + p.link2_mass_kg,
            d2,
            d3,
            p.link1_mass_kg * p.link1_centre_m**2 + p.link2_mass_kg * p.link1_length_m**2 + p.link1_inertia_kgm2,
            p.link2_mass_kg * p.link1_length_m * p.link2_centre_m,
            p.link2_mass_kg * p.link2_centre_m**2 + p.link2_inertia_kgm2,
            d2 * p.gravity_mps2,
            d3 * p.gravity_mps2,
            p.cart_friction,
            p.joint1_friction,
            p.joint2_friction,
        )

    def accelerations(
        self, theta1: float, theta2: float, dx: float, w1: float, w2: float, force: float
    ) -> tuple[float, float, float, float, float, float]:
        """Second derivatives of x, theta1, theta2, and how much of each is due to one newton of force.

        Args:
            theta1: angle of link 1 in rad.
            theta2: angle of link 2 in rad.
            dx: speed of the cart in m/s.
            w1: rate of link 1 in rad/s.
            w2: rate of link 2 in rad/s.
            force: on the cart, in N.

        Returns:
            ``(x'', theta1'', theta2'', x''/N, theta1''/N, theta2''/N)``: the last three are the first
            column of the inverse of D, which costs nothing here and which the controllers need.
        """
        d1, d2, d3, d4, d5, d6, f1, f2, b0, b1, b2 = self._constants
        s12 = sin(theta1 - theta2)
        a01 = d2 * cos(theta1)
        a02 = d3 * cos(theta2)
        a12 = d5 * cos(theta1 - theta2)
        s1 = sin(theta1)
        s2 = sin(theta2)
        slip = b2 * (w1 - w2)
        r0 = force + d2 * s1 * w1 * w1 + d3 * s2 * w2 * w2 - b0 * dx
        r1 = f1 * s1 - d5 * s12 * w2 * w2 - b1 * w1 - slip
        r2 = f2 * s2 + d5 * s12 * w1 * w1 + slip
        # D is symmetric: six cofactors give its inverse
        k00 = d4 * d6 - a12 * a12
        k01 = a12 * a02 - a01 * d6
        k02 = a01 * a12 - d4 * a02
        k11 = d1 * d6 - a02 * a02
        k12 = a01 * a02 - d1 * a12
        k22 = d1 * d4 - a01 * a01
        scale = 1.0 / (d1 * k00 + a01 * k01 + a02 * k02)
        return (
            (k00 * r0 + k01 * r1 + k02 * r2) * scale,
            (k01 * r0 + k11 * r1 + k12 * r2) * scale,
            (k02 * r0 + k12 * r1 + k22 * r2) * scale,
            k00 * scale,
            k01 * scale,
            k02 * scale,
        )

    def energy_joules(self, state: State) -> float:
        """Kinetic plus potential energy, zero at rest with both links level with the cart's pivot."""
        d1, d2, d3, d4, d5, d6, f1, f2, *_ = self._constants
        _, t1, t2, dx, w1, w2 = state
        kinetic = 0.5 * (d1 * dx * dx + d4 * w1 * w1 + d6 * w2 * w2)
        kinetic += d2 * cos(t1) * dx * w1 + d3 * cos(t2) * dx * w2 + d5 * cos(t1 - t2) * w1 * w2
        return kinetic + f1 * cos(t1) + f2 * cos(t2)


def rk4_step(plant: Plant, state: State, force: float, step_s: float) -> State:
    """The state one step later by the classical fourth-order Runge-Kutta rule, the force held constant.

    Args:
        plant: the equations of motion.
        state: six floats, see the head of this file.
        force: on the cart in N, held over the step (a zero-order hold, as a sampled controller applies it).
        step_s: the step in seconds.
    """
    accelerations = plant.accelerations
    x, t1, t2, dx, w1, w2 = state
    half = 0.5 * step_s
    # the positions' slopes are the velocities themselves: only the velocities need names of their own
    ax1, a11, a21, *_ = accelerations(t1, t2, dx, w1, w2, force)
    dx2, w12, w22 = dx + half * ax1, w1 + half * a11, w2 + half * a21
    ax2, a12, a22, *_ = accelerations(t1 + half * w1, t2 + half * w2, dx2, w12, w22, force)
    dx3, w13, w23 = dx + half * ax2, w1 + half * a12, w2 + half * a22
    ax3, a13, a23, *_ = accelerations(t1 + half * w12, t2 + half * w22, dx3, w13, w23, force)
    dx4, w14, w24 = dx + step_s * ax3, w1 + step_s * a13, w2 + step_s * a23
    ax4, a14, a24, *_ = accelerations(t1 + step_s * w13, t2 + step_s * w23, dx4, w14, w24, force)
    sixth = step_s / 6.0
    return (
        x + sixth * (dx + 2.0 * (dx2 + dx3) + dx4),
        t1 + sixth * (w1 + 2.0 * (w12 + w13) + w14),
        t2 + sixth * (w2 + 2.0 * (w22 + w23) + w24),
        dx + sixth * (ax1 + 2.0 * (ax2 + ax3) + ax4),
        w1 + sixth * (a11 + 2.0 * (a12 + a13) + a14),
        w2 + sixth * (a21 + 2.0 * (a22 + a23) + a24),
    )
