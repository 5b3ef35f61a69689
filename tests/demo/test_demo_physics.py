"""The plant: its equations against an independent derivation, its integrator against conservation laws."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meminstr.commands.pendulum.dynamics import Parameters, Plant, rk4_step

IDEAL = Parameters().without_friction()
angle = st.floats(-3.2, 3.2)
rate = st.floats(-8.0, 8.0)
force = st.floats(-100.0, 100.0)


def centres(q, p):
    """Positions of the three centres of mass: the only thing the two derivations share is geometry."""
    x, t1, t2 = q
    joint = np.array([x + p.link1_length_m * math.sin(t1), p.link1_length_m * math.cos(t1)])
    first = np.array([x + p.link1_centre_m * math.sin(t1), p.link1_centre_m * math.cos(t1)])
    second = joint + p.link2_centre_m * np.array([math.sin(t2), math.cos(t2)])
    return np.array([x, 0.0]), first, second


def jacobians(q, p, h=1e-6):
    columns = []
    for i in range(3):
        step = np.zeros(3)
        step[i] = h
        ahead, behind = centres(q + step, p), centres(q - step, p)
        columns.append([(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)])
    return [np.array([columns[i][body] for i in range(3)]).T for body in range(3)]


def mass_matrix(q, p):
    masses = (p.cart_mass_kg, p.link1_mass_kg, p.link2_mass_kg)
    matrix = sum(m * j.T @ j for m, j in zip(masses, jacobians(q, p), strict=True))
    return matrix + np.diag([0.0, p.link1_inertia_kgm2, p.link2_inertia_kgm2])


def potential(q, p):
    _, first, second = centres(q, p)
    return p.gravity_mps2 * (p.link1_mass_kg * first[1] + p.link2_mass_kg * second[1])


def numeric_accelerations(q, v, u, p, h=1e-4):
    """Lagrange's equations with every derivative by central differences and numpy's solver."""
    gradient = np.zeros(3)
    matrix_rate = np.zeros((3, 3))
    for i in range(3):
        step = np.zeros(3)
        step[i] = h
        ahead, behind = mass_matrix(q + step, p), mass_matrix(q - step, p)
        slope = (ahead - behind) / (2 * h)
        matrix_rate += slope * v[i]
        gradient[i] = 0.5 * v @ slope @ v - (potential(q + step, p) - potential(q - step, p)) / (2 * h)
    slip = p.joint2_friction * (v[1] - v[2])
    friction = np.array([p.cart_friction * v[0], p.joint1_friction * v[1] + slip, -slip])
    return np.linalg.solve(mass_matrix(q, p), np.array([u, 0, 0]) - friction + gradient - matrix_rate @ v)


@settings(deadline=None)
@given(angle, angle, rate, rate, rate, force)
def test_the_equations_are_those_of_the_lagrangian(t1, t2, dx, w1, w2, u):
    p = Parameters()
    ours = Plant(p).accelerations(t1, t2, dx, w1, w2, u)[:3]
    theirs = numeric_accelerations(np.array([0.3, t1, t2]), np.array([dx, w1, w2]), u, p)
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-3)


@settings(deadline=None)
@given(angle, angle, rate, rate, rate, force)
def test_the_last_three_figures_are_the_effect_of_one_newton(t1, t2, dx, w1, w2, u):
    plant = Plant()
    here = plant.accelerations(t1, t2, dx, w1, w2, u)
    more = plant.accelerations(t1, t2, dx, w1, w2, u + 1.0)
    assert [b - a for a, b in zip(here[:3], more[:3], strict=True)] == pytest.approx(here[3:], abs=1e-9)


def drift(step_s, seconds=2.0):
    plant = Plant(IDEAL)
    state = (0.0, 0.9, -0.6, 0.4, 0.5, -1.0)
    start = plant.energy_joules(state)
    worst = 0.0
    for _ in range(round(seconds / step_s)):
        state = rk4_step(plant, state, 0.0, step_s)
        worst = max(worst, abs(plant.energy_joules(state) - start))
    return worst


def test_energy_is_conserved_without_friction_and_force():
    assert drift(0.001) < 1e-7  # of some 1.6 J


def test_the_integrator_is_of_fourth_order():
    assert drift(0.004) / drift(0.002) > 10.0  # 16 or 32 for a fourth-order rule, 4 for a second-order one


def test_friction_takes_energy():
    plant = Plant()
    state = (0.0, 0.9, -0.6, 0.4, 0.5, -1.0)
    energies = []
    for _ in range(400):
        state = rk4_step(plant, state, 0.0, 0.005)
        energies.append(plant.energy_joules(state))
    assert all(b < a + 1e-9 for a, b in pairwise(energies))
    assert energies[-1] < energies[0] - 0.05


def test_momentum_along_the_track_is_what_the_force_put_in():
    plant = Plant(IDEAL)
    c = plant._constants
    state = (0.0, 0.4, -0.3, 0.0, 0.0, 0.0)
    for _ in range(500):
        state = rk4_step(plant, state, 2.0, 0.001)
    _, t1, t2, dx, w1, w2 = state
    momentum = c[0] * dx + c[1] * math.cos(t1) * w1 + c[2] * math.cos(t2) * w2
    assert momentum == pytest.approx(2.0 * 0.5, abs=1e-8)


@pytest.mark.parametrize("upper", [0.0, math.pi])
@pytest.mark.parametrize("lower", [0.0, math.pi])
def test_every_equilibrium_stays_where_it_is(lower, upper):
    state = (0.7, lower, upper, 0.0, 0.0, 0.0)
    assert rk4_step(Plant(), state, 0.0, 0.005) == pytest.approx(state, abs=1e-12)


def test_upright_is_unstable_and_hanging_is_stable():
    plant = Plant()
    up, down = (0.0, 0.01, 0.01, 0.0, 0.0, 0.0), (0.0, math.pi - 0.01, math.pi + 0.01, 0.0, 0.0, 0.0)
    swing = 0.0
    for _ in range(300):
        up, down = rk4_step(plant, up, 0.0, 0.005), rk4_step(plant, down, 0.0, 0.005)
        swing = max(swing, abs(down[1] - math.pi))
    assert abs(up[1]) > 0.3
    assert swing < 0.05


@settings(deadline=None)
@given(angle, angle, rate, rate, rate, force)
def test_the_mirror_image_moves_as_the_mirror_image(t1, t2, dx, w1, w2, u):
    plant = Plant()
    state = (0.2, t1, t2, dx, w1, w2)
    there = rk4_step(plant, state, u, 0.002)
    mirrored = rk4_step(plant, tuple(-v for v in state), -u, 0.002)
    assert mirrored == pytest.approx([-v for v in there], abs=1e-9)


def test_without_friction_changes_nothing_else():
    p = Parameters(cart_mass_kg=2.5, gravity_mps2=1.62)
    assert p.without_friction() == replace(p, cart_friction=0.0, joint1_friction=0.0, joint2_friction=0.0)
