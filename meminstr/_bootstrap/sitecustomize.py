"""Imported by every Python that a followed program starts: begins there what the parent was asked for.

An interpreter that has no meminstr is left alone.  The `sitecustomize` that this one hides, if there is one, is run
all the same.  Nothing here may raise into the start of somebody's program.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys


def _run_the_hidden_one() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    others = [folder for folder in sys.path if os.path.abspath(folder or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _begin() -> None:
    if not os.environ.get("MEMINSTR_SPECS"):
        return
    try:
        from meminstr.commands.children import begin_in_child
    except ImportError:
        return  # another environment's interpreter
    begin_in_child()


try:
    _begin()
finally:
    _run_the_hidden_one()
