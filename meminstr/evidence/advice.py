"""One sentence on how such a leak is fixed, by the pattern of its holder; for native memory, what to run next."""

from __future__ import annotations

import re

from ..verdict import Holder

_NATIVE = (
    "allocated by C code: run `PYTHONMALLOC=malloc python -m memray run --native -o leak.bin your_script.py`, then "
    "`python -m memray flamegraph --leaks leak.bin`"
)
_PLACEHOLDER = "your_script.py"
_BY_KIND = {
    "native_heap": _NATIVE,
    "mapping": _NATIVE,
    "container_buffer": "one container's own buffer grows: give it a bound (`deque(maxlen=...)`) or empty it",
    "fragmentation": "no object is kept, the allocator is: try MALLOC_ARENA_MAX=2 or malloc_trim, and fewer large "
    "short-lived buffers",
    "descriptors": "close files and sockets in a `with` block; `ls -l /proc/PID/fd` shows which stay open",
    "threads": "join or bound the threads: a pool with shutdown() instead of one thread a call",
    "tasks": "await or cancel the tasks: a `TaskGroup` ends with all of its tasks ended",
    "device": "drop the references to device tensors and empty the framework's cache",
}
_NOTHING = "nothing that Python knows holds it: look for a C extension that keeps a reference"

# the first that matches the path speaks; the order goes from the special to the general
_BY_PATH: tuple[tuple[str, str], ...] = (
    (
        r"<lru_cache arguments>",
        "the cache keeps each `self` it was called with: cache per instance (`functools.cached_property`, or a "
        "dict on the instance) or make it a function of plain values",
    ),
    (
        r"<unbounded lru_cache>",
        "the cache has no bound (`maxsize=None`): give it one (`lru_cache(maxsize=...)`), or call `cache_clear()`",
    ),
    (r"<lru_cache>", "give the cache a bound: `lru_cache(maxsize=...)`, or clear it with `cache_clear()`"),
    (
        r"__traceback__|__context__|__cause__|^<exception",
        "a stored exception keeps the frames it passed and all their locals: keep its text, or call "
        "`error.with_traceback(None)`",
    ),
    (
        r"(listener|observer|subscriber|callback|handler|hook|slot|watcher|receiver)s?\w*[.\[{<'*\]]",
        "unregister it in the cleanup, or let the registry hold it weakly (`weakref.WeakMethod`, `WeakSet`)",
    ),
    (r"__callback__", "the callback of a weak reference is held strongly: do not bind it to the object's owner"),
    (r"^<context>|<context>", "reset the context variable (`var.reset(token)`) when the work is done"),
    (r"\.args\[\*\]|\.keywords\[", "the partial keeps its arguments: drop it when it was called"),
    (
        r"(tasks?|futures?|jobs|pending)\w*[\[{]",
        "take it out of the set when it is done: `task.add_done_callback(tasks.discard)`",
    ),
    (r"<coroutine|<async_generator", "the coroutine is suspended and never finishes: await, cancel or aclose() it"),
    (r"<generator", "the generator was not run to its end: close() it, or use `contextlib.closing`"),
    (r"\blocal\.|_local\.|threading\.local", "a thread keeps its locals for its life: delete the attribute after use"),
    (r"__closure__", "the closure keeps the variable: pass what it needs, or a weak reference, instead"),
    (r"__defaults__|__kwdefaults__", "a default argument lives as long as the function: use None and make it inside"),
    (r"__self__", "the bound method keeps its object: drop it in the cleanup or hold it by `weakref.WeakMethod`"),
    (r"__del__", "an object must not store itself in `__del__`: use `weakref.finalize`"),
    (r"identity_map", "the session keeps each object it loaded: expunge_all() or a session for each unit of work"),
    (r"^<frame|\.<frame", "a running function still holds it: delete the variable, or leave the function"),
    (r"\.keys\(\)\[\*\]", "it is a key of a dict that only grows: use `weakref.WeakKeyDictionary` or delete the entry"),
)
_BY_ROOT = {
    "outside": "a C extension, or an expression that is still running, owns the first object: release it there",
    "thread": "the thread is still running: let it end, or take the object out of its target and arguments",
    "cycle": "a cycle that waits for the collector: break it in the cleanup, or collect more often",
    "atexit": "`atexit.unregister` it in the cleanup",
    "signal": "restore the signal handler in the cleanup",
    "coroutine": "the coroutine is suspended and never finishes: await, cancel or aclose() it",
    "generator": "the generator was not run to its end: close() it",
    "traceback": "an exception being handled keeps its frames: leave the `except` block",
    "context": "reset the context variable (`var.reset(token)`) when the work is done",
    "unknown": "the search ran out of time: give a report more, as MEMINSTR_DIAGNOSE_SECONDS=10, and ask again",
}
_CONTAINER = "remove the entry when its owner is done, bound the container, or hold the values weakly"
_REFERENCE = "set the reference to None in the cleanup"


_BY_TYPE: tuple[tuple[str, str], ...] = (
    (
        r"(^|\.)\w*(Error|Exception|Interrupt|Exit)$",
        "a stored exception keeps the frames it passed and all their locals: keep its text, or call "
        "`error.with_traceback(None)`",
    ),
    (r"^logging\.(\w+\.)?\w*Handler$", "`logger.removeHandler(handler)` and `handler.close()` when it is done"),
)


def advise(
    holder: Holder | None, memory_kind: str | None = None, held_type: str | None = None, program: str | None = None
) -> str:
    """How such a leak is usually fixed, one sentence.

    Args:
        holder: the group of survivors it is about; None when no object is known to be held.
        memory_kind: as in the report, ``native_heap`` for instance; decides when there is no holder.
        held_type: ``module.Type`` of what is held, where that is known.
        program: what to type after ``python`` to start the program: ``app.py`` or ``-m app``.
    """
    if holder is None:
        said = _BY_KIND.get(memory_kind or "", _NOTHING)
        return said.replace(_PLACEHOLDER, program) if program else said
    if holder.root in ("atexit", "signal", "cycle", "unknown", "thread"):
        return _BY_ROOT[holder.root]
    for pattern, sentence in _BY_TYPE:
        if held_type is not None and re.search(pattern, held_type):
            return sentence
    for pattern, sentence in _BY_PATH:
        if re.search(pattern, holder.path):
            return sentence
    if holder.path.endswith(("[*]", "{*}", "]")) or "[*]" in holder.path or "{*}" in holder.path:
        return _CONTAINER
    return _BY_ROOT.get(holder.root, _REFERENCE)
