"""Which guarded functions are called from within which, seen now and then from the stack of a sampled call.

What a call of an outer function leaves behind is in part that of the guarded functions it calls, which enter no frame
of meminstr when they are not sampled.  But the outer one's frame is on the stack when an inner one is sampled, and so,
over many samples, it is known how many calls of each lie inside one call of which (recursion included).  Frames of
coroutines and generators are on the stack too while they run.

Leaves to others: what follows from it for the rates (`attribution`).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import CodeType, FrameType
from typing import Any

_ALL = 32
_THEN = 4
_DEPTH = 256
_MOST = 16


class Nesting:
    """Counts of guarded frames above sampled calls."""

    def __init__(self) -> None:
        self._names: dict[CodeType, str | None] = {}
        self._seen: dict[str, int] = {}
        self._walks: dict[str, int] = {}
        self._above: dict[str, dict[str, int]] = {}

    def add(self, name: str, function: Any) -> None:
        """A function is guarded.  Of several with the same code (closures) none can be told by its frame."""
        code = _code_of(function)
        if code is not None:
            self._names[code] = None if code in self._names else name

    def sampled(self, name: str) -> None:
        """A call of this function was sampled, and its frame is gone: whose frames are above?  All of the first
        samples are asked, then one in four."""
        seen = self._seen[name] = self._seen.get(name, 0) + 1
        if len(self._names) < 2 or (seen > _ALL and seen % _THEN):
            return
        self._walks[name] = self._walks.get(name, 0) + 1
        frame: FrameType | None = sys._getframe(1)
        names, depth = self._names, 0
        while frame is not None and depth < _DEPTH:
            outer = names.get(frame.f_code)
            if outer is not None:
                above = self._above.setdefault(name, {})
                if outer in above or len(above) < _MOST:
                    above[outer] = above.get(outer, 0) + 1
            frame = frame.f_back
            depth += 1

    def inside(self, calls: Mapping[str, int]) -> dict[str, dict[str, float]]:
        """By outer function: how many calls of each inner one lie inside one call of it, on average.

        Args:
            calls: of each function, so far.
        """
        out: dict[str, dict[str, float]] = {}
        for inner, above in list(self._above.items()):
            for outer, count in list(above.items()):
                if calls.get(outer):
                    frames = count / self._walks[inner]
                    out.setdefault(outer, {})[inner] = frames * calls.get(inner, 0) / calls[outer]
        return out

    def clear(self) -> None:
        """Nothing is guarded any more."""
        self.__init__()  # type: ignore[misc]


def _code_of(function: Any) -> CodeType | None:
    try:
        code = getattr(inspect.unwrap(function), "__code__", None)
    except Exception:
        return None
    return code if isinstance(code, CodeType) else None
