"""Stopping a call that runs: a private exception raised by a signal in the main thread, or its task cancelled.

A Python signal handler runs in the main thread between two bytecodes, so the thread that is to be stopped
decides itself, in `MainThread.handle`, whether it stands at a place where raising is safe: inside the guarded
call, and not inside meminstr's own bookkeeping.  That is what an asynchronous exception from another thread
cannot do (it can arrive after its handler is gone), and why other threads are not stopped by default.

Not covered: C code that holds the interpreter lock and runs no bytecode.  It is stopped when it returns.
"""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from ..faults import note_fault
from ..forks import loading
from .ticker import KernelTimer, may_tick

if TYPE_CHECKING:
    from .call import Call

HOT: set[int] = set()
"""Ids of the code (which lives for ever) of the wrappers whose calls register nowhere: the watcher finds them."""

TRAMPOLINES: set[CodeType] = set()
"""Code of the wrappers whose frame may be interrupted: they arm the call inside their ``try`` only."""

# The functions below `signal`'s own, which turn every number into an enum member and back: four times as fast, and
# called four times for each watched call of the main thread.
try:
    _plain: Any = importlib.import_module("_signal")
except ImportError:
    _plain = signal
_handler_of, _set_handler = _plain.getsignal, _plain.signal
_DEFAULT = int(signal.SIG_DFL)

# our frames that only pass a call on; user code above them is user code
_PASSING = ("meminstr.commands", "meminstr.instrument")


class CallStopped(BaseException):
    """In flight between the place where a call was stopped and the end of its guard.  Never seen outside.

    A `BaseException`, so that ``except Exception`` in the stopped call does not swallow it.
    """

    def __init__(self, call: Call) -> None:
        super().__init__(f"{call.subject} is above its memory limit")
        self.call = call


def stop_of(error: BaseException | None, call: Call) -> CallStopped | None:
    """The stop of this call in ``error`` or in what it was raised from or during."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        item = pending.pop()
        if item is None or id(item) in seen or len(seen) > 100:
            continue
        seen.add(id(item))
        if isinstance(item, CallStopped) and item.call is call:
            return item
        pending += [item.__cause__, item.__context__]
        if isinstance(item, BaseExceptionGroup):
            pending += item.exceptions
    return None


def can_be_stopped_here(frame: FrameType | None, call: Call) -> bool:
    """Whether raising in ``frame`` stays inside the guarded call and outside our bookkeeping."""
    if frame is None or _is_wrapper(frame):
        return False  # perhaps between the start of a call inside this one and its ``try``
    inside_user_code = inside_its_code = False
    while frame is not None:
        code = frame.f_code
        if call.owner is not None and frame is call.owner:
            return inside_its_code
        if call.anchor is not None and (call.anchor is code or call.anchor is frame):
            if call.owner is None:
                return True
            # other tasks and generators may be running the same code
            inside_user_code = inside_its_code = True
        elif code in TRAMPOLINES:
            if call.anchor is None and call.owner is None:
                return True
            inside_user_code = True
        elif not inside_user_code and _is_ours(frame):
            return False
        frame = frame.f_back
    return False


def _is_ours(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return name.startswith("meminstr.") and not name.startswith(_PASSING)


def _is_wrapper(frame: FrameType) -> bool:
    code, name = frame.f_code, str(frame.f_globals.get("__name__", ""))
    hidden = code in TRAMPOLINES or code.co_filename.startswith("<meminstr")
    return hidden or name.startswith("meminstr.instrument")


def candidates() -> list[int]:
    """Signals a program is least likely to use, best first.

    SIGURG is ignored by default, so that a stray one harms nobody; then real-time signals from the far end.
    """
    found: list[int] = [int(s) for name in ("SIGURG",) if (s := getattr(signal, name, None)) is not None]
    if hasattr(signal, "SIGRTMAX") and hasattr(signal, "SIGRTMIN"):
        found += range(int(signal.SIGRTMAX) - 3, int(signal.SIGRTMIN) + 3, -1)
    return found


def foreign_signals(path: str = "/proc/self/status") -> set[int]:
    """Signals that C code catches or that are blocked in this thread, which Python's own table does not show."""
    taken: set[int] = set()
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(("SigCgt:", "SigIgn:")):
                    mask = int(line.split()[1], 16)
                    taken |= {bit + 1 for bit in range(64) if mask >> bit & 1}
    except (OSError, ValueError, IndexError):
        pass
    try:
        taken |= {int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, ())}
    except (AttributeError, OSError, ValueError):
        pass
    return taken


