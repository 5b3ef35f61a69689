"""A report of a process that will not stop for weeks: from a socket that it opens, or at a signal, if it was asked to.

``MEMINSTR_DUMP=1`` or `serve_dump()` opens a unix socket in a folder that only its owner can enter, and a thread that
sleeps until somebody asks: ``meminstr dump PID``.  ``MEMINSTR_DUMP=SIGUSR1`` or `serve_dump(signal=...)` has the signal
print the report on standard error instead.  Unasked, nothing is claimed: no thread, no file, no signal.

Who asks is checked by the credentials that the kernel gives (Linux): the owner of the process, or root.  Elsewhere the
folder's permissions are the check.  The words that are spoken: one line of JSON there, one line of JSON back, then the
report's JSON until the end.  The other end is `commands.dump`.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal as signals
import socket
import stat
import struct
import tempfile
import threading
from pathlib import Path
from typing import Any

from .errors import UsageError
from .faults import note_fault
from .forks import loading
from .registry import on_uninstall
from .settings import current

VARIABLE = "MEMINSTR_DUMP"
FORMAT, VERSION = "meminstr-dump", 1
_SLOW_SECONDS = 10.0
_PAUSE_SECONDS = 1.0
_LONGEST_QUESTION = 4096

_server: _Server | None = None
_hooked = False
_signal_before: dict[int, Any] = {}


def serve_dump(*, signal: int | None = None) -> str | None:
    """From here on answer ``meminstr dump PID``; in forked children too, each for itself.

    Args:
        signal: print the report on standard error at this signal instead of opening a socket; a handler that the
            program has is called afterwards.  Only from the main thread.

    Returns:
        The path of the socket; None with a signal, and where meminstr is switched off.

    Raises:
        UsageError: no unix sockets here, a folder that is another's, or a signal that cannot be handled.
    """
    if not current().enabled:
        return None
    if signal is not None:
        _at_signal(signal)
        return None
    global _server, _hooked
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("serve_dump: this system has no unix sockets; a signal is allowed: serve_dump(signal=...)")
    if _server is None or _server.pid != os.getpid():
        _server = _Server()
    if not _hooked:
        _hooked = True
        atexit.register(stop_serving)
        on_uninstall(stop_serving)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
    return _server.path


def stop_serving() -> None:
    """Close the socket and remove it; give signals back to the handlers they had."""
    global _server
    server, _server = _server, None
    if server is not None:
        server.close()
    for number, before in list(_signal_before.items()):
        del _signal_before[number]
        try:
            if signals.getsignal(number) is _on_signal:
                signals.signal(number, before)
        except ValueError as error:  # not the main thread
            note_fault("giving a signal back", error)


def register_from_environment() -> None:
    """Heed ``MEMINSTR_DUMP``: called once at ``import meminstr``.  Never raises."""
    asked = os.environ.get(VARIABLE, "").strip()
    try:
        if asked.upper().removeprefix("SIG") in _names():
            serve_dump(signal=_names()[asked.upper().removeprefix("SIG")])
        elif asked.lower() in ("1", "true", "yes", "on"):
            serve_dump()
        elif asked.lower() not in ("", "0", "false", "no", "off"):
            raise UsageError(f"{VARIABLE}={asked!r} is not allowed: 1, or the name of a signal as SIGUSR1, is")
    except Exception as error:
        note_fault(VARIABLE, error)


def folders(uid: int) -> list[Path]:
    """Where sockets of a user's processes may be, the likeliest first."""
    runtime = [Path(p) for p in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{uid}") if p]
    return [*(folder / "meminstr" for folder in runtime), Path(tempfile.gettempdir()) / f"meminstr-{uid}"]


def socket_name(pid: int) -> str:
    """The name of a process's socket."""
    return f"dump-{pid}.sock"


def peer(connection: socket.socket) -> tuple[int, int] | None:
    """Process and user at the other end, as the kernel knows them; None where it does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return pid, uid


class _Server:
    """The socket of this process and the thread behind it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        folder = _own_folder()
        self.path = str(folder / socket_name(self.pid))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._wake, self._waker = socket.socketpair()
        self._thread: threading.Thread | None = None
        try:
            _sweep(folder)
            self._listener.bind(self.path)
            os.chmod(self.path, 0o600)
            self._listener.listen(4)
        except OSError as error:
            self.forget()
            raise UsageError(
                f"serve_dump: the socket {self.path!r} cannot be opened: {error.strerror or error}"
            ) from None
        self.start()

    def start(self) -> None:
        """Start the thread, if it does not run."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="meminstr-dump", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """End the thread; who connects meanwhile waits.  One that is answering is not waited for long."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._waker.send(b"!")
            thread.join(_PAUSE_SECONDS)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener, self._wake], [], [])
            if self._wake in ready:
                self._wake.recv(1)
                return
            connection, _ = self._listener.accept()
            with connection:
                try:
                    connection.settimeout(_SLOW_SECONDS)
                    _answer(connection)
                except OSError:
                    continue  # who asked went away
                except Exception as error:
                    note_fault("meminstr dump", error)

    def close(self) -> None:
        """End the thread and remove the socket."""
        self.pause()
        self.forget()
        try:
            os.unlink(self.path)
        except OSError:
            pass

    def forget(self) -> None:
        """Close our ends only: in a forked child, where the socket is the parent's."""
        for end in (self._listener, self._wake, self._waker):
            end.close()


