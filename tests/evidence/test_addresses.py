"""Objects by their addresses: the fast reading and the slow one agree, notes are kept, the walk over them is exact."""

import gc
import sys
import types
from collections import OrderedDict, defaultdict, deque

import numpy
import pytest

from meminstr.evidence import addresses, chains, forward, holders
from meminstr.evidence.addresses import SEEN, TARGET, Table, ids_of, length, lengths_of
from meminstr.evidence.chains import GAP, Chains
from meminstr.evidence.forward import ForwardMap
from meminstr.evidence.holders import find_holders
from meminstr.evidence.roots import Roots


class Held:
    pass


class Node:
    def __init__(self, below):
        self.below = below


@pytest.fixture(params=["fast", "slow"])
def reading(request, monkeypatch):
    if request.param == "slow":
        monkeypatch.setattr(addresses, "_memory", lambda: None)
    elif addresses._memory() is None:
        pytest.skip("objects are laid out in another way here")
    return request.param


@pytest.fixture
def space():
    module = types.ModuleType("space")
    sys.modules["space"] = module
    yield module
    del sys.modules["space"]


class Sized(list):
    def __len__(self):
        raise RuntimeError("code of the program")


SOME = [None, 1, 10**30, "text", b"", [1, 2], (1, 2, 3), {1: 2}, {3}, frozenset((4, 5)), Held(), Held, len, sys, 1.5]


def test_ids_types_and_lengths_are_those_that_python_tells(reading):
    assert ids_of(SOME).tolist() == [id(obj) for obj in SOME]
    assert ids_of([]).tolist() == []
    table = Table(None)
    assert table.kinds(SOME, ids_of(SOME), numpy.arange(len(SOME))).tolist() == [table.kind(obj) for obj in SOME]
    sized = [[1, 2], (), {1: 2, 3: 4}, {5}, deque([6] * 9), OrderedDict(a=1), defaultdict(list, b=[]), Sized([7] * 3)]
    lengths = [2, 0, 2, 1, 9, 1, 1, 3]
    assert lengths_of(sized, numpy.arange(len(sized))).tolist() == lengths
    assert [length(obj) for obj in sized] == lengths
    assert length(Held()) == 0


def test_kinds_tell_leaves_from_what_is_to_be_looked_into(reading):
    table = Table(numpy.ndarray)
    kinds = [addresses.ATOM, addresses.PLAIN, addresses.SIZED, addresses.SPECIAL, addresses.SPECIAL, addresses.SIZED]
    objects = ["text", Held(), [1], sys, numpy.array([None]), Sized()]
    assert table.kinds(objects, ids_of(objects), numpy.arange(len(objects))).tolist() == kinds


def test_notes_are_kept_when_the_table_grows_and_regions_fall_into_one_place():
    table = Table(None)
    first = [(1 << 30) + 16 * step for step in range(50)]
    table.note(first, SEEN)
    # regions far apart: the same place in a small table, and more of them than it begins with
    others = [((number * 4096) << addresses._REGION) + 64 for number in range(2, 200)]
    table.note(others, TARGET)
    offsets = table.offsets(numpy.array(first + others)).tolist()
    assert offsets == [table.offset(ident) for ident in first + others]
    assert len(set(offsets)) == len(first) + len(others)
    assert all(table.has(ident, SEEN) and not table.has(ident, TARGET) for ident in first)
    assert all(table.has(ident, TARGET) and not table.has(ident, SEEN) for ident in others)
    table.clear(first[:1], SEEN)
    assert [table.has(ident, SEEN) for ident in first[:2]] == [False, True]


def look(objects, **options):
    return {g.path: g.count for g in find_holders(objects, budget_seconds=60, exclude=[objects], **options).groups}


def test_many_in_all_kinds_of_containers_are_found_at_their_places(reading, space):
    kept = [Held() for _ in range(900)]
    space.rows = [{"held": held, "twin": [held]} for held in kept[:300]]
    space.queue = deque([[held] for held in kept[300:600]])
    space.table = defaultdict(list, {number: [held] for number, held in enumerate(kept[600:])})
    assert look(kept) == {"space.rows[*]['held']": 300, "space.queue[*][*]": 300, "space.table[*][*]": 300}


