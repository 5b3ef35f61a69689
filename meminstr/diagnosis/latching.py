"""A leak that was found stays found: what an earlier look is remembered by, and when it is taken back.  Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..judgement import Judgement
from ..series import SeriesView
from ..snapshot import SubjectRecord
from ..verdict import Interval, Verdict

_GOES_ON = 0.5
"""Of its first rate: a leak that was found goes on while the later half of it grows so fast."""


@dataclass(frozen=True, slots=True)
class Latch:
    """A growth that passed every gate at some look."""

    signal: str
    onset_x: float
    at_x: float
    growth: float
    judgement: Judgement


def still(found: Judgement, record: SubjectRecord, latch: Latch | None) -> Judgement:
    """A leak found before stays one, while nothing speaks against it: no more proof is asked for twice.

    It is taken back when half of the growth was given back or the later half of it goes on at less than half of the
    rate (a fill that ended, a cache that saturates), when a collection frees it, or a census explains it.
    """
    if latch is None or found.verdict is Verdict.LEAKING or found.reason.startswith("bounded cache"):
        return found
    view = record.series.get(latch.signal)
    if view is None or len(view) < 2 or view.x[-1] <= latch.at_x:
        return found
    before = [low for x, low in zip(view.x, view.low, strict=True) if x < latch.onset_x]
    base = max(before, default=view.low[0])
    middle = (latch.onset_x + view.x[-1]) / 2
    later = [(x, low) for x, low in zip(view.begin, view.low, strict=True) if x >= middle]
    if view.last and view.last[2] >= min((low for _, low in later), default=math.inf):
        later.append((view.last[0], view.last[2]))  # a slot in the making may be as long as all before
    if len(later) < 2 or min(low for _, low in later) - base < 0.5 * latch.growth:
        return found
    rate = latch.growth / max(1.0, latch.at_x - latch.onset_x)
    if later[-1][1] - later[0][1] < _GOES_ON * rate * (later[-1][0] - later[0][0]):
        return found
    return replace(latch.judgement, rates={**latch.judgement.rates, **found.rates, **_rate_since(latch, view, found)})


def _rate_since(latch: Latch, view: SeriesView, found: Judgement) -> dict[str, Interval]:
    # the later half alone may have shown nothing of late: a leak that goes on is told by all since its onset
    import numpy as np  # the judgement at hand has loaded it

    from ..trend.episode import steady_rate
    from ..trend.rates import Slope

    late = found.rates.get(latch.signal)
    if late is None or late.low is None or late.high is None:
        return {}
    x, low = np.array(view.begin), np.array(view.low)
    since = x >= latch.onset_x
    return {latch.signal: Interval(*steady_rate(x[since], low[since], Slope(late.value, late.low, late.high)))}
