"""`memory_limited` on every kind of callable: what callers see of it (nothing)."""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import pickle
import warnings

import cloudpickle
import pytest

from meminstr import settings
from meminstr.decorators.limiting import MemoryLimited, memory_limited
from meminstr.errors import UsageError


@memory_limited(gb=100, mode="check")
def checked(a, b=2, *, c: int = 3) -> int:
    """Docs."""
    return a + b + c


@memory_limited(gb=100)
def watched(a, b=2, *, c: int = 3) -> int:
    """Docs."""
    return a + b + c


@memory_limited(gb=100)
async def coroutine(a):
    await asyncio.sleep(0)
    return a


@memory_limited(gb=100)
def generator(a):
    got = yield a
    return got


@memory_limited(gb=100)
async def async_generator(a):
    yield a
    yield a + 1


class Owner:
    @memory_limited(gb=100, mode="check")
    def method(self, a):
        return (self, a)

    @memory_limited(gb=100)
    @classmethod
    def of_class(cls, a):
        return (cls, a)

    @memory_limited(gb=100)
    @staticmethod
    def static(a):
        return a

    @classmethod
    @memory_limited(gb=100)
    def inner_class(cls):
        return cls

    @memory_limited(gb=100)
    @property
    def value(self):
        return 5


MODES = [checked, watched]


@pytest.mark.parametrize("function", MODES)
def test_a_function_looks_and_behaves_like_itself(function):
    assert function(1) == 6
    assert function(1, 1, c=1) == 3
    assert str(inspect.signature(function)) == "(a, b=2, *, c: 'int' = 3) -> 'int'"
    assert function.__doc__ == "Docs."
    assert function.__name__ in ("checked", "watched")
    assert inspect.unwrap(function) is function.__wrapped__
    with pytest.raises(TypeError):
        function()


@pytest.mark.parametrize("function", [*MODES, coroutine, generator, async_generator])
def test_pickling_by_name_and_copying(function):
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function


@pytest.mark.parametrize("mode", ["check", "watch", "kernel"])
def test_cloudpickle_takes_a_local_function_by_value(mode):
    @memory_limited(gb=100, mode=mode)
    def local(a):
        return a * 2

    again = cloudpickle.loads(cloudpickle.dumps(local))
    assert again is not local
    assert again(4) == 8
    limited = pickle.loads(pickle.dumps(memory_limited(gb=1)))
    assert isinstance(limited, MemoryLimited)
    assert limited.limit.limit_bytes == 1 << 30


def test_kinds_are_kept():
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)
    assert asyncio.run(coroutine(3)) == 3
    steps = generator(1)
    assert next(steps) == 1
    with pytest.raises(StopIteration) as stop:
        steps.send("sent")
    assert stop.value.value == "sent"

    async def collect():
        return [x async for x in async_generator(1)]

    assert asyncio.run(collect()) == [1, 2]


def test_methods_of_all_kinds():
    owner = Owner()
    assert owner.method(1) == (owner, 1)
    assert Owner.of_class(2) == (Owner, 2)
    assert Owner.static(3) == owner.static(3) == 3
    assert Owner.inner_class() is Owner
    assert owner.value == 5
    assert Owner.method is Owner.method
    assert pickle.loads(pickle.dumps(Owner.method)) is Owner.method


@pytest.mark.skipif("MEMINSTR_PLAIN_FRAMES" in os.environ, reason="frames bear their own name for coverage")
@pytest.mark.parametrize("mode", ["check", "watch"])
def test_warnings_blame_the_true_caller(mode):
    @memory_limited(gb=100, mode=mode)
    def warner():
        warnings.warn("look", UserWarning, stacklevel=2)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warner()
    assert caught[0].filename == __file__


def test_other_callables():
    assert memory_limited(gb=100)(len)([1, 2]) == 2
    with pytest.raises(UsageError, match="cannot limit class Owner"):
        memory_limited(gb=1)(Owner)
    with pytest.raises(UsageError, match="cannot limit 5"):
        memory_limited(gb=1)(5)


def test_a_process_block_is_refused():
    with pytest.raises(UsageError, match="cannot run a block in another process"):
        with memory_limited(gb=1, mode="process"):
            pass


def test_disabled_returns_its_argument_untouched(monkeypatch):
    monkeypatch.setenv("MEMINSTR_DISABLED", "1")
    settings.use(None)
    try:

        def function():
            pass

        assert memory_limited(gb=1)(function) is function
        assert memory_limited(gb=1, mode="process")(function) is function
        with pytest.raises(UsageError):
            memory_limited(gb=0)
    finally:
        monkeypatch.undo()
        settings.use(None)


def test_memory_is_freed_with_the_exception(world):
    import gc
    import weakref

    class Big:
        pass

    refs = []

    @world.limited()
    def call():
        big = Big()
        refs.append(weakref.ref(big))
        world.use(300)
        world.look()

    gc.disable()
    try:
        try:
            call()
        except MemoryError:
            pass
        assert refs[0]() is None
    finally:
        gc.enable()


def test_an_exit_stack_may_leave_elsewhere(world):
    import contextlib
    import threading

    stack = contextlib.ExitStack()
    stack.enter_context(world.limited())
    thread = threading.Thread(target=stack.close)
    thread.start()
    thread.join()
    assert not world.watcher.active
    stack.enter_context(world.limited())
    stack.close()
