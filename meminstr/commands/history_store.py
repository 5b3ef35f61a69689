"""Reports of many runs in one SQLite file, kept when asked to: whole, and their figures by subject.

The file is a local index, owner-only, in the rollback journal mode that network folders stand.  A report is known by
process and time, so that adding a file twice adds nothing.  Words and tables are left to `history`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..reports.files import StrPath
from ..reports.model import Report

_APPLICATION = 0x6D656D31  # "mem1": tells our files from other programs' databases
VERSION = 1

_TABLES = """
CREATE TABLE run (id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, created_at TEXT NOT NULL, label TEXT,
  host TEXT, pid INTEGER, command TEXT, leaking INTEGER NOT NULL, subjects INTEGER NOT NULL,
  resident_bytes INTEGER, report BLOB NOT NULL);
CREATE TABLE finding (run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE, subject TEXT NOT NULL,
  kind TEXT NOT NULL, verdict TEXT NOT NULL, calls INTEGER, bytes REAL, bytes_low REAL, bytes_high REAL,
  live REAL, live_low REAL, live_high REAL);
CREATE INDEX finding_subject ON finding (subject, run);
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One report in the history."""

    id: int
    created_at: str
    label: str | None
    host: str | None
    command: str | None
    leaking: int
    subjects: int
    resident_bytes: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One subject in one run; rates are per call or construction, with their limits."""

    run: int
    created_at: str
    label: str | None
    kind: str
    verdict: str
    calls: int | None
    bytes: tuple[float | None, float | None, float | None]
    live: tuple[float | None, float | None, float | None]


def default_path() -> str:
    """Where the history is when nothing else is said: ``.meminstr/history.sqlite`` below the working directory."""
    return os.path.join(".meminstr", "history.sqlite")


class HistoryStore:
    """A history file that is open.  Made by `opened`."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    @contextmanager
    def opened(cls, path: StrPath, *, create: bool) -> Iterator[HistoryStore]:
        """Open the file, or make it.

        Raises:
            UsageError: it is not there, is no history, is of a newer version, or cannot be read or written.
        """
        name = os.fspath(path)
        if not create and not os.path.isfile(name):
            raise UsageError(f"there is no history {name!r}: `meminstr history add REPORT.json` begins one")
        connection = None
        try:
            if create and not os.path.exists(name):
                os.makedirs(os.path.dirname(name) or ".", mode=0o700, exist_ok=True)
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            connection = sqlite3.connect(name, timeout=10.0)
            connection.execute("PRAGMA foreign_keys = ON")
            cls._check(connection, name, create)
            yield cls(connection, name)
            connection.commit()
        except (sqlite3.Error, OSError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise UsageError(f"the history {name!r} cannot be used: {why}") from None
        finally:
            if connection is not None:
                connection.close()

    @staticmethod
    def _check(connection: sqlite3.Connection, name: str, create: bool) -> None:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if create and not application and not tables:
            connection.executescript(_TABLES)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.commit()
        elif application != _APPLICATION:
            raise UsageError(f"{name!r} is no meminstr history: another program's database, or an empty file")
        elif version > VERSION:
            raise UsageError(
                f"the history {name!r} was written by a newer meminstr (version {version}): "
                f"this one reads versions up to {VERSION}; upgrade meminstr to use it"
            )

    def add(self, report: Report, label: str | None = None) -> int | None:
        """Keep a report; its number, or None when it is there already."""
        whole = json.dumps(report.to_dict(), allow_nan=False, separators=(",", ":"))
        key = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()
        facts = report.process
        done = self._connection.execute(
            "INSERT OR IGNORE INTO run (key, created_at, label, host, pid, command, leaking, subjects, resident_bytes,"
            " report) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(
                    key,
                    _told(report.created_at),
                    _told(label),
                    _told(facts.host),
                    facts.pid,
                    _told(facts.command),
                    len(report.leaks),
                ),
                *(len(report.findings), facts.resident_bytes, zlib.compress(whole.encode("utf-8", "replace"))),
            ),
        )
        if not done.rowcount:
            return None
        number = int(done.lastrowid or 0)
        self._connection.executemany(
            "INSERT INTO finding VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(number, _told(f.subject), _told(f.subject_kind), f.verdict.value, f.calls),
                    *_figures(f.bytes_per_call),
                    *_figures(f.live_per_call),
                )
                for f in report.findings
            ],
        )
        return number

    def runs(self, last: int = 20) -> list[Run]:
        """The latest runs, oldest first."""
        rows = self._connection.execute(
            "SELECT id, created_at, label, host, command, leaking, subjects, resident_bytes FROM run "
            "ORDER BY created_at DESC, id DESC LIMIT ?",
            (last,),
        )
        return [Run(*row) for row in rows][::-1]

    def subject(self, name: str, last: int = 20) -> list[Entry]:
        """What the latest runs said of a subject, oldest first."""
        rows = self._connection.execute(
            "SELECT run, created_at, label, kind, verdict, calls, bytes, bytes_low, bytes_high, live, live_low, "
            "live_high FROM finding JOIN run ON run.id = finding.run WHERE subject = ? "
            "ORDER BY created_at DESC, run DESC LIMIT ?",
            (_told(name), last),
        )
        return [
            Entry(run, made, label, kind, verdict, calls, (b, bl, bh), (v, vl, vh))
            for (run, made, label, kind, verdict, calls, b, bl, bh, v, vl, vh) in rows
        ][::-1]

    def report(self, reference: str) -> Report:
        """A report by its number, or counted from the end: ``-1`` or ``latest``.

        Raises:
            UsageError: there is no such run.
        """
        text = "-1" if reference in ("", "latest") else reference
        try:
            number = int(text)
        except ValueError:
            raise UsageError(
                f"history:{reference} is not allowed: history:12, history:-1 or history:latest is"
            ) from None
        if number < 0:
            query = "SELECT report FROM run ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET ?"
            row = self._connection.execute(query, (-number - 1,)).fetchone()
        else:
            row = self._connection.execute("SELECT report FROM run WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise UsageError(
                f"history:{reference}: the history {self.path!r} has no such run; `meminstr history` lists them"
            )
        try:
            return Report.from_dict(json.loads(zlib.decompress(row[0])))
        except (zlib.error, ValueError, TypeError) as error:
            raise UsageError(f"history:{reference}: the report is damaged: {error}") from None


def _figures(rate: Any) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if rate is None else (rate.value, rate.low, rate.high)


def _told(value: str | None) -> str | None:
    """Text as SQLite can hold it: a name may carry bytes of a file system that are no text."""
    return None if value is None else value.encode("utf-8", "backslashreplace").decode("utf-8")
