"""Instrumenting a program by names, without a change to it: now for modules already imported, later at import.

`instrument_by_name` finds what `Target`s speak of and offers each object to a callback, which returns what
is to stand in its place.  A module is searched right after its body has run, before anyone can take a
name from it.  Its own dispatch tables and default arguments get the replacement too (`captured`); what else was
captured before or inside that body (a closure, an instance) still holds the original: that is the price of patching
by name (INSTRUMENTING.md F5).  No error of an import hook reaches the importing program.

Left to others: how a function or class is instrumented (the callback), and targets inside a script that is
run as ``__main__`` while it has not run yet (`meminstr.commands.main_targets`, which reports here).
"""

from __future__ import annotations

import fnmatch
import functools
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from typing import Any

import wrapt

from ..errors import UsageError
from ..faults import note_fault
from .captured import Undo, replace_captured
from .frame_lookers import looks_at_frames
from .targets import Skipped, Target, nearest

Apply = Callable[[object, str, Any, Target], Any]
"""``apply(owner, attribute_name, obj, target)``: the replacement, or None to leave the object where it is.

``owner`` is the module or class that holds the object, ``obj`` what stands in its namespace (for a static
method the `staticmethod` itself).  A `UsageError` means "not this one": it is listed with its message.
"""

_FUNCTIONS = (types.FunctionType, staticmethod, classmethod, functools._lru_cache_wrapper)
_SKIPPED_KEPT = 1_000  # a wildcard over a huge package must not fill memory with excuses


@dataclass(frozen=True, slots=True)
class Applied:
    """An object that was offered to the callback and taken.

    Attributes:
        target: the target that asked.
        subject: ``module:Name``.
    """

    target: Target
    subject: str


@dataclass(frozen=True, slots=True)
class _Replaced:
    """One namespace entry that was changed, for `Instrumentation.undo`."""

    owner: Any
    name: str
    original: object
    replacement: object


