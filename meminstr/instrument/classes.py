"""Following a class in place: constructions, failed ones, cleanups, and every instance until it dies.

`follow_class` puts generated methods into the class (through a `Ledger`, which takes them out again) and returns
a `ClassFollower` with the counts.  Which method is wrapped is decided in `kinds`, the code that runs inside the
program is in `constructors`, who is alive is known by `deaths`.  What a count *means* is decided elsewhere, and
memory is read by the observer, not here.

What is counted.  One construction per object and only when it succeeded; an object of an untracked subclass
counts for its first tracked base, one of several tracked classes only for the first of them in its MRO.  Not
seen: copies, unpickled objects and ``cls.__new__(cls)`` (except where `__new__` is the way), objects made
before, and a cleanup that a subclass replaces without calling it.  Where `__new__` is the way, an `__init__` of
a subclass that fails later counts as a construction and a death.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any

from ..errors import UsageError
from ..settings import current
from ..verdict import Counts
from . import constructors, kinds, signatures
from .deaths import Ref, Tally
from .ledger import Ledger, is_absent, own_attribute
from .sampling import ClassObserver, Sampler
from .thinning import Thinning

# What our own few lines can raise: no memory, no stack, an instance that takes no weak reference after all.
# Nothing wider: an exception that a signal handler of the program raises meanwhile is the program's.
_OWN_ERRORS = (MemoryError, RecursionError, TypeError)

on_arrival: list[Callable[[ClassFollower], None]] = []
"""Called with the follower of a class that came by value from another process (cloudpickle)."""


def follow_class(
    cls: Any,
    *,
    name: str | None = None,
    cleanup: str | None = None,
    ledger: Ledger,
    observer: ClassObserver | None = None,
    sample_every: int = 100,
) -> ClassFollower:
    """Follow `cls` from now on; a class that this ledger follows already keeps its follower.

    Args:
        cls: the class; it is patched in place.
        name: the subject in the report; default is the class's qualified name.
        cleanup: the method that ends an instance's use; found by itself when not given.
        ledger: takes note of every attribute replaced.
        observer: told of sampled constructions.
        sample_every: constructions between two samples, on average, once the first hundreds are over.

    Raises:
        UsageError: the class cannot be followed (builtin, Enum, NamedTuple, Protocol, no class at all), has no
            such cleanup, or an argument is not of its kind.
    """
    kinds.refuse(cls)
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise UsageError(f"name= of a tracked class takes a non-empty string, not {name!r}")
    if isinstance(sample_every, bool) or not isinstance(sample_every, int) or sample_every < 1:
        raise UsageError(f"sample_every= takes a whole number of constructions from 1, not {sample_every!r}")
    known: ClassFollower | None = ledger.followed.get(id(cls))
    if known is not None:
        return known
    cleanups = kinds.cleanup_names(cls, cleanup)
    follower = ClassFollower(cls, name or cls.__qualname__, cleanups, ledger, sample_every)
    follower._install()
    follower.set_observer(observer)
    return follower


class ClassFollower:
    """One followed class: its counts and its living instances.

    Attributes:
        name: the subject in the report.
        cls: the class.
        cleanup_names: the methods after which an instance should die.
        follows_deaths: False when instances take no weak reference: then constructions, failures and calls of
            the cleanup are counted, and nothing is known of who is alive.
    """

    def __init__(self, cls: type, name: str, cleanups: tuple[str, ...], ledger: Ledger, sample_every: int) -> None:
        self.cls = cls
        self.name = name
        self.cleanup_names = cleanups
        self.follows_deaths = kinds.takes_weakref(cls)
        self.tally = Tally(self)
        self._thinning = Thinning(self, current().max_followed)
        self._paused = False
        self._ledger = ledger
        self._installed: list[str] = []
        self._patches: dict[str, Any] = {}
        tally = self.tally
        by_class = kinds.way_of(cls) == "new"
        # one namespace for all generated methods of this class: what they need, and nothing that shows
        self._shared: dict[str, Any] = {
            "__name__": cls.__module__,
            "__builtins__": __builtins__,
            "_mi_home": cls,
            "_mi_class": cls,
            "_mi_owns": self._owns,
            "_mi_failed": self._failed_making if by_class else self._failed,
            "_mi_cleaned": self._cleaned,
            "_mi_bump": tally.constructed.bump,
            "_mi_add": tally.live.add,
            "_mi_discard": tally.live.discard,
            "_mi_fresh": tally.fresh,
            "_mi_own_errors": _OWN_ERRORS,
            "_mi_Ref": Ref,
            "_mi_weakrefs": weakref.getweakrefcount,
            "_mi_type": type,
            "_mi_object_new": object.__new__,
            "_mi_direct": _made_by_us,
            "_mi_init_is_objects": kinds.init_is_objects,
        }
        self.sampler = Sampler(self, self._shared, sample_every)
        self._shared["_mi_before"] = self._before_making if by_class else self._before
        self._shared["_mi_after"] = self.sampler.after

    def counts(self) -> Counts:
        """The life counts now: exact, and consistent once no constructor is in mid-flight."""
        tally = self.tally
        tally.compact()
        alive, retained = tally.living()
        constructed, cleaned, failed = tally.constructed.value, tally.cleaned.value, tally.failed.value
        if not self.follows_deaths:
            return Counts(constructed=constructed, failed=failed, cleaned=cleaned)
        # constructed is read after alive, so that a birth in between is not taken for a death; estimates can exceed it
        alive = min(alive, constructed)
        died = constructed - alive
        return Counts(
            constructed=constructed,
            failed=failed,
            cleaned=cleaned,
            died=died,
            alive=alive,
            retained=retained,
            died_without_cleanup=max(0, died - (cleaned - retained)) if self.cleanup_names else 0,
        )

    @property
    def note(self) -> str | None:
        """What is not seen of the instances, in words; None when all is."""
        if not self.follows_deaths:
            return "instances take no weak reference: counted only"
        return self._thinning.note()

    def living(self) -> tuple[int, int]:
        """How many are alive now, and how many of them are retained after cleanup: two lengths, a tenth of `counts`.

        Above `Thinning.most` these are estimates."""
        living = self.tally.living()
        self._thinning.adjust(living[0])
        return living

    def live_objects(self, limit: int | None = None) -> list[Any]:
        """Living instances that are followed, oldest first, as strong references: to be let go of at once."""
        return self.tally.objects(limit=limit)

    def retained_objects(self, limit: int | None = None) -> list[Any]:
        """Those of them whose cleanup has run."""
        return self.tally.objects(retained_only=True, limit=limit)

    def is_alive_here(self, instance: Any) -> bool:
        """Whether the instance is one of those counted."""
        return self.follows_deaths and self.tally.knows(instance)

    def sweep(self) -> None:
        """Give back what the tables of dead instances occupy."""
        self.tally.compact()

    def __reduce__(self) -> Any:
        return (_arrived, (self.cls, self.name, self.cleanup_names))

    def size_bytes(self) -> int:
        """Own memory: tables, references, and about 8 KB of generated code."""
        return self.tally.size_bytes() + 8 * 1024

    def set_observer(self, observer: ClassObserver | None) -> None:
        """Tell somebody else, or nobody, from the next sample on."""
        self.sampler.set_observer(observer)

    def pause(self) -> None:
        """Stop counting; the instances counted so far are followed on to their deaths."""
        self.switch(paused=True)
        self._shared["_mi_cleaned"] = _owns_nothing
        self.sampler.disarm()

    def resume(self) -> None:
        """Count again after `pause`."""
        self._shared["_mi_cleaned"] = self._cleaned
        self.switch(paused=False)
        self.sampler.rearm()

    def switch(self, paused: bool | None = None) -> None:
        """Let the constructor follow all instances itself, or ask `Thinning` about each."""
        self._paused = self._paused if paused is None else paused
        thinned = self._thinning.one_in > 1
        self._shared["_mi_owns"] = _owns_nothing if self._paused else self._thinning.owns if thinned else self._owns
        self._shared["_mi_class"] = None if self._paused or thinned else self.cls

    def release(self) -> list[str]:
        """Put the class back as it was; returns what could not be, one sentence each."""
        left: list[str] = []
        for attribute in reversed(self._installed):
            left += self._ledger.undo_one(self._shared["_mi_home"], attribute)
        self._installed.clear()
        self.pause()
        for key in [key for key, value in self._ledger.followed.items() if value is self]:
            del self._ledger.followed[key]
        return left

    def after_fork_in_child(self) -> None:
        """Start clean: what the parent constructed is not the child's."""
        self.tally.reset()
        self._thinning.restart()
        self.switch()
        self.sampler.restart()

    # -- putting it in place ----------------------------------------------------------------------------

    def _install(self) -> None:
        self._ledger.followed[id(self.cls)] = self
        try:
            if kinds.way_of(self.cls) == "new":
                self._install_new()
            else:
                own = own_attribute(self.cls, "__init__")
                original = None if is_absent(own) else own
                made = constructors.constructor(original, self._shared, follow=self.follows_deaths)
                if original is None and not isinstance(kinds.lookup(self.cls, "__init__"), FunctionType):
                    signature = signatures.before_inherited_init(self.cls)
                    if signature is not None:
                        made.__dict__["__signature__"] = signature
                self._set("__init__", made)
            for method in self.cleanup_names:
                own = own_attribute(self.cls, method)
                original = own if type(own) is FunctionType else None
                inherited = kinds.lookup(self.cls, method)
                self._set(method, constructors.cleaner(method, original, inherited, self._shared))
        except (TypeError, AttributeError) as error:
            self.release()
            raise UsageError(
                f"cannot track instantiations: {self.cls.__module__}.{self.cls.__qualname__} refuses a change of "
                f"its attributes ({error}); allowed is a class whose methods can be replaced"
            ) from error

    def _install_new(self) -> None:
        own = own_attribute(self.cls, "__new__")
        inner = getattr(own, "__func__", None) if isinstance(own, staticmethod) else None
        if type(inner) is FunctionType:
            made = constructors.maker(inner, self._shared, follow=self.follows_deaths)
            self._set("__new__", staticmethod(made))
            return
        if not is_absent(own) and not constructors.is_maker(own):
            raise TypeError("its __new__ is no Python function")
        made = constructors.maker(None, self._shared, follow=self.follows_deaths)
        # A method wrapper, not the function: `inspect.signature` passes over it and shows what it showed
        # before, here and in every subclass.  It stays for ever: a deleted __new__ leaves the type's slot
        # behind, and then a class with a perfectly good __init__ cannot be called with arguments any more.
        self._set("__new__", made.__call__, stays=True)
        if kinds.lookup(self.cls, "__signature__") is None:
            self._set("__signature__", signatures.ClassSignature(constructors.is_maker), stays=True)

    def _set(self, attribute: str, value: Any, *, stays: bool = False) -> None:
        self._ledger.set_attribute(self.cls, attribute, value, silence=self.pause, stays=stays)
        self._installed.append(attribute)
        self._patches[attribute] = value

    # -- called by the generated methods ----------------------------------------------------------------

    def _owns(self, instance: Any) -> bool:
        return self._first(type(instance)) is self

    def _first(self, kind: type) -> ClassFollower | None:
        """The follower that an instance of exactly this class counts for."""
        followed = self._ledger.followed
        for base in kinds.mro_of(kind):
            found: ClassFollower | None = followed.get(id(base))
            if found is not None:
                return found
            if self._is_remake(base):
                return self
        return None

    def _is_remake(self, base: type) -> bool:
        # attrs and dataclasses with slots make a second class out of the first, with our methods in it
        for attribute in ("__init__", "__new__"):
            patch = self._patches.get(attribute)
            if patch is not None and own_attribute(base, attribute) is patch:
                self._ledger.followed[id(base)] = self
                self.cls = base
                self.switch()
                return True
        return False

    def is_new(self, instance: Any) -> bool:
        """Whether an instance is to be counted here, and is not yet."""
        if self._paused or (type(instance) is not self.cls and not self._owns(instance)):
            return False
        return not (self.follows_deaths and self.tally.knows(instance))

    def _before(self, instance: Any) -> int | None:
        return self._thinning.before() if self.is_new(instance) else None

    def _before_making(self, kind: type) -> int | None:
        return self._thinning.before() if self._first(kind) is self else None

    def _failed(self, instance: Any) -> None:
        self._thinning.failed()
        if self.is_new(instance):
            self.tally.failed.bump()

    def _failed_making(self, kind: type) -> None:
        self._thinning.failed()
        if not self._paused and self._first(kind) is self:
            self.tally.failed.bump()

    def _cleaned(self, instance: Any) -> None:
        if not self.follows_deaths:
            if self._first(type(instance)) is self:
                self.tally.cleaned.bump()
        elif not self.tally.clean(instance) and self.tally.levels and self.is_new(instance):
            self.tally.cleaned.bump()  # one of those that are not followed


def _owns_nothing(_instance: Any) -> bool:
    return False


def _made_by_us(kind: type) -> bool:
    return constructors.is_maker(kinds.lookup(kind, "__new__"))


def _arrived(cls: type, name: str, cleanups: tuple[str, ...]) -> ClassFollower:
    """The follower of a class that cloudpickle brought by value, its generated methods already in it."""
    follower = ClassFollower(cls, name, cleanups, Ledger(), 100)
    follower._ledger.followed[id(cls)] = follower
    for tell in on_arrival:
        tell(follower)
    return follower
