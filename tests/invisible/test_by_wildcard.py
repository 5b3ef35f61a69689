"""Everything of a module by wildcard: what it captured itself, what looks at frames, and its exact return."""

import importlib
import inspect
import itertools
import os
import pickle
import sys
import warnings

import pytest

from meminstr import ControllerMemoryTracker, leak_guard
from meminstr.instrument.by_name import instrument_by_name
from meminstr.instrument.frame_lookers import looks_at_frames
from meminstr.instrument.functions import instrumented
from meminstr.instrument.targets import Target

NUMBER = itertools.count()

SOURCE = """
import functools, inspect, sys, warnings

def upper(x): return str(x).upper()
def lower(x): return str(x).lower()
def default(x, how=upper, *, then=lower): return then(how(x))

TABLE = {"upper": upper, "deep": [{"lower": lower}]}
HOOKS = [upper, lower]

class Uses:
    shout = upper
    table = {"lower": lower}
    @staticmethod
    def check(f): return f is lower

def nop(): return None

def made():
    return type("Made", (), {"quiet": nop})
Made = made()

def who(): return sys._getframe(1).f_globals["__name__"]
def helper(): return sys._getframe(2).f_globals["__name__"]
def who_through_helper(): return helper()
def whose():
    frame = inspect.currentframe()
    return frame.f_back.f_globals["__name__"]

def old(): warnings.warn("old", DeprecationWarning, stacklevel=2)

def first_outside():
    frame = LOOK()
    while frame.f_globals["__name__"] == __name__:
        frame = frame.f_back
    return frame.f_globals["__name__"]

LOOK = getattr(sys, "_get" + "frame")
"""


@pytest.fixture
def subject(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    name = f"wildcard_subject_{next(NUMBER)}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    importlib.invalidate_caches()
    tracker = ControllerMemoryTracker()

    def apply(owner, attribute, obj, target):
        return leak_guard(every=1, tracker=tracker)(obj)

    module = importlib.import_module(name)
    before = {key: value for key, value in vars(module).items() if not key.startswith("__")}
    texts = [f"{name}:*", f"{name}:*.*"]
    work = instrument_by_name([Target.parse(text, "--guard", "function", value="") for text in texts], apply)
    yield module, work, before
    work.undo()
    tracker.uninstall()
    del sys.modules[name]


def test_tables_lists_defaults_and_classes_hold_the_replacement_too(subject):
    module, _, before = subject
    assert instrumented(module.upper) is not None
    assert module.upper is not before["upper"]
    assert module.TABLE["upper"] is module.upper
    assert module.TABLE["deep"][0]["lower"] is module.lower
    assert module.HOOKS == [module.upper, module.lower]
    assert module.Uses.shout is module.upper
    assert module.Uses.table["lower"] is module.lower
    assert module.Uses.check(module.lower) is True
    assert module.Made.quiet is module.nop
    assert module.default("aB") == "ab"
    calls = instrumented(module.upper).calls(), instrumented(module.lower).calls()
    assert calls == (1, 1), "defaults are called through the wrappers"
    assert pickle.loads(pickle.dumps(module.TABLE["upper"])) is module.upper
    assert inspect.signature(module.default).parameters["how"].default is module.upper


def test_undo_puts_every_original_back(subject):
    module, work, before = subject
    work.undo()
    assert {key: value for key, value in vars(module).items() if not key.startswith("__")} == before
    assert module.TABLE["upper"] is before["upper"]
    assert module.TABLE["deep"][0]["lower"] is before["lower"]
    assert module.HOOKS[0] is before["upper"]
    assert module.Uses.table["lower"] is before["lower"]
    assert module.Uses.shout is before["upper"]
    assert before["default"].__defaults__ == (before["upper"],)
    assert before["default"].__kwdefaults__ == {"then": before["lower"]}


def test_what_the_program_changed_meanwhile_stays(subject):
    module, work, _ = subject
    module.TABLE["upper"] = module.HOOKS
    module.HOOKS.clear()
    work.undo()
    assert module.TABLE["upper"] is module.HOOKS
    assert module.HOOKS == []


@pytest.mark.parametrize("name", ["who", "helper", "who_through_helper", "whose"])
def test_functions_that_look_at_their_caller_are_left_alone_and_listed(subject, name):
    module, work, before = subject
    assert getattr(module, name) is before[name]
    assert getattr(module, name)() == (__name__ if name != "helper" else getattr_caller())
    (why,) = {skipped.why for skipped in work.skipped if skipped.subject.endswith(f":{name}")}
    assert "caller's frame" in why


def getattr_caller():
    return sys._getframe(2).f_globals["__name__"]


def test_named_in_full_they_are_instrumented_all_the_same(subject):
    module, _, before = subject
    target = Target.parse(f"{module.__name__}:who", "--guard", "function", value="")
    more = instrument_by_name([target], lambda owner, name, obj, target: lambda: "replaced")
    try:
        assert module.who() == "replaced"
    finally:
        more.undo()
    assert module.who is before["who"]


def test_who_walks_past_a_packages_frames_walks_past_ours(subject):
    module, _, _ = subject
    assert instrumented(module.first_outside) is not None
    assert module.first_outside() == __name__


@pytest.mark.skipif("MEMINSTR_PLAIN_FRAMES" in os.environ, reason="frames bear their own name for coverage")
def test_warnings_blame_the_caller_of_a_sampled_call(subject):
    module, _, _ = subject
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module.old()
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("thing", [None, 3, len, int, print, lambda: None, looks_at_frames, sys._getframe])
def test_what_does_not_look_at_frames(thing):
    assert looks_at_frames(thing) is False
