"""Growth in a heap too large to count: containers near the roots stand for the rest, and the answer says so."""

import functools
import gc
import random
import types

import pytest
from holder_shapes import Box, Bus, Slotted

from meminstr.evidence import advice, census, growth, newest
from meminstr.evidence.holders import find_holders
from meminstr.evidence.steadiness import steady


class Session:
    def __init__(self, number):
        self.number = number


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(census, "is_too_large", lambda seconds: True)


def between(work, **options):
    before = census.take(5)
    work()
    return growth.explain(before, census.take(5), budget_seconds=5, **options)


def test_the_container_that_grows_and_the_type_in_it_are_named(shop, large):
    shop.bus = Bus()
    shop.bus._listeners.extend(Session(n) for n in range(300))
    shop.store = {n: [n] for n in range(6000)}

    def work():
        shop.bus._listeners.extend(Session(n) for n in range(700))

    found = between(work, calls=700, blocks=2000)
    assert found.culprit == "test_large_heaps.Session"
    assert [(h.path, h.count, h.root) for h in found.holders] == [("shop.bus._listeners[*]", 700, "module")]
    assert [(g.name, g.what, g.count) for g in found.grown] == [
        ("shop.bus._listeners", "container", 700),
        ("test_large_heaps.Session", "type", 700),
    ]


def test_a_container_that_is_wider_than_the_walk_looks_into_is_known_by_its_length(shop, large):
    shop.names = {f"user {n}": n for n in range(5000)}
    found = between(lambda: shop.names.update({f"new {n}": n for n in range(400)}), blocks=900)
    assert [(g.name, g.count) for g in found.grown] == [("shop.names", 400)]
    assert found.holders[0].path == "shop.names[*]"


def test_a_partial_census_says_that_it_is_one(large):
    taken = census.take(5)
    assert not taken.complete
    assert "too large" in taken.note
    assert taken.types == {}


def test_a_census_that_is_cut_short_tells_of_containers(shop):
    shop.kept = list(range(1000))
    late = iter([0.0, *[100.0] * 1_000_000])
    taken = census.take(0.1, clock=lambda: next(late))
    assert not taken.complete
    assert any(c.entries == 1000 and c.type == "list" for c in taken.containers.values())


def test_of_a_whole_and_a_partial_census_what_both_know_is_compared(shop, monkeypatch):
    shop.kept = [Session(n) for n in range(500)]
    before = census.take(5)
    shop.kept.extend(Session(n) for n in range(100))
    shop.new = [Session(n) for n in range(900)]
    monkeypatch.setattr(census, "is_too_large", lambda seconds: True)
    after = census.take(5)
    assert [(g.name, g.count) for g in census.compare(before, after)] == [("list", 100)]
    assert growth.explain(before, after, budget_seconds=5).holders[0].path == "shop.kept[*]"


def test_where_no_container_grew_nothing_is_said(large):
    assert between(lambda: None) == growth.Growth()


def test_instances_that_were_there_before_do_not_hide_those_that_leak(shop):
    shop.catalogue = {n: Session(n) for n in range(4000)}
    shop.bus = Bus()

    def work():
        shop.bus._listeners.extend(Session(n) for n in range(1000))
        gc.collect()  # leaves them in the order of their reach, not of their birth

    found = between(work, calls=1000, blocks=2000)
    assert [(h.path, h.count) for h in found.holders] == [("shop.bus._listeners[*]", 1000)]


def test_examples_are_spread_over_all_there_are(shop):
    before = census.take(5)
    shop.first = [Session(n) for n in range(500)]
    shop.second = [Box(Session(n)) for n in range(500)]
    found = newest.examples(before, census.take(5), "test_large_heaps.Session", 50)
    numbers = {id(s) for s in shop.first}
    assert len(found) == len(set(map(id, found)))
    assert 40 <= len(found) <= 50
    assert any(id(s) in numbers for s in found)
    found.clear()


