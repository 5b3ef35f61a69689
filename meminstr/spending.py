"""What sampling may cost, shared by all subjects of a sampler: a credit to begin with, then a share of the time.

Leaves to others: what a sample is (`sampling`), and how the distance between two of one function follows from what is
left (`instrument.switches`).
"""

from __future__ import annotations

PLENTY_SECONDS = 0.001
"""With so much left, subjects are sampled as often as was asked."""

_STEPS = ((20_000, 0.01), (200_000, 0.03))
_LARGE = 0.1

_OF_SHARE = 0.2
"""For samples of what is called often; the rest of the share is for probes that are dear (see `probes.budget`)."""
_INQUIRY, _INQUIRY_AT_ONCE, _INQUIRY_PACE = 0.4, 0.03, 0.05
_OVERDRAWN = 0.5


def growth_at(events: float) -> float:
    """However short time is, a subject is sampled when its events have grown by this fraction since the last sample.

    A verdict is due after some thousands of events: up to there the steps are fine (a leak of one block in a hundred
    calls is missed with coarser ones).  After that they grow, to twenty-four for each tenfold, so that fewer than one
    call in a thousand has one, and the 99.9th percentile does not see them.
    """
    for below, growth in _STEPS:
        if events < below:
            return growth
    return _LARGE


class Budget:
    """What sampling may cost: a credit to begin with, then a share of the time that passes.

    The credit (spent once in a process's life) is what lets a program of a second be judged at all; a fifth of the
    share is what a program of weeks pays.  Not locked: a lost update under threads costs microseconds of accounting.
    """

    __slots__ = ("_mean", "_started", "credit", "inquired", "share", "spent")

    def __init__(self, share: float, credit: float = 0.1) -> None:
        self.share = share
        self.credit = credit
        self.spent = 0.0
        self.inquired = 0.0
        """Spent on samples beyond that, taken because something grows and several functions may be behind it."""
        self._mean = 0.0
        self._started: float | None = None

    def charge(self, seconds: float) -> None:
        """Book one sample; what is beyond ten times the mean of those before was a wait for the processor."""
        seconds = min(seconds, 10 * self._mean) if self._mean else seconds
        self._mean += (seconds - self._mean) / 16 if self._mean else seconds
        self.spent += seconds

    def left(self, now: float) -> float:
        """Seconds that may still be spent at time ``now``."""
        if self._started is None:
            self._started = now
        return self.credit + _OF_SHARE * self.share * (now - self._started) - self.spent

    def may_inquire(self, now: float) -> bool:
        """Whether samples may be taken to find out whose a growth is: 30 ms at once, a twentieth of the time up to
        0.4 s in all, and the share once more."""
        elapsed = 0.0 if self._started is None else now - self._started
        return self.inquired < min(_INQUIRY, _INQUIRY_AT_ONCE + _INQUIRY_PACE * elapsed) + self.share * elapsed

    def growth(self, now: float, events: float) -> float:
        """By which fraction events must grow until a sample is taken whatever the budget: `growth_at`, or doubled when
        thousands of subjects have overdrawn it."""
        return growth_at(events) if self.left(now) > -_OVERDRAWN else 1.0
