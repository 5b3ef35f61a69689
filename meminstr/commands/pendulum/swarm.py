"""A particle swarm that minimises a cost over a box.

The global-best swarm with constriction coefficients (Clerc and Kennedy, "The Particle Swarm: Explosion,
Stability, and Convergence in a Multidimensional Complex Space", 2002).  It is deterministic by its seed and
makes exactly the number of evaluations it is told to.  What a cost is, is the caller's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_INERTIA = 0.7298
_PULL = 1.49618  # towards a particle's own best, and towards the swarm's
_TOP_SPEED = 0.25  # of the box's width per move
_PARTICLES = 20


@dataclass(frozen=True, slots=True)
class SwarmResult:
    """What a search found."""

    best: tuple[float, ...]
    best_cost: float
    first_cost: float
    """Best cost of the random swarm that the search began with."""
    evaluations: int


def swarm_search(
    cost: Callable[[Sequence[float]], float],
    bounds: Sequence[tuple[float, float]],
    *,
    evaluations: int,
    seed: int,
    particles: int = _PARTICLES,
) -> SwarmResult:
    """Minimise `cost` over the box of `bounds` with exactly `evaluations` evaluations.

    Args:
        cost: called with one float per bound; to be minimised.
        bounds: lowest and highest value of each coordinate.
        evaluations: how often `cost` is called, at least 1.
        seed: of the random numbers; equal seeds give equal results.
        particles: size of the swarm; fewer when there are fewer evaluations.

    Raises:
        ValueError: no evaluation, no particle, or a bound that is no interval.
    """
    if evaluations < 1 or particles < 1:
        raise ValueError(f"{evaluations=}, {particles=}: at least 1 of each is allowed")
    low, high = (np.array(side, dtype=float) for side in zip(*bounds, strict=True))
    if not np.all(low < high):
        raise ValueError("every bound must be (low, high) with low < high")
    random = np.random.default_rng(seed)
    count = min(particles, evaluations)
    top_speed = _TOP_SPEED * (high - low)
    place = random.uniform(low, high, (count, len(low)))
    speed = random.uniform(-top_speed, top_speed, place.shape)
    own_best = place.copy()
    own_cost = np.array([cost(row) for row in place.tolist()])
    first_cost = float(own_cost.min())
    done = count
    while done < evaluations:
        leader = own_best[own_cost.argmin()]
        pulls = _PULL * random.random((2, *place.shape))
        speed = _INERTIA * speed + pulls[0] * (own_best - place) + pulls[1] * (leader - place)
        np.clip(speed, -top_speed, top_speed, out=speed)
        place = place + speed
        outside = (place < low) | (place > high)
        speed[outside] *= -0.5  # a particle bounces off the wall and loses half its speed
        np.clip(place, low, high, out=place)
        for index, row in enumerate(place[: evaluations - done].tolist()):
            value = cost(row)
            if value < own_cost[index]:
                own_cost[index] = value
                own_best[index] = place[index]
            done += 1
    winner = int(own_cost.argmin())
    return SwarmResult(tuple(own_best[winner].tolist()), float(own_cost[winner]), first_cost, done)
