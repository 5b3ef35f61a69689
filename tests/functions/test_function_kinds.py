"""Every kind of callable, wrapped: behaves as before, counted exactly, no frame of ours on unsampled calls."""

import abc
import asyncio
import copy
import functools
import inspect
import os
import pickle
import signal
import sys
import threading
import traceback
import typing
import warnings

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.errors import UsageError
from meminstr.instrument.functions import instrument, instrumented, kind_of
from meminstr.instrument.switches import LONGEST, Pace, checked_every, early_pattern, sampling_switch
from meminstr.spending import growth_at


class Log:
    """An Around that writes down what it sees."""

    def __init__(self):
        self.events = []

    def enter(self):
        self.events.append("enter")
        return len(self.events)

    def leave(self, token, error):
        self.events.append(type(error).__name__ if error is not None else "leave")

    def recipe(self):
        return relogged, {}


def relogged():
    return lambda f: instrument(f, Log())


def always(f, log=None):
    return instrument(f, log or Log())


def never(f):
    return instrument(f, Log(), enabled=lambda: 0)


def plain(a: int, /, b: str = "x", *args: int, c: float = 1.0, **kw: int) -> tuple:
    """Plain."""
    return a, b, args, c, kw


guarded_plain = never(plain)
guarded_plain.__qualname__ = "guarded_plain"


@pytest.mark.parametrize("wrap", [always, never])
def test_call_passes_arguments_results_and_metadata(wrap):
    f = wrap(plain)
    assert f(1, "y", 2, c=3.0, d=4) == (1, "y", (2,), 3.0, {"d": 4})
    assert f.__name__ == "plain"
    assert f.__doc__ == "Plain."
    assert inspect.signature(f) == inspect.signature(plain)
    assert typing.get_type_hints(f) == typing.get_type_hints(plain)
    assert inspect.getsource(f) == inspect.getsource(plain)
    with pytest.raises(TypeError, match="missing 1 required positional"):
        f()


@pytest.mark.parametrize("wrap", [always, never])
def test_kinds_are_seen_through(wrap):
    async def co():
        return 1

    def gen():
        yield 1

    async def agen():
        yield 1

    assert inspect.iscoroutinefunction(wrap(co))
    assert inspect.isgeneratorfunction(wrap(gen))
    assert inspect.isasyncgenfunction(wrap(agen))
    assert not inspect.iscoroutinefunction(wrap(plain))
    assert [kind_of(f) for f in (co, gen, agen, plain)] == ["coroutine", "generator", "async generator", "call"]
    assert inspect.isgenerator(wrap(gen)())
    assert inspect.isasyncgen(wrap(agen)())
    made = wrap(co)()
    assert inspect.iscoroutine(made)
    assert made.__qualname__ == co.__qualname__
    assert asyncio.run(made) == 1


def test_methods_bind_and_keep_identity_through_the_class():
    class C:
        @always
        def m(self, x):
            return self, x

        @classmethod
        @always
        def inner(cls, x):
            return cls, x

        @staticmethod
        @always
        def static(x):
            return x

        outer = always(classmethod(lambda cls, x: (cls, x)))
        outer_static = always(staticmethod(lambda x: x))
        value = always(property(lambda self: 42))

    c = C()
    assert c.m(1) == (c, 1)
    assert C.m(c, 2) == (c, 2)
    assert C.m is C.m
    assert inspect.ismethod(c.m)
    assert c.m.__self__ is c
    assert c.inner(1) == (C, 1) == C.inner(1) == C.outer(1) == c.outer(1)
    assert c.static(3) == 3 == C.outer_static(3)
    assert c.value == 42
    assert isinstance(C.__dict__["value"], property)


def test_calls_are_counted_and_sampled_as_the_pattern_says():
    log = Log()
    f = instrument(lambda: None, log, enabled=sampling_switch(10))
    for _ in range(1000):
        f()
    assert instrumented(f).calls() == 1000
    # early: 1, 2, 3, 5, 8, 10; then one in ten on average
    assert log.events.count("enter") == pytest.approx(6 + 99, abs=8)


def test_an_unsampled_call_enters_no_frame_of_ours():
    def who():
        return sys._getframe(1).f_code

    f = never(who)
    assert f() is sys._getframe().f_code

    class C:
        m = never(lambda self: sys._getframe(1).f_code)

    assert C().m() is sys._getframe().f_code


