"""One test a row of the class table: behaves as untouched, signature, pickling, every object counted once."""

import abc
import collections
import copy
import dataclasses
import datetime
import enum
import functools
import gc
import inspect
import pickle
import threading
import typing
import warnings
import weakref

import attrs
import pydantic
import pytest

from meminstr.errors import UsageError
from meminstr.instrument.classes import follow_class
from meminstr.instrument.kinds import why_not_followable
from meminstr.instrument.ledger import Ledger


@pytest.fixture
def ledger():
    made = Ledger()
    yield made
    made.undo()
    assert len(made) == 0


def signature_of(cls):
    try:
        return str(inspect.signature(cls))
    except ValueError as error:
        return f"ValueError: {str(error)[:30]}"


def error_of(call):
    with pytest.raises(Exception) as caught:
        call()
    return type(caught.value), str(caught.value)


def check(make, good, bad=None, *, ledger, dies=True):
    """`make` builds a fresh class; `good(cls)` an instance; `bad(cls)` must fail the same way on both.

    Returns the follower after one object was made, seen alive and (where it can be) seen dead.
    """
    plain, cls = make(), make()
    before = dict(vars(cls))
    signature = signature_of(plain)
    facts = (cls.__name__, cls.__qualname__, cls.__mro__, cls.__doc__)
    follower = follow_class(cls, ledger=ledger)
    assert signature_of(cls) == signature or signature.startswith("ValueError")
    assert (cls.__name__, cls.__qualname__, cls.__mro__, cls.__doc__) == facts
    if bad is not None:
        assert error_of(lambda: bad(cls)) == error_of(lambda: bad(plain))
        gc.collect()
    thing = good(cls)
    assert type(thing) is cls
    assert follower.counts().constructed == 1
    if follower.follows_deaths:
        assert follower.counts().alive == 1
        assert follower.live_objects()[0] is thing
        if dies:
            del thing
            gc.collect()
            assert (follower.counts().alive, follower.counts().died) == (0, 1)
    else:
        assert "no weak reference" in follower.note
    assert ledger.undo() == []
    after = dict(vars(cls))
    for name in ("__new__", "__signature__"):  # what stays, silent
        if name not in before:
            after.pop(name, None)
    assert list(after.items()) == list(before.items())
    good(cls)
    assert follower.counts().constructed == 1
    assert signature_of(cls) == signature
    if bad is not None:
        assert error_of(lambda: bad(cls)) == error_of(lambda: bad(plain))
    return follower


class Importable:
    def __init__(self, a, b=2, *, c=3):
        self.a, self.b, self.c = a, b, c


class ImportableBare:
    pass


class ImportableError(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


class ImportableMeters(int):
    pass


@pytest.mark.parametrize(
    ("cls", "args"), [(Importable, (1,)), (ImportableBare, ()), (ImportableError, (1, 2)), (ImportableMeters, (3,))]
)
def test_instances_class_and_methods_pickle_and_copy(cls, args, ledger):
    follow_class(cls, ledger=ledger)
    thing = cls(*args)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(thing, protocol))
        assert type(again) is cls
        assert vars(again) == vars(thing)
        assert pickle.loads(pickle.dumps(cls, protocol)) is cls
    assert vars(copy.deepcopy(thing)) == vars(copy.copy(thing)) == vars(thing)
    if "__init__" in vars(cls):
        assert pickle.loads(pickle.dumps(cls.__init__)) is cls.__init__
        assert cls.__init__ is cls.__init__
        assert inspect.isfunction(cls.__init__)


def test_plain(ledger):
    marker = object()

    def make():
        class Plain:
            def __init__(self, a, /, b: int, c=marker, *rest, d, e=marker, **more) -> None:
                "Doc."
                self.all = (a, b, c, rest, d, e, more)

        return Plain

    follower = check(make, lambda cls: cls(1, 2, d=4), lambda cls: cls(1), ledger=ledger)
    cls = make()
    follow_class(cls, ledger=ledger)
    assert cls(1, 2, d=4).all == (1, 2, marker, (), 4, marker, {})
    assert cls(1, 2, 3, 4, 5, d=6, e=7, f=9).all == (1, 2, 3, (4, 5), 6, 7, {"f": 9})
    assert cls.__init__.__doc__ == "Doc."
    assert typing.get_type_hints(cls.__init__) == {"b": int, "return": type(None)}
    assert follower.name.endswith("Plain")


