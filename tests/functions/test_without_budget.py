"""Sampled calls that the budget does not pay for: every kind runs as it would without us, step by step."""

import asyncio

import pytest

from meminstr.registry import ControllerMemoryTracker


@pytest.fixture
def guard():
    tracker = ControllerMemoryTracker()
    tracker.sampler.budget.spent = 1e9
    yield lambda function: tracker.guard(function, every=1)
    assert all(subject.skipped for subject in tracker.functions.values())
    tracker.uninstall()


@pytest.fixture
def refusing(guard):
    """The same with subjects that are not due: no sample is taken at all."""

    def wrap(function):
        from meminstr.instrument.functions import instrumented

        made = guard(function)
        instrumented(made).around._due = float("inf")
        return made

    return wrap


def test_calls_generators_and_what_is_sent_to_them(refusing):
    @refusing
    def plain(a):
        return a

    @refusing
    def generator(a):
        got = yield a
        try:
            got = yield got
        except KeyError:
            got = "thrown"
        return got

    assert plain(3) == 3
    running = generator(1)
    assert next(running) == 1
    assert running.send(2) == 2
    with pytest.raises(StopIteration) as stop:
        running.throw(KeyError())
    assert stop.value.value == "thrown"


def test_coroutines_and_async_generators(refusing):
    @refusing
    async def sleeper(a):
        await asyncio.sleep(0)
        return a

    @refusing
    async def numbers(n):
        for i in range(n):
            await asyncio.sleep(0)
            try:
                got = yield i
            except KeyError:
                got = yield "thrown"
            if got is not None:
                yield got

    async def main():
        seen = [i async for i in numbers(3)]
        running = numbers(2)
        seen += [await anext(running), await running.asend("sent")]
        await running.aclose()
        again = numbers(2)
        await anext(again)
        seen.append(await again.athrow(KeyError()))
        await again.aclose()
        return seen, await sleeper(5)

    assert asyncio.run(main()) == ([0, 1, 2, 0, "sent", "thrown"], 5)


def test_who_walks_past_the_frames_of_a_module_walks_past_those_of_a_stepped_coroutine():
    """A package that looks for its caller passes over its own frames: ours are among them."""
    import sys

    from meminstr.instrument.functions import instrument

    class Stepping:
        def enter(self):
            return [0]

        def step(self, token):
            token[0] += 1

        def pause(self, token):
            return True

        def leave(self, token, error):
            pass

        def recipe(self):
            raise TypeError

    home = {"__name__": "package", "sys": sys, "asyncio": asyncio}
    exec(
        "async def who():\n await asyncio.sleep(0)\n frame, names = sys._getframe(), []\n"
        " while frame:\n  names.append(frame.f_globals['__name__'])\n  frame = frame.f_back\n return names",
        home,
    )
    names = asyncio.run(instrument(home["who"], Stepping())())
    assert names.count("package") >= 3
    assert not any(name.startswith("meminstr.") for name in names)
