"""Faults of meminstr itself: counted, logged once each, shown in the report, never raised into the program.

Everything that runs inside the host program and can fail (a probe, a callback, a look, a write) ends in
`note_fault`.  The list is bounded: the fiftieth kind of fault is the last that is kept by name.
"""

from __future__ import annotations

import logging
import threading
import traceback
from os.path import dirname, sep
from typing import Any

logger = logging.getLogger("meminstr")
logger.addHandler(logging.NullHandler())

_MAX_KINDS = 50
_FOLDER = dirname(__file__) + sep
_lock = threading.RLock()  # re-entrant: a logging handler of the user's may fail inside the log call below
_counts: dict[tuple[str, str], int] = {}
_messages: dict[tuple[str, str], str] = {}


def note_fault(where: str, error: BaseException) -> None:
    """Count a fault of ours; log the first of its kind at WARNING.  Never raises.

    Args:
        where: the piece of meminstr that failed, as ``probe heap`` or ``on_leak callback of step``.
        error: what was caught.
    """
    try:
        key = (where, type(error).__name__)
        with _lock:
            if key not in _counts and len(_counts) >= _MAX_KINDS:
                key = ("other faults", "")
            first = key not in _counts
            _counts[key] = _counts.get(key, 0) + 1
            if first:
                _messages[key] = str(error)[:300]
        if first:
            logger.warning("meminstr_fault: %s failed: %s: %s", where, type(error).__name__, _messages[key])
    except Exception:  # the last line of defence: even counting failed (no memory, a broken log handler)
        return


def faults() -> list[dict[str, Any]]:
    """The faults so far, most frequent first: ``where``, ``error``, ``message``, ``count``."""
    with _lock:
        rows = [
            {"where": where, "error": kind, "message": _messages.get((where, kind), ""), "count": count}
            for (where, kind), count in _counts.items()
        ]
    return sorted(rows, key=lambda row: -row["count"])


def clear_faults() -> None:
    """Forget all faults (a forked child starts without its parent's)."""
    with _lock:
        _counts.clear()
        _messages.clear()


def forget_faults_of_the_parent() -> None:
    """In a forked child: no faults yet, and a fresh lock, as another thread may have held the old one at the fork."""
    global _lock
    _lock = threading.RLock()
    clear_faults()


def settle(where: str, error: Exception) -> None:
    """What every ``except Exception`` around our own work in the program's thread does: note it, unless it is not ours.

    A signal handler of the program's runs wherever its thread happens to be, in the middle of our lines too, and what
    it raises (a timeout, say) is meant for the program.

    Raises:
        Exception: the error itself, when it came out of a signal handler.
    """
    if _of_a_signal_handler(error):
        raise error
    note_fault(where, error)


def _of_a_signal_handler(error: BaseException) -> bool:
    import signal  # not needed until something went wrong

    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    if all(code.co_filename.startswith(_FOLDER) for code in codes):
        return False  # nothing but ours on the way: the usual case
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    inside = {id(code) for code in codes}
    return any(id(code) in inside for code in map(_code_of, handlers) if code is not None)


def _code_of(handler: Any) -> Any:
    handler = getattr(handler, "func", handler)  # a partial
    handler = getattr(handler, "__func__", handler)
    method = getattr(handler, "__code__", None) is None and vars(type(handler)).get("__call__")
    return getattr(method or handler, "__code__", None)
