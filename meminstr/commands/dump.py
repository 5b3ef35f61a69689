"""``meminstr dump PID``: the live report of a process that was asked to answer (`meminstr.asked`)."""

from __future__ import annotations

import argparse
import json
import os
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from ..reports.model import Report

_LARGEST = 256 << 20

_EPILOG = """\
The process must have been asked to answer: MEMINSTR_DUMP=1 in its environment, or
meminstr.serve_dump() in its code. Only its owner, and root, is answered.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser of all commands."""
    parser = commands.add_parser(
        "dump",
        help="print the live report of a process that runs",
        description="Print the live report of a process that runs, without stopping it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("pid", metavar="PID", help="the process")
    parser.add_argument("--quick", action="store_true", help="figures and verdicts only: no collection, no holders")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=60.0, help="how long to wait (60)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the JSON instead of the text")
    form.add_argument("--html", metavar="OUT", help="write a page that needs no network to this file")
    parser.add_argument("--plain", action="store_true", help="plain text, even on a terminal")
    parser.set_defaults(main=execute)


def execute(options: argparse.Namespace) -> int:
    """Ask, and show the answer.

    Raises:
        UsageError: no such process, one that does not answer or that is another's, or an answer that is none.
    """
    from . import looks

    report = fetch(process_id(options.pid), diagnose=not options.quick, timeout=options.timeout)
    if options.html is not None:
        report.to_html(options.html)
        return 0
    pretty = None if options.json or options.plain else looks.terminal()
    if pretty is not None:
        pretty.show_report(report)
    else:
        text = report.to_json() if options.json else f"{report}\n"
        sys.stdout.write(text)
        sys.stdout.flush()
    return 0


def process_id(text: str) -> int:
    """A process id from the command line.

    Raises:
        UsageError: no positive whole number.
    """
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 2**31:
        raise UsageError(f"{text!r} is not a process id: a whole number as `ps` prints it is")
    return int(text)


def fetch(pid: int, *, diagnose: bool = True, timeout: float = 60.0) -> Report:
    """The report that a process makes now.

    Raises:
        UsageError: no such process, one that does not answer or that is another's, or an answer that is none.
    """
    from ..asked import FORMAT, VERSION, peer
    from ..reports.model import Report

    path = _socket_of(pid)
    question = json.dumps({"format": FORMAT, "version": VERSION, "diagnose": diagnose}) + "\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(timeout)
            connection.connect(str(path))
            who = peer(connection)
            if who is not None and who[0] not in (0, pid) and _lives(who[0]):
                raise UsageError(f"the socket of process {pid} is answered by another process, {who[0]}")
            connection.sendall(question.encode())
            data = _all(connection)
        except TimeoutError:
            raise UsageError(f"process {pid} did not answer within {timeout:g} s: it is busy, or stopped") from None
        except PermissionError:
            raise UsageError(f"process {pid} is another user's: only its owner, and root, may ask it") from None
        except OSError as error:
            raise UsageError(f"process {pid} does not answer: {error.strerror or error}") from None
    first, _, rest = data.partition(b"\n")
    try:
        head = json.loads(first)
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise ValueError(head)
    except ValueError:
        raise UsageError(
            f"process {pid} gave an answer that is none of meminstr's, or ended before it was whole"
        ) from None
    if head.get("version") != VERSION:
        raise UsageError(
            f"process {pid} speaks version {head.get('version')} of the dump, this command version {VERSION}: "
            "use the meminstr that the process uses"
        )
    if "error" in head:
        raise UsageError(f"process {pid} answers: {head['error']}")
    from ..reports.json import loads

    where = f"the answer of process {pid}"
    return Report.from_dict(loads(rest.decode("utf-8", "replace"), where))


def _all(connection: socket.socket) -> bytes:
    pieces: list[bytes] = []
    total = 0
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
        total += len(piece)
        if total > _LARGEST:
            raise UsageError(f"the answer is larger than a report can be: at most {_LARGEST >> 20} MiB are allowed")
    return b"".join(pieces)


def _socket_of(pid: int) -> Path:
    from ..asked import folders, socket_name

    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("dump: this system has no unix sockets; MEMINSTR_DUMP=SIGUSR1 has a signal print the report")
    if not _lives(pid):
        raise UsageError(f"there is no process {pid}")
    name = socket_name(pid)
    owner = _owner(pid)
    users = dict.fromkeys([owner if owner is not None else os.getuid(), os.getuid()])
    places = [folder / name for uid in users for folder in folders(uid)] + _listed(pid, name)
    for path in places:
        try:
            facts = os.lstat(path)
        except PermissionError:
            raise UsageError(f"process {pid} is another user's: only its owner, and root, may ask it") from None
        except OSError:
            continue
        if stat.S_ISSOCK(facts.st_mode) and facts.st_uid in (owner, os.getuid(), 0):
            return path
    if owner is not None and owner != os.getuid() and os.getuid() != 0:
        raise UsageError(f"process {pid} is another user's: only its owner, and root, may ask it")
    raise UsageError(
        f"process {pid} does not answer dumps: start it with MEMINSTR_DUMP=1, or call meminstr.serve_dump() in it; "
        f"meminstr watch {pid} looks at it from outside"
    )


def _listed(pid: int, name: str) -> list[Path]:
    """Sockets of this name that the kernel lists: wherever the process's temporary folder is."""
    try:
        text = Path(f"/proc/{pid}/net/unix").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    paths = [f"/{line.partition(' /')[2]}" for line in text.splitlines() if " /" in line]
    return [Path(path) for path in paths if path.endswith(f"/{name}")]


def _owner(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
