"""Short calls of hot functions: they register nowhere, and the watcher finds those that become long."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
import threading
import warnings

import pytest

from meminstr.errors import MemoryLimitExceeded


@pytest.fixture
def hot(world):
    """A limited function whose next call is a hot one; its body is what the test puts into ``body[0]``."""
    world.watcher.running = lambda: True  # looks are made by the test

    def make(**arguments):
        body = [lambda: None]

        @world.limited(**arguments)
        def call():
            return body[0]()

        for _ in range(3):
            world.now += 0.0001
            call()
        assert guard_of(call).granted.until > world.now
        return call, body

    return make


def guard_of(call):
    return inspect.getclosurevars(call).nonlocals["guard"]


def test_a_short_call_of_a_hot_function_registers_nowhere(world, hot):
    call, body = hot()
    seen = []
    body[0] = lambda: seen.append(len(world.watcher.active)) or "value"
    assert call() == "value"
    assert seen == [0]


def test_one_that_becomes_long_is_found_and_stopped(world, hot):
    call, body = hot()
    reached = []

    def long():
        world.use(150, seconds=0.002)
        world.look()
        reached.append(len(world.watcher.active))
        try:
            world.use(300)
            world.look()
            reached.append("not stopped")
        except Exception:
            reached.append("swallowed")

    body[0] = long
    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert reached == [1]
    assert caught.value.breach["action"] == "stopped"
    assert caught.value.breach["mechanism"] == "watcher"
    assert caught.value.breach["stack"][0].startswith("use") or "long" in str(caught.value.breach["stack"])
    assert not world.watcher.active
    assert not guard_of(call).promoted


def test_one_that_is_found_but_stays_below_returns(world, hot):
    call, body = hot()

    def long():
        world.use(150, seconds=0.002)
        world.look()
        world.look()
        return "fine"

    body[0] = long
    assert call() == "fine"
    assert not world.watcher.active
    assert world.breaches == []


def test_one_that_ends_before_anybody_looks_is_judged_at_its_end(world, hot):
    call, body = hot()
    body[0] = lambda: world.use(300, seconds=0.002)
    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert caught.value.breach["mechanism"] == "exit"


def test_one_in_another_thread_raises_at_its_end(world, hot):
    outcome = []

    def run():
        call, body = hot()
        body[0] = lambda: (
            world.use(150, seconds=0.002),
            world.look(),
            world.use(300),
            world.look(),
        )
        try:
            call()
            outcome.append("returned")
        except MemoryLimitExceeded as error:
            outcome.append(error.breach["mechanism"])
            outcome.append(error.breach["note"])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert outcome == ["watcher", "could not be interrupted: it does not run in the main thread"]


def test_a_grant_of_another_thread_serves_the_main_one_only_with_its_signal(world, hot):
    made = []
    thread = threading.Thread(target=lambda: made.append(hot()))
    thread.start()
    thread.join()
    call, body = made[0]
    assert guard_of(call).granted.thread_id not in (None, threading.main_thread().ident)
    seen = []
    body[0] = lambda: seen.append(len(world.watcher.active))
    call()
    assert seen == [1]  # registered, with the signal


def test_its_own_exception_wins(world, hot):
    call, body = hot()

    def long():
        world.use(150, seconds=0.002)
        world.look()
        world.use(300)
        raise KeyError("mine")

    body[0] = long
    with pytest.raises(KeyError):
        call()
    assert world.breaches[0]["action"] == "raised KeyError of its own"
    assert not world.watcher.active

    def short():
        raise KeyError("short")

    world.use(100, seconds=1)
    call, body = hot()
    body[0] = short
    with pytest.raises(KeyError, match="short"):
        call()


def test_a_found_call_whose_wrapper_was_thrown_off_is_forgotten_unjudged(world, hot):
    call, _ = hot()
    guard = guard_of(call)
    ended = guard.promote(sys._getframe(), guard.granted, threading.get_ident())
    world.watcher.active[id(ended)] = ended
    world.use(900)
    world.look()
    assert not guard.promoted
    assert not world.watcher.active
    assert world.breaches == []


def test_nested_calls_of_a_hot_function_are_each_found(world, hot):
    call, body = hot()
    depth = [0]

    def nested():
        if depth[0] < 2:
            depth[0] += 1
            return call()
        world.use(150, seconds=0.002)
        world.look()
        return len(world.watcher.active)

    body[0] = nested
    assert call() == 3
    assert not world.watcher.active


def test_near_the_limit_every_call_registers(world, hot):
    world.use(170)
    with pytest.raises(AssertionError):
        hot()
    assert not world.watcher.lingering


def test_the_signal_stays_while_calls_are_hot_and_goes_with_them(world, hot):
    hot()
    main = world.services.main_thread
    assert main.installed_signal is not None
    world.now += 0.01
    world.look()
    assert main.installed_signal is not None
    world.now += 1
    world.look()  # in another thread, which may not set handlers: the main thread does it
    assert main.installed_signal is None
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
    assert not world.watcher.lingering


def test_without_a_way_into_the_main_thread_a_signal_brings_it_there(world, hot, monkeypatch):
    from meminstr.limits import interrupt

    monkeypatch.setattr(interrupt, "in_main_thread", lambda action: False)
    hot()
    world.now += 1
    world.look()
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL


def test_a_handler_that_the_program_sets_meanwhile_stays(world, hot):
    call, _ = hot()
    before = signal.signal(signal.SIGURG, lambda *_: None)
    mine = signal.getsignal(signal.SIGURG)
    try:
        world.now += 0.01
        call()  # registers, and takes another signal
        world.watcher.settle()
        assert signal.getsignal(signal.SIGURG) is mine
    finally:
        signal.signal(signal.SIGURG, signal.SIG_DFL)
    assert before == world.services.main_thread.handle


def test_settling_takes_every_grant_back(world, hot):
    call, _ = hot()
    world.watcher.settle()
    assert guard_of(call).granted.until == float("-inf")
    assert world.services.main_thread.installed_signal is None


def test_a_forked_child_starts_without_grants_and_without_the_signal(world, hot):
    call, _ = hot()
    world.services.after_fork()
    assert guard_of(call).granted.until == float("-inf")
    assert not world.watcher.lingering
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL


def test_without_the_interpreters_lock_nobody_is_hot(world, monkeypatch):
    from meminstr.limits import guard

    monkeypatch.setattr(guard, "gil_enabled", lambda: False)
    world.watcher.running = lambda: True
    call = world.limited()(lambda: None)
    for _ in range(5):
        call()
    assert not world.watcher.lingering


# ------------------------------------------------------------ coroutines and generators in check mode


def test_short_coroutines_live_on_one_reading(world):
    reads = []
    world.services.readings._read = lambda: reads.append(1) or world.resident

    @world.limited(mode="check")
    async def call(grow=0):
        if grow:
            world.use(grow, seconds=0.002)
        return "value"

    assert asyncio.run(call()) == "value"
    taken = len(reads)
    world.now += 0.0001
    assert asyncio.run(call()) == "value"
    assert len(reads) == taken
    with pytest.raises(MemoryLimitExceeded):
        asyncio.run(call(300))
    with pytest.raises(TypeError):
        call(1, 2, 3)
    world.use(100, seconds=1)
    made = call()
    assert (made.__name__, made.__qualname__) == ("call", call.__qualname__)
    asyncio.run(made)


def test_a_coroutine_is_judged_from_when_it_begins_to_run(world):
    @world.limited(mode="check")
    async def call():
        return "ran"

    asyncio.run(call())
    world.now += 0.0001
    made = call()
    world.use(300, seconds=1)
    with pytest.raises(MemoryLimitExceeded) as caught:
        asyncio.run(made)
    assert caught.value.breach["action"] == "refused"


def test_short_generators_live_on_one_reading(world):
    @world.limited(mode="check")
    def call(grow=0):
        got = yield 1
        if grow:
            world.use(grow, seconds=0.002)
        return got

    def drive(*args):
        steps = call(*args)
        assert next(steps) == 1
        with pytest.raises(StopIteration) as stop:
            steps.send("sent")
        return stop.value.value

    assert drive() == "sent"
    world.now += 0.0001
    windows = world.services.readings._last.window
    assert drive() == "sent"
    assert world.services.readings._last.window == windows
    with pytest.raises(MemoryLimitExceeded):
        drive(300)
    with pytest.raises(TypeError):
        call(1, 2, 3)


@pytest.mark.skipif("MEMINSTR_PLAIN_FRAMES" in os.environ, reason="frames bear their own name for coverage")
@pytest.mark.parametrize("mode", ["check", "watch"])
def test_warnings_of_coroutines_blame_the_true_caller(world, mode):
    @world.limited(mode=mode)
    async def warner():
        warnings.warn("look", UserWarning, stacklevel=2)

    async def caller():
        await warner()

    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            asyncio.run(caller())
        said = [w.filename for w in caught if str(w.message) == "look"]
        assert said == [__file__]
