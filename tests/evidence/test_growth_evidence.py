"""Censuses and bounded containers."""

import collections
import functools
import gc
import weakref

import cachetools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.errors import UsageError
from meminstr.evidence import caches, census
from meminstr.evidence.caches import BoundedContainer, bounded_containers, declare_bounded, fill_between


class Leaked:
    pass


class LRU(cachetools.LRUCache):
    pass


def one(obj):
    found = bounded_containers([obj])
    assert len(found) == 1
    return found[0]


def test_an_lru_cache_is_told_by_the_function_it_is_on():
    @functools.lru_cache(maxsize=5000)
    def embed(text):
        return text

    for number in range(1203):
        embed(number)
    found = one(embed)
    assert (found.kind, found.entries, found.capacity, found.unbounded) == ("lru_cache", 1203, 5000, False)
    assert found.name.endswith("test_growth_evidence.test_an_lru_cache_is_told_by_the_function_it_is_on.<locals>.embed")
    empty = BoundedContainer("lru_cache", found.name, 0, 5000, False, found.ident)
    report = fill_between([empty], [found], blocks_gained=3000)
    assert report.growing
    assert not report.full
    assert report.description.endswith("embed 1,203/5,000")
    assert (report.entries_gained, report.capacity_left) == (1203, 3797)


def test_an_unbounded_cache_is_said_to_be_one():
    found = one(functools.lru_cache(maxsize=None)(lambda x: x))
    assert found.unbounded
    assert found.capacity is None
    assert not fill_between([], [found], 100).growing


def test_a_cache_on_a_method_holds_self():
    class Model:
        @functools.lru_cache(maxsize=10)
        def embed(self, text):
            return text

    assert one(Model.embed).holds_self
    assert not one(functools.lru_cache(maxsize=3)(lambda text: text)).holds_self


def test_a_cache_that_caches_nothing_is_none():
    assert bounded_containers([functools.lru_cache(maxsize=0)(lambda x: x)]) == []


def test_a_deque_with_a_length():
    found = one(collections.deque(range(7), maxlen=9))
    assert (found.kind, found.entries, found.capacity) == ("deque", 7, 9)
    assert bounded_containers([collections.deque(range(7))]) == []


@pytest.mark.parametrize("cls", [cachetools.LRUCache, cachetools.FIFOCache, LRU])
def test_cachetools(cls):
    cache = cls(maxsize=50)
    cache.update((number, number) for number in range(20))
    found = one(cache)
    assert (found.kind, found.entries, found.capacity, found.unbounded) == ("cachetools", 20, 50, False)


def test_weak_containers_are_bounded_by_life():
    key = Leaked()
    for container in (
        weakref.WeakKeyDictionary({key: 1}),
        weakref.WeakValueDictionary({1: key}),
        weakref.WeakSet([key]),
    ):
        found = one(container)
        assert (found.kind, found.entries, found.capacity, found.unbounded) == ("weak", 1, None, False)


def test_declared_containers_weak_and_plain():
    class Store(dict):
        pass

    store, plain = Store(a=1), {1: 2}
    declare_bounded(store, 10, name="store")
    declare_bounded(plain, 20)
    try:
        found = {c.name: c for c in bounded_containers([]) if c.kind == "declared"}
        assert (found["store"].entries, found["store"].capacity) == (1, 10)
        assert (found["dict"].entries, found["dict"].capacity) == (1, 20)
        reference = weakref.ref(store)
        del store
        assert reference() is None
        assert [c.name for c in bounded_containers([]) if c.kind == "declared"] == ["dict"]
    finally:
        caches.forget_declared(plain)
    assert bounded_containers([]) == []


def test_a_declaration_that_is_broken_is_no_excuse():
    plain = dict.fromkeys(range(30))
    declare_bounded(plain, 20)
    try:
        (found,) = bounded_containers([])
        assert found.unbounded
        assert not fill_between([], [found], 10).growing
    finally:
        caches.forget_declared(plain)


@pytest.mark.parametrize(("container", "maxsize"), [(object(), 5), ([], 0), ([], -3), ([], True), ([], "5")])
def test_what_cannot_be_declared_is_refused(container, maxsize):
    with pytest.raises(UsageError):
        declare_bounded(container, maxsize)


