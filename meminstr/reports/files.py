"""Report files: written whole or not at all, for their owner's eyes only, and read with care.

Used for every form of a report.  What is in the text is left to the caller; nothing in a file that is read is
ever executed.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from ..errors import MeminstrError, UsageError

StrPath = str | os.PathLike[str]

MAX_BYTES = 256 << 20
"""The largest file that is read as a report."""

_CALLERS_MISTAKE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
}


def write_text(path: StrPath, text: str) -> None:
    """Write `text` to `path` with permissions 0600: complete, or, on any failure, not at all.

    An existing regular file or symbolic link is replaced, never followed or written through, so that a link
    planted in a shared directory leads nowhere.  A device or pipe (``/dev/stdout``) is written to directly.

    Raises:
        UsageError: the path cannot be written: no such directory, no permission, a directory, a bad name.
        MeminstrError: writing failed on the way (disk full, input/output error); the old file is untouched.
    """
    try:
        target = os.fspath(path)
        if _is_stream(target):
            with open(target, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
        else:
            _replace(target, text)
    except (OSError, ValueError, TypeError) as error:  # ValueError: a null byte in the name
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        mistake = not isinstance(error, OSError) or error.errno in _CALLERS_MISTAKE
        kind = UsageError if mistake else MeminstrError
        hint = "; a file name in an existing, writable directory is allowed" if mistake else ""
        raise kind(f"cannot write the report to {str(path)!r}: {reason}{hint}") from error


def read_text(path: StrPath) -> str:
    """The text of a report file.

    Raises:
        UsageError: missing, unreadable, too large, or not UTF-8.
    """
    shown = repr(str(path))
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError, TypeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError(f"cannot read the report {shown}: {reason}; the path of a JSON report is allowed") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{shown} is larger than a report can be: at most {MAX_BYTES >> 20} MiB are allowed")
    try:
        return data.decode("utf-8-sig")  # editors and shells on Windows like to put a mark in front
    except UnicodeDecodeError:
        raise UsageError(f"{shown} is not a meminstr report: it is not UTF-8 text") from None


def _is_stream(target: str) -> bool:
    try:
        mode = os.stat(target).st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):
        # /dev/stdout of a redirected program is a regular file behind a link that must not be replaced
        return target.startswith(("/dev/", "/proc/"))
    return not stat.S_ISDIR(mode)


def _replace(target: str, text: str) -> None:
    if os.path.isdir(target) and not os.path.islink(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    folder = str(Path(target).parent)
    # the temporary file is made with 0600 and keeps it: os.replace carries permissions along
    handle, temporary = tempfile.mkstemp(prefix=".meminstr-", suffix=".tmp", dir=folder)
    put(handle, temporary, target, text)


def put(handle: int, temporary: str, target: str, text: str, mode: int | None = None) -> None:
    """Write `text` to the new file `temporary`, open as `handle`, and put it in the place of `target`.

    Args:
        handle: of the temporary file, open for writing; closed in any case.
        temporary: beside the target; gone when this fails.
        target: replaced whole, or left as it was.
        text: what cannot be encoded is written as escapes.
        mode: permissions; None: those of the temporary file.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with open(handle, "wb") as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise
