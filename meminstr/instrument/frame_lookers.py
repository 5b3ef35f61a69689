"""Functions that look at who called them: on a sampled call they would find a frame of ours (INSTRUMENTING.md F3).

Told by the names in the code, without running anything: `sys._getframe` and its kin, in the function itself or in a
function of the same package that it calls by name (a ``_deprecated()`` that looks two frames up).  A guess on the
safe side: it only decides what a wildcard leaves alone, and what was named in full is instrumented all the same.
"""

from __future__ import annotations

import types
from typing import Any

_NAMES = frozenset({"_getframe", "_getframemodulename", "currentframe", "_current_frames"})


def looks_at_frames(function: Any) -> bool:
    """Whether a function looks at its caller's frame, or has that done by a helper of its package."""
    function = _plain(function)
    if function is None:
        return False
    if _names_frames(function.__code__):
        return True
    package = str(function.__module__).partition(".")[0]
    for name in function.__code__.co_names:
        helper = _plain(function.__globals__.get(name))
        if helper is None or str(helper.__module__).partition(".")[0] != package:
            continue
        if _names_frames(helper.__code__):
            return True
    return False


def _names_frames(code: types.CodeType) -> bool:
    return not _NAMES.isdisjoint(code.co_names) or {"inspect", "stack"} <= set(code.co_names)


def _plain(obj: Any) -> types.FunctionType | None:
    for _ in range(4):  # down through wrappers, ours among them
        if type(obj) is types.FunctionType:
            return obj
        namespace = getattr(obj, "__dict__", None) if callable(obj) else None
        if type(namespace) is not dict:
            return None
        obj = namespace.get("__wrapped__")
    return None
