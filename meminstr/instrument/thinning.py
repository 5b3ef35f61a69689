"""Above 100,000 living instances of a class: one in k followed to its death, the others counted only.

Constructions stay exact, and so do calls of the cleanup (an instance that is not followed and is cleaned up twice
counts twice: nothing is kept of it to tell).  Which instance is followed is drawn, each with the chance 1 / k, so that
no period of the program's meets one of ours; what is alive is then an estimate with an interval.  k doubles each time
as many are followed at it as are allowed, and is one again when half of the allowed are alive: of
10^6 living some 400,000 are followed, and 100,000 more for each doubling beyond.

The constructor asks here by having its class taken from it: `_mi_class` is None, so each construction goes to
`_mi_owns`.  A class that is not thinned pays nothing for this.
"""

from __future__ import annotations

import math
import random
import threading
from typing import TYPE_CHECKING, Any

from .deaths import Level, Ref

if TYPE_CHECKING:
    from .classes import ClassFollower


class Thinning:
    """Which instances of one class are followed, and how many are alive by those that are.

    Args:
        follower: the class's.
        most: instances followed at one k.
    """

    def __init__(self, follower: ClassFollower, most: int) -> None:
        self._follower = follower
        self.most = max(1, most)
        self.one_in = 1
        """Of so many constructions one is followed now."""
        self._level: Level | None = None
        self._draw = random.Random(1).random  # ours alone: the program's own sequence stays as it is
        self._tokens: dict[int, int | None] = {}

    def adjust(self, living: int) -> None:
        """Follow fewer, or all again; asked at each sample with the estimate of who lives."""
        if living <= self.most and self.one_in == 1:
            return
        tally = self._follower.tally
        followed = tally.base.followed() if self._level is None else self._level.followed()
        if followed > self.most:
            self.one_in *= 2
            self._level = tally.level(self.one_in)
            self._follower.switch()
        elif self.one_in > 1 and living <= self.most // 2:
            self.one_in, self._level = 1, None
            self._follower.switch()

    def restart(self) -> None:
        """A forked child follows all of its own."""
        self.one_in, self._level = 1, None
        self._tokens.clear()

    def before(self) -> int | None:
        """A sampled construction begins; its number waits here for the end: the constructor would not bring it."""
        token = self._follower.sampler.before()
        if self.one_in == 1:
            return token
        self._tokens[threading.get_ident()] = token
        return None

    def failed(self) -> None:
        """It failed."""
        if self._tokens:
            self._tokens.pop(threading.get_ident(), None)

    def __reduce__(self) -> Any:
        return (getattr, (self._follower, "_thinning"))

    def owns(self, instance: Any) -> bool:
        """Count a construction and follow it if it is drawn; always False, as nothing is left to do."""
        follower, level = self._follower, self._level
        tally = follower.tally
        if not follower.is_new(instance):
            return False
        if level is None:  # switched back in this moment
            level = tally.base
        number = tally.constructed.bump()
        if self._draw() * level.weight < 1.0:
            ref = Ref(instance, level.live.discard)
            ref.number = number
            level.live.add(ref)
        token = self._tokens.pop(threading.get_ident(), None) if self._tokens else None
        if token is not None or number >= follower.sampler.arm_at:
            follower.sampler.after(instance, number, token)
        return False

    def note(self) -> str | None:
        """What the report says of it; None while all are followed."""
        tally = self._follower.tally
        if not tally.levels:
            return None
        alive, wide = tally.living()[0], spread(tally.levels)
        low = max(sum(level.followed() for level in tally.all_levels()), int(alive - wide))
        high = min(tally.constructed.value, int(alive + wide))
        return (
            f"above {self.most:,} living instances the deaths of one in {max(2, self.one_in):,} are followed: "
            f"{alive:,} are alive, {low:,} to {high:,} with 95 % confidence; constructions and cleanups are exact"
        )


def spread(levels: list[Level]) -> float:
    """Half the width of the 95 % interval of the living: a binomial each, and one death at each k for a level that is
    nearly empty."""
    variance = sum(level.weight * (level.weight - 1) * level.followed() for level in levels)
    return 1.96 * math.sqrt(variance) + 2 * sum(level.weight for level in levels)
