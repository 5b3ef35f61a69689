"""What stood there before: every attribute that meminstr replaces, and its exact return.

One `Ledger` belongs to one tracker.  It knows nothing of what it puts in place; who installs a wrapper hands
over a `silence` callable that turns the wrapper into a pass-through, because two things cannot be taken away
again: an attribute that somebody else has replaced since (theirs stays, ours below it falls silent), and a
``__new__`` added to a class (see `meminstr.instrument.constructors`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_ABSENT = object()
# read through the descriptor: a metaclass may answer `cls.__dict__` with something of its own
_own_namespace = type.__dict__["__dict__"].__get__


@dataclass(frozen=True, slots=True)
class _Entry:
    owner: Any
    name: str
    before: Any
    after: Any
    silence: Callable[[], None] | None
    stays: bool


class Ledger:
    """Replaced attributes of classes, modules and other objects with a ``__dict__``, undone in reverse order.

    Attributes:
        followed: ``id(cls)`` to the follower of that class; kept by `meminstr.instrument.classes` (the
            follower holds the class, so an id is never reused while it stands here).
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: list[_Entry] = []
        self.followed: dict[int, Any] = {}

    def __len__(self) -> int:
        """The number of attributes in place."""
        return len(self._entries)

    def set_attribute(
        self,
        owner: Any,
        name: str,
        new_value: Any,
        *,
        silence: Callable[[], None] | None = None,
        stays: bool = False,
    ) -> None:
        """Put `new_value` in ``owner.name`` and remember what the owner's own namespace held.

        Args:
            owner: a class, a module, or an object with a ``__dict__``.
            name: the attribute.
            new_value: what to put there; for a class the raw descriptor (``staticmethod(f)``, not ``f``).
            silence: called when the entry is undone, also when the attribute itself cannot be restored.
            stays: the attribute must not be deleted again; undoing only silences it.

        Raises:
            TypeError, AttributeError: the owner refuses; nothing is remembered then.
        """
        with self._lock:
            before = own_attribute(owner, name)
            _assign(owner, name, new_value)
            self._entries.append(_Entry(owner, name, before, new_value, silence, stays))

    def undo(self) -> list[str]:
        """Restore everything, newest first; returns what could not be restored, one sentence each."""
        with self._lock:
            entries, self._entries = self._entries, []
            self.followed.clear()
        return [left for entry in reversed(entries) if (left := _restore(entry)) is not None]

    def undo_one(self, owner: Any, name: str) -> list[str]:
        """Restore the newest replacement of ``owner.name``; returns what could not be, as `undo`."""
        with self._lock:
            for position in range(len(self._entries) - 1, -1, -1):
                entry = self._entries[position]
                if entry.owner is owner and entry.name == name:
                    del self._entries[position]
                    left = _restore(entry)
                    return [] if left is None else [left]
        return []

    def after_fork_in_child(self) -> None:
        """Take a fresh lock: another thread of the parent may have held the old one at the fork."""
        self._lock = threading.RLock()


def own_attribute(owner: Any, name: str) -> Any:
    """The raw value in the owner's own namespace, or a marker for which `is_absent` is true."""
    namespace = _own_namespace(owner) if isinstance(owner, type) else vars(owner)
    return namespace.get(name, _ABSENT)


def is_absent(value: Any) -> bool:
    """Whether `own_attribute` found nothing."""
    return value is _ABSENT


def _restore(entry: _Entry) -> str | None:
    if entry.silence is not None:
        entry.silence()
    if entry.stays:
        return None
    where = f"{getattr(entry.owner, '__qualname__', None) or getattr(entry.owner, '__name__', '?')}.{entry.name}"
    if own_attribute(entry.owner, entry.name) is not entry.after:
        return f"{where} was replaced by someone else since: theirs is left in place, ours passes through"
    try:
        if entry.before is _ABSENT:
            _delete(entry.owner, entry.name)
        else:
            _assign(entry.owner, entry.name, entry.before)
    except (TypeError, AttributeError) as error:
        return f"{where} refuses to be restored ({error}): ours passes through"
    return None


def _assign(owner: Any, name: str, value: Any) -> None:
    # straight to `type`: a metaclass may forbid assignment, or act on it (ORMs map what is assigned).  Some
    # C metaclasses have a slot of their own that `type.__setattr__` refuses to bypass: then the ordinary way.
    if isinstance(owner, type):
        try:
            type.__setattr__(owner, name, value)
        except TypeError:
            setattr(owner, name, value)
    else:
        setattr(owner, name, value)


def _delete(owner: Any, name: str) -> None:
    if isinstance(owner, type):
        try:
            type.__delattr__(owner, name)
        except TypeError:
            delattr(owner, name)
    else:
        delattr(owner, name)
