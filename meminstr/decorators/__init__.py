"""The three decorators users write: arguments in, `instrument` and the tracker called.  They read no memory."""

from __future__ import annotations

from .guarding import leak_guard
from .instances import track_instantiations
from .limiting import memory_limited

__all__ = ["leak_guard", "memory_limited", "track_instantiations"]
