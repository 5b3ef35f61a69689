"""Growth between two censuses as evidence: culprit, containers by path, holders; what the collector does not list."""

import array
import gc
import io
import time

import pytest

from meminstr.evidence import census, growth, newest, untracked


class Row:
    def __init__(self, number):
        self.number = number
        self.more = [number]


class Store:
    pass


@pytest.fixture
def store(shop):
    shop.store = Store()
    return shop.store


def between(work, **options):
    before = census.take(5)
    work()
    return growth.explain(before, census.take(5), budget_seconds=5, **options)


def test_a_type_that_grew_is_the_culprit_with_the_path_to_its_container(store):
    store.rows = []

    def work():
        store.rows.extend(Row(n) for n in range(1000))

    found = between(work, calls=1000, blocks=4000)
    assert found.culprit == "test_growth.Row"
    assert [h.path for h in found.holders] == ["shop.store.rows[*]"]
    assert ("shop.store.rows", "container", 1000) in [(g.name, g.what, g.count) for g in found.grown]
    assert not any(g.name.startswith("meminstr") for g in found.grown)


@pytest.mark.parametrize(
    ("make", "kind", "path"),
    [
        (lambda n: f"request {n} done", "str", "shop.store.kept[*]"),
        (lambda n: bytes(300), "bytes", "shop.store.kept[*]"),
    ],
)
def test_of_strings_in_a_list_the_newest_members_stand_for_what_leaks(store, make, kind, path):
    store.kept = []

    def work():
        store.kept.extend(make(n) for n in range(1000))

    found = between(work, calls=1000, blocks=1000)
    assert (found.culprit, found.holders[0].path, found.holders[0].count) == (kind, path, 1000)
    assert found.holders[0].suspect == "kept[*]"
    assert found.holders[0].fingerprint is not None
    assert found.holders[0].retained_bytes >= 1000 * len(make(1))


def test_a_dict_of_plain_values_is_found_though_the_collector_does_not_list_it(store):
    store.seen = {}

    def work():
        store.seen.update((f"id-{n}", n) for n in range(1000))
        assert not gc.is_tracked(store.seen)

    found = between(work, calls=1000, blocks=2000)
    assert (found.culprit, found.holders[0].path) == ("str", "shop.store.seen[*]")


def test_a_set_is_told_with_its_own_brackets(store):
    store.seen = set()
    found = between(lambda: store.seen.update(f"id-{n}" for n in range(1000)), calls=1000, blocks=1000)
    assert found.holders[0].path == "shop.store.seen{*}"


def test_a_buffer_that_grew_is_told_by_its_path(store):
    store.log = bytearray(100_000)
    found = between(lambda: store.log.extend(bytes(300_000)), native=True, size=300_000)
    assert [(g.name, g.count) for g in found.grown] == [("shop.store.log", 300_000)]
    assert found.container_bytes >= 300_000
    assert found.culprit is None
    assert found.holders == ()


def test_a_few_objects_do_not_explain_a_native_leak(store):
    store.rows = []
    found = between(lambda: store.rows.extend(Row(n) for n in range(15)), native=True, calls=8000, size=16_000_000)
    assert found == growth.Growth()


def test_of_exceptions_the_exception_is_the_culprit(store):
    store.errors = []

    def work():
        for n in range(500):
            try:
                raise ValueError(n)
            except ValueError as error:
                store.errors.append(error)

    found = between(work, calls=500, blocks=3000)
    assert found.culprit == "ValueError"
    assert found.holders[0].path == "shop.store.errors[*]"


def test_the_members_of_the_container_own_what_grew_with_them(store):
    class Handler:
        def __init__(self):
            self.stream = io.StringIO()

    store.handlers = []
    found = between(lambda: store.handlers.extend(Handler() for _ in range(500)), calls=500, blocks=1500)
    assert found.culprit.endswith("Handler")


def test_an_incomplete_census_is_compared_with_nothing():
    whole, part = census.take(5), census.Census({}, complete=False)
    assert growth.explain(whole, part) == growth.Growth()


def test_nothing_is_kept_of_what_was_looked_at(store):
    store.rows = []
    before = census.take(5)
    store.rows.extend(Row(n) for n in range(300))
    growth.explain(before, census.take(5), budget_seconds=5, calls=300, blocks=900)
    gc.collect()
    known = {id(o) for o in gc.get_objects()}
    growth.explain(before, census.take(5), budget_seconds=5, calls=300, blocks=900)
    gc.collect()
    new = [o for o in gc.get_objects() if id(o) not in known and o is not known]
    mine = [o for o in new if str(type(o).__module__).startswith("meminstr") or isinstance(o, Row)]
    assert mine == []
    row = store.rows[-1]
    store.rows.clear()
    assert len(gc.get_referrers(row)) <= 1


def test_untracked_buffers_of_all_kinds_are_found():
    closed = io.BytesIO(bytes(50_000))
    closed.close()
    held = [bytearray(40_000), array.array("d", bytes(40_000)), io.BytesIO(bytes(40_000)), closed, bytearray(10)]
    rows, complete = untracked.find([held], 200, time.perf_counter() + 5, time.perf_counter)
    assert complete
    assert sorted(type(obj).__name__ for obj, _, _ in rows) == ["BytesIO", "array", "bytearray"]
    assert all(size >= 40_000 for _, _, size in rows)


def test_untracked_numpy_arrays_are_found():
    numpy = pytest.importorskip("numpy")
    rows, _ = untracked.find([[numpy.zeros(10_000)]], 200, time.perf_counter() + 5, time.perf_counter)
    assert [(type(obj).__name__, entries) for obj, entries, _ in rows] == [("ndarray", 80_000)]


def test_a_search_without_time_says_so():
    assert untracked.find([[]], 200, -1.0, lambda: 0.0) == ([], False)


def test_which_types_say_by_themselves_what_leaks():
    told = ["app.Session", "ValueError", "KeyboardInterrupt"]
    assert [n for n in [*told, "dict", "list", "functools.partial", "nothing"] if newest.is_telling(n)] == told