@pytest.mark.skipif("MEMINSTR_PLAIN_FRAMES" in os.environ, reason="frames bear their own name for coverage")
def test_a_sampled_call_shows_one_frame_and_warnings_blame_the_caller():
    def fails():
        raise ValueError("x")

    with pytest.raises(ValueError, match="x") as caught:
        always(fails)()
    ours = [f for f in traceback.extract_tb(caught.value.__traceback__) if "meminstr" in f.filename]
    assert len(ours) == 1

    def warns():
        warnings.warn("w", stacklevel=2)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        always(warns)()
    assert seen[0].filename == __file__


def test_errors_reach_the_caller_and_are_seen():
    log = Log()

    def fails():
        raise KeyError(1)

    with pytest.raises(KeyError):
        always(fails, log)()
    assert log.events == ["enter", "KeyError"]


def test_generators_delegate_send_throw_and_return():
    log = Log()

    def gen():
        got = yield 1
        try:
            yield got
        except ValueError:
            yield "caught"
        return "end"

    g = always(gen, log)()
    assert log.events == []
    assert next(g) == 1
    assert g.send("sent") == "sent"
    assert g.throw(ValueError) == "caught"
    with pytest.raises(StopIteration) as stop:
        next(g)
    assert stop.value.value == "end"
    assert log.events == ["enter", "leave"]
    h = always(gen, log)()
    next(h)
    h.close()
    assert log.events[-1] == "GeneratorExit"


def test_async_generators_delegate_asend_athrow_and_aclose():
    log = Log()
    closed = []

    async def agen():
        try:
            got = yield 1
            try:
                yield got
            except ValueError:
                yield "caught"
        finally:
            closed.append(True)

    async def use():
        a = always(agen, log)()
        assert await a.asend(None) == 1
        assert await a.asend("sent") == "sent"
        assert await a.athrow(ValueError) == "caught"
        assert [x async for x in a] == []
        b = always(agen, log)()
        assert await anext(b) == 1
        await b.aclose()

    asyncio.run(use())
    assert log.events == ["enter", "leave", "enter", "GeneratorExit"]
    assert closed == [True, True]


class Stepping(Log):
    def step(self, token):
        self.events.append("step")
        if self.events.count("step") == 3:
            raise MemoryError("refused")


def test_steps_are_asked_before_each_resumption_and_refusals_run_finally_blocks():
    log, done = Stepping(), []

    def gen():
        try:
            for i in range(10):  # noqa: UP028  # its own yield is what is resumed
                yield i
        finally:
            done.append("finally")

    with pytest.raises(MemoryError, match="refused"):
        list(instrument(gen, log)())
    assert done == ["finally"]
    assert log.events == ["enter", "step", "step", "step", "MemoryError"]

    async def co():
        for _ in range(10):
            await asyncio.sleep(0)

    other = Stepping()
    with pytest.raises(MemoryError):
        asyncio.run(instrument(co, other)())
    assert other.events.count("step") == 3


def test_pickling_copying_and_cloudpickle():
    module = sys.modules[__name__]
    module.guarded_here = guarded_here = never(plain)
    guarded_here.__qualname__ = "guarded_here"
    guarded_here.__module__ = __name__
    assert pickle.loads(pickle.dumps(guarded_here)) is guarded_here
    assert copy.copy(guarded_here) is guarded_here
    assert copy.deepcopy(guarded_here) is guarded_here
    assert cloudpickle.loads(cloudpickle.dumps(guarded_here)) is guarded_here

    secret = 7

    def closure(x):
        return x + secret

    sent = cloudpickle.loads(cloudpickle.dumps(always(closure)))
    assert sent(1) == 8
    assert instrumented(sent) is not None
    cached = functools.lru_cache(maxsize=3)(plain)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(cached)  # as without us: not the same object as plain


def test_bound_methods_pickle():
    got = pickle.loads(pickle.dumps(Picklable().m))
    assert got(2) == 2


class Picklable:
    @never
    def m(self, x):
        return x


def test_abstract_methods_stay_abstract():
    class A(abc.ABC):
        @never
        @abc.abstractmethod
        def m(self): ...

    with pytest.raises(TypeError, match="abstract"):
        A()


def test_partials_builtins_and_callables():
    assert never(functools.partial(plain, 1))("b")[:2] == (1, "b")
    assert never(len)([1, 2]) == 2

    class Callable:
        def __call__(self, x):
            return x

    assert always(Callable())(5) == 5


@pytest.mark.parametrize("bad", [int, 5, None, "f"])
def test_what_is_no_function_is_refused(bad):
    with pytest.raises(UsageError, match="function"):
        instrument(bad, Log())


@pytest.mark.parametrize("bad", [0, -1, True, 1.5, "3", None, 10**7])
def test_every_is_checked(bad):
    with pytest.raises(UsageError, match="every="):
        checked_every(bad)


