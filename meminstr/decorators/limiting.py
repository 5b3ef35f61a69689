"""`memory_limited`: keep one call, or one block, under a memory limit.

Arguments in, `limits.Guard` called.  Plain functions get a closure of their own, because the general wrapper costs
three times as much as the check; coroutine functions, generators and other callables go through `instrument`.
Which reading breaks a limit, and what stops a call, is decided in `meminstr.limits`.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import UsageError
from ..instrument.functions import instrument, instrumented, kind_of
from ..limits.call import Call
from ..limits.guard import Guard
from ..limits.interrupt import running_task
from ..limits.policy import Limit, make_limit
from ..limits.services import Services, process_services, settle
from ..names import name_of
from ..settings import current
from .limit_frames import admitted, checked, checked_coroutine, checked_generator, guarded, guarded_in_threads

F = TypeVar("F")


def memory_limited(
    target: Any = None,
    /,
    *,
    gb: float | None = None,
    mb: float | None = None,
    limit: str | int | float | None = None,
    fraction: float | None = None,
    of: str = "process",
    mode: str = "watch",
    on_exceed: str | Callable[[dict[str, Any]], Any] = "raise",
    wait: float | None = None,
    interrupt_threads: bool = False,
    tracker: Any = None,
) -> MemoryLimited:
    """Limit the memory of a function's calls, or of a ``with`` or ``async with`` block.

    Exactly one of ``gb``, ``mb``, ``limit`` and ``fraction`` says how much.  With ``on_exceed="raise"`` a call
    that was seen above its limit never returns normally.

    Args:
        target: nothing; there is no limit to take when used bare.
        gb, mb: the limit in GiB (1024**3 bytes) or MiB.
        limit: the limit as ``"2GiB"``, ``"500 MB"`` or a number of bytes.
        fraction: the limit as a share of the tightest limit around the process (container, resource limits,
            physical memory), read at use.
        of: ``"process"``: the resident set as a whole; ``"call"``: its growth since the call began.
        mode: ``"check"`` at start and end; ``"watch"`` also while the call runs, and stops it in the main thread
            and in asyncio tasks; ``"kernel"`` makes an allocation that would pass the limit fail; ``"process"``
            runs the call in a worker process.
        on_exceed: ``"raise"`` (`MemoryLimitExceeded`), ``"warn"`` (a WARNING on the logger ``meminstr``) or a
            callable that is given the breach record, possibly in another thread.  In the modes ``kernel`` and
            ``process`` a call that met the wall cannot go on: it raises whatever is said here.
        wait: refuse a call whose usual peak does not fit into what is left, after waiting so many seconds.
        interrupt_threads: stop calls in other threads too, by an asynchronous exception (CPython 3.12 only).
        tracker: who is told of breaches (default: `meminstr.tracker`).

    Raises:
        UsageError: an argument that is not allowed, or a mode that this system does not have.
    """
    made_limit = make_limit(
        gb=gb,
        mb=mb,
        limit=limit,
        fraction=fraction,
        of=of,
        mode=mode,
        on_exceed=on_exceed,
        wait=wait,
        interrupt_threads=interrupt_threads,
    )
    made = MemoryLimited(made_limit, tracker)
    return made if target is None else made(target)


class MemoryLimited:
    """What `memory_limited` returns: a decorator, and a context manager that can be used again and again.

    Args:
        limit: the checked limit.
        tracker: who is told of breaches; None for the global one.
        services: readings and mechanisms; None for those of the process.
    """

    def __init__(self, limit: Limit, tracker: Any = None, services: Services | None = None) -> None:
        self.limit = limit
        self._tracker = tracker
        self._services = services
        self._guard: Guard | None = None
        # by thread and task, because one object may be entered in several at once
        self._entered: dict[tuple[int, int], list[Call | None]] = {}
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return (MemoryLimited, (self.limit,))

    def __call__(self, target: F) -> F:
        """Decorate a function, method, static or class method, coroutine function or (async) generator function.

        Raises:
            UsageError: no function, or a kind that the mode cannot serve.
        """
        if not current().enabled:
            return target
        function: Any = target
        if isinstance(function, (staticmethod, classmethod)):
            return type(function)(self(function.__func__))  # type: ignore[return-value]
        if isinstance(function, property) and function.fget is not None:
            return function.getter(self(function.fget))  # type: ignore[return-value]
        if isinstance(function, type) or not callable(function):
            what = f"class {function.__qualname__}" if isinstance(function, type) else repr(function)[:80]
            raise UsageError(
                f"memory_limited cannot limit {what}: a function, method, coroutine function or generator is allowed"
            )
        wrapped: F = self._decorated(function)
        return wrapped

    def _decorated(self, function: Any) -> Any:
        from ..registry import on_uninstall

        on_uninstall(settle)
        kind = kind_of(function)
        if self.limit.mode == "process":
            from ..limits.isolated import isolate
            from ..limits.workers import process_workers

            on_uninstall(process_workers.close)
            return isolate(function, kind, self._make_guard(_name_of(function)))
        if kind == "call" and (isinstance(function, types.FunctionType) or instrumented(function) is not None):
            guard = self._make_guard(_name_of(function))
            make = guarded_in_threads if self.limit.interrupt_threads else guarded
            if self.limit.mode == "check" and self.limit.wait_seconds is None:
                make = checked
            return functools.update_wrapper(make(function, guard), function)
        around = _Around(self, function, kind)
        frame: Callable[[Any, Callable[..., Any]], Any] | None = None
        if self.limit.mode == "check" and kind in ("coroutine", "generator") and self.limit.wait_seconds is None:
            make_frame = checked_coroutine if kind == "coroutine" else checked_generator
            frame = functools.partial(make_frame, around.guard)
        wrapped = instrument(function, around, frame=frame)
        if kind == "coroutine" and self.limit.wait_seconds is not None:
            return functools.update_wrapper(admitted(wrapped, around.guard), function)
        return wrapped

    def _make_guard(self, subject: str) -> Guard:
        return Guard(self.limit, subject, self._services or process_services(), _tracker_of(self._tracker))

    # ------------------------------------------------------------------ with

    def __enter__(self) -> MemoryLimited:
        self._enter_block(sys._getframe(1), False)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._leave_block(error)

    async def __aenter__(self) -> MemoryLimited:
        # the frame that awaits us is the block's
        frame = sys._getframe(0).f_back
        if self.limit.wait_seconds is not None and current().enabled:
            guard = self._block_guard(frame)
            taken = await guard.room.take_async()
            self._enter_block(frame, True, taken)
        else:
            self._enter_block(frame, True)
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._leave_block(error)

    def _enter_block(self, frame: types.FrameType | None, asynchronous: bool, taken: bool | None = None) -> None:
        if self.limit.mode == "process":
            raise UsageError(
                "memory_limited(mode='process') cannot run a block in another process: decorate a function, or "
                "use mode='watch', 'check' or 'kernel'"
            )
        call = self._block_guard(frame).enter(frame, asynchronous=True, take_room=taken is None, arm=False)
        if call is not None and taken:
            call.reserved = True
        with self._lock:
            self._entered.setdefault(_place(), []).append(call)
        if call is not None:
            call.armed = True

    def _leave_block(self, error: BaseException | None) -> None:
        with self._lock:
            place = _place()
            # left in another thread or task than entered (an exit stack handed over): the last one there is
            if place not in self._entered and self._entered:
                place = next(reversed(self._entered))
            calls = self._entered.get(place)
            call = calls.pop() if calls else None
            if calls == []:
                del self._entered[place]
        if self._guard is not None:
            self._guard.leave(call, error)

    def _block_guard(self, frame: types.FrameType | None) -> Guard:
        guard = self._guard
        if guard is None:
            where = "block" if frame is None else f"block in {_frame_name(frame)}, line {frame.f_lineno}"
            guard = self._guard = self._make_guard(where)
        return guard


class _Around:
    """A guard as `instrument` wants it."""

    def __init__(self, made: MemoryLimited, function: Any, kind: str) -> None:
        self._made = made
        self.guard = made._make_guard(_name_of(function))
        # for a coroutine function `admitted` has waited already, without holding up the loop
        self._takes_room = kind != "coroutine"
        self._asynchronous = kind == "coroutine"
        # where its frame is on the stack, the call can be stopped; without code of its own it cannot be told
        self._code = getattr(inspect.unwrap(function), "__code__", None)
        if kind != "call":
            self.step = self.guard.step

    def enter(self) -> Call | None:
        return self.guard.enter(
            self._code,
            owner=sys._getframe(1),
            asynchronous=self._asynchronous,
            take_room=self._takes_room,
            arm=self._code is not None or self._asynchronous,
        )

    def leave(self, token: Call | None, error: BaseException | None) -> None:
        self.guard.leave(token, error)

    def recipe(self) -> tuple[Callable[..., Any], dict[str, Any]]:
        return MemoryLimited, {"limit": self._made.limit}


def _tracker_of(tracker: Any) -> Callable[[], Any]:
    def answer() -> Any:
        if tracker is not None:
            return tracker
        from ..registry import tracker as the_global_one

        return the_global_one

    return answer


def _name_of(function: Any) -> str:
    # the tracker's way of naming functions, so that a breach and a finding bear the same name
    return name_of(inspect.unwrap(function))


def _frame_name(frame: types.FrameType) -> str:
    return frame.f_code.co_qualname.rpartition("<locals>.")[2]


def _place() -> tuple[int, int]:
    task = running_task()[0]
    return threading.get_ident(), 0 if task is None else id(task)