class Instrumentation:
    """What came of a set of targets: grows as modules are imported.

    Attributes:
        targets: what was asked for.
        applied: what was instrumented, in order.
        skipped: what was found and could not be instrumented, with the reason.
    """

    def __init__(self, targets: Sequence[Target], apply: Apply) -> None:
        self.targets = tuple(targets)
        self.applied: list[Applied] = []
        self.skipped: list[Skipped] = []
        self._apply = apply
        self._replaced: list[_Replaced] = []
        self._now: dict[int, tuple[object, Any]] = {}  # id of an original: itself, and what stands in its place
        self._captured: list[Undo] = []
        self._taken: set[tuple[str, object]] = set()  # (option, subject or identity): each is offered once
        self._searched: set[Target] = set()  # targets whose module, or one of them, was there
        self._answered: set[Target] = set()  # targets that found something, be it taken already
        self._watcher: _Watcher | None = None
        self._closed = False

    def search(self, module: types.ModuleType) -> None:
        """Offer what the targets name in a module that has just been imported.  Never raises."""
        try:
            if self._closed:
                return
            name, known = module.__name__, len(self._now)
            # plain names before wildcards: the one that carries a name of its own for the report goes first
            for target in sorted(self.targets, key=lambda target: target.wild_module or target.wild_path):
                if target.matches_module(name):
                    self._searched.add(target)
                    self._descend(target, name, module, (), target.path)
            if len(self._now) > known:
                self._captured += replace_captured(module, self._now)
        except Exception as error:  # we are inside the user's import: an error here would make it fail
            note_fault(f"instrumenting {getattr(module, '__name__', 'a module')} by name", error)

    def offer(self, target: Target, module_name: str, path: tuple[str, ...], owner: object, obj: Any) -> Any:
        """Offer one object; returns what is to stand in its place (the object itself when nothing changes)."""
        self._searched.add(target)
        subject = _subject(module_name, path)
        keys = {(target.option, subject), (target.option, _identity(obj))}
        if keys & self._taken:
            self._answered.add(target)
            return self._in_place_of(obj)
        why = _unfit(target, obj)
        if why is not None:
            if why:
                self.skip(target, subject, why)
            return obj
        try:
            replacement = self._apply(owner, path[-1], obj, target)
        except UsageError as error:
            self.skip(target, subject, f"cannot be instrumented: {error}")
            return obj
        except Exception as error:
            note_fault(f"instrumenting {subject}", error)
            self.skip(target, subject, f"cannot be instrumented: {type(error).__name__}: {error}")
            return obj
        replacement = obj if replacement is None else replacement
        if replacement is not obj and not isinstance(obj, type):
            self._now[id(obj)] = (obj, replacement)
        self._answered.add(target)
        self.applied.append(Applied(target, subject))
        # what another option did to the original, it has done to the replacement
        options = {option for option, identity in self._taken if identity == _identity(obj)}
        self._taken.update(keys, ((option, _identity(replacement)) for option in (*options, target.option)))
        return replacement

    def _in_place_of(self, obj: Any) -> Any:
        """What stands for an object now: another name of a function (in a class, say) gets its replacement too."""
        known = self._now.get(id(obj))
        while known is not None and known[0] is obj and known[1] is not obj:
            obj = known[1]
            known = self._now.get(id(obj))
        return obj

    def skip(self, target: Target, subject: str, why: str) -> None:
        """Note that something asked for was not done."""
        skipped = Skipped(target, subject, why)
        if skipped not in self.skipped and len(self.skipped) < _SKIPPED_KEPT:
            self.skipped.append(skipped)

    def was_there(self, targets: Iterable[Target]) -> None:
        """Note that the module these speak of was there, whatever was found in it."""
        self._searched.update(targets)

    def has_answered(self, target: Target) -> bool:
        """Whether the target has found something, be it something that could not be instrumented."""
        return target in self._answered or any(skipped.target == target for skipped in self.skipped)

    def missing(self) -> list[Skipped]:
        """The targets that have found nothing so far, each with the reason."""
        answered = self._answered | {skipped.target for skipped in self.skipped}
        return [
            Skipped(
                target,
                target.module,
                "has nothing that matches" if target in self._searched else "was never imported by the program",
            )
            for target in self.targets
            if target not in answered
        ]

    def undo(self) -> None:
        """Put every original back where the replacement still stands, and search no more modules."""
        self._closed = True
        if self._watcher in sys.meta_path:
            sys.meta_path.remove(self._watcher)
        for entry in reversed(self._replaced):
            if vars(entry.owner).get(entry.name) is entry.replacement:
                _put(entry.owner, entry.name, entry.original)
        self._replaced.clear()
        for undo in reversed(self._captured):
            undo()
        self._captured.clear()
        self._now.clear()

    def watch(self) -> None:
        """Look at every import from here on, for the targets whose module is a wildcard."""
        # wrapt's finder must stand behind ours, which names the modules for it: registering a hook installs it
        wrapt.register_post_import_hook(_nothing, "sys")
        self._watcher = _Watcher(self)
        sys.meta_path.insert(0, self._watcher)

    def _descend(
        self, target: Target, module_name: str, owner: Any, above: tuple[str, ...], below: tuple[str, ...]
    ) -> None:
        wanted, rest = below[0], below[1:]
        wild = "*" in wanted or "?" in wanted
        for name in [name for name in vars(owner) if fnmatch.fnmatchcase(name, wanted)] if wild else [wanted]:
            path = (*above, name)
            if name not in vars(owner):
                self.skip(target, _subject(module_name, above), _absent(owner, name))
                continue
            obj = vars(owner)[name]
            if wild and not _belongs(obj, module_name, owner, name):
                continue
            if not rest:
                replacement = self.offer(target, module_name, path, owner, obj)
                if replacement is not obj:
                    self._replace(owner, obj, replacement)
            elif isinstance(obj, type):
                self._descend(target, module_name, obj, path, rest)
            elif not wild:
                self.skip(target, _subject(module_name, path), "is no class, so it has no members to name")

    def _replace(self, owner: Any, original: object, replacement: object) -> None:
        """Put a replacement under every name the owner has for the original: ``C.f is C.g`` stays true."""
        for name, value in list(vars(owner).items()):
            if value is original:
                _put(owner, name, replacement)
                self._replaced.append(_Replaced(owner, name, original, replacement))


