"""Allocation sites: which lines kept memory, within a bounded window; another's tracer is respected."""

import inspect
import json
import tracemalloc

import pytest

from meminstr.evidence import allocations
from meminstr.evidence.allocations import Window

kept = []


def leak(n):
    kept.append(bytearray(1000 + n))  # the line


LINE = inspect.getsourcelines(leak)[1] + 1


@pytest.fixture(autouse=True)
def clean():
    assert not tracemalloc.is_tracing()
    yield
    kept.clear()
    tracemalloc.stop()


def passing(n):
    return [bytearray(1000) for _ in range(n)]


def test_the_line_that_kept_memory_comes_first_and_passing_ones_not_at_all():
    window = Window()
    for number in range(50):
        leak(number)
        passing(20)
    sites = window.close()
    assert (sites[0].file, sites[0].line, sites[0].count >= 50) == (__file__, LINE, True)
    assert 50_000 <= sites[0].bytes <= 60_000
    assert all("bytearray" not in site.file for site in sites)
    passed = inspect.getsourcelines(passing)[1] + 1
    assert sum(site.count for site in sites if (site.file, site.line) == (__file__, passed)) < 100  # of a thousand
    assert not tracemalloc.is_tracing()
    assert sites[0].to_dict() == {"file": __file__, "line": LINE, "bytes": sites[0].bytes, "count": sites[0].count}


def test_memory_from_before_the_window_is_not_in_it():
    for number in range(50):
        leak(number)
    sites = Window().close()
    assert not any((s.file, s.line) == (__file__, LINE) for s in sites)


def test_a_tracer_of_the_program_is_not_stopped_and_what_it_saw_before_is_not_told():
    tracemalloc.start(3)
    for number in range(500):
        leak(number)
    window = Window()
    for number in range(20):
        leak(number)
    sites = window.close()
    assert tracemalloc.is_tracing()
    assert tracemalloc.get_traceback_limit() == 3
    mine = next(s for s in sites if (s.file, s.line) == (__file__, LINE))
    assert 20_000 <= mine.bytes <= 25_000
    assert window.tick(0) == 0


def test_a_window_ends_after_its_calls():
    window = Window(calls=10)
    assert window.tick(100) > 0
    leak(1)
    window.tick(109)
    assert window.result is None
    given_back = window.tick(110)
    assert window.result is not None
    assert given_back < 0
    assert window.tracer_bytes == 0
    assert window.tick(200) == 0
    assert window.close() is window.result


def test_a_window_ends_after_its_seconds():
    now = [0.0]
    window = Window(seconds=5, clock=lambda: now[0])
    now[0] = 4.9
    window.tick(1)
    assert window.result is None
    now[0] = 5.0
    window.tick(1)
    assert window.result is not None


def test_a_window_ends_when_the_tracer_takes_too_much(monkeypatch):
    monkeypatch.setattr(allocations, "_TRACER_BYTES", 10)
    window = Window()
    leak(1)
    window.tick(1)
    assert window.result is not None


def test_a_tracer_that_was_stopped_by_another_gives_nothing():
    window = Window()
    tracemalloc.stop()
    assert window.close() == ()


def test_the_program_s_line_is_shown_rather_than_that_of_the_library_it_called():
    window = Window()
    kept.append(json.loads("[" + ",".join(["[1, 2]"] * 200) + "]"))
    here = inspect.currentframe().f_lineno - 1
    assert any((s.file, s.line) == (__file__, here) for s in window.close())


def test_meminstr_s_own_allocations_are_not_shown():
    assert allocations._site([(allocations.__file__, 3), (__file__, 4)]) is None
    assert allocations._site([("<frozen importlib>", 3)]) == ("<frozen importlib>", 3)