def test_wide_containers_of_all_kinds_are_looked_into_last(reading, space, monkeypatch):
    monkeypatch.setattr(forward, "_WIDE", 10)
    monkeypatch.setattr(forward, "_VERY_WIDE", 100)
    monkeypatch.setattr(forward, "_HUGE", 150)
    kept = [Held() for _ in range(6)]
    space.a_list = [[None] for _ in range(200)]
    space.a_list[77].append(kept[0])
    space.a_dict = {number: [None] for number in range(200)}
    space.a_dict[99].append(kept[1])
    space.an_ordered = OrderedDict((number, [number]) for number in range(120))
    space.an_ordered[5].append(kept[2])
    space.a_deque = deque([number] for number in range(180))
    space.a_deque[100].append(kept[3])
    space.a_set = {(number, number) for number in range(50)} | {kept[4]}
    space.a_tuple = tuple([number] for number in range(200))
    space.a_tuple[3].append(kept[5])
    wide = {"a_list[*][*]", "a_dict[*][*]", "an_ordered[*][*]", "a_deque[*][*]", "a_set{*}", "a_tuple[*][*]"}
    assert look(kept) == {f"space.{path}": 1 for path in wide}


def test_the_narrow_way_is_told_where_a_wide_one_leads_there_too(reading, space, monkeypatch):
    monkeypatch.setattr(forward, "_WIDE", 10)
    kept = [Held()]
    space.a_wide = [[kept[0]] for _ in range(50)]
    space.narrow = Node(Node(Node(kept[0])))
    assert look(kept) == {"space.narrow.below…": 1}


def test_circles_and_what_all_refer_to_are_walked_once(reading, space):
    hub = [Held]
    space.ring = [Node([hub, None]) for _ in range(3000)]
    for node, following in zip(space.ring, space.ring[1:] + space.ring[:1], strict=True):
        node.below[1] = following
    hub.append(space.ring)
    last = Held()
    space.ring[-1].below.append(last)
    roots = Roots({id(space): "space"}, [space])
    mapped = ForwardMap(roots, [id(last), 1], [], lambda: 0.0)
    assert mapped.expand(1.0)
    assert list(mapped.hits) == [id(last)]
    held = [id(obj) for batch in mapped.known() for obj in batch.objects]
    assert len(held) == len(set(held))


def test_a_long_way_is_told_by_its_ends_with_a_gap_between(reading, space, monkeypatch):
    monkeypatch.setattr(chains, "_LONG", 5)
    held = Held()
    space.chain = held
    for _ in range(40):
        space.chain = Node([space.chain])
    roots = Roots({id(space): "space"}, [space])
    mapped = ForwardMap(roots, [id(held)], [], lambda: 0.0)
    assert not mapped.expand(1.0)
    chain = Chains(mapped, lambda: 0.0).chain(held, 1.0)
    assert chain[0] is space
    assert chain[-1] is held
    assert chain.count(GAP) == 1
    assert len(chain) == 5 + 1 + 5


def test_a_way_that_the_program_changed_meanwhile_is_no_way(space):
    held = Held()
    space.rows = [[number] for number in range(500)]
    space.rows[400].append(held)
    mapped = ForwardMap(Roots({id(space): "space"}, [space]), [id(held)], [], lambda: 0.0)
    mapped.expand(1.0)
    space.rows[400].clear()
    assert Chains(mapped, lambda: 0.0).chain(held, 1.0) is None
    assert Chains(mapped, lambda: 0.0).chain(Held(), 1.0) is None


def test_without_time_no_way_is_found_and_none_is_made_up(space):
    held = Held()
    space.rows = [[number] for number in range(500)]
    space.rows[400].append(held)
    mapped = ForwardMap(Roots({id(space): "space"}, [space]), [id(held)], [], lambda: 0.0)
    mapped.expand(1.0)
    late = Chains(mapped, lambda: 2.0)
    late.resolve([held], 1.0)
    assert late.chain(held, 1.0) is None


def test_the_rest_is_walked_backwards_when_the_way_down_took_too_long(space, monkeypatch):
    monkeypatch.setattr(holders, "_OF_FORWARD", 0.0)
    held = [Held() for _ in range(40)]
    space.bus = Node([Node(item) for item in held])
    assert look(held) == {"space.bus.below[*].below": 40}


def test_nothing_stays_of_a_walk(reading, space):
    kept = [Held() for _ in range(300)]
    space.rows = [Node([held]) for held in kept]
    look(kept)
    gc.collect()
    before = len(gc.get_objects())
    look(kept)
    gc.collect()
    assert len(gc.get_objects()) <= before


def test_of_a_long_chain_the_nearest_are_told_when_so_many_are_enough(space):
    nodes = [Node(None)]
    for _ in range(200):
        nodes.append(Node(nodes[-1]))
    space.last = nodes[-1]
    found = find_holders(nodes[::-1], budget_seconds=60, exclude=[nodes], enough=3)
    assert [(g.path, g.count) for g in found.groups] == [
        ("space.last", 1),
        ("space.last.below", 1),
        ("space.last.below…", 1),
    ]
    assert (found.examined, found.complete) == (3, True)
