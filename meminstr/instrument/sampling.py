"""Which constructions an observer is told of: all of the first, then ever fewer, at last one in `sample_every`, or
fewer still when they come so fast that samples would cost too much (`pace`).

The generated constructor reads two values of its globals: `_mi_armed` before it begins (is this one sampled?) and
`_mi_arm_at` after it has counted (shall the next one be?).  Both are set here, so a construction that is not
sampled pays a look at a global and a comparison, together 20 ns; a second counter would be 25 besides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..errors import LeakDetected
from ..faults import settle
from ..spending import growth_at

if TYPE_CHECKING:
    from .classes import ClassFollower

DENSE = 128
"""The first constructions, each of which is sampled: one-time growth shows there."""
_STEP = 8
# One digit of an int: comparisons with longer ones leave the interpreter's fast path (2 to 11 ns more).
_FAR = (1 << 30) - 1


def next_sample(number: int, every: int) -> int:
    """The number of the next construction to sample after `number` (>= 0).

    Each of the first `DENSE`, then in steps of `_STEP` that grow with the count (`growth_at`), `every` at most on
    average.  A step is drawn, from half of its length to one and a half: were each hundredth construction asked where
    it was made, requests that come in turn would be asked about either always or never.
    """
    if number < DENSE:
        return number + 1
    stride = min(every, max(_STEP, int(number * growth_at(number))))
    half = stride // 2
    # the draw is the same in each run: multiplicative hashing (Knuth, TAOCP volume 3, 6.4)
    return number + stride - half + (number * 0x9E3779B1 >> 9 & 0x7FFFFF) % (2 * half + 1)


class ClassObserver(Protocol):
    """Who is told of sampled constructions, in the constructing thread.  Its exceptions go to `faults`."""

    def sampled(self, follower: ClassFollower, constructed: int, phase: str) -> None:
        """Before (`phase` ``"before"``) and after (``"after"``) the construction with this number.

        A construction that fails has no ``"after"``.
        """

    def born(self, follower: ClassFollower, instance: Any) -> None:
        """After a sampled construction; the caller's frame is the first below those of `FRAME_FILE`."""


class Sampler:
    """The sampling of one class; called by its generated constructor, in the constructing thread."""

    def __init__(self, follower: ClassFollower, shared: dict[str, Any], every: int) -> None:
        self._follower = follower
        self._shared = shared
        self._every = self._stride = every
        self._observer: ClassObserver | None = None
        self._raw = 0  # the raw count when the next sample was armed: reading the count itself costs 0.6 us
        self.disarm()

    @property
    def arm_at(self) -> int:
        """From this raw count on the next construction is to be sampled."""
        return int(self._shared["_mi_arm_at"])

    def set_observer(self, observer: ClassObserver | None) -> None:
        """Tell somebody else, or nobody."""
        self._observer = observer
        self.rearm()

    def set_every(self, every: int) -> None:
        """Another mean distance between two samples (the governor of our own cost)."""
        self._every = self._stride = max(1, every)
        self.rearm()

    def pace(self, short: bool, plenty: bool) -> None:
        """Twice the mean distance when time is `short`, half of it, down to what was asked, when there is `plenty`.

        In effect no distance is longer than `growth_at` says, see `next_sample`.
        """
        if short:
            count = self._raw - self._follower.tally.constructed.base
            if self._stride <= count * growth_at(count):
                self._stride *= 2
        elif plenty:
            self._stride = max(self._every, self._stride // 2)

    def disarm(self) -> None:
        """Sample nothing."""
        self._shared["_mi_armed"] = False
        self._shared["_mi_arm_at"] = _FAR

    def rearm(self) -> None:
        """Go on with the schedule from the present count."""
        if self._observer is None:
            self.disarm()
            return
        count = self._follower.tally.constructed
        self._raw = count.raw
        self._shared["_mi_arm_at"] = count.base + next_sample(count.value, self._stride) - 1
        self._shared["_mi_armed"] = self._shared["_mi_arm_at"] <= self._raw

    def restart(self) -> None:
        """Begin anew in a forked child."""
        self.rearm()

    def before(self) -> int | None:
        """Tell of a sampled construction that begins; returns its number, unless nobody listens.

        Where threads construct at once the number is that of the first of them.
        """
        observer = self._observer
        if observer is None:
            self.disarm()
            return None
        base = self._follower.tally.constructed.base
        number = self._raw + 1 - base
        self._shared["_mi_armed"] = False
        self._shared["_mi_arm_at"] = base + next_sample(number, self._stride) - 1
        try:
            observer.sampled(self._follower, number, "before")
        except Exception as error:
            settle(f"observer of {self._follower.name}", error)
        return number

    def after(self, instance: Any, raw: int, token: int | None) -> None:
        """Tell of one that succeeded (`token` is the number from `before`), and arm the next if it is due.

        Raises:
            LeakDetected: the observer's, which was asked for (``on_leak="raise"``); no other error of it.
        """
        observer = self._observer
        leak: LeakDetected | None = None
        if token is not None and observer is not None:
            try:
                try:
                    observer.sampled(self._follower, raw - self._follower.tally.constructed.base, "after")
                except LeakDetected as asked_for:
                    leak = asked_for  # raised when all is noted and armed: the program may go on
                observer.born(self._follower, instance)
            except Exception as error:
                settle(f"observer of {self._follower.name}", error)
        if observer is None:
            self._shared["_mi_arm_at"] = raw + _FAR
        elif raw >= self._shared["_mi_arm_at"]:
            self._raw = raw
            self._shared["_mi_armed"] = True
        if leak is not None:
            try:
                raise leak
            finally:
                leak = None  # no cycle through this frame