class MainThread:
    """The handler in the main thread: there while a watched call runs in it, and not a moment longer."""

    def __init__(self, wanted: Callable[[], Iterable[Call]]) -> None:
        self.wanted = wanted  # watched calls of the main thread, outermost first
        self._lock = threading.RLock()
        self._users = 0
        self._signal: int | None = None
        self._installed = False
        self._sent = False
        self._retired = False  # the last call ended in another thread, which may not set handlers
        self._timer = KernelTimer()
        self.tick: Callable[[FrameType | None, Callable[[FrameType | None, Call], bool]], object] = lambda *_: None
        """What the handler does first (`ticker`)."""

    @property
    def installed_signal(self) -> int | None:
        """The signal in use at this moment."""
        return self._signal if self._installed else None

    def acquire(self) -> bool:
        """Called in the main thread as a watched call begins; False where no signal can be had."""
        if self._users:
            self._users += 1
            return self._installed
        if not hasattr(signal, "pthread_kill"):
            return False
        self._users = 1
        if self._installed and _handler_of(self._signal) == self.handle:
            return True  # kept from the calls before
        try:
            self._installed = self._install()
        except (ValueError, OSError):  # not the main thread of the main interpreter
            self._installed = False
        return self._installed

    def release(self, keep: Callable[[], object] = lambda: False) -> None:
        """Called in the main thread as the call ends, once for each successful or failed `acquire`.

        Args:
            keep: whether the handler is to stay for the calls that follow, until `retire`.
        """
        with self._lock:
            if self._users:
                self._users -= 1
                if not keep():
                    self.retire()

    def retire(self) -> None:
        """Give the signal back, unless a call uses it (any thread)."""
        with self._lock:  # no signal can be on its way from here on
            if self._users:
                return
            here = threading.get_ident() == threading.main_thread().ident
            if self._installed:
                self._installed = False
                self._timer.delete()
                # another thread may not set handlers: the main one does it when it next runs bytecode
                self._retired = True
                if not here and not in_main_thread(self._restore_retired):
                    self._wake()
            if here:
                self._restore_retired()

    def _wake(self) -> None:
        main = threading.main_thread().ident
        try:
            if self._signal is not None and main is not None:
                signal.pthread_kill(main, self._signal)
        except OSError as error:
            note_fault("restoring a signal", error)

    def _restore_retired(self) -> None:
        if self._retired and not self._users:
            self._restore()

    def _restore(self) -> None:
        number = self._signal
        assert number is not None
        try:
            if _handler_of(number) == self.handle:
                if self._sent:
                    # ignoring it discards one that is still pending, whose default could end the process
                    _set_handler(number, int(signal.SIG_IGN))
                _set_handler(number, _DEFAULT)
        except (ValueError, OSError) as error:
            note_fault("restoring a signal", error)
        self._sent = self._retired = False

    def send(self) -> bool:
        """Ask the main thread to look at `wanted`, out of a blocking system call if need be (any thread)."""
        with self._lock:
            if not self._installed or self._signal is None or _handler_of(self._signal) != self.handle:
                return False
            main = threading.main_thread().ident
            if main is None:
                return False
            self._sent = True
            try:
                signal.pthread_kill(main, self._signal)
            except OSError:
                return False
            return True

    def arm(self, seconds: float) -> bool:
        """Have the handler called once after so long (any thread); False where that cannot be."""
        with self._lock:
            if not self._installed or not may_tick(self._signal) or _handler_of(self._signal) != self.handle:
                return False
            self._sent = True
            return self._timer.set(seconds, int(self._signal or 0))

    def _install(self) -> bool:
        if self._signal is not None and self._take(self._signal):
            return True
        foreign = foreign_signals()
        for number in candidates():
            if number not in foreign and self._take(number):
                self._signal = number
                return True
        return False

    def _take(self, number: int) -> bool:
        if _handler_of(number) not in (_DEFAULT, self.handle):
            return False  # the program has a use for it
        _set_handler(number, self.handle)
        self._retired = False
        return True

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler: raises in the outermost call to be stopped, if this is a place to."""
        self._restore_retired()
        self.tick(frame, can_be_stopped_here)
        for call in self.wanted():
            if call.armed and call.stop_wanted and can_be_stopped_here(frame, call):
                call.landed()
                raise CallStopped(call)

    def after_fork(self, in_main: bool) -> None:
        """In a child: no signal is on its way; the handler stays until the forked call ends here too."""
        self._lock = threading.RLock()
        self._sent = False
        self._timer.forget()
        if not in_main:
            self._users, self._installed = 0, False
        elif not self._users:
            self.retire()


_pending_type: Any = None
_pending: dict[Any, Any] = {}


def in_main_thread(action: Callable[[], object]) -> bool:
    """Have the main thread do something when it next runs bytecode, without disturbing a system call it waits in.

    Source: CPython, Doc/c-api/init.rst, ``Py_AddPendingCall``.
    """
    global _pending_type
    try:
        with loading.of("ctypes"):
            import ctypes

        if _pending_type is None:
            _pending_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)

        def run(_: Any) -> int:
            try:
                action()
            except Exception as error:
                note_fault("in the main thread", error)
            _pending["done"] = _pending.pop(key, None)  # the C function that runs this must outlive it
            return 0

        key = id(run)
        _pending[key] = _pending_type(run)
        if ctypes.pythonapi.Py_AddPendingCall(_pending[key], None) == 0:
            return True
        _pending.pop(key, None)
    except (ImportError, AttributeError, OSError):  # no ctypes, or not CPython
        pass
    return False


def running_task() -> tuple[Any, Any]:
    """The asyncio task that runs here and its loop, or (None, None)."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None, None
    try:
        task = asyncio.current_task()
        return (task, task.get_loop()) if task is not None else (None, None)
    except RuntimeError:  # no loop runs in this thread
        return None, None


def cancel_task(call: Call) -> bool:
    """Have the call's task cancelled by its loop, as soon as the loop gets to it (any thread)."""

    def cancel() -> None:
        # in the loop's thread, while the task is suspended: nothing can end the call in between
        if call.armed and call.stop_wanted and call.task is not None and not call.task.done():
            call.landed()
            call.cancelled = True
            call.task.cancel("meminstr: above its memory limit")

    try:
        call.loop.call_soon_threadsafe(cancel)
    except RuntimeError:  # the loop is closed
        return False
    return True
