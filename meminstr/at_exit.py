"""The report a process leaves behind: at its normal end, after an exception, `sys.exit` and SIGTERM.

Where the report goes may break (a full disk, a closed stream): the text then goes to standard error, the
fault is noted, and the program never hears of it.

What this cannot do.  Nothing runs after ``os._exit``, ``os.execv``, SIGKILL, or in a process forked by
`multiprocessing` (the shards are for those).  A child forked by the program does not inherit the duty, so that
it cannot overwrite its parent's file.  The SIGTERM handler is installed only from the main thread and only
where SIGTERM is not ignored and not handled in C; a program that installs its own handler later replaces
ours: if that handler ends in `sys.exit`, the report is written then.  Like every handler in Python, it
waits for a running C call to return.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from .errors import UsageError
from .faults import logger, note_fault
from .forks import loading
from .settings import current

_TEXT_ENDINGS = (".txt", ".text", ".log")
_HTML_ENDINGS = (".html", ".htm")

Duty = Callable[[Any], object]
"""What is done with the report of a process that ends."""

_duties: dict[object, Duty] = {}
_once: set[object] = set()  # duties that are a text on a stream: a second one would be noise
_done: set[object] = set()  # what a SIGTERM has had done already, while its handler brings the program down
_owner_pid = 0
_previous_handler: Any = None


def report_at_exit(path_or_stream: str | os.PathLike[str] | TextIO | None = None) -> None:
    """Write the report of this process when it ends: normally, by an exception, `sys.exit` or SIGTERM.

    Args:
        path_or_stream: a file name (text for ``.txt`` and ``.log``, a page for ``.html``, JSON otherwise;
            ``{pid}`` stands for the process id), an open text stream, or None for standard error.  Asked for
            twice with the same value, it is written once.

    Raises:
        UsageError: neither a name nor a stream.
    """
    if not current().enabled:
        return
    if path_or_stream is None:
        at_exit("stderr", lambda report: to_stderr(str(report)), once=True)
    elif isinstance(path_or_stream, (str, os.PathLike)):
        path = os.fspath(path_or_stream)
        if not isinstance(path, str) or not path.strip() or "\0" in path:
            raise UsageError(f"path_or_stream={path_or_stream!r} is not a file name")
        # now, not at the end: the program may change its working directory
        path = os.path.abspath(path.replace("{pid}", str(os.getpid())))
        at_exit(path, lambda report: write_file(report, path))
    elif callable(getattr(path_or_stream, "write", None)):
        stream = path_or_stream
        at_exit(id(stream), lambda report: _to_stream(report, stream), once=True)
    else:
        raise UsageError(
            f"path_or_stream={path_or_stream!r} is not allowed: a file name, an open text stream or None is"
        )


def register_from_environment() -> None:
    """Heed ``MEMINSTR_REPORT``: called once at ``import meminstr``.  Never raises."""
    try:
        path = current().report
        if path is not None:
            report_at_exit(path)
    except Exception as error:
        note_fault("MEMINSTR_REPORT", error)


def at_exit(key: object, duty: Duty, once: bool = False) -> None:
    """Have a duty done with the final report of this process; one duty a key.

    All duties share one report.  An error of a duty is noted, and the text goes to standard error.  A file is
    written at SIGTERM and again when the handler that the program had before ends it by an exception; a
    duty that is to be done ``once`` is not done again then.
    """
    global _owner_pid
    if _owner_pid != os.getpid():
        for promised in (_duties, _once, _done):
            promised.clear()  # a forked child that asks for itself starts without its parent's promises
        if not _owner_pid:
            atexit.register(_at_exit)
        _owner_pid = os.getpid()
    _duties.pop(key, None)  # the last one comes last
    _duties[key] = duty
    if once:
        _once.add(key)
    _handle_sigterm()


def forget() -> None:
    """Leave no report behind after all, as a command that only reads one."""
    _duties.clear()


def write_file(report: Any, path: str, shown: bool = False) -> bool:
    """Write a report to a file, the form after the ending; a failure sends the text to standard error.

    Args:
        report: the report.
        path: the file.
        shown: the text stands on standard error already, so that one sentence will do.

    Returns:
        Whether it is there; the log says so too, at INFO.
    """
    try:
        ending = os.path.splitext(path)[1].lower()
        if ending in _TEXT_ENDINGS:
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(f"{report}\n")
        elif ending in _HTML_ENDINGS:
            report.to_html(path)
        else:
            report.to_json(path)
        logger.info("meminstr_report: written to %s", path)
        return True
    except Exception as error:
        note_fault("writing the report", error)
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        instead = "it stands above" if shown else f"here it is instead.\n{report}"
        to_stderr(f"meminstr: the report could not be written to {path} ({why}); {instead}")
        return False


def to_stderr(text: str) -> None:
    """Print to standard error, or to the one the process started with when the program closed or broke it."""
    for stream in (sys.stderr, sys.__stderr__):
        try:
            if stream is not None:
                stream.write(text if text.endswith("\n") else text + "\n")
                stream.flush()
                return
        except Exception as error:
            note_fault("writing to standard error", error)


def _to_stream(report: Any, stream: TextIO) -> None:
    try:
        stream.write(f"{report}\n")
        stream.flush()
    except Exception as error:
        note_fault("writing the report", error)
        to_stderr(f"meminstr: the report could not be written to its stream ({error}); here it is instead.\n{report}")


def _make_report() -> Any:
    with loading.of("meminstr.diagnosis"):
        from .diagnosis import report  # late: everything below a report is imported when one is wanted

    return report()


def _at_exit() -> None:
    _fulfil(_make_report)


def _fulfil(make_report: Callable[[], Any]) -> None:
    """Do what was promised, unless this is a child of the process that promised.  Never raises."""
    duties = {key: duty for key, duty in _duties.items() if key not in _once & _done}
    if os.getpid() != _owner_pid or not duties:
        return
    try:
        report = make_report()
    except Exception as error:
        note_fault("the report at exit", error)
        to_stderr(f"meminstr: the report at exit could not be made: {type(error).__name__}: {error}")
        return
    for key, duty in duties.items():
        try:
            duty(report)
        except Exception as error:
            note_fault("the report at exit", error)
            to_stderr(str(report))
        _done.add(key)


def _handle_sigterm() -> None:
    """Stand before the handler of SIGTERM, where there may be one of ours."""
    global _previous_handler
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGTERM"):
        return
    standing = signal.getsignal(signal.SIGTERM)
    # None: installed in C, which we could not call; ignored: the program goes on, so there is nothing to write
    if standing is None or standing is signal.SIG_IGN or standing is _on_sigterm:
        return
    try:
        signal.signal(signal.SIGTERM, _on_sigterm)
    except (ValueError, OSError) as error:  # a subinterpreter's main thread may not
        note_fault("handling SIGTERM", error)
    else:
        _previous_handler = standing


def _on_sigterm(number: int, frame: Any) -> None:
    """Write the report, then do what would have been done without us."""
    if os.getpid() == _owner_pid:
        # In a thread of its own: the signal may have come while this one holds a lock that the report needs,
        # and a process that cannot be terminated is worse than one without a report.
        writer = threading.Thread(target=_at_exit, name="meminstr-report-at-sigterm", daemon=True)
        try:
            writer.start()
            writer.join(current().exit_seconds)
            if writer.is_alive():
                to_stderr("meminstr: the report was not ready in time for SIGTERM and is lost")
        except Exception as error:  # no more threads
            note_fault("the report at SIGTERM", error)
    if callable(_previous_handler):
        _previous_handler(number, frame)
        _done.clear()  # it returned, so the program goes on, and what it does from here on wants telling too
    else:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
