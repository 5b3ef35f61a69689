"""Finding and replacing by name inside one process: import hooks, exact undo, nothing reaches the importer."""

import importlib
import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.errors import UsageError
from meminstr.faults import clear_faults, faults
from meminstr.instrument.by_name import instrument_by_name
from meminstr.instrument.source_names import parse_quietly, surely_missing
from meminstr.instrument.targets import Skipped, Target, nearest, require_module

NUMBER = itertools.count()

SOURCE = """
class Closed(type):
    def __setattr__(cls, name, value): raise TypeError("closed")
class Thing(metaclass=Closed):
    def run(self): return "run"
    go = run
    @property
    def size(self): return 1
def make():
    def inner(): return 0
    return inner
first, second = make(), make()
def plain(): return "plain"
def other(): return "other"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    clear_faults()
    before = list(sys.meta_path), set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before[1]:
        del sys.modules[name]
    clear_faults()


@pytest.fixture
def fresh_module(folder):
    """The name of a module that was never imported: wrapt's hooks cannot be taken back."""

    def write(source=SOURCE):
        name = f"subject_{next(NUMBER)}"
        (folder / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    return write


def doubled(owner, name, obj, target):
    """A replacement that says its name twice."""
    if isinstance(obj, type):
        return None

    def replacement(*args):
        return 2 * obj(*args)

    replacement.__qualname__ = obj.__qualname__
    return replacement


def targets(*texts, option="--guard", wants="function"):
    return [Target.parse(text, option, wants, value="") for text in texts]


def test_a_module_that_is_imported_already(fresh_module):
    module = importlib.import_module(fresh_module())
    original = module.plain
    work = instrument_by_name(targets(f"{module.__name__}:plain"), doubled)
    assert module.plain() == "plainplain"
    assert [done.subject for done in work.applied] == [f"{module.__name__}:plain"]
    work.undo()
    assert module.plain is original


def test_a_module_imported_later_and_undo_to_the_last_name(fresh_module):
    name = fresh_module()
    work = instrument_by_name(targets(f"{name}:Thing.*", f"{name}:*"), doubled)
    assert work.missing() == [Skipped(target, name, "was never imported by the program") for target in work.targets]
    module = importlib.import_module(name)
    assert module.Thing().go() == module.Thing().run() == "runrun"
    assert (module.plain(), module.other()) == ("plainplain", "otherother")
    assert (module.first(), module.second()) == (0, 0)
    assert work.missing() == []
    work.undo()
    again = {}
    exec(SOURCE, again)
    assert vars(module.Thing)["go"] is vars(module.Thing)["run"]
    assert module.plain() == "plain"
    assert list(vars(module.Thing)) == list(vars(again["Thing"]))


def test_two_closures_of_one_name_are_two_functions(fresh_module):
    name = fresh_module()
    work = instrument_by_name(targets(f"{name}:first", f"{name}:second"), doubled)
    importlib.import_module(name)
    assert len(work.applied) == 2


def test_undo_leaves_what_somebody_else_put_there(fresh_module):
    module = importlib.import_module(fresh_module())
    work = instrument_by_name(targets(f"{module.__name__}:plain"), doubled)
    module.plain = "theirs"
    work.undo()
    assert module.plain == "theirs"


def test_after_undo_later_imports_are_left_alone(fresh_module):
    name = fresh_module()
    work = instrument_by_name(targets(f"{name}:plain", f"{name}.*:plain"), doubled)
    assert work._watcher in sys.meta_path
    work.undo()
    assert work._watcher not in sys.meta_path
    assert importlib.import_module(name).plain() == "plain"


@pytest.mark.parametrize("error", [RuntimeError("odd"), UsageError("not this one")])
def test_a_failing_callback_never_breaks_an_import(fresh_module, error):
    def fail(*words):
        raise error

    name = fresh_module()
    work = instrument_by_name(targets(f"{name}:plain"), fail)
    assert importlib.import_module(name).plain() == "plain"
    assert str(error) in str(work.skipped[0])
    assert len(faults()) == (not isinstance(error, UsageError))


def test_a_fault_of_the_search_itself_never_breaks_an_import(fresh_module, monkeypatch):
    name = fresh_module()
    work = instrument_by_name(targets(f"{name}:plain", f"{name}.*:plain"), doubled)
    monkeypatch.setattr(work, "_descend", lambda *words: 1 / 0)
    assert importlib.import_module(name).plain() == "plain"
    assert "by name" in faults()[0]["where"]
    monkeypatch.setattr(work._watcher, "_targets", [None])
    importlib.import_module(fresh_module())
    assert any(fault["where"] == "watching imports" for fault in faults())
    work.undo()


def test_properties_by_their_own_name_only(fresh_module):
    module = importlib.import_module(fresh_module())
    seen = []
    instrument_by_name(
        targets(f"{module.__name__}:Thing.size"), lambda owner, name, obj, target: seen.append((owner, name, obj))
    )
    assert seen == [(module.Thing, "size", vars(module.Thing)["size"])]


def test_classes_under_two_names_are_offered_once(fresh_module):
    module = importlib.import_module(fresh_module("class A: pass\nB = A\nclass C(A): pass\n"))
    work = instrument_by_name(targets(f"{module.__name__}:*", option="--track", wants="class"), doubled)
    assert [done.subject.partition(":")[2] for done in work.applied] == ["A", "C"]


def test_the_list_of_excuses_is_bounded(fresh_module):
    source = "\n".join(f"f{number} = lambda: 0" for number in range(1_100))
    module = importlib.import_module(fresh_module(source))
    work = instrument_by_name(targets(f"{module.__name__}:*"), doubled)
    assert len(work.skipped) == 1_000


# ------------------------------------------------------------------ the words of a target


def test_the_parts_of_a_target():
    target = Target.parse("shop.cart:Outer.Inner=the inner one", "--track", "class")
    assert (target.module, target.path, target.name) == ("shop.cart", ("Outer", "Inner"), "the inner one")
    assert (target.qualified_name, target.wild_module, target.wild_path) == ("Outer.Inner", False, False)
    assert str(target) == "--track shop.cart:Outer.Inner=the inner one"
    target = Target.parse("shop.*:Cart?")
    assert target.wild_module
    assert target.wild_path
    assert target.matches_module("shop.deep.cart")
    assert not target.matches_module("shop")
    assert target.matches_path(("Carts",))
    assert not target.matches_path(("Carts", "x"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:",
        ":b",
        "a",
        "a b:c",
        "a:b c",
        "a:1b",
        "1a:b",
        "a..b:c",
        "a:b.",
        "*:b",
        "a:b=",
        "a:b= ",
        "-x:y",
        "a:b:c",
    ],
)
def test_what_is_no_target(text):
    with pytest.raises(UsageError, match="is not of the form MODULE:NAME"):
        Target.parse(text)


@given(st.text(max_size=20))
def test_any_text_is_a_target_or_a_usage_error(text):
    try:
        target = Target.parse(text)
    except UsageError:
        return
    assert target.module
    assert all(target.path)


def test_nearest_knows_letter_case_and_says_nothing_when_nothing_is_near():
    assert nearest("FN", ["fn", "other"]) == " (did you mean fn?)"
    assert nearest("zzzz", ["fn", "__init__"]) == ""


def test_modules_are_looked_for_without_importing_them(folder):
    (folder / "lazy_pkg").mkdir()
    (folder / "lazy_pkg" / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "lazy_pkg" / "part.py").write_text("")
    importlib.invalidate_caches()
    spec = require_module(Target.parse("lazy_pkg.part:x"))
    assert spec is not None
    assert spec.name == "lazy_pkg.part"
    assert require_module(Target.parse("lazy_pkg.p*:x")) is None
    assert "lazy_pkg" not in sys.modules
    with pytest.raises(UsageError, match=r"lazy_pkg.prt \(did you mean lazy_pkg.part\?\)"):
        require_module(Target.parse("lazy_pkg.prt:x"))  # not found: only now are the parents imported


def test_a_package_that_extends_its_own_path_is_believed(folder):
    (folder / "hidden").mkdir()
    (folder / "hidden" / "inner_part.py").write_text("")
    (folder / "moving_pkg").mkdir()
    (folder / "moving_pkg" / "__init__.py").write_text(f"__path__.append({str(folder / 'hidden')!r})")
    importlib.invalidate_caches()
    require_module(Target.parse("moving_pkg.inner_part:x"))
    with pytest.raises(UsageError, match="there is no module"):
        require_module(Target.parse("moving_pkg.outer_part:x"))


def test_a_module_made_by_hand_is_believed(folder, monkeypatch):
    made = type(sys)("made_by_hand")
    made.__spec__ = None
    monkeypatch.setitem(sys.modules, "made_by_hand", made)
    assert require_module(Target.parse("made_by_hand:x")) is None


@pytest.mark.parametrize(
    ("source", "path", "missing"),
    [
        ("def f(): pass", "f", False),
        ("def f(): pass", "g", True),
        ("class A:\n  def m(self): pass", "A.m", False),
        ("class A:\n  def m(self): pass", "A.n", True),
        ("class A(B):\n  def m(self): pass", "A.n", False),
        ("@d\nclass A:\n  pass", "A.n", False),
        ("class A:\n  class B:\n    pass", "A.B.c", True),
        ("class A: pass\nclass A: pass", "A.n", False),
        ("class A: pass\nA.n = 3", "A.n", False),
        ("A = 3", "A.n", False),
        ("import a.b as c, d.e", "c", False),
        ("import a.b as c, d.e", "d", False),
        ("import a.b as c, d.e", "a", True),
        ("from a import *", "x", False),
        ("globals()['x'] = 1", "x", False),
        ("import sys\nsys.modules[__name__] = 3", "x", False),
        ("def __getattr__(n): pass", "x", False),
        ("def f():\n  global x\n  x = 1", "x", False),
        ("def f():\n  x = 1", "x", True),
        ("try:\n  import x\nexcept E as y:\n  z = 1\nfinally:\n  w = 2", "x", False),
        ("try:\n  import x\nexcept E as y:\n  def z(): pass\nelse:\n  def v(): pass\nfinally:\n  w = 2", "z", False),
        ("try:\n  pass\nfinally:\n  def w(): pass", "w", False),
        ("for x in y:\n  pass\nelse:\n  def z(): pass", "z", False),
        ("with a as x: pass", "x", False),
        ("if (x := 3): pass", "x", False),
        ("match v:\n  case [x, *y]: pass\n  case {'k': 1, **z}:\n    def w(): pass", "x", False),
        ("match v:\n  case [x, *y]: pass\n  case {'k': 1, **z}:\n    def w(): pass", "y", False),
        ("match v:\n  case [x, *y]: pass\n  case {'k': 1, **z}:\n    def w(): pass", "z", False),
        ("match v:\n  case [x, *y]: pass\n  case {'k': 1, **z}:\n    def w(): pass", "w", False),
        ("match v:\n  case 1: pass", "x", True),
        ("x: int", "x", False),
        ("(a, [b, *c]) = v", "c", False),
    ],
)
def test_what_a_source_certainly_has_not(source, path, missing):
    tree = parse_quietly(source.encode())
    assert tree is not None
    assert (surely_missing(Target.parse(f"m:{path}"), tree) is not None) == missing
    assert surely_missing(Target.parse("m:*"), tree) is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement came with 3.12")
def test_the_type_statement_binds_a_name():
    tree = parse_quietly(b"type x = int")
    assert tree is not None
    assert surely_missing(Target.parse("m:x"), tree) is None


@pytest.mark.parametrize("source", [b"x = (", b"\0", b"# coding: nothing-such\n"])
def test_source_that_does_not_compile_says_nothing(source):
    assert parse_quietly(source) is None