def test_early_pattern_is_dense_at_first_and_ends_on_the_last():
    marks = [i + 1 for i, m in enumerate(early_pattern(100)) if m]
    assert marks == [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 100]
    assert early_pattern(1) == b"\x01"


@given(st.integers(1, 3000))
def test_distances_are_every_on_average_and_irregular(every):
    pace = Pace(every)
    at, marks = 0, []
    for _ in range(400):
        pace.sampled(short=False, plenty=True, calls=at)
        assert pace.cell[0][-1] == 1
        assert not any(pace.cell[0][:-1])
        at += len(pace.cell[0])
        marks.append(at)
    assert at / 400 == pytest.approx(every, rel=0.07)  # 0.061 is the worst of all 3,000
    if every >= 4:  # no leak of a period of two, five or ten escapes it
        assert all({mark % period for mark in marks} == set(range(period)) for period in (2, 5, 10))


@given(st.integers(1, 5_000), st.integers(0, 10**9))
def test_short_time_stretches_the_distance_up_to_a_share_of_the_calls_and_plenty_gives_it_back(every, calls):
    pace = Pace(every)
    for _ in range(40):
        pace.sampled(short=True, plenty=False, calls=calls)
    assert pace.base == max(every, min(int(calls * growth_at(calls)), LONGEST))
    for _ in range(40):
        pace.sampled(short=False, plenty=False, calls=calls)
    assert pace.base == max(every, min(int(calls * growth_at(calls)), LONGEST))
    for _ in range(40):
        pace.sampled(short=False, plenty=True, calls=calls)
    assert pace.base == every


def test_the_switch_takes_the_distance_that_the_last_sample_chose():
    pace = Pace(4)
    ask = sampling_switch(4, pace)
    assert [ask() for _ in range(4 + 4)] == [1, 1, 1, 1, 0, 0, 0, 1]
    pace.cell[0] = b"\0" * 9 + b"\1"
    assert [ask() for _ in range(20)] == ([0] * 9 + [1]) * 2


def test_a_property_of_another_kind_that_cannot_be_made_anew_is_refused():
    class Cached(property):
        def __init__(self, fget, name=None):
            super().__init__(fget)

    with pytest.raises(UsageError, match="Cached"):
        instrument(Cached(lambda self: 1), Log())


@pytest.mark.parametrize("gil", [True, False])
def test_counts_are_exact_under_threads(gil, monkeypatch):
    if not gil:  # the path of free-threaded builds, as far as this interpreter can show it
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    f = instrument(lambda: None, Log(), enabled=sampling_switch(7))
    assert (instrumented(f).counter is None) is gil
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=lambda: [f() for _ in range(20_000)]) for _ in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(before)
    assert instrumented(f).calls() == 320_000


def test_without_a_gil_the_switch_takes_a_lock(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    switch = sampling_switch(3)
    got = [switch() for _ in range(3 + 300)]
    assert got[:3] == [1, 1, 1]
    assert sum(got[3:]) == pytest.approx(100, abs=2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_without_a_gil_a_child_does_not_wait_for_a_lock_that_another_thread_held(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    switch = sampling_switch(3)
    with switch._lock:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            switch()
            os._exit(0 if switch.calls() == 1 else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_names_that_imply_a_class_or_static_method_keep_doing_so():
    wrap = always

    made = []

    class Base:
        @wrap
        def __init_subclass__(cls, **options):
            made.append((cls.__name__, options))

        @wrap
        def __class_getitem__(cls, item):
            return cls, item

        @wrap
        def __new__(cls, *args):
            return object.__new__(cls)

    class Heir(Base, colour="red"):
        pass

    assert made == [("Heir", {"colour": "red"})]
    assert Base[1] == (Base, 1)
    assert Heir[2] == (Heir, 2)
    assert type(Heir(1, 2)) is Heir
    assert type(Heir().__new__(Base)) is Base


def test_a_builtin_in_a_class_takes_no_instance_and_travels():
    class Sized:
        size = always(len)
        parse = always(functools.partial(int, base=2))

    assert (Sized().size([1, 2]), Sized.size([1])) == (2, 1)
    assert Sized().parse("101") == 5
    assert Sized.size is Sized().size
    assert instrumented(Sized.size).calls() == 2
    guarded = always(len)
    arrived = pickle.loads(pickle.dumps(guarded))
    assert arrived([1, 2, 3]) == 3
    assert instrumented(arrived).calls() == 1
    assert copy.deepcopy(guarded) is guarded is copy.copy(guarded)
