"""Growth that began a moment ago, behind a history too coarse to show it yet.

After a million calls a slot holds hundreds of samples, and growth would be seen thousands of calls late.  The
latest raw readings answer at once, if they answer clearly: they rise nearly always and
stand above everything the history ever reached.  The second condition is what a program's own sawtooth does not meet.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .rates import Slope, theil_sen
from .sequential import Floats, log_evalue
from .shapes import select_shape

MIN_READINGS = 12
_MIN_RISES = 10


class Surge(NamedTuple):
    """A steady rise of the latest readings above all earlier ones."""

    onset_x: float
    growth: float
    rate: Slope
    log_e: float


def find_surge(x: Floats, values: Floats, earlier_high: float, growth_wanted: float, log_needed: float) -> Surge | None:
    """The surge in the latest raw readings, or None.

    Args:
        x, values: the latest readings, oldest first.
        earlier_high: greatest reading before them.
        growth_wanted: growth below this is not worth a word.
        log_needed: what the log e-value of the readings must reach.
    """
    above = np.flatnonzero(values <= earlier_high)
    begin = int(above[-1]) + 1 if len(above) else 0
    x, values = x[begin:], values[begin:]
    if len(values) < MIN_READINGS or float(values[-1] - values[0]) < growth_wanted:
        return None
    steps = np.diff(values)
    if int((steps > 0).sum()) < _MIN_RISES or float(steps.min()) < 0 or float(steps[-2:].max()) <= 0:
        return None
    log_e = log_evalue(values)
    if log_e < log_needed or not select_shape(x, values).steady:
        return None
    return Surge(float(x[0]), float(values[-1] - values[0]), theil_sen(x, values), log_e)
