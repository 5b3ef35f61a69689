"""How a person names what is to be instrumented: ``MODULE:NAME``, wildcards, and what was meant instead.

Covers the words only: parsing, matching names, the nearest match, and (without running anything) whether a
module or a name in its source can exist at all.  Finding the objects and replacing them is `by_name`.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib.machinery
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import UsageError

_SEGMENT = re.compile(r"[^\W\d]\w*")
_PATTERN = re.compile(r"[\w*?]+")
_WILD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True)
class Target:
    """One ``MODULE:NAME[=VALUE]`` of the user's.

    Attributes:
        text: as it was written.
        module: dotted name; ``*`` and ``?`` stand for any letters, dots included (``pkg.*`` is every module
            below ``pkg``, at any depth).
        path: the name inside the module in its dotted parts, each of which may hold wildcards.
        value: what follows ``=``, or None.
        option: what it was given to, as ``--track``; for messages.
        wants: what a wildcard is to find: ``class``, ``function`` or ``any``.
    """

    text: str
    module: str
    path: tuple[str, ...]
    value: str | None = None
    option: str = ""
    wants: str = "any"

    @classmethod
    def parse(cls, text: str, option: str = "target", wants: str = "any", value: str = "NAME") -> Target:
        """A target from ``MODULE:NAME`` or ``MODULE:NAME=VALUE``.

        Args:
            text: what the user wrote.
            option: where it was written, for the message.
            wants: ``class``, ``function`` or ``any``.
            value: what stands behind ``=``, for the message; empty when nothing may stand there.

        Raises:
            UsageError: not of that form, or a wildcard where none is allowed.
        """
        kind = {"class": "CLASS", "function": "FUNCTION"}.get(wants, "NAME")
        form = f"MODULE:{kind}" + (f"[={value}]" if value == "NAME" else f"={value}" if value else "")
        complaint = f"{option} {text!r} is not of the form {form}"
        head, equals, tail = text.partition("=")
        module, colon, path = head.strip().partition(":")
        if not colon or not module or not path:
            guess = head.strip().rpartition(".")
            hint = f" (did you mean {guess[0]}:{guess[2]}?)" if not colon and guess[0] and guess[2] else ""
            raise UsageError(f"{complaint}: module and name, with a colon between them{hint}")
        if equals and not value:
            raise UsageError(f"{complaint}: nothing may follow the name")
        if equals and not tail.strip():
            raise UsageError(f"{complaint}: nothing stands behind the =")
        if not equals and value not in ("", "NAME"):
            raise UsageError(f"{complaint}: ={value} is missing")
        parts, names = module.split("."), tuple(path.split("."))
        if not all(_PATTERN.fullmatch(part) for part in (*parts, *names)) or not all(
            _WILD.search(part) or _SEGMENT.fullmatch(part) for part in (*parts, *names)
        ):
            raise UsageError(f"{complaint}: names are letters, digits, _ and dots; * and ? are the wildcards")
        if _WILD.search(parts[0]):
            raise UsageError(f"{complaint}: the first part of the module must be a plain name")
        if parts[0] == __name__.partition(".")[0]:
            raise UsageError(f"{option} {text!r}: meminstr does not instrument itself")
        return cls(text, module, names, tail.strip() if equals else None, option, wants)

    @property
    def name(self) -> str | None:
        """What follows ``=``: the name a subject is to have in the report, or a limit."""
        return self.value

    @property
    def qualified_name(self) -> str:
        """The part after the colon, as ``Outer.Inner``."""
        return ".".join(self.path)

    @property
    def wild_module(self) -> bool:
        """Whether the module holds a wildcard."""
        return _WILD.search(self.module) is not None

    @property
    def wild_path(self) -> bool:
        """Whether the name holds a wildcard."""
        return _WILD.search(self.qualified_name) is not None

    def matches_module(self, name: str) -> bool:
        """Whether the target speaks of this module."""
        return fnmatch.fnmatchcase(name, self.module) if self.wild_module else name == self.module

    def matches_path(self, path: tuple[str, ...]) -> bool:
        """Whether the target speaks of this name, part by part."""
        return len(path) == len(self.path) and all(map(fnmatch.fnmatchcase, path, self.path))

    def __str__(self) -> str:
        return f"{self.option} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something a target asked for that was not done.

    Attributes:
        target: the target that asked.
        subject: the object it speaks of, as ``module:Name`` (the target's own words when there is none).
        why: one clause, for people.
    """

    target: Target
    subject: str
    why: str

    def __str__(self) -> str:
        return f"{self.target}: {self.subject} {self.why}"


def nearest(name: str, among: Iterable[str]) -> str:
    """`` (did you mean X?)`` when there is something close to ``name``, else nothing."""
    names = [other for other in among if not other.startswith("__")]
    close = difflib.get_close_matches(name, names, n=1)
    if not close:  # letter case is the commonest slip of all, and difflib counts each letter as wrong
        close = [other for other in names if other.lower() == name.lower()][:1]
    return f" (did you mean {close[0]}?)" if close else ""


def require_module(target: Target) -> importlib.machinery.ModuleSpec | None:
    """Where the target's module would be imported from; None when that cannot be told (a wildcard).

    Looks without importing anything; only when a submodule is not found that way (a package may extend its
    own path while it is imported) are its parents imported.

    Raises:
        UsageError: there is no such module; names the nearest match.
    """
    parts = target.module.split(".")
    fixed: list[str] = []
    for part in parts:
        if _WILD.search(part):
            break
        fixed.append(part)
    spec, known = None, ""
    where: list[str] | None = None
    for depth in range(len(fixed)):
        known = ".".join(fixed[: depth + 1])
        spec = _spec(known, where)
        if spec is None:
            break
        where = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
        if where is None and depth + 1 < len(parts):
            raise UsageError(f"{target}: {known} is a module, not a package, so there is no {target.module}")
    if spec is None and not _importable(known):
        parent = known.rpartition(".")[0]
        raise UsageError(f"{target}: there is no module {known}{nearest_module(known, where if parent else None)}")
    return spec if len(fixed) == len(parts) else None


def _spec(name: str, where: list[str] | None) -> importlib.machinery.ModuleSpec | None:
    if where is None:
        try:
            return importlib.util.find_spec(name) if "." not in name else None
        except (ValueError, ImportError):  # __spec__ is None: a module made by hand, already there
            return None
    return importlib.machinery.PathFinder.find_spec(name, where)


def _importable(name: str) -> bool:
    if name in sys.modules:
        return True
    if "." not in name:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:  # the parent's own import failed: the program will say so itself
        return False


def nearest_module(name: str, where: list[str] | None) -> str:
    """`` (did you mean X?)`` for a module name, among the modules beside it."""
    parent, _, _ = name.rpartition(".")
    prefix = parent + "." if parent else ""
    beside = {info.name for info in pkgutil.iter_modules(where)}
    if not parent:
        beside |= set(sys.stdlib_module_names)
    return nearest(name, (prefix + other for other in sorted(beside)))
