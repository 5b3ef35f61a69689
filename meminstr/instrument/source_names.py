"""Which names a module will certainly not have, told from its source before anything runs.

A slip in ``--guard module:functoin`` should be refused before a program has worked for an hour, not listed
after it.  Only certainty counts: anything that may make names unseen (``import *``, ``globals()``,
``exec``, a module ``__getattr__``, a class with bases or decorators) means "cannot tell".
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator

from .targets import Target, nearest

_MAKERS_OF_NAMES = frozenset({"globals", "vars", "locals", "exec", "eval", "setattr", "__dict__", "modules"})


def parse_quietly(source: bytes) -> ast.Module | None:
    """The syntax tree, or None for source that does not compile: its importer will say so, and only once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError):
            return None


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body and of its ``if``, ``try``, ``with``, ``for``, ``while`` and ``match`` blocks.

    Bodies of functions and classes are other scopes and are not entered.
    """
    for statement in body:
        yield statement
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for field in ("body", "orelse", "finalbody"):
            yield from statements(getattr(statement, field, ()))
        for block in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from statements(block.body)


def surely_missing(target: Target, tree: ast.Module) -> str | None:
    """Why the target's name cannot exist in the module with this source, or None when it may.

    Returns:
        A clause as ``has no functoin (did you mean function?)``.
    """
    if target.wild_path or _may_make_names(tree):
        return None
    names = _names(tree.body) | _assigned_from_inside(tree)
    first = target.path[0]
    if first not in names:
        return f"has no {first}{nearest(first, sorted(names))}"
    body, path = tree.body, target.path
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    stored = {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    for depth, name in enumerate(path[1:], start=1):
        owner = _plain_class(body, path[depth - 1])
        if owner is None:
            return None
        names = _names(owner.body) | stored
        if name not in names:
            return f"has no {'.'.join(path[:depth])}.{name}{nearest(name, sorted(names))}"
        body = owner.body
    return None


def _may_make_names(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            return True
        if isinstance(node, ast.Name) and node.id in _MAKERS_OF_NAMES:
            return True
        if isinstance(node, ast.Attribute) and node.attr in _MAKERS_OF_NAMES:
            return True
    return any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)


def _names(body: list[ast.stmt]) -> set[str]:
    """Names bound by a body: definitions, imports, assignments, loop and ``with`` targets, captures."""
    found: set[str] = set()
    for statement in statements(body):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(statement.name)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            found.update((alias.asname or alias.name).partition(".")[0] for alias in statement.names)
        else:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    found.add(node.id)
                elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
                    found.add(node.name)
                elif isinstance(node, ast.MatchMapping) and node.rest:
                    found.add(node.rest)
                elif type(node).__name__ == "TypeAlias":  # 3.12
                    found.add(node.name.id)  # type: ignore[attr-defined]
    return found


def _assigned_from_inside(tree: ast.Module) -> set[str]:
    """Names that a function declares ``global``."""
    return {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}


def _plain_class(body: list[ast.stmt], name: str) -> ast.ClassDef | None:
    """The class of that name when its namespace is what its body says: one definition, no bases, undecorated."""
    found = [node for node in statements(body) if getattr(node, "name", None) == name]
    if len(found) != 1 or not isinstance(found[0], ast.ClassDef):
        return None
    owner = found[0]
    return None if owner.bases or owner.keywords or owner.decorator_list else owner
