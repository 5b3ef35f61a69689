"""What a sample does to its own readings, measured once in this process before the first function is guarded."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from typing import Any

from .instrument.functions import instrument
from .sampling import Sampler
from .subjects import FunctionSubject

_IDLE_CALLS = 33
_done = False


def calibrate() -> None:
    """Measure, once, what `FunctionSubject` must know of itself."""
    global _done
    if not _done:
        _done = True
        FunctionSubject.fresh_references = references_of_a_fresh_result()
        FunctionSubject.idle_blocks = blocks_of_an_idle_call()
        FunctionSubject.idle_blocks_of_streams = blocks_of_an_idle_stream()


class _Looking:
    """An `Around` that looks at a result's reference count from where `owned` does."""

    def __init__(self) -> None:
        self.seen = 0

    def enter(self) -> None:
        """Nothing to do before the call."""

    def leave(self, token: Any, error: BaseException | None) -> None:
        """Nothing to do after a failure."""

    def finish(self, token: Any, result: Any) -> None:
        """Look."""
        self.seen = _references(result)

    def recipe(self) -> Any:
        """Never sent anywhere."""
        raise TypeError("a calibration does not travel")


def _references(result: Any) -> int:
    return sys.getrefcount(result)


def references_of_a_fresh_result() -> int:
    """The reference count that `owned` sees of an object that nobody else holds."""
    look = _Looking()
    instrument(lambda: [look], look)()
    return look.seen


def blocks_of_an_idle_call() -> int:
    """Blocks that a sample seems to gain or lose across a call that does nothing."""
    subject = FunctionSubject("calibration", 1, _generous())
    _count_like_a_program(subject)
    idle = instrument(lambda: None, subject)
    for _ in range(_IDLE_CALLS):
        idle()
    return _usual(subject)


def blocks_of_an_idle_stream() -> int:
    """The same across an async generator that yields nothing."""

    async def empty() -> AsyncGenerator[None, None]:
        nothing: tuple[None, ...] = ()
        for _ in nothing:
            yield None

    subject = FunctionSubject("calibration", 1, _generous(), function=empty)
    _count_like_a_program(subject)
    idle = instrument(empty, subject)
    for _ in range(_IDLE_CALLS):
        try:
            idle().__anext__().send(None)
        except StopAsyncIteration:
            pass
    return _usual(subject)


def _generous() -> Sampler:
    sampler = Sampler()
    sampler.budget.spent = -1.0  # all of the calls are sampled, however slow the machine is now
    return sampler


def _usual(subject: FunctionSubject) -> int:
    # the first stands for all calls before it
    changes = sorted(change for _, change in subject.deltas.early_growth(1)[1:])
    return int(changes[len(changes) // 2]) if changes else 0


def _count_like_a_program(subject: FunctionSubject) -> None:
    # a number too large for the interpreter's kept ones, made anew each time; the same, so that changes stand for one
    # call each
    large = [100_000]
    subject.calls = lambda: large[0] + 1