def instrument_by_name(targets: Iterable[Target], apply: Apply) -> Instrumentation:
    """Offer everything the targets name to ``apply``: now where it is imported already, else at its import.

    Args:
        targets: parsed targets, see `Target.parse`.
        apply: see `Apply`; called in the importing thread, once an object and option.

    Returns:
        The record of what was done and what could not be; it keeps growing.
    """
    work = Instrumentation(list(targets), apply)
    for name, module in list(sys.modules.items()):
        if isinstance(module, types.ModuleType) and any(target.matches_module(name) for target in work.targets):
            work.search(module)
    for name in {target.module for target in work.targets if not target.wild_module} - set(sys.modules):
        wrapt.register_post_import_hook(work.search, name)
    if any(target.wild_module for target in work.targets):
        work.watch()
    return work


class _Watcher:
    """A finder that finds nothing: it asks for a post-import hook when a wildcard's module comes by."""

    def __init__(self, work: Instrumentation) -> None:
        self._work = work
        self._targets = [target for target in work.targets if target.wild_module]
        self._asked: set[str] = set()

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Always None: the finders behind this one do the finding."""
        try:
            if name not in self._asked and any(target.matches_module(name) for target in self._targets):
                self._asked.add(name)
                wrapt.register_post_import_hook(self._work.search, name)
        except Exception as error:
            note_fault("watching imports", error)
        return None


def _nothing(module: object) -> None:
    """A hook that only makes wrapt install its finder."""


def _put(owner: Any, name: str, value: object) -> None:
    if isinstance(owner, type):
        type.__setattr__(owner, name, value)  # past a metaclass that forbids assignment
    else:
        setattr(owner, name, value)


def _subject(module_name: str, path: tuple[str, ...]) -> str:
    return f"{module_name}:{'.'.join(path)}" if path else module_name


def _identity(obj: Any) -> object:
    """What is equal for two names of one object.

    A class is known by its own name, not by its id: keeping it alive to keep the id would be a leak of ours.
    Replaced functions are kept anyway, for `Instrumentation.undo`, so that their ids stay theirs.
    """
    if isinstance(obj, type) and "<locals>" not in obj.__qualname__:
        return f"{obj.__module__}:{obj.__qualname__}"
    return id(obj)


def _inner(obj: Any) -> Any:
    if isinstance(obj, property):
        return obj.fget
    return obj.__func__ if isinstance(obj, (staticmethod, classmethod)) else obj


def _belongs(obj: Any, module_name: str, owner: object, name: str) -> bool:
    """Whether a wildcard means this object: made in this module, and no dunder."""
    if name.startswith("__") and name.endswith("__"):
        return False
    inner = _inner(obj)
    return isinstance(inner, (type, *_FUNCTIONS)) and getattr(inner, "__module__", None) == module_name


def _unfit(target: Target, obj: Any) -> str | None:
    """Why the object is not for this target; empty when a wildcard passes it over in silence; None when it is."""
    exact = not target.wild_path
    if isinstance(obj, type):
        wrong_kind = f"is a class: name one of its methods, as {target.text}.method"
        return None if target.wants != "function" else wrong_kind if exact else ""
    if target.wants == "class":
        return f"is no class but a {type(obj).__name__}" if exact else ""
    inner = _inner(obj)
    if getattr(inner, "__name__", "") == "<lambda>":
        # lambdas serve as sentinels and defaults, compared by identity (INSTRUMENTING.md F6)
        return "is a lambda, which is left alone"
    if not exact and looks_at_frames(inner):
        return "looks at its caller's frame, which must stay the caller's: name it in full to have it all the same"
    if not callable(inner) or (not exact and not isinstance(inner, _FUNCTIONS)):
        return f"is no function but a {type(obj).__name__}" if exact else ""
    return None


def _absent(owner: Any, name: str) -> str:
    """Why a name that was asked for is not in the owner's own namespace."""
    if not isinstance(owner, type):
        return f"has no {name}{nearest(name, sorted(vars(owner)))}"
    for base in owner.__mro__[1:]:
        if name in vars(base):
            where = f"{base.__module__}:{base.__qualname__}.{name}"
            return f"inherits {name}: name it where it is defined, as {where}"
    members = {member for base in owner.__mro__[:-1] for member in vars(base)}
    return f"has no {name}{nearest(name, sorted(members))}"
