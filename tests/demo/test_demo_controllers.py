"""The controllers and the search: they stabilise the plant, the cost depends on them, the search improves it."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meminstr.commands import demo
from meminstr.commands.pendulum import controllers, loop, reaching
from meminstr.commands.pendulum.dynamics import Plant, rk4_step
from meminstr.commands.pendulum.surface import MAX_FORCE_N
from meminstr.commands.pendulum.swarm import swarm_search

CLASSES = [
    controllers.ClassicalSMC,
    controllers.SuperTwistingSMC,
    controllers.AdaptiveSMC,
    controllers.HybridAdaptiveSMC,
]
SHORT = loop.Setup(duration_s=0.5)
MEAN_ACTIONS = reaching.compute_region(4.0, 8.0).mean_actions(0.005, 4.0)
LONGER = loop.Setup(duration_s=1.5)


@pytest.fixture(autouse=True)
def _nothing_left():
    demo.forget_demo()
    yield
    demo.forget_demo()


def middle(cls):
    return [math.sqrt(low * high) for low, high in cls.bounds]


def search(cls, evaluations=120, seed=5, setup=SHORT):
    return loop.search_gains(cls, evaluations=evaluations, seed=seed, setup=setup)


@functools.cache
def found_by_search(cls):
    return search(cls, 123, setup=LONGER)  # not a multiple of the swarm's size


@pytest.mark.parametrize("cls", CLASSES)
def test_found_gains_hold_the_links_upright_through_a_push(cls):
    found = found_by_search(cls)
    for seconds in (5.5, 6.0):  # not one lucky instant of an oscillation
        run = loop.simulate(cls(found.best), loop.Setup(duration_s=seconds))
        assert run.fell_at_s is None
        x, t1, t2, dx, w1, w2 = run.final_state
        assert max(abs(t1), abs(t2)) < 0.02
        assert max(abs(dx), abs(w1), abs(w2)) < 0.2
        assert abs(x) < 0.3


def test_without_control_the_links_fall_in_the_same_experiment():
    plant, state = Plant(), loop.Setup().start
    for _ in range(400):
        state = rk4_step(plant, state, 0.0, 0.005)
    assert max(abs(state[1]), abs(state[2])) > loop.FALLEN_RAD


@pytest.mark.parametrize("cls", CLASSES)
def test_every_gain_matters_to_the_cost(cls):
    gains = list(found_by_search(cls).best)
    cost = loop.evaluate(cls, gains, SHORT)
    for index in range(len(gains)):
        changed = gains.copy()
        changed[index] *= 0.8
        assert loop.evaluate(cls, changed, SHORT) != pytest.approx(cost, rel=1e-6), index


@pytest.mark.parametrize("cls", CLASSES)
def test_the_search_improves_the_cost_and_makes_every_evaluation(cls):
    found = found_by_search(cls)
    assert found.evaluations == 123
    assert found.best_cost < 0.9 * found.first_cost
    assert all(low <= g <= high for g, (low, high) in zip(found.best, cls.bounds, strict=True))
    assert loop.evaluate(cls, found.best, LONGER) == pytest.approx(found.best_cost, rel=1e-12)


def test_the_search_does_better_than_as_many_tries_at_random():
    cls = controllers.ClassicalSMC
    low, high = np.array(cls.bounds).T
    random = np.random.default_rng(105)
    tries = [loop.evaluate(cls, random.uniform(low, high).tolist(), LONGER) for _ in range(123)]
    assert found_by_search(cls).best_cost < 0.97 * min(tries)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_search_is_determined_by_its_seed(cls):
    first = search(cls, 30, seed=8)
    demo.forget_demo()
    assert search(cls, 30, seed=8) == first
    assert search(cls, 30, seed=9).best != first.best


def test_a_fallen_link_ends_the_run_and_costs_the_more_the_sooner():
    class Idle(controllers.ClassicalSMC):
        def compute_control(self, state, state_vars, history):
            return 0.0

    gains = middle(Idle)
    soon = loop.simulate(Idle(gains), loop.Setup(start=(0.0, 0.3, -0.3, 0.0, 0.0, 0.0)))
    late = loop.simulate(Idle(gains), loop.Setup(start=(0.0, 0.02, 0.02, 0.0, 0.0, 0.0)))
    assert soon.fell_at_s is not None
    assert late.fell_at_s is not None
    assert soon.fell_at_s < late.fell_at_s
    assert soon.cost > late.cost > 100.0


@pytest.mark.parametrize("cls", CLASSES)
def test_the_seeds_loop_can_drive_them(cls):
    """The interface of `monitor_controller_loop`: a six-vector, fresh variables, fresh history."""
    controller = cls(middle(cls))
    history = controller.initialize_history()
    force = controller.compute_control(
        np.array([0.1, 0.05, -0.03, 0.0, 0.0, 0.0]), controller.initialize_state(), history
    )
    assert math.isfinite(force)
    assert history["control"] == [force]
    assert len(history["surface"]) == 1
    controller.cleanup()
    controller.cleanup()
    assert controller.released


@pytest.mark.parametrize("cls", CLASSES)
@settings(deadline=None, max_examples=50)
@given(state=st.tuples(*[st.floats(-1.5, 1.5)] * 3, *[st.floats(-20, 20)] * 3))
def test_the_force_is_finite_and_within_its_limits(cls, state):
    controller = cls(middle(cls))
    force = controller.compute_control(state, controller.initialize_state(), controller.initialize_history())
    controller.cleanup()
    assert abs(force) <= MAX_FORCE_N


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("bad", [[], [1.0] * 7, [1.0] * 7 + [0.0], [1.0] * 7 + [math.nan], [-1.0] * 8])
def test_gains_that_are_none_are_refused(cls, bad):
    with pytest.raises(ValueError, match="8 finite positive numbers"):
        cls(bad)


def test_adapted_gains_grow_off_the_surface_and_stop_at_their_limit():
    controller = controllers.AdaptiveSMC(middle(controllers.AdaptiveSMC))
    variables, history = controller.initialize_state(), controller.initialize_history()
    off = (0.0, -0.3, 0.3, 0.0, 0.0, 0.0)
    before = variables[0]
    controller.compute_control(off, variables, history)
    assert variables[0] > before
    for _ in range(2000):
        controller.compute_control(off, variables, history)
    assert variables[0] == controllers.MAX_ADAPTED
    controller.compute_control((0.0,) * 6, variables, history)
    assert variables[0] < controllers.MAX_ADAPTED


def sphere(place):
    return sum((value - 0.3) ** 2 for value in place)


def test_the_swarm_finds_the_minimum_of_a_bowl():
    found = swarm_search(sphere, [(-5.0, 5.0)] * 3, evaluations=1500, seed=1)
    assert found.best == pytest.approx([0.3] * 3, abs=0.01)


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 30), st.integers(0, 2**32))
def test_the_swarm_stays_inside_and_counts_right(evaluations, particles, seed):
    places = []

    def cost(place):
        places.append(place)
        return -place[0]  # the minimum is on the wall

    bounds = [(-1.0, 2.0), (10.0, 11.0)]
    found = swarm_search(cost, bounds, evaluations=evaluations, particles=particles, seed=seed)
    assert len(places) == evaluations == found.evaluations
    assert all(low <= v <= high for place in places for v, (low, high) in zip(place, bounds, strict=True))
    assert found.best_cost == min(-place[0] for place in places) <= found.first_cost


@pytest.mark.parametrize(
    ("bounds", "evaluations", "particles"),
    [([(0, 1)], 0, 5), ([(0, 1)], 5, 0), ([(1, 1)], 5, 5), ([(2, 1)], 5, 5)],
)
def test_a_search_that_cannot_be_is_refused(bounds, evaluations, particles):
    with pytest.raises(ValueError, match=r"allowed|low < high"):
        swarm_search(sphere, bounds, evaluations=evaluations, particles=particles, seed=0)


def test_the_mean_action_brings_a_sampled_loop_nearer_to_the_surface():
    """The table's reason to exist: less residual chattering than the law's value at the period's start."""
    k1, k2, period = 15.0, 20.0, 0.005
    actions = reaching.compute_region(k1, k2).mean_actions(period, k1)

    def residual(law):
        s, v, tail = 1.0, 0.0, []
        for tick in range(600):
            s, v = s + period * (law(s) + v), v - period * k2 * np.sign(s)
            if tick >= 300:
                tail.append(abs(s))
        return sum(tail) / len(tail)

    plain = residual(lambda s: -k1 * math.sqrt(abs(s)) * np.sign(s))
    assert residual(lambda s: reaching.interpolate(actions, s)) < plain


@settings(deadline=None)
@given(st.floats(-5.0, 5.0))
def test_the_looked_up_action_is_odd_and_pulls_back(distance):
    action = reaching.interpolate(MEAN_ACTIONS, distance)
    assert action == -reaching.interpolate(MEAN_ACTIONS, -distance)
    assert action * distance <= 0.0


def test_a_trajectory_arrives_and_a_weak_one_does_not_arrive_in_time():
    strong = reaching.compute_region(20.0, 30.0)
    assert np.abs(strong.distance[:, -1]).max() < 0.05
    assert 0.0 < strong.reaching_time_s() < reaching.STEPS * reaching.STEP_S
    assert reaching.compute_region(1.0, 0.5).reaching_time_s() == math.inf
