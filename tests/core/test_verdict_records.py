from __future__ import annotations

import json
import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.verdict import Counts, Finding, Holder, Interval, OneTimeGrowth, Verdict, plain, read_record

LEAK = Finding(
    "f",
    "function",
    Verdict.LEAKING,
    "r",
    calls=3,
    bytes_per_call=Interval(1.0, None, 2.0),
    one_time_growth=OneTimeGrowth(5, 6),
    counts=Counts(1, 2, 3, 4, 5, 6, 7),
    holders=(Holder("a.b", "module", 1),),
)
CONTRACT = (
    "subject subject_kind verdict reason memory_kind calls onset_call one_time_growth bytes_per_call "
    "blocks_per_call live_per_call mb_per_1000 mb_per_hour eta_seconds excluded_bytes_per_call culprit_type "
    "counts holders birth_sites contexts grown advice"
).split()


def test_severity_orders_from_worst_to_best() -> None:
    assert [v.severity for v in Verdict] == [5, 4, 3, 2, 1, 0]
    assert list(Verdict) == "leaking growing warming_up inconclusive insufficient_data clean".split()


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6) | st.none(), st.floats(0.001, 1000))
def test_scaling_an_interval(value: float, low: float | None, factor: float) -> None:
    scaled = Interval(value, low).scaled(factor)
    assert scaled.value == value * factor
    assert scaled.low == (None if low is None else low * factor)
    assert scaled.high is None


def test_keys_of_the_contract_in_order_and_nulls() -> None:
    data = LEAK.to_dict()
    assert list(data)[: len(CONTRACT)] == CONTRACT
    assert data["verdict"] == "leaking"
    assert type(data["verdict"]) is str
    assert data["advice"] is None
    assert data["bytes_per_call"] == {"value": 1.0, "low": None, "high": 2.0}


def test_extra_goes_in_and_comes_back_but_overrides_nothing() -> None:
    found = replace(LEAK, extra={"subject": "forged", "more": (1, 2)})
    data = found.to_dict()
    assert data["subject"] == "f"
    assert data["more"] == [1, 2]
    assert Finding.from_dict(data) == replace(LEAK, extra={"more": [1, 2]})


def test_keys_of_a_later_version_are_passed_over() -> None:
    data = json.loads(json.dumps(LEAK.to_dict()))
    data["bytes_per_call"]["method"] = "new"
    data["counts"]["swapped"] = 1
    data["holders"][0]["age"] = 1
    assert Finding.from_dict(data) == LEAK


def test_an_estimate_that_is_no_number_is_unknown() -> None:
    for value in (math.nan, math.inf):
        assert replace(LEAK, eta_seconds=Interval(value)).to_dict()["eta_seconds"] is None


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("verdict", "fine", "finding 'f': verdict 'fine' is none of leaking, growing"),
        ("verdict", None, "is none of"),
        ("reason", None, "finding 'f': Finding: missing 1 required"),
        ("reason", 7, "reason must be str, not a int"),
        ("calls", "7", "calls must be int | None, not a string"),
        ("calls", True, "calls must be int | None, not a bool"),
        ("bytes_per_call", 7, "Interval must be an object"),
        ("bytes_per_call", {"low": 1}, "Interval: missing 1 required positional argument: 'value'"),
        ("bytes_per_call", {"value": "x"}, "value must be float, not a string"),
        ("counts", {"alive": 1.5}, "alive must be int, not a float"),
        ("counts", [], "Counts must be an object, not a list"),
        ("holders", {}, "holders must be a list, not an object"),
        ("holders", [{"path": "p"}], "Holder: missing 2"),
        ("contexts", [{"tags": [], "share": 1}], "tags must be Mapping"),
        ("signals", "s", "signals must be a list"),
        ("one_time_growth", {"bytes": None, "until_call": 1}, "bytes must be int, not null"),
    ],
)
def test_damage_is_named(key: str, value: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Finding.from_dict({**LEAK.to_dict(), key: value})
    assert message in str(caught.value)
    assert "finding 'f'" in str(caught.value)


def test_no_object_and_no_name() -> None:
    with pytest.raises(ValueError, match="a finding must be an object, not a list"):
        Finding.from_dict([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a finding without reason, subject, subject_kind, verdict"):
        Finding.from_dict({})


class Level(IntEnum):
    HIGH = 3


@dataclass
class Users:
    password: str = "secret"

    def __str__(self) -> str:
        return self.password


def test_plain_values() -> None:
    assert plain(numpy.float64(1.5)) == 1.5
    assert type(plain(numpy.int64(3))) is int
    assert type(plain(numpy.float32(3))) is float
    assert plain(Level.HIGH) == 3
    assert plain({"b", "a"}) == ["a", "b"]
    assert plain(OrderedDict({1: (2,)})) == {"1": [2]}
    assert plain(10**5000) is None
    assert plain([True, None, -math.inf]) == [True, None, None]


def test_values_of_the_users_objects_stay_out() -> None:
    text = json.dumps(plain({"a": Users(), "b": [Users], "c": b"secret"}))
    assert "secret" not in text
    assert "test_verdict_records.Users>" in text


def test_a_cycle_is_cut() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert '"..."' in json.dumps(plain(loop))


def test_reading_a_record() -> None:
    assert read_record(Interval, {"value": 1, "unknown": 2}) == Interval(1)
