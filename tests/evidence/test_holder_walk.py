"""The walk as a whole: nothing stays, budgets hold, hostile classes are not run, fingerprints last."""

import gc
import os
import subprocess
import sys
import textwrap
import types
import weakref

import pytest

from meminstr.evidence import holders
from meminstr.evidence.fingerprint import fingerprint_of
from meminstr.evidence.holders import find_holders


class Held:
    pass


class Box:
    def __init__(self, item):
        self.item = item


@pytest.fixture
def space():
    module = types.ModuleType("space")
    sys.modules["space"] = module
    yield module
    del sys.modules["space"]


def suspects(cls=Held):
    return [o for o in gc.get_objects() if type(o) is cls]


def look(cls=Held, **options):
    return find_holders(suspects(cls), **{"budget_seconds": 60, **options})


def test_no_suspects_is_a_complete_answer():
    found = find_holders([])
    assert (found.groups, found.examined, found.complete, found.note) == ((), 0, True, None)


def test_an_object_asked_for_twice_counts_once(space):
    space.box = Box(Held())
    found = find_holders([space.box.item, space.box.item], budget_seconds=60)
    assert (found.examined, [g.count for g in found.groups]) == (1, [1])


def test_groups_come_largest_first(space):
    space.few = [Held() for _ in range(3)]
    space.many = {number: Held() for number in range(400)}
    found = look()
    assert [(g.path, g.count) for g in found.groups] == [("space.many[*]", 400), ("space.few[*]", 3)]
    assert found.examined == 403


def test_many_held_deeply_are_explained_by_a_few_walks(space, monkeypatch):
    monkeypatch.setattr(holders, "_OF_FORWARD", 0.0)  # next to nothing on the map: all must be found backwards
    space.bus = Box([(lambda item: lambda: item)(Held()) for _ in range(500)])
    found = look()
    assert [(g.path, g.count) for g in found.groups] == [("space.bus.item[*].__closure__['item']", 500)]
    assert found.complete


def test_two_attributes_of_one_type_are_not_confused(space, monkeypatch):
    monkeypatch.setattr(holders, "_OF_FORWARD", 0.0)

    class Pair:
        def __init__(self, left, right):
            self.left = left
            self.right = right

    space.pairs = [Pair([Held()], []) for _ in range(60)] + [Pair([], [Held()]) for _ in range(40)]
    assert {g.path: g.count for g in look().groups} == {
        "space.pairs[*].left[*]": 60,
        "space.pairs[*].right[*]": 40,
    }


def test_the_callers_own_lists_are_excluded(space):
    space.box = Box(Held())
    space.mine = [space.box.item]
    box, space.box = space.box, None
    found = find_holders([box.item], exclude=[space.mine], budget_seconds=60)
    assert [g.path for g in found.groups] == ["<frame test_the_callers_own_lists_are_excluded>.box.item"]


def test_nothing_lives_longer_because_it_was_looked_at(space):
    space.box = Box([Held() for _ in range(50)])
    references = [weakref.ref(held) for held in space.box.item]
    gc.collect()
    gc.disable()  # so that a cycle of ours would show
    try:
        found = look()
        assert found.examined == 50
        space.box = None
        assert [r() for r in references if r() is not None] == []
    finally:
        gc.enable()


def test_the_heap_is_the_same_after_a_diagnosis(space):
    space.box = Box([Held() for _ in range(50)])
    look()  # frame objects of the running stack and lazily made tables come into being once
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(5):
        look()
    gc.collect()
    assert len(gc.get_objects()) <= before + 5


def test_locals_of_running_frames_are_not_kept(space):
    def function():
        held = Held()
        reference = weakref.ref(held)
        assert look().groups[0].root == "frame"
        held = None
        return reference(), held

    assert function() == (None, None)


def test_a_dict_of_locals_that_the_program_holds_keeps_its_entries():
    number = 5
    namespace = locals()
    look()
    assert namespace["number"] == number


@pytest.mark.parametrize("forward", [0.0, 0.7])
def test_hostile_objects_are_not_run(space, forward, monkeypatch):
    monkeypatch.setattr(holders, "_OF_FORWARD", forward)
    touched = []

    def boom(name):
        def method(self, *args, **kwargs):
            touched.append(name)
            raise RuntimeError(name)

        return method

    names = ("__getattribute__", "__eq__", "__hash__", "__len__", "__iter__", "__bool__", "__repr__", "__sizeof__")
    body = {name: boom(name) for name in (*names, "__class_getitem__", "__instancecheck__")}
    body["__slots__"] = ("item", "__dict__", "__weakref__")
    body["trap"] = property(boom("property"))
    body["__class__"] = property(boom("__class__"))
    hostile = type("Hostile", (), body)
    space.things = [object.__new__(hostile)]
    hostile.__dict__["item"].__set__(space.things[0], Held())
    space.list = type("HostileList", (list,), {"__len__": boom("len"), "__iter__": boom("iter")})()
    list.append(space.list, Box(object.__new__(hostile)))
    found = look()
    assert [g.path for g in found.groups] == ["space.things[*].item"]
    assert {g.path for g in look(hostile).groups} == {"space.things[*]", "space.list[*].item"}
    assert touched == []


def test_a_property_with_side_effects_is_not_read(space):
    runs = []

    class Lazy:
        def __init__(self):
            self._value = Held()

        @property
        def value(self):
            runs.append(1)
            return self._value

    space.lazy = Lazy()
    assert [g.path for g in look().groups] == ["space.lazy._value"]
    assert runs == []


