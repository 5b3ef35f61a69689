"""How wrappers travel: by reference where they can be imported, by value otherwise, and still guarded there.

The cache object a wrapper is made of reduces to its qualified name, which is right for `pickle`.  cloudpickle sends
what lives in ``__main__`` or in a closure by value, and asks `copyreg` first: there our wrappers answer with the
function and the recipe of the guard, and every other cache object answers what it always did.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable
from typing import Any

_BY_VALUE_PICKLERS = ("cloudpickle", "joblib.externals.cloudpickle", "ray.cloudpickle")
_mark = ""


def register_reducer(kind: Any, mark: str) -> None:
    """Answer for objects of ``kind`` whose ``__dict__`` has our record under ``mark``; done once."""
    global _mark
    if not _mark:
        _mark = mark
        copyreg.pickle(kind, _reduce)


def _reduce(obj: Any) -> str | tuple[Any, ...]:
    record = getattr(obj, "__dict__", {}).get(_mark)
    if record is None or not _by_value(obj):
        return str(obj.__qualname__)
    factory, options = record.around.recipe()
    return (rebuilt, (record.function, factory, options))


def _by_value(obj: Any) -> bool:
    frame = sys._getframe(2)
    if not str(frame.f_globals.get("__name__", "")).startswith(_BY_VALUE_PICKLERS):
        return False
    module = sys.modules.get(obj.__module__)
    if module is None or obj.__module__ == "__main__":
        return True
    found: Any = module
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not obj


def rebuilt(function: Any, factory: Callable[..., Any], options: dict[str, Any]) -> Any:
    """The same function under the same guard, in another process."""
    return factory(**options)(function)
