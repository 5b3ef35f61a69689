"""Known habits of libraries: paths that are no leak of the application, or a leak with a known reason.

The list is data.  A matcher has a pattern for the normalised path (`fnmatch`, with ``[`` taken literally),
the package it speaks of with an optional range of versions, and a sentence.  `register` adds one at run time.
"""

from __future__ import annotations

import fnmatch
import re
import threading
from dataclasses import dataclass

from ..forks import loading

VERSION = 2
"""Of the list below: raised whenever it changes."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One known habit."""

    pattern: str
    """Matched against the whole normalised path; ``*`` for anything, ``[`` stands for itself."""
    explanation: str
    package: str | None = None
    """Distribution whose version decides; None for the standard library."""
    below: str | None = None
    """Applies to versions lower than this."""
    since: str | None = None
    """Applies to this version and later ones."""


MATCHERS: tuple[Matcher, ...] = (
    Matcher("re._cache*", "re keeps its last 512 compiled patterns: bounded"),
    Matcher("re._cache2*", "re keeps its last 256 compiled patterns: bounded"),
    Matcher(
        "linecache.cache*", "linecache keeps the source of files shown in tracebacks; linecache.clearcache() empties it"
    ),
    Matcher("functools.singledispatch*", "functools.singledispatch caches the function found for each class, weakly"),
    Matcher("typing.*<lru_cache*", "typing caches subscripted types: bounded"),
    Matcher("typing._cleanups*", "typing keeps the clear functions of its caches"),
    Matcher("abc.*", "ABCMeta remembers classes it was asked about, weakly"),
    Matcher("_abc.*", "ABCMeta remembers classes it was asked about, weakly"),
    Matcher(
        "logging._handler*", "logging knows each handler until its close() and keeps it while a logger refers to it"
    ),
    Matcher(
        "logging.Logger.manager.loggerDict*.handlers*",
        "a handler stays with its logger until removeHandler(): add it once, or remove it with its owner",
    ),
    Matcher(
        "logging.Logger.manager.loggerDict*", "logging never forgets a logger: use few names, none made at run time"
    ),
    Matcher("logging.root.*", "held by a handler or filter of the root logger: remove it with removeHandler()"),
    Matcher("sys.last_*", "the interactive session keeps the last uncaught exception with its frames"),
    Matcher("*.__warningregistry__*", "warnings remembers each message it has shown; constant texts keep it bounded"),
    Matcher("warnings.*", "warnings keeps its filters and the messages it has shown"),
    Matcher("copyreg.*", "copyreg keeps one entry for each registered class: bounded by the program's classes"),
    Matcher("encodings._cache*", "one entry for each codec that was looked up: bounded"),
    Matcher("urllib.parse.*<lru_cache*", "urllib.parse caches split addresses: bounded"),
    Matcher("fnmatch.*<lru_cache*", "fnmatch caches compiled patterns: bounded"),
    Matcher("gc.garbage*", "gc.DEBUG_SAVEALL or an uncollectable object of an extension put it there"),
    Matcher("weakref.finalize._registry*", "weakref.finalize keeps function and arguments until the object dies"),
    Matcher("multiprocessing.util._finalizer_registry*", "multiprocessing keeps finalizers until they are run"),
    Matcher("concurrent.futures.thread._threads_queues*", "a pool that was not shut down keeps its threads and queues"),
    Matcher("unittest.mock.*", "a mock records each call with its arguments: reset_mock() drops them"),
    Matcher("*.mock_calls*", "a mock records each call with its arguments: reset_mock() drops them"),
    Matcher("*._mock_mock_calls*", "a mock records each call with its arguments: reset_mock() drops them"),
    Matcher("_pytest.*", "pytest keeps fixtures, reports and captured exceptions until the session ends", "pytest"),
    Matcher("pytest.*", "pytest keeps fixtures, reports and captured exceptions until the session ends", "pytest"),
    Matcher("grpc.*<context>*", "gRPC's C core keeps the context of the call that created a channel", "grpcio"),
    Matcher("IPython.*user_ns*", "IPython keeps each cell's result in Out and _: %reset out forgets them", "ipython"),
    Matcher(
        "*sqlalchemy*identity_map*", "a session knows its objects until commit, expunge_all() or close()", "sqlalchemy"
    ),
    Matcher("django.db.connections*queries_log*", "Django keeps its last 9,000 queries while DEBUG is on", "django"),
)

_extra: list[Matcher] = []
_lock = threading.Lock()


def register(matcher: Matcher) -> None:
    """Add a matcher; it is asked before the built-in ones."""
    with _lock:
        if matcher not in _extra:
            _extra.insert(0, matcher)


def unregister(matcher: Matcher) -> None:
    """Take a registered matcher out again; unknown ones are passed over."""
    with _lock:
        if matcher in _extra:
            _extra.remove(matcher)


def explain(path: str) -> str | None:
    """The explanation of the first matcher that knows this path, or None."""
    for matcher in (*_extra, *MATCHERS):
        if matches(matcher, path):
            return matcher.explanation
    return None


def matches(matcher: Matcher, path: str) -> bool:
    """Whether a matcher speaks of this path and of the installed version."""
    if not fnmatch.fnmatchcase(path, matcher.pattern.replace("[", "[[]")):
        return False
    if matcher.package is None or (matcher.below is None and matcher.since is None):
        return True
    installed = _installed(matcher.package)
    if installed is None:
        return False
    return (matcher.below is None or installed < _numbers(matcher.below)) and (
        matcher.since is None or installed >= _numbers(matcher.since)
    )


def _installed(package: str) -> tuple[int, ...] | None:
    with loading.of("importlib.metadata"):
        from importlib.metadata import PackageNotFoundError, version

    try:
        return _numbers(version(package))
    except PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in release[0].split(".")) if release else ()
