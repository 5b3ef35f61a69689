"""Looking at objects of others without running their code.

A class may override ``__getattribute__``, ``__class__``, ``__len__`` or ``__sizeof__``, and a property may act
when it is read.  Everything here works on the type level or through the collector, so nothing of that runs.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Iterator
from typing import Any

_MRO: Any = type.__dict__["__mro__"]
_DICT: Any = type.__dict__["__dict__"]
_NAMESPACE: Any = vars(types.ModuleType)["__dict__"]
_QUALNAME: Any = type.__dict__["__qualname__"]

ATOMS: frozenset[type] = frozenset(
    (int, str, bytes, bytearray, float, complex, bool, type(None), type(Ellipsis), types.CodeType, range, slice)
)
"""Types whose instances hold nothing of interest: leaves of every walk."""


def mro(cls: type) -> tuple[type, ...]:
    """The method resolution order, past any metaclass that overrides it."""
    return tuple(_MRO.__get__(cls))


def class_dict(cls: type) -> Any:
    """The class's own namespace (a read-only view), past any metaclass."""
    return _DICT.__get__(cls)


def is_a(obj: object, cls: type | tuple[type, ...]) -> bool:
    """``isinstance`` by the real type only: a proxy that lies about ``__class__`` is not asked."""
    return issubclass(type(obj), cls)


def find_in_class(cls: type, name: str) -> Any:
    """What the class stores under a name, unbound; None when nothing."""
    for base in mro(cls):
        found = class_dict(base).get(name)
        if found is not None:
            return found
    return None


def type_name(cls: type) -> str:
    """``module.Type``; builtins without the module."""
    module = class_dict(cls).get("__module__")
    name = str(_QUALNAME.__get__(cls))
    if not isinstance(module, str):
        full = str(cls.__name__) if type(cls) is not type else str(type.__repr__(cls)).split("'")[1]
        module = full.rpartition(".")[0] or "builtins"
    return name if module == "builtins" else f"{module}.{name}"


def size_of(obj: object) -> int:
    """Shallow bytes; a ``__sizeof__`` written in Python is passed over in favour of the one of ``object``."""
    cls = type(obj)
    method = find_in_class(cls, "__sizeof__")
    try:
        in_c = type(method) is types.MethodDescriptorType
        size = int(method(obj)) if in_c else object.__sizeof__(obj)
    except Exception:  # a C type that cannot answer: its bare structure is the best known figure
        size = int(getattr(cls, "__basicsize__", 16))
    return size + (16 if gc.is_tracked(obj) else 0)


def object_arrays() -> type | None:
    """``numpy.ndarray`` when numpy is already imported: the collector does not look into it."""
    found = getattr(sys.modules.get("numpy"), "ndarray", None)
    return found if isinstance(found, type) else None


def children(obj: object, arrays: type | None) -> list[Any]:
    """What an object holds, as the collector sees it, and the elements of numpy object arrays besides.

    Of a module only the namespace: the C state that some have is left alone.
    `_asyncio` of Python 3.12 shows the collector a free list there, dead objects, and taking a reference to
    one of those and dropping it again corrupts the interpreter.
    """
    if issubclass(type(obj), types.ModuleType):
        return [_NAMESPACE.__get__(obj)]
    found = gc.get_referents(obj)
    if arrays is not None and issubclass(type(obj), arrays):
        try:
            if arrays.__dict__["dtype"].__get__(obj).hasobject:
                found.extend(arrays.__dict__["flat"].__get__(obj))
            base = arrays.__dict__["base"].__get__(obj)
            if base is not None:
                found.append(base)
        except Exception:  # an array in the making, or a subclass without data
            return found
    return found


def frame_values(frame: types.FrameType) -> Iterator[tuple[str, Any]]:
    """Names and values of a function frame's locals, leaving no copy of them behind.

    Up to Python 3.12 reading ``f_locals`` leaves a dict in the frame that keeps every value alive until the
    frame ends: what was put in there is taken out again, unless the program itself holds that dict.
    """
    values = frame.f_locals
    names = frame.f_code.co_varnames + frame.f_code.co_cellvars + frame.f_code.co_freevars
    rows = [(name, values[name]) for name in names if name in values]
    # one reference is the frame's, one the name above, one the argument; more means `locals()` is in use
    if type(values) is dict and frame.f_code.co_flags & 1 and sys.getrefcount(values) <= 3:
        for name in names:
            values.pop(name, None)
    del values
    yield from rows