def test_an_unbounded_cache_is_said_to_have_no_bound(shop):
    shop.load = functools.lru_cache(maxsize=None)(lambda key: [key])

    def work():
        for n in range(1000):
            shop.load(n)

    found = between(work, calls=1000, blocks=3000)
    assert found.holders[0].path == "shop.load.<unbounded lru_cache>[*]"
    assert "no bound" in advice.advise(found.holders[0])


def grown_graph(shop, rng, size):
    """Objects of all kinds, each put into an earlier one in the way of its kind."""
    kinds = (list, dict, Box, Slotted, Bus, types.SimpleNamespace, lambda: (lambda kept: lambda: kept)([]))
    made = [vars(shop).setdefault("root", {})]
    for number in range(size):
        obj = rng.choice(kinds)()
        holder = rng.choice(made)
        if isinstance(holder, list):
            holder.append(obj)
        elif isinstance(holder, dict):
            holder[rng.choice([number, f"k{number}"])] = obj
        elif isinstance(holder, Bus):
            holder._listeners.append(obj)
        elif isinstance(holder, types.FunctionType):
            holder.__closure__[0].cell_contents.append(obj)
        elif isinstance(holder, types.SimpleNamespace):
            setattr(holder, f"x{number}", obj)
        elif getattr(holder, "item", None) is None:
            holder.item = obj
        else:
            continue
        made.append(obj)
    return made


@pytest.mark.parametrize("seed", range(6))
def test_whatever_hangs_on_a_module_is_found_under_it(shop, seed):
    """`objgraph` beside it, over many more such graphs: `benchmarks.holders --graphs`."""
    made = grown_graph(shop, random.Random(seed), 120)
    suspects = [obj for obj in made if isinstance(obj, (Box, Bus, Slotted))]
    made.clear()
    holding = find_holders(suspects, budget_seconds=60)
    assert holding.complete
    assert holding.examined == len(suspects)
    assert all(group.path.startswith("shop.root[") for group in holding.groups), holding.groups


def at(seconds, lengths, types=None):
    rows = {n: census.Container(n, "list", length, 8 * length) for n, length in lengths.items()}
    return census.Census(types or {}, containers=rows, hidden={}, at=float(seconds))


def test_what_gained_all_the_time_is_told_and_not_what_fills_and_is_emptied(shop):
    before = at(0, {1: 1000, 2: 1000}, {"app.Row": 0, "app.Burst": 0})
    middle = at(5, {1: 1500, 2: 9000}, {"app.Row": 50, "app.Burst": 90})
    after = at(10, {1: 2000, 2: 3000}, {"app.Row": 100, "app.Burst": 100})
    types, rows = census.type_gains(before, after, 10), census.container_gains(before, after, 10)
    some, kept = steady(before, [middle], after, types, rows)
    assert [row[2].ident for row in kept] == [1]
    assert [g.name for g in some] == ["app.Row"]
    assert steady(before, [], after, types, rows) == (types, rows)


@pytest.mark.parametrize("seconds", [0.5, 9.5])
def test_a_census_too_near_to_either_end_says_nothing(seconds):
    before, after = at(0, {1: 0}), at(10, {1: 2000})
    rows = census.container_gains(before, after, 10)
    assert steady(before, [at(seconds, {1: 1990})], after, [], rows)[1] == rows


def test_a_container_that_is_made_anew_each_time_is_no_leak():
    before, after = at(0, {}), at(10, {1: 1000, 2: 5000})
    rows = census.container_gains(before, after, 10)
    kept = steady(before, [at(5, {1: 500, 3: 4000})], after, [], rows)[1]
    assert [row[2].ident for row in kept] == [1]


def test_where_nothing_was_steady_all_of_it_is_told():
    before, after = at(0, {}), at(10, {2: 5000})
    rows = census.container_gains(before, after, 10)
    assert steady(before, [at(5, {})], after, [], rows)[1] == rows
