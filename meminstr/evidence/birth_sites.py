"""Where instances are born, and under which tags: a raw walk of a few frames, kept as a small number.

`inspect.stack` reads source files; this looks at code objects only (some 0.2 us a frame).  A site is the first
frame outside meminstr and the standard library.  The table of sites is bounded: when it is full, further
sites share one number, and the report says "elsewhere".
"""

from __future__ import annotations

import contextlib
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from os import sep
from typing import TypeVar

from ..verdict import BirthSite, ContextShare
from .ours import is_our_file

ELSEWHERE = 0
"""The number of every site that came after the table was full, and of code with no frame of the program's."""
_MOST_SITES = 4_096
_MOST_TAGS = 1_024
_MOST_TEXT = 80
_STANDARD = tuple({path + sep for key in ("stdlib", "platstdlib") if (path := sysconfig.get_paths().get(key))})
_SITE_PACKAGES = ("site-packages" + sep, "dist-packages" + sep)

Site = tuple[str, int, str]
_What = TypeVar("_What")

_lock = threading.Lock()
_sites: list[Site] = [("elsewhere", 0, "")]
_numbers: dict[Site, int] = {}
_ours_by_file: dict[str, bool] = {}

Tags = tuple[tuple[str, str], ...]
_tags: ContextVar[Tags] = ContextVar("meminstr_tags", default=())
_known_tags: dict[Tags, Tags] = {}
_OTHER_TAGS: Tags = (("context", "other"),)


def capture(skip: int = 1, depth: int = 8) -> int:
    """The number of the place from which the caller was called.

    Args:
        skip: frames to pass over, 1 being the caller of this function.
        depth: frames to look at before the nearest one is taken whatever it is.

    Returns:
        A number for `site` and `shares`; `ELSEWHERE` when there is no frame or the table is full.
    """
    try:
        frame = sys._getframe(skip)
    except ValueError:
        return ELSEWHERE
    nearest: Site | None = None
    for _ in range(depth):
        code = frame.f_code
        file = code.co_filename
        hidden = _ours_by_file.get(file)
        if hidden is None:
            hidden = _remember_file(file)
        if not hidden:
            return _number((file, frame.f_lineno, code.co_qualname))
        if nearest is None and not is_our_file(file):
            nearest = (file, frame.f_lineno, code.co_qualname)
        back = frame.f_back
        if back is None:
            break
        frame = back
    return _number(nearest) if nearest is not None else ELSEWHERE


def site(number: int) -> Site:
    """File, line and function of a number that `capture` gave."""
    return _sites[number] if 0 <= number < len(_sites) else _sites[ELSEWHERE]


def shares(born: Iterable[tuple[int, float]], most: int = 5) -> tuple[BirthSite, ...]:
    """The places most instances share, the largest share (0 to 1) first.

    Args:
        born: of each sampled instance the number of its place, and how many instances it speaks for.
        most: so many places at most.
    """
    counts = _summed(born)
    total = sum(counts.values())
    found = []
    for number, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]:
        file, line, function = site(number)
        found.append(BirthSite(_short(file), line, function, count / total))
    return tuple(found)


@contextlib.contextmanager
def context(**tags: object) -> Iterator[None]:
    """Tag everything constructed in this block: ``with context(request="POST /upload")``.

    Tags of an enclosing block stay unless they are given anew.  At most 1,024 different combinations are
    kept apart; later ones count as ``context=other``.  Works in threads and tasks (a context variable).
    """
    merged = dict(_tags.get())
    merged.update((key, str(value)[:_MOST_TEXT]) for key, value in tags.items())
    token = _tags.set(_intern(tuple(sorted(merged.items()))))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # an async generator closed in another context
            _tags.reset(token)


def current_tags() -> Tags:
    """The tags in force, sorted pairs; the same object for equal tags."""
    return _tags.get()


def tag_shares(born: Iterable[tuple[Tags, float]], most: int = 5) -> tuple[ContextShare, ...]:
    """The tags most instances share, the largest share first; untagged instances count in the total.

    Args:
        born: of each sampled instance its tags, and how many instances it speaks for.
        most: so many at most.
    """
    counts = _summed(born)
    total = sum(counts.values())
    ranked = sorted(((key, count) for key, count in counts.items() if key), key=lambda item: (-item[1], item[0]))
    return tuple(ContextShare(dict(key), count / total) for key, count in ranked[:most])


def _summed(born: Iterable[tuple[_What, float]]) -> dict[_What, float]:
    counts: dict[_What, float] = {}
    for what, weight in born:
        counts[what] = counts.get(what, 0.0) + weight
    return counts


def forget() -> None:
    """Empty all tables (a forked child, a test); numbers given before mean `ELSEWHERE` afterwards."""
    global _lock
    _lock = threading.Lock()  # a forked child may have inherited the old one held
    with _lock:
        del _sites[1:]
        _numbers.clear()
        _known_tags.clear()
        _ours_by_file.clear()


def _number(found: Site) -> int:
    number = _numbers.get(found)
    if number is not None:
        return number
    with _lock:
        number = _numbers.get(found)
        if number is None:
            if len(_sites) >= _MOST_SITES:
                return ELSEWHERE
            number = len(_sites)
            _sites.append(found)
            _numbers[found] = number
    return number


def _remember_file(file: str) -> bool:
    standard = file.startswith(_STANDARD) and not any(part in file for part in _SITE_PACKAGES)
    hidden = is_our_file(file) or file.startswith("<frozen ") or standard or sep + "wrapt" + sep in file
    if len(_ours_by_file) < _MOST_SITES:
        _ours_by_file[file] = hidden
    return hidden


def _intern(tags: Tags) -> Tags:
    with _lock:
        known = _known_tags.get(tags)
        if known is None:
            if len(_known_tags) >= _MOST_TAGS:
                return _OTHER_TAGS
            known = _known_tags[tags] = tags
    return known


def _short(file: str) -> str:
    """The file relative to the directory of `sys.path` it was imported from: the same on every machine."""
    roots = sorted((p for p in sys.path if p and file.startswith(p + sep)), key=len, reverse=True)
    return file[len(roots[0]) + 1 :] if roots else file
