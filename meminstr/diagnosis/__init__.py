"""Where it comes together: tracker -> snapshot -> verdict -> evidence -> report.

`taking` freezes what the tracker recorded, `reckoning` judges and attributes it (pure), `figures` turns rates into the
units people use, `explaining` looks for who holds what, `looking` is the early look during a run, `reporting` the
report.
"""

from __future__ import annotations

from . import looking
from .reporting import report

__all__ = ["report"]

looking.install()