def test_an_instance_is_not_made_to_lay_out_its_dict(space):
    space.box = Box(Held())
    before = sum(type(o) is dict for o in gc.get_referents(space.box))
    look()
    assert sum(type(o) is dict for o in gc.get_referents(space.box)) == before


class Clock:
    """Each look at the clock takes a while."""

    def __init__(self, step):
        self.now = 0.0
        self.step = step

    def __call__(self):
        self.now += self.step
        return self.now


def test_a_spent_budget_gives_a_partial_answer_that_says_so(space):
    space.deep = [[[[Box([Held()])]]]]
    found = find_holders(suspects(), budget_seconds=0.5, clock=Clock(10.0))
    assert not found.complete
    assert found.examined == 0
    assert "budget" in found.note
    assert [g.root for g in found.groups] == ["unknown"]


def test_no_scan_is_begun_that_would_not_end_in_time(space, monkeypatch):
    from meminstr.evidence import backward

    monkeypatch.setattr(holders, "_OF_FORWARD", 0.0)
    scans = []
    real = gc.get_referrers
    monkeypatch.setattr(
        backward, "gc", types.SimpleNamespace(get_referrers=lambda *a: scans.append(len(a)) or real(*a))
    )
    space.deep = [[[[Box([Held()])]]]]
    clock = Clock(0.02)
    find_holders(suspects(), budget_seconds=0.5, clock=clock)
    assert clock.now < 2.0
    assert len(scans) <= 10


def test_a_frozen_heap_is_noticed_and_walked_forward(space, monkeypatch):
    monkeypatch.setattr(holders, "_OF_FORWARD", 0.0)
    space.bus = Box([[Box(Held())]])
    gc.freeze()
    try:
        found = find_holders([space.bus.item[0][0].item], budget_seconds=60)
    finally:
        gc.unfreeze()
    assert [g.path for g in found.groups] == ["space.bus.item[*][*].item"]
    assert "gc.freeze" in found.note


def test_a_heap_too_large_to_scan_is_walked_forward_only(space, monkeypatch):
    monkeypatch.setattr(holders, "_LONGEST_PAUSE", 0.0)
    space.bus = Box([[Box(Held())]])
    assert [g.path for g in look().groups] == ["space.bus.item[*][*].item"]


def test_very_wide_containers_are_walked_in_slices(space, monkeypatch):
    from meminstr.evidence import forward

    monkeypatch.setattr(forward, "_VERY_WIDE", 100)
    monkeypatch.setattr(forward, "_WIDE", 10)
    monkeypatch.setattr(holders, "_LONGEST_PAUSE", 0.0)
    space.store = {number: [Box(None)] for number in range(300)}
    space.store[150][0].item = Held()
    assert [g.path for g in look().groups] == ["space.store[*][*].item"]


def test_the_c_state_of_modules_is_left_alone(monkeypatch):
    from meminstr.evidence import safe

    asked = []
    monkeypatch.setattr(
        safe, "gc", types.SimpleNamespace(get_referents=lambda o: asked.append(o) or [], is_tracked=gc.is_tracked)
    )
    module = types.ModuleType("innocent")
    assert safe.children(module, None) == [vars(module)]
    assert asked == []


SCRIPT = textwrap.dedent("""
    import gc, sys, types
    from meminstr.evidence.holders import find_holders

    class Held: pass
    class Bus:
        def __init__(self): self.listeners = set()

    shop = sys.modules["shop"] = types.ModuleType("shop")
    shop.bus = Bus()
    shop.bus.listeners |= {(lambda c: lambda: c)(Held()) for _ in range(20)}
    shop.by_user = {"user-%d" % n: [Held()] for n in range(7)}
    shop.names = {"alpha", "beta"}
    held = find_holders([o for o in gc.get_objects() if type(o) is Held], budget_seconds=60)
    print([(g.path, g.fingerprint, g.count) for g in held.groups])
""")


def test_fingerprints_are_the_same_in_the_next_run():
    outputs = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert "shop.bus.listeners{*}.__closure__['c']" in outputs.pop()


def test_a_fingerprint_depends_on_path_and_type():
    assert fingerprint_of("a.b[*]", "m.T") == fingerprint_of("a.b[*]", "m.T")
    assert len({fingerprint_of("a.b[*]", "m.T"), fingerprint_of("a.b[*]", "m.U"), fingerprint_of("a.c[*]", "m.T")}) == 3
    assert len(fingerprint_of("a", "b")) == 16


def test_retained_bytes_count_what_only_the_suspect_holds(space):
    class Big:
        def __init__(self, shared):
            self.payload = bytes(50_000)
            self.shared = shared

    shared = bytes(400_000)
    space.items = [Big(shared) for _ in range(10)]
    del shared
    (group,) = look(Big).groups
    assert 10 * 50_000 < group.retained_bytes < 10 * 52_000


def test_suspects_that_hang_on_each_other_are_reached_through_the_first(shop):
    class Turn:
        def __init__(self, before):
            self.before = before
            self.row = [before]

    last = None
    turns = []
    for _ in range(2000):
        last = Turn(last)
        turns.append(last)
    shop.last = last
    suspects = turns[::100]
    del turns, last
    holding = find_holders(suspects, budget_seconds=20, exclude=[suspects])
    assert holding.complete
    assert {group.root for group in holding.groups} == {"module"}
    assert all(group.path.startswith("shop.last") and "…" in group.path for group in holding.groups)
    assert len(max((group.path for group in holding.groups), key=len)) < 200
