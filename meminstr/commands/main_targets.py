"""Targets inside the script that is run: instrumented while it is compiled, for no import hook fires for it.

The script's syntax tree gets one more decorator, the outermost, on each ``class`` and ``def`` a target names.
Line numbers, docstring, ``from __future__`` and the source seen by `inspect` stay as they are.  Whatever is
made otherwise (``Point = namedtuple(...)``, a function that a factory or ``exec`` made) is listed as skipped.
"""

from __future__ import annotations

import ast
import builtins
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import UsageError
from ..instrument.by_name import Instrumentation
from ..instrument.source_names import parse_quietly, statements, surely_missing
from ..instrument.targets import Target, nearest

_MARK = "__meminstr_instrument__"  # ends in two underscores, so that no class body mangles it

_MADE_OTHERWISE = "is not made by a class or def statement of the script"

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def main_targets(targets: tuple[Target, ...], names: tuple[str, ...]) -> list[Target]:
    """The targets that speak of the main module, by any of its names."""
    return [target for target in targets if any(target.matches_module(name) for name in names)]


def check_source(targets: list[Target], source: bytes, file: str) -> None:
    """Refuse a target that the script certainly has not, before it runs.

    Raises:
        UsageError: names the nearest match.
    """
    tree = parse_quietly(source) if targets else None
    for target in targets:
        why = tree and surely_missing(target, tree)
        if why:
            raise UsageError(f"{target}: {file} {why}")


def compile_instrumented(source: bytes, file: str, targets: list[Target], work: Instrumentation) -> types.CodeType:
    """The code of the main module, with the targets' definitions decorated.

    Raises:
        SyntaxError: the script's own.
    """
    if not targets:
        return compile(source, file, "exec", dont_inherit=True)
    tree = ast.parse(source, file)
    offers: list[tuple[Target, tuple[str, ...]]] = []
    for path, node in _definitions(tree.body, ()):
        for target in targets:
            if target.matches_path(path):
                _decorate(node, len(offers))
                offers.append((target, path))
    work.was_there(targets)

    def instrument(index: int) -> Callable[[Any], Any]:
        target, path = offers[index]
        return lambda obj: work.offer(target, "__main__", path, sys.modules["__main__"], obj)

    # in builtins, because the program's own namespace must hold nothing that is not its own
    setattr(builtins, _MARK, instrument)
    return compile(tree, file, "exec", dont_inherit=True)


def note_left_out(targets: list[Target], work: Instrumentation) -> None:
    """At the end: list what was meant and the script has made without a statement of its own, or not at all."""
    space = vars(sys.modules["__main__"])
    for target in targets:
        if not target.wild_path and not work.has_answered(target):
            there = target.path[0] in space
            hint = "" if there else nearest(target.path[0], sorted(space))
            why = _MADE_OTHERWISE if there else f"has no {target.path[0]}{hint}"
            work.skip(target, f"__main__:{target.qualified_name}" if there else "__main__", why)
    done = {applied.subject for applied in work.applied}
    known = {id(obj) for name, obj in space.items() if f"__main__:{name}" in done}  # under another name too
    for name, obj in list(space.items()):
        of_kind = {"class": isinstance(obj, type), "function": isinstance(obj, types.FunctionType)}
        if getattr(obj, "__module__", None) != "__main__" or name.startswith("__") or id(obj) in known:
            continue
        for target in targets:
            subject = f"__main__:{name}"
            if target.wild_path and target.matches_path((name,)) and of_kind.get(target.wants) and subject not in done:
                work.skip(target, subject, _MADE_OTHERWISE)


def _definitions(body: list[ast.stmt], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], _Definition]]:
    for node in statements(body):
        if isinstance(node, _Definition):
            path = (*above, node.name)
            yield path, node
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, path)


def _decorate(node: _Definition, index: int) -> None:
    # the place of what stands first now: a code object's first line is that of its first decorator
    first = node.decorator_list[0] if node.decorator_list else node
    call = ast.Call(ast.Name(_MARK, ast.Load()), [ast.Constant(index)], [])
    for part in ast.walk(call):
        ast.copy_location(part, first)
    node.decorator_list.insert(0, call)