def test_odd_parameter_lists(ledger):
    class Old:
        def __init__(*args, **kwargs):
            args[0].seen = (args[1:], kwargs)

    class Shadow:
        def __init__(self, type, super, cls, TypeError=None):
            self.seen = (type, super, cls, TypeError)

    class Clash:
        def __init__(self, _mi_class, _mi_token=3):
            self.seen = (_mi_class, _mi_token)

    for cls in (Old, Shadow, Clash):
        follow_class(cls, ledger=ledger)
    assert Old(1, self=2).seen == ((1,), {"self": 2})
    assert Shadow(1, 2, 3).seen == (1, 2, 3, None)
    assert Clash(1).seen == (1, 3)


def test_generic_abc_context_manager(ledger):
    T = typing.TypeVar("T")

    def make():
        class Box(typing.Generic[T]):
            def __init__(self, x: T):
                self.x = x

        return Box

    check(make, lambda cls: cls(1), lambda cls: cls(), ledger=ledger)
    follower = follow_class(Box := make(), ledger=ledger)
    kept = Box[int](3)
    assert follower.counts().constructed == 1
    assert kept.x == 3

    def make_abstract():
        class Base(abc.ABC):
            @abc.abstractmethod
            def f(self): ...

        class Real(Base):
            def __init__(self, x):
                self.x = x

            def f(self): ...

        return Real

    check(make_abstract, lambda cls: cls(1), lambda cls: cls(), ledger=ledger)

    class Abstract(abc.ABC):
        @abc.abstractmethod
        def f(self): ...

    expected = error_of(Abstract)
    follower = follow_class(Abstract, ledger=ledger)
    assert error_of(Abstract) == expected
    assert (follower.counts().constructed, follower.counts().failed) == (0, 1)


def test_dataclasses(ledger):
    def make(**options):
        @dataclasses.dataclass(**options)
        class Data:
            x: int
            y: list = dataclasses.field(default_factory=list)

        return Data

    check(make, lambda cls: cls(1), lambda cls: cls(), ledger=ledger)
    check(functools.partial(make, frozen=True), lambda cls: cls(1), lambda cls: cls(), ledger=ledger)
    check(functools.partial(make, frozen=True, slots=True), lambda cls: cls(1), lambda cls: cls(), ledger=ledger)
    weak = check(functools.partial(make, slots=True, weakref_slot=True), lambda cls: cls(1), ledger=ledger)
    assert weak.follows_deaths
    bare = check(functools.partial(make, slots=True), lambda cls: cls(1), ledger=ledger)
    assert not bare.follows_deaths


@pytest.mark.parametrize(
    "decorate",
    [
        attrs.define(slots=False),
        attrs.define,
        attrs.frozen,
        attrs.frozen(slots=False),
        attrs.define(weakref_slot=False),
    ],
)
def test_attrs(decorate, ledger):
    def make():
        @decorate
        class A:
            x: int
            y: list = attrs.Factory(list)

        return A

    check(make, lambda cls: cls(1), lambda cls: cls(), ledger=ledger)


def test_no_own_init(ledger):
    def make():
        class Bare:
            pass

        return Bare

    check(make, lambda cls: cls(), lambda cls: cls(1), ledger=ledger)
    check(make, lambda cls: cls(), lambda cls: cls(x=1), ledger=ledger)
    Bare = make()
    follower = follow_class(Bare, ledger=ledger)

    class Own(Bare):
        def __init__(self, x):
            super().__init__()

    class Wrong(Bare):
        def __init__(self, x):
            super().__init__(x)

    class Maker(Bare):
        def __new__(cls, x):
            return super().__new__(cls, x)

    class GoodMaker(Bare):
        def __new__(cls, x):
            return super().__new__(cls)

    class Heir(Bare):
        pass

    assert signature_of(Own) == "(x)"
    assert signature_of(GoodMaker) == "(x)"
    assert signature_of(Heir) == "()"
    kept = [Own(1), GoodMaker(2), Heir()]
    assert follower.counts().constructed == 3
    assert error_of(lambda: Heir(1))[1] == "Heir() takes no arguments"
    assert "exactly one argument (the instance" in error_of(lambda: Wrong(1))[1]
    assert "exactly one argument (the type" in error_of(lambda: Maker(1))[1]
    assert len(kept) == 3


