"""A file of ``/proc/self`` that is opened once and read again and again.

Opening costs ten times what reading does, so the descriptor is kept; and a kept descriptor can go bad in
four ways that a long-running host will sooner or later show:

* a fork: the child inherits a descriptor that shows its *parent*;
* the program closes every descriptor (daemons do), and ours with them;
* after that the number is given to a file, pipe or socket of the program's own;
* the program had closed 0, 1 or 2, and our file would become its standard output.

`KeptFile` answers each.  `read` is the bare quick path; `is_ours` is the proof, for a reader that has cause
to doubt (or does so every so often); a descriptor that is not proven ours is never closed.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, cast

from ..forks import loading

GONE_ERRNOS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM})
"""Errors after which a file need not be tried again; running out of descriptors, for one, passes."""

Pread = Callable[[int, int, int], bytes]


class KeptFile:
    """One small ``/proc`` file, read from its start each time.

    Args:
        path: the file.
        size: bytes read at most.
        pread: replaces `os.pread`, in tests; None where the platform has none: then each read opens the file.
    """

    __slots__ = ("__weakref__", "_fd", "_identity", "_lock", "_pid", "_pread", "path", "size")

    def __init__(self, path: str, size: int, pread: Pread | None = None) -> None:
        self.path = path
        self.size = size
        self._pread = pread if pread is not None else cast("Pread | None", getattr(os, "pread", None))
        self._fd = -1
        self._identity = (-1, -1)
        self._pid = -1
        self._lock = threading.Lock()
        _kept.add(self)

    @property
    def fd(self) -> int:
        """The descriptor, or -1 while none is open."""
        return self._fd

    def read(self) -> bytes:
        """The file's first `size` bytes.

        A bad descriptor is reopened.  That the bytes are of the right file is for the caller to doubt:
        see `is_ours`.

        Raises:
            OSError: the file cannot be opened or read.
        """
        if self._pread is None:
            with open(self.path, "rb", buffering=0) as file:
                return file.read(self.size) or b""
        fd = self._fd
        if fd >= 0:
            try:
                return self._pread(fd, self.size, 0)
            except OSError:  # EBADF: the program closed it; ESPIPE: the number is a pipe or socket by now
                self._forget(fd)
        return self._pread(self._open(), self.size, 0)

    def is_ours(self) -> bool:
        """Whether the open descriptor is the file that was opened, by this process (about 1 us)."""
        fd = self._fd
        if self._pread is None:  # opened at each read: nothing to mistake
            return True
        return fd >= 0 and self._pid == os.getpid() and _identity_of(fd) == self._identity

    def reopen(self) -> None:
        """Drop the descriptor (closing it only if it is proven ours); the next read opens the file anew."""
        self._forget(self._fd)

    def _open(self) -> int:
        with self._lock:
            if self._fd >= 0:  # another thread was quicker
                return self._fd
            fd = _above_standard_streams(os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)))
            self._identity = _identity_of(fd)
            self._pid = os.getpid()
            self._fd = fd
            return fd

    def _forget(self, fd: int) -> None:
        with self._lock:
            if fd < 0 or self._fd != fd:
                return
            self._fd = -1
            # the child of a fork holds a copy of its own, to be closed as well: identity, not pid, decides
            if _identity_of(fd) == self._identity:
                try:
                    os.close(fd)
                except OSError:
                    pass

    def _after_fork(self) -> None:
        self._lock = threading.Lock()  # the parent's may have been held by a thread that is not here
        self._forget(self._fd)

    def __del__(self) -> None:
        try:
            self._forget(self._fd)
        except Exception:  # interpreter exit: os or the lock may be gone
            pass


def _identity_of(fd: int) -> tuple[int, int]:
    try:
        status = os.fstat(fd)
    except OSError:
        return (-2, -2)
    return (status.st_dev, status.st_ino)


def _above_standard_streams(fd: int) -> int:
    if fd > 2:
        return fd
    try:
        with loading.of("fcntl"):
            import fcntl
    except ImportError:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def pread_keeping_the_lock() -> Pread | None:
    """A ``pread`` that does not let go of the interpreter lock, or None where that is of no use.

    `os.pread` releases the lock and must queue for it again: with three busy threads one reading of statm
    was measured at 3.2 ms (the switch interval, over and over) against 8 us for this one, although the
    kernel answers in 1 us and never blocks on this file.  Alone, it is 0.7 us dearer than `os.pread`.
    """
    unlocked = getattr(sys, "_is_gil_enabled", None)
    if sys.maxsize < 1 << 32 or (unlocked is not None and not unlocked()):
        return None
    try:
        with loading.of("ctypes"):
            import ctypes

        # Any: ctypes' own stubs know no foreign function by name
        function: Any = ctypes.PyDLL(None).pread
        function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long)
        function.restype = ctypes.c_ssize_t
        room = 512
        buffer = ctypes.create_string_buffer(room)
        address = ctypes.addressof(buffer)
    except (ImportError, AttributeError, OSError, TypeError):  # no libffi, no such symbol, no PyDLL(None)
        return None

    def pread(fd: int, size: int, offset: int) -> bytes:
        # two threads may share the buffer between the call and the copy; both texts are this process's now
        count = function(fd, address, min(size, room), offset)
        if count < 0:
            return os.pread(fd, size, offset)  # says which error it is
        return ctypes.string_at(address, count)

    # `buffer` must live as long as its address is used
    pread._buffer = buffer  # type: ignore[attr-defined]
    return pread


_kept: weakref.WeakSet[KeptFile] = weakref.WeakSet()


def _drop_all_in_child() -> None:
    for file in list(_kept):
        file._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_all_in_child)
