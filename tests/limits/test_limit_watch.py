"""mode="watch": what a look of the watcher leads to, and how a running call is stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import types

import pytest
from scripted_limits import MB

from meminstr.decorators import limiting
from meminstr.errors import MemoryLimitExceeded
from meminstr.limits import interrupt
from meminstr.limits.guard import Guard
from meminstr.limits.interrupt import CallStopped, MainThread, can_be_stopped_here, stop_of
from meminstr.limits.watcher import LONGEST_SECONDS, SHORTEST_SECONDS, SwitchInterval, interval_for, is_near


def test_the_interval_follows_the_headroom():
    assert interval_for(10 << 30) == LONGEST_SECONDS
    assert interval_for(0) == interval_for(-5) == SHORTEST_SECONDS
    assert SHORTEST_SECONDS < interval_for(80e6) < LONGEST_SECONDS
    assert is_near(1, 1 << 40)
    assert not is_near(500 << 20, 1 << 30)


def test_the_switch_interval_is_counted_and_restored():
    before = sys.getswitchinterval()
    switch = SwitchInterval()
    switch.lower()
    switch.lower()
    assert sys.getswitchinterval() < before
    switch.restore()
    assert sys.getswitchinterval() < before
    switch.restore()
    assert sys.getswitchinterval() == before


def test_a_switch_interval_that_the_program_set_meanwhile_stays():
    before = sys.getswitchinterval()
    switch = SwitchInterval()
    switch.lower()
    sys.setswitchinterval(0.003)
    switch.restore()
    try:
        assert sys.getswitchinterval() == pytest.approx(0.003)
    finally:
        sys.setswitchinterval(before)


def test_a_look_below_the_limit_leads_to_nothing(world):
    @world.limited()
    def call():
        world.use(120)
        assert world.look() <= LONGEST_SECONDS
        return "result"

    assert call() == "result"
    assert world.breaches == []
    assert not world.watcher.active


def test_a_look_above_stops_the_main_thread_at_once(world):
    after = []

    @world.limited()
    def call():
        world.use(260)
        world.look()  # sends the signal to this very thread
        after.append("went on")

    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert after == []
    breach = caught.value.breach
    assert (breach["mechanism"], breach["action"]) == ("watcher", "stopped")
    assert breach["noticed_after_seconds"] == pytest.approx(0.01)
    assert any("call" in row for row in breach["stack"])
    assert caught.value.__cause__ is None
    # the traceback leads to the line where the call was stopped
    names = []
    traceback = caught.value.__traceback__
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert "call" in names


def test_except_exception_cannot_swallow_it(world):
    @world.limited()
    def call():
        for step in range(100):
            try:
                world.use(200 + step)
                world.look()
            except Exception:
                pytest.fail("swallowed")
        return "result"

    with pytest.raises(MemoryLimitExceeded):
        call()


def test_finally_runs_and_may_use_limited_functions(world):
    cleaned = []
    inner = world.limited(mb=10_000)(lambda: cleaned.append("inner"))

    @world.limited()
    def call():
        try:
            world.use(300)
            world.look()
        finally:
            inner()
            cleaned.append("finally")

    with pytest.raises(MemoryLimitExceeded):
        call()
    assert cleaned == ["inner", "finally"]


def test_a_bare_except_that_goes_on_is_stopped_again_after_more_growth(world):
    stopped = []

    @world.limited()
    def call():
        for mb in (300, 301, 302, 400, 401):
            try:
                world.use(mb)
                world.look()
            except BaseException as error:
                stopped.append((mb, type(error)))
        return "result"

    with pytest.raises(MemoryLimitExceeded):
        call()
    assert stopped == [(300, CallStopped), (400, CallStopped)]
    assert len(world.breaches) == 1


def test_an_exception_raised_from_the_stop_is_ours_too(world):
    @world.limited()
    def call():
        try:
            world.use(300)
            world.look()
        except BaseException as error:
            raise ValueError("wrapped") from error

    with pytest.raises(MemoryLimitExceeded):
        call()


def test_a_collection_that_helps_makes_it_no_breach(world):
    @world.limited()
    def call():
        world.use(260)
        world.collectable = 100 * MB
        world.look()
        return "result"

    with pytest.raises(MemoryLimitExceeded) as caught:
        call()  # the exact peak has the last word
    assert caught.value.breach["mechanism"] == "peak"
    assert world.collections == 1


def test_nested_limits_stop_the_one_that_is_broken(world):
    log = []

    @world.limited(mb=5000)
    def inner():
        world.use(260)
        world.look()
        log.append("inner went on")

    @world.limited(mb=200)
    def outer():
        inner()
        log.append("outer went on")

    with pytest.raises(MemoryLimitExceeded) as caught:
        outer()
    assert caught.value.subject.endswith("outer")
    assert log == []


def test_an_inner_breach_can_be_handled_by_the_outer(world):
    @world.limited(mb=200)
    def inner():
        world.use(260)
        world.look()

    @world.limited(mb=5000)
    def outer():
        try:
            inner()
        except MemoryError:
            world.use(100)
            return "handled"

    assert outer() == "handled"


def test_warn_does_not_stop(world):
    @world.limited(on_exceed="warn")
    def call():
        world.use(300)
        world.look()
        return "result"

    assert call() == "result"
    assert world.breaches[0]["mechanism"] == "watcher"
    assert world.breaches[0]["peak_bytes"] == 300 * MB


def test_a_callback_is_called_at_the_breach_and_may_fail(world):
    order = []

    @world.limited(on_exceed=lambda record: order.append(record["mechanism"]))
    def call():
        world.use(300)
        world.look()
        order.append("went on")

    call()
    assert order == ["watcher", "went on"]


def test_another_thread_is_not_interrupted_but_raises_at_its_end(world):
    outcome = []

    @world.limited()
    def call():
        world.use(300)
        world.look()
        outcome.append("went on")
        world.now += 3.0
        world.use(120)

    def run():
        try:
            call()
        except MemoryLimitExceeded as error:
            outcome.append(error.breach)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert outcome[0] == "went on"
    assert "does not run in the main thread" in outcome[1]["note"]
    assert outcome[1]["uninterruptible_seconds"] == pytest.approx(3.01)
    assert outcome[1]["action"] == "raised"


def test_a_call_that_held_the_lock_says_for_how_long(world):
    @world.limited()
    def call():
        world.watcher.due_at = world.now + 0.05
        world.use(300, seconds=3.1)  # the watcher did not get to look

    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert caught.value.breach["uninterruptible_seconds"] == pytest.approx(3.05)
    assert "lock was held" in str(caught.value)


def test_a_with_block_is_stopped_in_its_body_only(world):
    after = []
    limited = world.limited()

    def block():
        with limited:
            world.use(260)
            world.look()
            after.append("went on")

    with pytest.raises(MemoryLimitExceeded):
        block()
    assert after == []
    world.use(100, seconds=2)
    with limited:  # again
        with limited:  # nested
            world.use(150)
    assert not world.watcher.active


def test_a_generator_is_stopped_while_it_runs_and_between_its_steps(world):
    @world.limited()
    def numbers():
        for mb in (120, 130, 300, 310):
            world.use(mb)
            yield mb

    got = []
    with pytest.raises(MemoryLimitExceeded):
        got.extend(numbers())
    assert got == [120, 130, 300]

    @world.limited()
    def running():
        yield 1
        world.use(400)
        world.look()
        got.append("went on")
        yield 2

    world.use(100, seconds=2)
    got.clear()
    with pytest.raises(MemoryLimitExceeded):
        got.extend(running())
    assert got == [1]


def test_a_consumer_of_a_suspended_generator_is_not_stopped(world):
    @world.limited()
    def numbers():
        yield 1
        yield 2

    steps = numbers()
    next(steps)
    world.use(300)
    world.look()  # above, but the frame on the stack is ours, not the generator's
    with pytest.raises(MemoryLimitExceeded):
        next(steps)


def test_a_generator_that_is_given_up_leaves_nothing(world):
    steps = world.limited()(lambda: (yield 1))()
    next(steps)
    steps.close()
    assert not world.watcher.active
    assert world.services.main_thread.installed_signal is None


def test_a_suspended_coroutine_is_cancelled_and_raises_the_limit(world):
    log = []

    @world.limited()
    async def call():
        world.use(300)
        looker = asyncio.get_running_loop()
        looker.call_soon(world.look)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def main():
        try:
            await call()
        except MemoryLimitExceeded as error:
            assert asyncio.current_task().cancelling() == 0
            await asyncio.sleep(0)  # the task is usable
            return error.breach

    breach = asyncio.run(main())
    assert log == ["cancelled"]
    assert breach["action"] == "stopped"


def test_a_coroutine_that_blocks_the_loop_is_stopped_in_place(world):
    @world.limited()
    async def call():
        await asyncio.sleep(0)
        world.use(300)
        world.look()
        pytest.fail("went on")

    async def main():
        with pytest.raises(MemoryLimitExceeded):
            await call()
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()

    assert asyncio.run(main()) == 0


def test_a_cancellation_from_outside_stays_a_cancellation(world):
    @world.limited()
    async def call():
        await asyncio.Event().wait()

    async def main():
        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        world.use(300)
        world.look()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_async_with_and_concurrent_tasks_share_one_object(world):
    limited = world.limited()

    async def worker(mb):
        async with limited:
            await asyncio.sleep(0)
            world.use(mb)
            await asyncio.sleep(0)
        return mb

    async def main():
        return await asyncio.gather(*(worker(mb) for mb in (120, 130, 140)))

    assert asyncio.run(main()) == [120, 130, 140]
    assert limited._entered == {}

    async def breaking():
        async with limited:
            world.use(400)
            asyncio.get_running_loop().call_soon(world.look)
            await asyncio.Event().wait()

    with pytest.raises(MemoryLimitExceeded):
        asyncio.run(breaking())


def test_an_async_generator_is_stopped_at_its_next_step(world):
    @world.limited()
    async def numbers():
        for mb in (120, 300, 310):
            world.use(mb)
            yield mb

    async def main():
        async for mb in numbers():
            got.append(mb)

    got = []
    with pytest.raises(MemoryLimitExceeded):
        asyncio.run(main())
    assert got == [120, 300]


# ------------------------------------------------------------------ the signal


def test_a_signal_that_the_program_uses_is_not_taken(world):
    mine = []
    before = signal.signal(signal.SIGURG, lambda *_: mine.append(1))
    try:

        @world.limited()
        def call():
            assert world.services.main_thread.installed_signal not in (None, signal.SIGURG)
            os.kill(os.getpid(), signal.SIGURG)
            world.use(300)
            world.look()

        with pytest.raises(MemoryLimitExceeded):
            call()
        assert mine == [1]
    finally:
        signal.signal(signal.SIGURG, before)


def test_blocked_signals_and_those_of_c_code_are_not_taken(tmp_path):
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nSigIgn:\t{1 << 12:016x}\nSigCgt:\t{1 << 22:016x}\n")
    assert {13, 23} <= interrupt.foreign_signals(str(status))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGURG])
    try:
        assert int(signal.SIGURG) in interrupt.foreign_signals(str(tmp_path / "missing"))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGURG])


def test_a_pending_signal_is_discarded_before_the_default_comes_back(monkeypatch):
    # a real-time signal's default ends the process: that this test survives is the proof
    monkeypatch.setattr(interrupt, "candidates", lambda: [int(signal.SIGRTMAX) - 5])
    main = MainThread(lambda: ())
    assert main.acquire()
    number = main.installed_signal
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        assert main.send()
        main.release()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    assert signal.getsignal(number) == signal.SIG_DFL
    assert not main.send()


def test_no_free_signal_means_no_interruption(world, monkeypatch):
    monkeypatch.setattr(interrupt, "candidates", lambda: [])

    @world.limited()
    def call():
        world.use(300)
        world.look()
        return "went on"

    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert "no signal is free" in caught.value.breach["note"]


def test_our_own_bookkeeping_is_never_interrupted(world):
    call = world.limited()._make_guard("subject").enter()
    try:
        # this frame belongs to no guarded call: nothing on its stack is a guard's frame
        assert not can_be_stopped_here(sys._getframe(), call)
        call.anchor = sys._getframe()
        assert can_be_stopped_here(sys._getframe(), call)
        ours = {"__name__": "meminstr.limits.guard", "can": can_be_stopped_here, "call": call, "sys": sys}
        exec("def inside(): return can(sys._getframe(), call)", ours)
        assert not ours["inside"]()
    finally:
        call.guard.leave(call)


def test_between_the_start_of_an_inner_call_and_its_try_nothing_is_raised(world, monkeypatch):
    places = []

    @world.limited(gb=50)
    def inner():
        places.append(can_be_stopped_here(sys._getframe(), outer_call[0]))

    @world.limited(gb=50)
    def inner_generator():
        places.append(can_be_stopped_here(sys._getframe(), outer_call[0]))
        yield 1

    enter = Guard.enter

    def asked(guard, *args, **kwargs):
        call = enter(guard, *args, **kwargs)
        if outer_call:
            frame = sys._getframe(1)
            while frame.f_code.co_filename == limiting.__file__:
                frame = frame.f_back
            places.append(can_be_stopped_here(frame, outer_call[0]))
        else:
            outer_call.append(call)
        return call

    outer_call: list = []
    monkeypatch.setattr(Guard, "enter", asked)

    @world.limited(gb=50)
    def outer():
        inner()
        next(inner_generator())

    outer()
    assert places == [False, True, False, True]


@pytest.mark.parametrize("kind", ["generator", "coroutine"])
def test_a_stop_is_never_raised_in_another_call_of_the_same_code(world, kind):
    seen = []

    def steps():
        yield
        try:
            world.use(330)
            world.look()
            for _ in range(50):
                pass
            seen.append("went on")
        except BaseException as error:
            seen.append(error)
            raise
        yield

    if kind == "generator":
        limited = world.limited(of="call")(steps)

        def start():
            return limited()

        def go(running):
            next(running)
    else:

        @types.coroutine
        def awaited():
            yield from steps()

        @world.limited(of="call")
        async def limited():
            await awaited()

        def start():
            return limited()

        def go(running):
            running.send(None)

    first = start()
    go(first)
    world.use(250)
    second = start()
    go(second)
    go(second)  # the first is above its limit while this one runs
    assert seen == ["went on"]
    with pytest.raises(MemoryLimitExceeded):
        go(first)
    second.close()
    assert not world.watcher.active


def test_the_stop_is_found_wherever_it_went():
    class One:
        subject = "one"

    one = One()
    stop = CallStopped(one)
    wrapped = ValueError()
    wrapped.__context__ = stop
    assert stop_of(wrapped, one) is stop
    assert stop_of(BaseExceptionGroup("g", [KeyError(), stop]), one) is stop
    assert stop_of(wrapped, One()) is None
    wrapped.__cause__ = wrapped
    assert stop_of(wrapped, one) is stop


# ------------------------------------------------------------------ the thread


def test_the_thread_lives_as_long_as_a_call_and_a_moment(world):
    del world.watcher._start  # the real one
    limited = world.limited(mb=10_000)
    with limited:
        assert world.watcher.running()
        with limited:
            pass
    world.watcher.settle()
    assert not world.watcher.running()


def test_a_real_watcher_stops_a_blocking_call(world):
    del world.watcher._start
    world.services.readings.clock = world.watcher._clock = world.clock = time.monotonic  # real time
    order = []

    @world.limited()
    def call():
        world.resident = 300 * MB
        order.append("blocks")
        threading.Event().wait(30)
        order.append("went on")

    with pytest.raises(MemoryLimitExceeded):
        call()
    assert order == ["blocks"]
    world.watcher.settle()


def test_a_thread_that_cannot_start_leaves_the_checks(world, monkeypatch):
    from meminstr.faults import clear_faults, faults

    clear_faults()
    del world.watcher._start

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    @world.limited()
    def call():
        world.use(300)

    with pytest.raises(MemoryLimitExceeded):
        call()
    assert faults()[0]["where"] == "starting the watcher of limits"
    clear_faults()


def test_no_thread_is_started_while_the_interpreter_ends():
    code = (
        "import os\n"
        "from meminstr.decorators.limiting import memory_limited\n"
        "@memory_limited(gb=500)\n"
        "def limited(text, write=os.write): write(1, text)\n"
        "class Late:\n"
        "    def __del__(self, limited=limited): limited(b'late')\n"
        "keep = Late()\n"
        "keep.me = keep\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "late", "")


def test_a_forked_child_starts_clean(world):
    guard = world.limited()._make_guard("subject")
    call = guard.enter()
    world.watcher._set_lowered(True)
    world.services.after_fork()
    assert not world.watcher.active
    assert not world.watcher.running()
    assert sys.getswitchinterval() == pytest.approx(0.005)
    guard.leave(call)
    assert world.services.main_thread.installed_signal is None


def test_fifty_breaches_leave_nothing_behind(world):
    del world.watcher._start
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    @world.limited()
    def call():
        world.use(300)
        world.look()

    for _ in range(50):
        world.use(100, seconds=2)
        with pytest.raises(MemoryLimitExceeded):
            call()
    world.watcher.settle()
    assert not world.watcher.active
    assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
    assert len(world.breaches) == 50


# ------------------------------------------------------------------ other threads, on request


@pytest.mark.skipif(sys.version_info[:2] != (3, 12), reason="refused elsewhere")
def test_threads_are_stopped_on_request_and_nothing_escapes(world):
    outcomes = []

    @world.limited(interrupt_threads=True)
    def call(ready):
        world.use(300)
        ready.set()
        while True:
            pass

    @world.limited(interrupt_threads=True)
    def short(ready):
        world.use(300)
        ready.set()

    def run(function, ready):
        try:
            function(ready)
        except MemoryLimitExceeded as error:
            outcomes.append(error.breach["action"])
        for _ in range(1000):  # a stray exception would show here
            pass

    for function in [call] * 10 + [short] * 40:
        world.use(100, seconds=2)
        ready = threading.Event()
        thread = threading.Thread(target=run, args=(function, ready))
        thread.start()
        ready.wait()
        world.watcher.look()
        thread.join()
    assert outcomes[:10] == ["stopped"] * 10
    assert len(outcomes) == 50


def test_an_asynchronous_exception_is_taken_back(world):
    from meminstr.limits import threads

    guard = world.limited()._make_guard("subject")
    call = guard.enter()
    try:
        assert not threads.raise_in_thread(call)  # no wrapper of ours around it
        call.in_own_wrapper = True
        sent = []
        original = threads._set
        threads._set = lambda thread_id, raised: sent.append(raised) or True
        try:
            assert threads.raise_in_thread(call)
            assert not threads.raise_in_thread(call)
            threads.disarm(call)
            threads.forget(call)
            assert not threads.raise_in_thread(call)
        finally:
            threads._set = original
        assert sent == [True, False]
        assert not threads._sent
    finally:
        guard.leave(call)


def test_relief_comes_before_the_breach_once_for_each_approach(world):
    @world.limited()
    def call():
        for mb in (165, 170, 175):
            world.use(mb)
            world.look()
        return world.collections

    assert call() == 1
