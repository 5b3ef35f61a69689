"""What `inspect.signature` says of a class whose `__new__` was given to it: what it said before.

`inspect` looks for a metaclass's ``__call__``, then along the MRO for the first ``__new__`` or ``__init__`` that is
no C wrapper.  The `__new__` that stands before the next one of the MRO is put in as a method wrapper, which is
passed over; what is lost with it, a Python ``__new__`` behind it or the empty signature of `object`, is answered by
a ``__signature__`` that asks anew for each subclass.  A plain ``__signature__`` would be inherited by subclasses
with an ``__init__`` of their own, and be wrong there; one on the function would be wrong behind a mixin.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType, MethodType, MethodWrapperType, WrapperDescriptorType
from typing import Any

from . import kinds
from .ledger import own_attribute

_C_WRAPPERS = (WrapperDescriptorType, MethodWrapperType, type(object.__new__))


class ClassSignature:
    """The ``__signature__`` of a class with an added ``__new__``, and of its subclasses."""

    def __init__(self, is_ours: Callable[[Any], bool]) -> None:
        self._is_ours = is_ours

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None and not isinstance(kinds.lookup(type(owner), "__call__"), FunctionType):
            for base in kinds.mro_of(owner):
                given = own_attribute(base, "__signature__")
                if "__signature__" in vars(base) and type(given) is not ClassSignature:
                    return given.__get__(None, owner) if hasattr(type(given), "__get__") else given
            found = self._construction(owner)
            if found is not None:
                return found
        raise AttributeError("__signature__")  # `inspect` goes on by itself, and finds what it found before

    def _construction(self, owner: type) -> inspect.Signature | None:
        for base in kinds.mro_of(owner):
            namespace = vars(base)
            new = namespace.get("__new__")
            if new is not None and not self._is_ours(new):
                function = getattr(new, "__func__", new)
                if base is object:
                    return inspect.Signature()
                if isinstance(function, _C_WRAPPERS):
                    return None
                return inspect.signature(MethodType(function, owner))
            if "__init__" in namespace and not isinstance(namespace["__init__"], _C_WRAPPERS):
                return None
        return None  # pragma: no cover - object is the last of every MRO


def before_inherited_init(cls: type) -> inspect.Signature | None:
    """The signature for an ``__init__`` added before a C one: what the class shows now, with ``self``."""
    try:
        shown = inspect.signature(cls)
    except (ValueError, TypeError):
        return None
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    try:
        return shown.replace(parameters=[first, *shown.parameters.values()])
    except ValueError:
        return None
