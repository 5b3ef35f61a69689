"""Runs a script or module in this process as ``__main__``, so that the program cannot tell.

A new ``__main__`` module with the spec, file, package, ``sys.path[0]`` and ``sys.argv`` the interpreter
would give it; not `runpy.run_path`, whose temporary module is torn down before threads, ``atexit`` and
pickling are through with it.  Ends as the interpreter would: exit codes, tracebacks without our frames,
``sys.excepthook``, SIGINT.  What is instrumented in the program is not this file's business; it compiles
through a function that it is given.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import io
import os
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..instrument.targets import nearest_module

Compile = Callable[[bytes, str], types.CodeType]
"""``compile(source, file name)``: the code of the main module."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was found and has not run.

    Attributes:
        argv0: what ``sys.argv[0]`` is to be.
        arguments: the rest of ``sys.argv``.
        path0: what ``sys.path[0]`` is to be.
        file: ``__file__`` of the main module.
        package: ``__package__`` of the main module.
        names: the names under which a target may speak of the main module.
        spec: its ``__spec__``, or None for a plain script.
        source: its source, or None when there is only code.
        code: its code when there is no source.
    """

    argv0: str
    arguments: tuple[str, ...]
    path0: str
    file: str
    package: str | None
    names: tuple[str, ...]
    spec: importlib.machinery.ModuleSpec | None
    source: bytes | None
    code: types.CodeType | None


def enter_path(path0: str) -> None:
    """Put the program's folder first on the module search path, as the interpreter does."""
    if not sys.flags.safe_path:  # -P: the interpreter puts nothing there either
        sys.path[0:1] = [path0]


def find_script(path: str, arguments: Sequence[str]) -> Program:
    """The program in a file, or in a folder or archive with a ``__main__.py``.

    Raises:
        UsageError: no such file, or it cannot be read.
    """
    if os.path.isdir(path) or path.endswith((".zip", ".pyz", ".pyzw", ".egg")):
        return _find_in_container(path, arguments)
    file = os.path.abspath(path)
    try:
        with open(file, "rb") as stream:
            source = stream.read()
    except OSError as error:
        raise UsageError(f"cannot open the script {path}: {error.strerror or error}") from None
    code = None
    if source[: len(importlib.util.MAGIC_NUMBER)] == importlib.util.MAGIC_NUMBER:
        code = importlib.machinery.SourcelessFileLoader("__main__", file).get_code("__main__")
    elif b"\0" in source:
        raise UsageError(f"{path} is no Python source: it holds null bytes")
    stem = os.path.splitext(os.path.basename(file))[0]
    folder = os.path.dirname(os.path.realpath(file))
    return Program(path, tuple(arguments), folder, file, None, ("__main__", stem), None, None if code else source, code)


def find_module(name: str, arguments: Sequence[str]) -> Program:
    """The program that ``-m NAME`` means; imports the packages above it, as ``python -m`` does.

    Raises:
        UsageError: no such module, or one that cannot be run.
    """
    cwd = os.getcwd()
    enter_path(cwd)
    try:
        spec = None if name.startswith(".") else importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError) as error:
        missing = getattr(error, "name", None)
        if missing is not None and not (name + ".").startswith(missing + "."):
            raise UsageError(f"-m {name}: the package above it cannot be imported: {error}") from None
        spec = None
    except Exception as error:
        raise UsageError(
            f"-m {name}: the package above it cannot be imported: {type(error).__name__}: {error}"
        ) from None
    if spec is None:
        parent = name.rpartition(".")[0]
        where: list[str] | None = list(getattr(sys.modules.get(parent), "__path__", ())) if parent else None
        raise UsageError(f"-m {name}: there is no module {name}{nearest_module(name, where)}")
    names = ["__main__", spec.name]
    if spec.submodule_search_locations is not None:
        inner = importlib.util.find_spec(name + ".__main__")
        if inner is None:
            raise UsageError(f"-m {name}: {name} is a package without a __main__ module, so it cannot be run")
        spec = inner
        names[1] = spec.name
    return _from_spec(spec, spec.origin or name, arguments, cwd, tuple(names), spec.parent)


