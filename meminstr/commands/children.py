"""``--follow-children``: what was asked of a program is asked of every Python that it starts.

The names go to the children in the environment (``MEMINSTR_SPECS``), with a folder in front of ``PYTHONPATH`` whose
`sitecustomize` calls `begin_in_child`; forked children have it all already.  Interpreters started with ``-S``, ``-I``
or ``-E`` are not reached.  What the children find comes back as shards (`meminstr.shards`), in the folder of
``--shards`` or a temporary one, and is merged into the one report of the program.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import wrapt

from .. import settings
from ..errors import UsageError
from ..faults import note_fault
from ..instrument.by_name import Instrumentation, instrument_by_name
from ..instrument.targets import Target
from ..shards import merged, write_shards
from ..shards.lifecycle import is_helper

SPECS = "MEMINSTR_SPECS"
_WANTS = {"--track": "class", "--guard": "function", "--limit": "function"}


def follow(targets: Sequence[Target], main_names: Sequence[str], shards: str | None) -> str:
    """Have all children of this process instrumented as it is, and write shards.

    Args:
        targets: what is instrumented here.
        main_names: the names under which a target may speak of the main module.
        shards: the folder for shards; None: one that is gone with this process.

    Returns:
        The folder.

    Raises:
        UsageError: a folder that cannot be written to.
    """
    folder = shards
    if folder is None:
        folder = tempfile.mkdtemp(prefix="meminstr-")
        atexit.register(_clear_away, folder, os.getpid())
    write_shards(folder)
    rows = [
        {
            "text": t.text,
            "option": t.option,
            "value": None if t.option == "--track" else "" if t.option == "--guard" else "SIZE",
            "main": any(t.matches_module(name) for name in main_names),
        }
        for t in targets
    ]
    os.environ[SPECS] = json.dumps({"targets": rows, "every": settings.current().every})
    bootstrap = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_bootstrap")
    others = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != bootstrap]
    os.environ["PYTHONPATH"] = os.pathsep.join([bootstrap, *others])
    return folder


def _clear_away(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # not a forked child that ends
        shutil.rmtree(folder, ignore_errors=True)


def with_children(report: Any, folder: str) -> Any:
    """This process's report and those of its children as one; the report itself when they left nothing."""
    try:
        united = type(report).merge([report, merged(folder)])
        children = merged(folder).extra.get("notes", ())
        notes = [*report.extra.get("notes", ()), *children]
        return replace(united, extra={**united.extra, **({"notes": notes} if notes else {})})
    except UsageError:
        return report  # no child wrote anything


def begin_in_child() -> None:
    """Instrument this process as its parent was told to.  Never raises."""
    try:
        if (is_helper() and not _forkserver()) or not settings.current().enabled:
            return
        specs = json.loads(os.environ[SPECS])
        settings.configure(every=specs["every"])
        from .run import applier

        named, in_main = [], []
        for row in specs["targets"]:
            extra = {} if row["value"] is None else {"value": row["value"]}
            target = Target.parse(row["text"], row["option"], _WANTS[row["option"]], **extra)
            if row["main"]:
                in_main.append(replace(target, module="__mp_main__"))
            if target.module != "__main__":
                named.append(target)
        instrument_by_name(named, applier())
        if in_main:
            _when_spawned(Instrumentation(in_main, applier()))
    except Exception as error:
        note_fault("following a child process", error)


def _forkserver() -> bool:
    words = getattr(sys, "orig_argv", None) or []
    return any(word.startswith("from multiprocessing.forkserver import main") for word in words[1:])


def _when_spawned(work: Instrumentation) -> None:
    """Search the main module of a process that `multiprocessing` spawned, once it is there."""

    def patch(module: Any) -> None:
        prepare: Callable[[Any], Any] = module.prepare

        def prepare_and_search(data: Any) -> Any:
            outcome = prepare(data)
            main = sys.modules.get("__mp_main__")
            if main is not None:
                _search_spawned(work, main)
            return outcome

        module.prepare = prepare_and_search

    wrapt.register_post_import_hook(patch, "multiprocessing.spawn")


def _search_spawned(work: Instrumentation, main: types.ModuleType) -> None:
    # `runpy` hands on a copy of the namespace it ran the script in, and the functions look names up in the original
    before = dict(vars(main))
    work.search(main)
    spaces = {id(f.__globals__): f.__globals__ for f in before.values() if isinstance(f, types.FunctionType)}
    for name, value in list(vars(main).items()):
        original = before.get(name)
        if value is not original:
            for space in spaces.values():
                if space.get("__name__") == main.__name__ and space.get(name) is original:
                    space[name] = value