def test_inherited_python_init(ledger):
    def make():
        class Base:
            def __init__(self, x):
                self.x = x

        return type("Heir", (Base,), {})

    plain, cls = make(), make()
    follower = follow_class(cls, ledger=ledger)
    assert signature_of(cls) == signature_of(plain) == "(x)"
    assert error_of(cls)[0] is error_of(plain)[0] is TypeError
    assert cls(x=1).x == 1
    assert "__init__" in vars(cls)
    ledger.undo()
    assert "__init__" not in vars(cls)
    assert follower.counts().constructed == 1
    assert follower.counts().failed == 1


def test_slots_without_weakref(ledger):
    def make():
        class Slotted:
            __slots__ = ("x",)

            def __init__(self, x):
                self.x = x

            def close(self): ...

        return Slotted

    follower = check(make, lambda cls: cls(1), lambda cls: cls(), ledger=ledger)
    assert not follower.follows_deaths
    cls = make()
    follower = follow_class(cls, ledger=ledger)
    cls(1).close()
    assert follower.counts().cleaned == 1
    assert follower.counts().alive == 0
    assert follower.live_objects() == []
    assert not hasattr(cls(1), "__dict__")


def test_new_with_arguments_int_str_tuple_namedtuple_subclass(ledger):
    def make_new():
        class Made:
            def __new__(cls, x, *, y=2):
                self = super().__new__(cls)
                self.x = x, y
                return self

        return Made

    check(make_new, lambda cls: cls(1), lambda cls: cls(), ledger=ledger)
    for base, args in ((int, (3,)), (str, ("x",)), (tuple, ((1, 2),)), (frozenset, ((1,),)), (float, (1.5,))):
        check(lambda: type("Sub", (base,), {}), lambda cls: cls(*args), ledger=ledger)
        check(lambda: type("Sub", (base,), {"__slots__": ()}), lambda cls: cls(*args), ledger=ledger)
        assert follow_class(type("S", (base,), {}), ledger=ledger) is not None

    def make_point():
        class Point(collections.namedtuple("Base", "x y")):
            __slots__ = ()

        return Point

    check(make_point, lambda cls: cls(1, y=2), lambda cls: cls(1), ledger=ledger)


def test_singleton(ledger):
    class Single:
        _it = None
        runs = 0

        def __new__(cls, *a):
            if cls._it is None:
                cls._it = super().__new__(cls)
            return cls._it

        def __init__(self, x):
            Single.runs += 1

    class SingleNew:
        _it = None

        def __new__(cls):
            if cls._it is None:
                cls._it = super().__new__(cls)
            return cls._it

    first = follow_class(Single, ledger=ledger)
    second = follow_class(SingleNew, ledger=ledger)
    assert Single(1) is Single(2) is Single(3)
    assert Single.runs == 3
    assert SingleNew() is SingleNew()
    assert first.counts().constructed == second.counts().constructed == 1
    assert first.counts().died == 0


def test_new_returns_another_type(ledger):
    class Other:
        def __new__(cls):
            return [1]

    class Cousin:
        def __new__(cls):
            return object.__new__(Other)

        def __init__(self):
            raise AssertionError("never run")

    followers = [follow_class(Other, ledger=ledger), follow_class(Cousin, ledger=ledger)]
    assert Other() == [1]
    assert type(Cousin()) is Other
    assert [f.counts().constructed for f in followers] == [0, 0]


def test_metaclass_call_that_caches(ledger):
    class Meta(type):
        cache: typing.ClassVar[dict] = {}

        def __call__(cls, x):
            if x not in Meta.cache:
                Meta.cache[x] = super().__call__(x)
            return Meta.cache[x]

    class Cached(metaclass=Meta):
        def __init__(self, x):
            self.x = x

    follower = follow_class(Cached, ledger=ledger)
    assert Cached(1) is Cached(1)
    assert Cached(2) is not Cached(1)
    assert follower.counts().constructed == 2


def test_metaclass_call_that_avoids_init(ledger):
    class Meta(type):
        def __call__(cls, **values):
            self = cls.__new__(cls)
            self.__dict__.update(values)
            return self

    class Model(metaclass=Meta):
        def __init__(self, **values):
            raise AssertionError("never run")

    signature = signature_of(Model)
    follower = follow_class(Model, ledger=ledger)
    assert Model(x=1).x == 1
    assert follower.counts().constructed == 1
    assert signature_of(Model) == signature


