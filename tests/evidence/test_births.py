"""Birth sites, tags, the reservoir of live instances."""

import contextvars
import threading
import weakref
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.evidence import birth_sites
from meminstr.evidence.birth_sites import ELSEWHERE, capture, context, current_tags, shares, site, tag_shares
from meminstr.evidence.reservoir import Reservoir, objects_of


class Thing:
    pass


@pytest.fixture(autouse=True)
def fresh():
    birth_sites.forget()
    yield
    birth_sites.forget()


def build():
    return capture()


def test_a_site_is_the_line_that_constructs():
    number = build()
    file, line, function = site(number)
    assert file == __file__
    assert line == build.__code__.co_firstlineno + 1
    assert function == "build"


def test_the_same_line_has_one_number():
    assert len({build() for _ in range(50)}) == 1


def test_frames_of_the_standard_library_are_passed_over():
    found = []
    contextvars.copy_context().run(lambda: found.append(capture()))
    thread = threading.Thread(target=lambda: found.append(capture(skip=2)))
    thread.start()
    thread.join()
    assert site(found[0])[0] == __file__
    assert site(found[1])[0] == threading.__file__  # nothing but the library: the nearest frame of that


def test_too_deep_a_skip_is_elsewhere():
    assert capture(skip=10_000) == ELSEWHERE
    assert site(ELSEWHERE) == ("elsewhere", 0, "")
    assert site(10**9) == site(ELSEWHERE)


def test_the_table_of_sites_is_bounded(monkeypatch):
    monkeypatch.setattr(birth_sites, "_MOST_SITES", 2)
    first = build()
    assert first != ELSEWHERE
    assert capture() == ELSEWHERE
    assert build() == first


def test_shares_sum_up_and_come_largest_first():
    here = build()
    there = capture()
    found = shares([(here, 1.0)] * 3 + [(there, 1.0)])
    assert [(s.function, s.share) for s in found] == [
        ("build", 0.75),
        ("test_shares_sum_up_and_come_largest_first", 0.25),
    ]
    assert not found[0].file.startswith("/") or found[0].file == __file__
    assert shares([]) == ()


def test_tags_nest_and_end():
    assert current_tags() == ()
    with context(request="POST /upload"):
        with context(user="a", request="GET /"):
            assert current_tags() == (("request", "GET /"), ("user", "a"))
        assert current_tags() == (("request", "POST /upload"),)
    assert current_tags() == ()


def test_equal_tags_are_one_object_and_the_number_of_them_is_bounded(monkeypatch):
    monkeypatch.setattr(birth_sites, "_MOST_TAGS", 2)
    seen = []
    for name in ("a", "a", "b", "c", "d"):
        with context(name=name):
            seen.append(current_tags())
    assert seen[0] is seen[1]
    assert seen[3] == seen[4] == (("context", "other"),)


def test_long_values_are_cut():
    with context(name="x" * 1000):
        assert len(current_tags()[0][1]) == 80


def test_tag_shares_count_the_untagged_in_the_total():
    upload = (("request", "POST /upload"),)
    (found,) = tag_shares([(upload, 1.0), (upload, 2.0), ((), 1.0)])
    assert (dict(found.tags), found.share) == ({"request": "POST /upload"}, 0.75)


def test_the_reservoir_is_spread_over_all_ages():
    reservoir = Reservoir(64)
    kept = []
    for ordinal in range(1, 20_001):
        thing = Thing()
        kept.append(thing)
        reservoir.offer(thing, ordinal, float(ordinal))
    rows = reservoir.living()
    assert 32 <= len(rows) <= 64
    ordinals = [row.ordinal for row in rows]
    assert ordinals == sorted(ordinals)
    gaps = {b - a for a, b in pairwise(ordinals)}
    assert max(gaps) <= 2 * reservoir.stride
    assert ordinals[0] <= reservoir.stride
    assert len(reservoir.older_than(10_000)) == pytest.approx(len(rows) / 2, abs=2)
    assert objects_of(rows[:1]) == [kept[ordinals[0] - 1]]


def test_the_reservoir_keeps_nothing_alive_and_reuses_the_places_of_the_dead():
    reservoir = Reservoir(8)
    for ordinal in range(1, 1000):
        reservoir.offer(Thing(), ordinal, 0.0)
    assert reservoir.stride == 1
    assert reservoir.living() == ()
    thing = Thing()
    reference = weakref.ref(thing)
    reservoir.offer(thing, 1000, 0.0)
    del thing
    assert reference() is None


def test_what_takes_no_weak_reference_is_left_out():
    reservoir = Reservoir()
    assert not reservoir.offer(5, 1, 0.0)
    assert len(reservoir) == 0


@given(st.integers(2, 40), st.integers(0, 600), st.sets(st.integers(1, 600)))
def test_the_reservoir_never_exceeds_its_capacity(capacity, count, dying):
    reservoir = Reservoir(capacity)
    kept = {}
    for ordinal in range(1, count + 1):
        thing = kept[ordinal] = Thing()
        reservoir.offer(thing, ordinal, 0.0)
        if ordinal in dying:
            del kept[ordinal]
        del thing
        assert len(reservoir) <= capacity
    assert len(reservoir.living()) <= len(kept)
    assert bool(reservoir.living()) or not len(kept) or reservoir.stride > 1
