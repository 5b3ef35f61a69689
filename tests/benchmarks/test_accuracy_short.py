"""Clear cases of the live benchmark: each in a process of its own, as `benchmarks.accuracy --short` runs them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import accuracy, accuracy_scores, self_noise  # the path comes first

pytest.importorskip("psutil")


def row_of(name):
    case = next(case for case in accuracy.SHORT if case[0] == name)
    return accuracy.run_all([case])[0]


@pytest.mark.parametrize("name", [case[0] for case in accuracy.SHORT if case[0].startswith("leak_")])
def test_a_clear_leak_is_found_and_named(name):
    row = row_of(name)
    assert "error" not in row, row
    assert row["final_look"], [f["reason"] for f in row["findings"]]
    assert not row["early_alarm"]
    assert row["kind_right"]
    assert row["rate_error"] < 0.05


@pytest.mark.parametrize("name", [case[0] for case in accuracy.SHORT if case[0].startswith("clean_")])
def test_a_clean_workload_raises_no_alarm_at_any_look(name):
    row = row_of(name)
    assert "error" not in row, row
    assert not row["any_look"], row["reason"]


def test_the_tool_does_not_see_itself():
    row = self_noise.drift(60_000, 20)
    assert row["verdict"] not in ("leaking", "growing")
    assert row["blocks"] <= self_noise.MOST_BLOCKS
    assert row["heap_bytes"] <= self_noise.MOST_BYTES


def test_limits_of_a_share_are_those_of_the_binomial():
    low, high = accuracy_scores.clopper_pearson(0, 100)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 100), abs=1e-6)
    low, high = accuracy_scores.clopper_pearson(7, 20)
    assert (low, high) == pytest.approx((0.1539, 0.5922), abs=1e-3)
    assert accuracy_scores.clopper_pearson(20, 20)[1] == 1.0


def test_a_run_that_fails_is_a_row_and_no_score():
    rows = accuracy.run_all([("no_such_workload", 0, 100)])
    assert "KeyError" in rows[0]["error"]
    assert accuracy_scores.tables(rows)["runs"] == {"leaking": 0, "clean": 0, "failed": 1}


def test_the_halves_are_fixed_and_disjoint():
    development, holdout = set(accuracy.names_of("development")), set(accuracy.names_of("holdout"))
    assert not development & holdout
    assert len(development) == 22
    assert development | holdout == set(accuracy.names_of(""))