def test_pydantic(ledger):
    def make():
        class User(pydantic.BaseModel):
            name: str
            age: int = 3

        return User

    check(make, lambda cls: cls(name="a"), ledger=ledger)
    User = make()
    follower = follow_class(User, ledger=ledger)
    with pytest.raises(pydantic.ValidationError):
        User(name=[])
    assert follower.counts().failed == 1
    assert User.model_validate({"name": "b"}).name == "b"
    assert User(name="c").model_dump() == {"name": "c", "age": 3}

    class Admin(User):
        level: int = 1

    assert Admin(name="d").level == 1


class Colour(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1


class Speaks(typing.Protocol):
    def speak(self) -> str: ...


class Pair(typing.NamedTuple):
    x: int


@pytest.mark.parametrize(
    ("cls", "why"),
    [
        (Colour, "Enum"),
        (Access, "Enum"),
        (Speaks, "Protocol"),
        (Pair, "NamedTuple"),
        (typing.TypedDict("Row", {"x": int}), "TypedDict"),
        (collections.namedtuple("Old", "x"), "NamedTuple"),
        (list, "builtin"),
        (collections.deque, "builtin"),
        (datetime.date, "builtin"),
        (abc.ABCMeta, "metaclass"),
        (type, "metaclass"),
        (len, "not a class"),
        ("text", "not a class"),
        (None, "not a class"),
    ],
)
def test_refused_with_one_clear_sentence(cls, why, ledger):
    before = dict(vars(cls)) if isinstance(cls, type) else None
    with pytest.raises(UsageError, match=why) as caught:
        follow_class(cls, ledger=ledger)
    assert "allowed is" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert why in why_not_followable(cls)
    assert before is None or dict(vars(cls)) == before


def test_followable_has_no_reason():
    assert why_not_followable(Importable) is None


def test_implements_a_protocol(ledger):
    def make():
        class Dog(Speaks):
            def speak(self) -> str:
                return "w"

        return Dog

    plain, cls = make(), make()
    follower = follow_class(cls, ledger=ledger)
    assert "__init__" not in vars(cls)
    kept = cls()
    plain()
    assert vars(cls)["__init__"] is vars(plain)["__init__"] is object.__init__
    assert signature_of(cls) == signature_of(plain) or signature_of(cls) != ""
    expected = error_of(lambda: plain(1, 2))
    assert error_of(lambda: cls(1, 2)) == expected
    first = make()
    follow_class(first, ledger=ledger)
    assert error_of(lambda: first(1, 2)) == expected
    assert follower.counts().constructed == 1
    assert kept.speak() == "w"

    class Base:
        def __init__(self, x):
            self.x = x

    class Both(Speaks, Base):
        def speak(self):
            return "b"

    follower = follow_class(Both, ledger=ledger)
    assert Both(4).x == 4
    assert Both(5).x == 5
    assert follower.counts().constructed == 2


def test_metaclass_that_forbids_setattr(ledger):
    class Closed(type):
        def __setattr__(cls, name, value):
            raise TypeError("closed")

        def __delattr__(cls, name):
            raise TypeError("closed")

    def make():
        return Closed("Shut", (), {"__init__": lambda self, x: None, "close": lambda self: None})

    check(make, lambda cls: cls(1), lambda cls: cls(), ledger=ledger)


def test_dict_list_exception_subclasses(ledger):
    check(lambda: type("D", (dict,), {}), lambda cls: cls(a=1), lambda cls: cls(1), ledger=ledger)
    check(lambda: type("L", (list,), {}), lambda cls: cls((1, 2)), lambda cls: cls(1), ledger=ledger)
    check(lambda: type("E", (Exception,), {}), lambda cls: cls(1, 2), ledger=ledger)
    cls = type("E", (Exception,), {})
    follower = follow_class(cls, ledger=ledger)
    with pytest.raises(cls) as caught:
        raise cls("text", 2)
    assert caught.value.args == ("text", 2)
    assert follower.counts().constructed == 1


def test_thread_local_counts_the_object_once(ledger):
    class Local(threading.local):
        runs = 0

        def __init__(self, x):
            Local.runs += 1
            self.x = x

    follower = follow_class(Local, ledger=ledger)
    thing = Local(3)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(thing.x))
    thread.start()
    thread.join()
    assert seen == [3]
    assert Local.runs == 2
    assert follower.counts().constructed == follower.counts().alive == 1


