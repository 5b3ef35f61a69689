"""Signals, exhausted stacks and memory, exceptions of all kinds in the middle of our lines: the results stay."""

import os
import signal
import sys

import pytest

from meminstr import ControllerMemoryTracker, leak_guard, track_instantiations
from meminstr.faults import clear_faults, faults, settle
from meminstr.sampling import Sampler


@pytest.fixture
def tracker():
    clear_faults()
    made = ControllerMemoryTracker()
    yield made
    made.uninstall()
    clear_faults()


def guarded(tracker, function=lambda x: x):
    wrapper = leak_guard(every=1, tracker=tracker)(function)
    (subject,) = tracker.functions.values()
    return wrapper, subject


@pytest.fixture
def unlimited(monkeypatch):
    """Every call that the switch lets through is sampled."""
    monkeypatch.setattr("meminstr.sampling.Budget.left", lambda self, now: 1.0)


def failing_at(number, error):
    """A reading that fails the given time it is asked for, with a fresh error (one that is kept keeps its frames)."""
    real, asked = Sampler.read, [0]

    def read(self, into):
        asked[0] += 1
        if asked[0] == number:
            raise error("injected")
        return real(self, into)

    return read


@pytest.mark.parametrize("at", [1, 2], ids=["enter", "finish"])
@pytest.mark.parametrize("error", [MemoryError, OSError, RecursionError, ZeroDivisionError])
def test_our_errors_leave_the_result_alone(tracker, unlimited, monkeypatch, at, error):
    function, subject = guarded(tracker)
    monkeypatch.setattr(Sampler, "read", failing_at(at, error))
    assert [function(i) for i in range(10)] == list(range(10))
    assert subject.calls() == 10
    assert [(row["error"], row["count"]) for row in faults()] == [(error.__name__, 1)]
    assert 8 <= subject.samples <= 9


@pytest.mark.parametrize("at", [1, 2], ids=["enter", "leave"])
def test_our_error_does_not_take_the_place_of_the_programs(tracker, unlimited, monkeypatch, at):
    def fail(x):
        raise LookupError(x)

    function, subject = guarded(tracker, fail)
    monkeypatch.setattr(Sampler, "read", failing_at(at, MemoryError))
    for i in range(5):
        with pytest.raises(LookupError) as caught:
            function(i)
        assert caught.value.args == (i,)
        assert caught.value.__context__ is None
    assert subject.calls() == 5


@pytest.mark.parametrize("at", [1, 2], ids=["enter", "finish"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_our_lines_is_the_programs(tracker, unlimited, monkeypatch, at, error):
    function, subject = guarded(tracker)
    monkeypatch.setattr(Sampler, "read", failing_at(at, error))
    with pytest.raises(error):
        function(1)
    assert [function(i) for i in range(10)] == list(range(10)), "no lock stayed held"
    assert subject.calls() == 11
    assert faults() == []


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_our_errors_around_a_construction(tracker, monkeypatch, error):
    class Thing:
        def __init__(self, x):
            self.x = x

    track_instantiations("Thing", tracker=tracker)(Thing)
    monkeypatch.setattr(Sampler, "read", failing_at(1, error))
    assert [Thing(i).x for i in range(50)] == list(range(50))
    counts = tracker.classes["Thing"].follower.counts()
    assert (counts.constructed, counts.failed, counts.alive) == (50, 0, 0)


class Expired(Exception):
    pass


def expire(number, frame):
    raise Expired(number)


class Handler:
    def __call__(self, number, frame):
        raise Expired(number)

    def method(self, number, frame):
        raise Expired(number)


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="no signals here")
@pytest.mark.parametrize("handler", [expire, Handler(), Handler().method], ids=["function", "object", "method"])
@pytest.mark.parametrize("at", [1, 2], ids=["enter", "finish"])
def test_what_a_signal_handler_raises_in_our_lines_reaches_the_program(tracker, unlimited, monkeypatch, handler, at):
    function, subject = guarded(tracker)
    real, asked = Sampler.read, [0]

    def read(self, into):
        asked[0] += 1
        if asked[0] == at:
            signal.raise_signal(signal.SIGUSR1)
        return real(self, into)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        monkeypatch.setattr(Sampler, "read", read)
        with pytest.raises(Expired):
            function(1)
        assert [function(i) for i in range(10)] == list(range(10))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert subject.calls() == 11
    assert faults() == []


def test_settle_keeps_an_error_that_no_handler_raised():
    clear_faults()
    before = signal.signal(signal.SIGUSR1, expire)
    try:
        raise Expired("by ourselves")
    except Expired as error:
        settle("here", error)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [row["where"] for row in faults()] == ["here"]
    clear_faults()


# where a handler runs inside a weak reference's callback, the interpreter drops what it raises, with us or without
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
@pytest.mark.skipif(
    "MEMINSTR_PLAIN_FRAMES" in os.environ, reason="under a tracer the handlers take longer than the pauses"
)
def test_a_storm_of_signals_that_raise(tracker, unlimited):
    function, subject = guarded(tracker)
    caught = made = lost = 0
    armed = [False]

    def handler(number, frame):
        if armed[0]:
            armed[0] = False
            raise Expired(number)

    for i in range(200):  # the first looks import numpy, whose C code drops what a handler raises, as it may
        function(i)
    already = subject.calls()
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while caught + lost < 100:
            try:
                armed[0] = True
                while armed[0]:
                    assert function(made) == made
                    made += 1
                lost += 1
            except Expired:
                caught += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    samples = subject.samples
    assert function(5) == 5
    assert subject.samples == samples + 1, "no lock stayed held"
    assert made <= subject.calls() - 1 - already <= made + caught
    assert lost <= 10
    assert [row for row in faults() if row["error"] == "Expired"] == []


def test_recursion_to_the_limit_ends_as_it_would_without_us(tracker, unlimited):
    def deep(n):
        return 0 if n == 0 else 1 + function(n - 1)

    function, subject = guarded(tracker, deep)
    with pytest.raises(RecursionError):
        function(sys.getrecursionlimit())
    before = subject.calls()
    assert function(100) == 100
    assert subject.calls() == before + 101


def test_a_recursive_constructor_at_the_limit(tracker):
    class Node:
        def __init__(self, n):
            self.next = Node(n - 1) if n else None

    track_instantiations("Node", tracker=tracker)(Node)
    with pytest.raises(RecursionError):
        Node(sys.getrecursionlimit())
    before = tracker.classes["Node"].follower.counts().constructed
    node = Node(50)
    counts = tracker.classes["Node"].follower.counts()
    assert counts.constructed == before + 51
    assert node.next is not None
