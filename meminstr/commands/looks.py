"""How a command speaks to whoever reads: with `terminal` (the library `rich`) on a terminal, plainly everywhere else.

Plain when standard output is piped, the terminal is dumb, or `rich` (extra ``cli``) is not installed; without colours
where ``NO_COLOR`` is set.  This file imports nothing of `rich`; sparklines are plain characters.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from types import ModuleType
from typing import TextIO, TypeVar

T = TypeVar("T")

_BARS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-=*#"


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads this stream on a terminal that can move its cursor."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") != "dumb"
    except (AttributeError, ValueError):  # no stream, or a closed one
        return False


def terminal() -> ModuleType | None:
    """The module `terminal`, or None where plain text is the better answer."""
    if not is_terminal(sys.stdout) or find_spec("rich") is None:
        return None
    from . import terminal as module

    return module


def colors() -> bool:
    """Whether plain text may hold ANSI colours."""
    return is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")


def sparkline(values: Sequence[float], width: int = 24, stream: TextIO | None = None) -> str:
    """Values as a line of small bars, at most `width` of them; in ASCII where the stream knows no others."""
    if not values:
        return ""
    if len(values) > width:
        edges = [round(i * len(values) / width) for i in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    bars = _BARS if _knows(_BARS, sys.stdout if stream is None else stream) else _ASCII
    low, high = min(values), max(values)
    span = high - low
    last = len(bars) - 1
    return "".join(bars[0 if span <= 0 else min(last, int((v - low) / span * len(bars)))] for v in values)


def _knows(text: str, stream: TextIO | None) -> bool:
    encoding = getattr(stream, "encoding", None) or getattr(sys.__stdout__, "encoding", None)  # a live view's has none
    try:
        text.encode(encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def progress(items: Sequence[T], label: str) -> Iterable[T]:
    """The items, with a progress bar on standard error when that is a terminal and there is much to do."""
    if len(items) < 2 or not is_terminal(sys.stderr):
        return items
    if find_spec("rich") is not None:
        from .terminal import track

        return track(items, label)
    return _plain_bar(items, label)


def _plain_bar(items: Sequence[T], label: str) -> Iterator[T]:
    from .pendulum.progress import ProgressBar

    bar = ProgressBar(sys.stderr)
    try:
        for done, item in enumerate(items):
            bar(done, len(items), label)
            yield item
    finally:
        bar.close()