def test_init_raises(ledger):
    class Fails:
        def __init__(self, x):
            if x:
                raise KeyError(x)

    follower = follow_class(Fails, ledger=ledger)
    with pytest.raises(KeyError) as caught:
        Fails(7)
    names = [entry.name for entry in caught.traceback]
    assert names.count("__init__") == 2  # theirs, and one frame of ours
    Fails(0)
    counts = follower.counts()
    assert (counts.constructed, counts.failed, counts.alive, counts.died) == (1, 1, 0, 1)


def test_init_that_returns_something_still_fails(ledger):
    class Returns:
        def __init__(self):
            return 3

    expected = error_of(Returns)
    follow_class(Returns, ledger=ledger)
    assert error_of(Returns) == expected


def test_instances_that_must_not_be_touched(ledger):
    def trap(self, *_):
        raise AssertionError("touched")

    class Trap:
        __eq__ = __bool__ = __len__ = __repr__ = __hash__ = trap
        __getattribute__ = __class__ = trap

        def __init__(self):
            pass

        def close(self):
            pass

    follower = follow_class(Trap, ledger=ledger)
    things = [Trap() for _ in range(50)]
    for thing in things[:20]:
        Trap.close(thing)
    assert follower.counts().alive == 50
    assert follower.counts().retained == 20
    assert len(follower.live_objects()) == 50
    del things, thing
    gc.collect()
    assert (follower.counts().died, follower.counts().died_without_cleanup) == (50, 30)

    class NoHash:
        def __init__(self):
            self.peers = weakref.getweakrefcount(self)

        def __eq__(self, other):
            raise AssertionError("compared")

    follower = follow_class(NoHash, ledger=ledger)
    kept = [NoHash() for _ in range(20)]
    assert follower.counts().alive == len(kept)


def test_object_with_weak_references_of_its_own(ledger):
    class Registered:
        everyone: typing.ClassVar[weakref.WeakSet] = weakref.WeakSet()

        def __init__(self):
            Registered.everyone.add(self)
            self.me = weakref.ref(self, lambda r: None)

    follower = follow_class(Registered, ledger=ledger)
    thing = Registered()
    thing.__init__()
    assert follower.counts().constructed == 1
    del thing
    assert follower.counts().died == 1


def test_resurrecting_del(ledger):
    class Lazarus:
        back: typing.ClassVar[list] = []

        def __init__(self):
            self.times = 0

        def __del__(self):
            if not self.times:
                self.times = 1
                Lazarus.back.append(self)

    follower = follow_class(Lazarus, ledger=ledger)
    Lazarus()
    assert follower.counts().alive == 1  # freed by count: the reference stays
    Lazarus.back.clear()
    assert (follower.counts().alive, follower.counts().died) == (0, 1)
    cyclic = Lazarus()
    cyclic.me = cyclic
    del cyclic
    gc.collect()
    assert len(Lazarus.back) == 1
    assert follower.counts().died == 2  # freed by the collector: counted before __del__ ran, as documented
    Lazarus.back[0].me = None
    Lazarus.back.clear()
    assert follower.counts().alive == 0


def test_copies_are_not_seen(ledger):
    follower = follow_class(Importable, ledger=ledger)
    thing = Importable(1)
    copies = [copy.copy(thing), pickle.loads(pickle.dumps(thing)), Importable.__new__(Importable)]
    assert follower.counts().constructed == 1
    assert len(copies) == 3


def test_several_tracked_classes_count_once(ledger):
    class A:
        def __init__(self):
            super().__init__()

    class B:
        def __init__(self):
            super().__init__()

    class C(A, B):
        def __init__(self):
            super().__init__()

    class Untracked(A):
        def __init__(self):
            super().__init__()

    a, b, c = (follow_class(cls, ledger=ledger) for cls in (A, B, C))
    kept = [C(), Untracked(), B()]
    assert [f.counts().constructed for f in (a, b, c)] == [1, 1, 1]
    assert len(kept) == 3


