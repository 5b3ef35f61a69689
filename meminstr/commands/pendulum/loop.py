"""The closed loop and its cost: one controller built, run on the plant, cleaned up and dropped per evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .bus import BUS
from .dynamics import Plant, State, rk4_step
from .surface import SlidingModeController
from .swarm import SwarmResult, swarm_search

ControllerClass = Callable[[Sequence[float]], SlidingModeController]

FALLEN_RAD = 0.7
"""A link farther from upright than this has fallen; the run ends there."""

_PLANT = Plant()


@dataclass(frozen=True, slots=True)
class Setup:
    """One experiment: where it starts, how long it lasts, and the push in the middle."""

    start: State = (0.0, 0.06, -0.04, 0.0, 0.0, 0.0)
    duration_s: float = 2.25
    period_s: float = 0.005
    """Sampling period of the controller; the force is held in between."""
    steps_per_period: int = 2
    push_n: float = 4.0
    push_from_s: float = 0.2
    push_until_s: float = 0.35


@dataclass(frozen=True, slots=True)
class Run:
    """What one experiment came to."""

    cost: float
    final_state: State
    fell_at_s: float | None
    """Time at which a link fell; None when both stood to the end."""


def simulate(controller: SlidingModeController, setup: Setup) -> Run:
    """Run a controller on the plant and price what it did.

    The cost is the time integral of the weighted squares of state and force, plus the mean square change of
    the force from sample to sample (chattering), plus a penalty that is the larger the sooner a link falls.
    """
    state_vars = controller.initialize_state()
    history = controller.initialize_history()
    period = setup.period_s
    periods = round(setup.duration_s / period)
    step = period / setup.steps_per_period
    state = setup.start
    total = 0.0
    before = 0.0
    for tick in range(periods):
        now = tick * period
        force = controller.compute_control(state, state_vars, history)
        push = setup.push_n if setup.push_from_s <= now < setup.push_until_s else 0.0
        for _ in range(setup.steps_per_period):
            state = rk4_step(_PLANT, state, force + push, step)
        x, t1, t2, dx, w1, w2 = state
        if not (abs(t1) < FALLEN_RAD and abs(t2) < FALLEN_RAD):  # written so that NaN has fallen too
            return Run(total + 1000.0 * (1.0 - tick / periods) + 100.0, state, now + period)
        total += period * (
            20.0 * x * x + 200.0 * (t1 * t1 + t2 * t2) + dx * dx + w1 * w1 + w2 * w2 + 0.002 * force * force
        )
        change = force - before
        total += 0.01 * period * change * change
        before = force
    # what is not at rest at the end is priced as if it lasted another second: gains that only look good
    # for the length of the experiment are not wanted
    x, t1, t2, dx, w1, w2 = state
    total += 20.0 * x * x + 200.0 * (t1 * t1 + t2 * t2) + 5.0 * dx * dx + w1 * w1 + w2 * w2
    return Run(total, state, None)


def evaluate(controller_class: ControllerClass, gains: Sequence[float], setup: Setup) -> float:
    """The cost of one vector of gains: builds a controller, runs it, publishes the cost, cleans up."""
    controller = controller_class(gains)
    try:
        run = simulate(controller, setup)
        BUS.publish("cost", run.cost)
    finally:
        controller.cleanup()
    return run.cost


def search_gains(
    controller_class: type[SlidingModeController],
    *,
    evaluations: int,
    seed: int,
    setup: Setup,
    after_each: Callable[[], None] | None = None,
) -> SwarmResult:
    """Search the gains of one class with `evaluations` constructions of it.

    Args:
        controller_class: one of `controllers`; its `bounds` are the box searched.
        evaluations: number of constructions.
        seed: of the swarm.
        setup: the experiment that prices a vector of gains.
        after_each: called after every evaluation.
    """

    def cost(gains: Sequence[float]) -> float:
        value = evaluate(controller_class, gains, setup)
        if after_each is not None:
            after_each()
        return value

    return swarm_search(cost, controller_class.bounds, evaluations=evaluations, seed=seed)
