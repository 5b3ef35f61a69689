"""Names of subjects: short where that is enough, with the module where it is not."""

from __future__ import annotations

from collections.abc import Container
from typing import Any


def name_of(function: Any) -> str:
    """The qualified name of a function or callable, without the functions it was made in."""
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if not isinstance(name, str):
        name = type(getattr(function, "func", function)).__name__
    return name.rpartition("<locals>.")[2]


def free_name(name: str, module: str, taken: Container[str]) -> str:
    """The name if it is free, else with its module, else with a number too."""
    if name not in taken:
        return name
    name = f"{module}.{name}"
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}#{number}", number + 1
    return candidate