def _sweep(folder: Path) -> None:
    """Remove the sockets of processes that are no more, and of one that had our number before."""
    for path in folder.glob(socket_name(0).replace("0", "*")):
        number = path.name.split("-")[-1].removesuffix(".sock")
        try:
            if number.isdecimal() and int(number) != os.getpid():
                os.kill(int(number), 0)
                continue
        except PermissionError:
            continue  # it lives, as another user's
        except (OSError, OverflowError):
            pass
        path.unlink(missing_ok=True)


def _own_folder() -> Path:
    refused = ""
    for folder in folders(os.getuid()):
        if not folder.parent.is_dir():
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            facts = os.lstat(folder)
        except OSError as error:
            refused = f"{str(folder)!r}: {error.strerror or error}"
            continue
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            refused = f"{str(folder)!r} is another's, or others may enter it"
            continue
        return folder
    raise UsageError(f"serve_dump: no folder for the socket: {refused or 'no temporary folder'}")


def _answer(connection: socket.socket) -> None:
    question = _line(connection)  # read in any case: closing on unread words would take the answer with it
    who = peer(connection)
    if who is not None and who[1] not in (os.getuid(), os.geteuid(), 0):
        return _say(connection, {"error": "only the owner of the process, or root, is answered"})
    try:
        asked = json.loads(question)
        if not isinstance(asked, dict) or asked.get("format") != FORMAT:
            raise ValueError(asked)
    except ValueError:
        return _say(connection, {"error": "that was no question of meminstr dump"})
    if asked.get("version") != VERSION:
        told = f"the process speaks version {VERSION} of the dump, the question is of version {asked.get('version')}"
        return _say(connection, {"error": f"{told}: use the meminstr that the process uses"})
    text = _report(bool(asked.get("diagnose", True))).to_json()
    connection.settimeout(_SLOW_SECONDS)
    _say(connection, {"pid": os.getpid()}, text)


def _line(connection: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\n") and len(data) < _LONGEST_QUESTION:
        piece = connection.recv(_LONGEST_QUESTION)
        if not piece:
            break
        data += piece
    return data.decode("utf-8", "replace")


def _say(connection: socket.socket, head: dict[str, Any], body: str = "") -> None:
    first = json.dumps({"format": FORMAT, "version": VERSION, **head})
    connection.sendall(f"{first}\n{body}".encode())


def _report(diagnose: bool) -> Any:
    with loading:
        from .diagnosis import report
    return report(diagnose)


def _before_fork() -> None:
    # no thread of ours while a fork is under way: Python 3.12 warns of every one, and a lock it held would stay held
    if _server is not None:
        _server.pause()


def _after_fork() -> None:
    if _server is not None:
        _server.start()


def _in_child() -> None:
    global _server
    server, _server = _server, None
    if server is None:
        return
    try:
        server.forget()
        _server = _Server()
    except Exception as error:
        note_fault("serve_dump in a forked child", error)


def _names() -> dict[str, int]:
    return {s.name.removeprefix("SIG"): int(s) for s in signals.Signals}


def _at_signal(number: int) -> None:
    try:
        before = signals.getsignal(number)
        if before is _on_signal:
            return
        if before is None:
            raise ValueError("its handler is installed in C")
        signals.signal(number, _on_signal)
    except (ValueError, OSError, TypeError) as error:
        raise UsageError(f"serve_dump: signal {number!r} cannot be handled here: {error}") from None
    _signal_before[int(number)] = before


def _on_signal(number: int, frame: Any) -> None:
    # in a thread of its own: this one may hold a lock that the report needs
    try:
        threading.Thread(target=_print, name="meminstr-dump", daemon=True).start()
    except Exception as error:  # no more threads
        note_fault("the report at a signal", error)
    before = _signal_before.get(number)
    if callable(before):
        before(number, frame)


def _print() -> None:
    from .at_exit import to_stderr

    try:
        to_stderr(str(_report(True)))
    except Exception as error:
        note_fault("the report at a signal", error)