def test_arguments_reach_whatever_init_is_next_as_they_came(ledger):
    """The followed class adds an `__init__` that knows its base's parameters; another MRO may want others."""
    seen = []

    class Base:
        def __init__(self, x, y=2, *, z=3):
            seen.append((x, y, z))

    class Heir(Base):
        pass

    class Other(Base):
        def __init__(self, *args, **kwargs):
            seen.append((args, kwargs))

    class Both(Heir, Other):
        pass

    before = inspect.signature(Heir), inspect.getfullargspec(Heir.__init__)
    follower = follow_class(Heir, ledger=ledger)
    assert (inspect.signature(Heir), inspect.getfullargspec(Heir.__init__)) == before
    calls = [((), {}), ((1,), {}), ((1, 5), {}), ((1, 5, 6), {}), ((1, 5, 6, 7), {}), ((), {"x": 1}), ((1,), {"y": 4}),
             ((1, 5), {"z": 6}), ((None, None), {}), ((1, 2, 3), {"q": 2})]  # fmt: skip
    for args, kwargs in calls:
        Both(*args, **kwargs)
    assert seen == calls
    seen.clear()
    told = []
    for cls in (Base, Heir):
        told.append([])
        for args, kwargs in calls:
            try:
                cls(*args, **kwargs)
            except TypeError as error:
                told[-1].append(str(error))
    assert told[0] == told[1]
    assert len(told[0]) == 4
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]
    assert (follower.counts().constructed, follower.counts().failed) == (len(calls) + 6, 4)


def test_mixin_first_in_the_mro(ledger):
    class Mix:
        pass

    class Base:
        def __init__(self, x):
            self.x = x

    class MadeBase:
        def __new__(cls, y):
            self = super().__new__(cls)
            self.y = y
            return self

    class C(Mix, Base):
        pass

    class D(Mix, dict):
        pass

    class E(Mix, MadeBase):
        pass

    signatures = [signature_of(cls) for cls in (C, E)]
    follower = follow_class(Mix, ledger=ledger)
    assert [signature_of(cls) for cls in (C, E)] == signatures
    assert C(4).x == 4
    assert D(a=1) == {"a": 1}
    assert E(5).y == 5
    assert follower.counts().constructed == 3
    assert error_of(C)[1].endswith("missing 1 required positional argument: 'x'")

    class Root:
        def __init__(self):
            self.root = True

    class Side(Root):
        def __init__(self, z):
            super().__init__()
            self.z = z

    class Passing(Root):
        pass

    class Diamond(Passing, Side):
        pass

    follow_class(Passing, ledger=ledger)
    assert Diamond(6).z == 6


def test_init_is_a_descriptor_object(ledger):
    class Describes:
        def __get__(self, instance, owner):
            return lambda x: instance.__dict__.update(x=x)

    def make():
        return type("Described", (), {"__init__": Describes()})

    plain, cls = make(), make()
    own = vars(cls)["__init__"]
    follower = follow_class(cls, ledger=ledger)
    assert vars(cls)["__init__"] is own
    assert cls(4).x == plain(4).x == 4
    assert follower.counts().constructed == 1


def test_final_and_init_subclass(ledger):
    hooks = []

    def make():
        class Final:
            def __init__(self): ...

            def __init_subclass__(cls, **options):
                hooks.append(cls)
                raise TypeError("final")

        return Final

    check(make, lambda cls: cls(), lambda cls: cls(1), ledger=ledger)
    assert hooks == []


def test_remade_by_a_slots_decorator_afterwards(ledger):
    class Inner:
        x: int = 0

        def __init__(self, x):
            self.x = x

    follower = follow_class(Inner, ledger=ledger)
    Remade = dataclasses.dataclass(slots=True, weakref_slot=True, init=False)(Inner)
    assert Remade is not Inner
    assert Remade(3).x == 3
    assert follower.counts().constructed == 1
    assert follower.cls is Remade


def test_warnings_blame_the_caller(ledger):
    class Warns:
        def __init__(self):
            warnings.warn("careful", stacklevel=2)

        def close(self):
            warnings.warn("closing", stacklevel=2)

    follow_class(Warns, ledger=ledger)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thing = Warns()
        line = inspect.currentframe().f_lineno - 1
        thing.close()
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line), (__file__, line + 2)]