def test_the_scan_of_the_process_finds_a_cache():
    cache = collections.deque([1], maxlen=77_777)
    assert any(c.ident == id(cache) for c in bounded_containers(budget_seconds=60))


def test_a_heap_too_large_for_the_budget_is_not_scanned():
    assert caches.is_too_large(1e-9)
    assert not caches.is_too_large(60.0)
    assert bounded_containers(budget_seconds=1e-9) == []


def container(ident, entries, capacity):
    return BoundedContainer("deque", "d", entries, capacity, False, ident)


def test_growth_that_a_cache_cannot_explain_is_not_its():
    report = fill_between([container(1, 0, 100)], [container(1, 2, 100)], blocks_gained=10_000)
    assert not report.growing
    assert report.entries_gained == 2


def test_full_means_all_that_grew_are_full():
    before = [container(1, 5, 10), container(2, 5, 10)]
    assert fill_between(before, [container(1, 10, 10), container(2, 10, 10)], 5).full
    assert not fill_between(before, [container(1, 10, 10), container(2, 9, 10)], 5).full
    assert not fill_between(before, before, 5).full


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.integers(1, 100)), max_size=6),
    st.floats(0, 1e6),
)
def test_a_look_compared_with_itself_shows_no_growth(rows, blocks):
    look = [container(ident, min(entries, capacity), capacity) for ident, entries, capacity in rows]
    unique = list({c.ident: c for c in look}.values())
    report = fill_between(unique, unique, blocks)
    assert (report.growing, report.entries_gained, report.full) == (False, 0, False)


def test_a_census_names_the_type_that_grew():
    kept = []
    before = census.take(60)
    kept.extend(Leaked() for _ in range(300))
    grown = census.compare(before, census.take(60))
    (mine,) = [g for g in grown if g.name == "test_growth_evidence.Leaked"]
    assert (mine.what, mine.count) == ("type", 300)
    assert mine.bytes > 300 * 16


def test_a_census_names_the_container_that_grew():
    grows, stays = list(range(1500)), list(range(3000))
    before = census.take(objects=[grows, stays, [1]])
    grows.extend(range(500))
    after = census.take(objects=[grows, stays, [1]])
    assert set(after.containers) == {id(grows), id(stays)}
    (mine,) = [g for g in census.compare(before, after, name_of=lambda ident: f"at {ident}") if g.what == "container"]
    assert (mine.name, mine.count) == (f"at {id(grows)}", 500)
    assert mine.bytes > 0


def test_a_container_that_was_small_counts_from_nothing():
    after = census.take(objects=[list(range(2000))])
    (mine,) = census.compare(census.take(objects=[]), after)
    assert (mine.name, mine.what, mine.count) == ("list", "container", 2000)


def test_a_container_of_another_type_at_the_same_address_is_another():
    first = census.Census({}, containers={7: census.Container(7, "list", 5000, 40_000)})
    second = census.Census({}, containers={7: census.Container(7, "dict", 6000, 90_000)})
    assert [(g.name, g.count) for g in census.compare(first, second)] == [("dict", 6000)]


def test_incomplete_censuses_are_not_compared():
    ticks = iter(range(1000))
    objects = [Leaked() for _ in range(50_000)]
    partial = census.take(1.0, objects=objects, clock=lambda: float(next(ticks)))
    assert not partial.complete
    assert partial.note
    assert partial.objects < 50_000
    assert census.compare(census.take(objects=[]), partial) == ()


def test_a_census_holds_no_object():
    kept = [Leaked() for _ in range(100)]
    references = [weakref.ref(k) for k in kept]
    taken = census.take(60)
    gc.disable()
    try:
        del kept
        assert not any(r() for r in references)
    finally:
        gc.enable()
    assert taken.types["test_growth_evidence.Leaked"] == 100


def test_the_containers_name_is_its_path():
    import sys
    import types

    module = sys.modules["census_space"] = types.ModuleType("census_space")
    try:
        module.log = list(range(4000))
        assert census.container_name(id(module.log), budget_seconds=60) == "census_space.log"
        assert census.container_name(1) is None
    finally:
        del sys.modules["census_space"]