def _find_in_container(path: str, arguments: Sequence[str]) -> Program:
    spec = importlib.machinery.PathFinder.find_spec("__main__", [path])
    if spec is None:
        raise UsageError(f"cannot run {path}: there is no __main__ module in it")
    return _from_spec(spec, path, arguments, os.path.abspath(path), ("__main__",), "")


def _from_spec(
    spec: importlib.machinery.ModuleSpec,
    argv0: str,
    arguments: Sequence[str],
    path0: str,
    names: tuple[str, ...],
    package: str | None,
) -> Program:
    loader: Any = spec.loader
    if not hasattr(loader, "get_code"):
        raise UsageError(f"-m {spec.name}: {spec.name} has no Python code to run")
    file, source, code = spec.origin or "", None, None
    try:
        if file.endswith(".py"):
            source = loader.get_data(file)
    except (OSError, AttributeError):
        source = None
    if source is None:
        code = loader.get_code(spec.name)
        if code is None:
            raise UsageError(f"-m {spec.name}: {spec.name} has no Python code to run")
    return Program(argv0, tuple(arguments), path0, file, package, names, spec, source, code)


def execute(program: Program, compile_main: Compile) -> int:
    """Run the program; returns its exit code, unless it ended in a way that has to be passed on.

    Raises:
        SystemExit: the program's own, for the interpreter to deal with as always.
        KeyboardInterrupt: the program's own, its traceback printed already.
    """
    enter_path(program.path0)
    sys.argv[:] = [program.argv0, *program.arguments]
    main = _main_module(program)
    # The module of our own that is __main__ until now must outlive this call: its functions are running.
    keep = sys.modules.get("__main__")
    sys.modules["__main__"] = main
    try:
        code = program.code if program.source is None else compile_main(program.source, program.file)
        if code is None:
            raise AssertionError("a program has source or code")
        exec(code, main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        error.__traceback__ = _without_us(error, main)
        failure = error
    else:
        return 0
    finally:
        del keep
    return _end_by(failure)


def _main_module(program: Program) -> types.ModuleType:
    main = types.ModuleType("__main__")
    loader: Any = importlib.machinery.SourceFileLoader("__main__", program.file)
    main.__dict__.update(
        __file__=program.file,
        __package__=program.package,
        __spec__=program.spec,
        __loader__=program.spec.loader if program.spec else loader,
        __cached__=program.spec.cached if program.spec else None,
        __builtins__=builtins,
    )
    if program.spec is None and sys.version_info < (3, 14):
        main.__annotations__ = {}
    return main


def _without_us(error: BaseException, main: types.ModuleType) -> types.TracebackType | None:
    """The traceback from the program's first line on; None when it never got there (a syntax error)."""
    entry = error.__traceback__
    while entry is not None and entry.tb_frame.f_globals is not main.__dict__:
        entry = entry.tb_next
    return entry


def _end_by(error: BaseException) -> int:
    """What the interpreter does about an exception that nobody caught."""
    kind, entry = type(error), error.__traceback__
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, entry
    sys.last_exc = error  # type: ignore[attr-defined,unused-ignore]
    hook = sys.excepthook
    try:
        hook(kind, error, entry)
    except SystemExit:
        raise
    except BaseException as second:
        second.__traceback__ = second.__traceback__ and second.__traceback__.tb_next
        second.__context__ = None
        _print("Error in sys.excepthook:", second)
        _print("\nOriginal exception was:", error)
    if isinstance(error, KeyboardInterrupt):
        # The interpreter must see it, to end by SIGINT as shells expect, and must not print it again.
        sys.excepthook = lambda *_: None
        raise error
    return 1


def _print(title: str, error: BaseException) -> None:
    text = io.StringIO()
    traceback.print_exception(error, file=text)
    try:
        sys.stderr.write(f"{title}\n{text.getvalue()}")
    except Exception:  # no standard error to print to, as in a program that closed it
        return
