from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.errors import UsageError
from meminstr.units import (
    GIB,
    KIB,
    MIB,
    format_bytes,
    format_count,
    format_duration,
    parse_bytes,
    scaled_bytes,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GiB", 2 * GIB),
        ("500 MB", 500 * MIB),
        (" 1.5g ", int(1.5 * GIB)),
        ("1_000", 1000),
        ("1e3 kb", 1000 * KIB),
        (".5k", 512),
        ("7 b", 7),
        ("3T", 3 * 1024 * GIB),
        ("1 PiB", 1 << 50),
        (4096, 4096),
        (10.9, 10),
        (Fraction(21, 2), 10),
    ],
)
def test_sizes(text: str | float, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "value",
    [
        "", "two", "2 GiBs", "-1", "0", "0.5", "1__0", "1_ k", "nan", "inf", "1e999", "2 2", "GiB",
        "1" + "0" * 400, 0, -1, 0.9, math.nan, math.inf, -math.inf, 10**400, True, None, [1], b"2", 1j,
    ],
)  # fmt: skip
def test_no_sizes(value: object) -> None:
    with pytest.raises(UsageError, match=r"^ceiling=.* is not a size: a positive size such as") as caught:
        parse_bytes(value, "ceiling")  # type: ignore[arg-type]
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e308, 1e-12, 10**400, "2", None, False, True, [1], 1j])
def test_no_scaled_sizes(value: object) -> None:
    with pytest.raises(UsageError, match=r"^gb=.* number is allowed$"):
        scaled_bytes(value, GIB, "gb")  # type: ignore[arg-type]


def test_scaled_sizes() -> None:
    assert scaled_bytes(2, GIB, "gb") == 2 * GIB
    assert scaled_bytes(0.25, MIB, "mb") == 256 * KIB


def test_an_integer_too_long_to_print() -> None:
    with pytest.raises(UsageError, match="limit=<int> is not a size"):
        parse_bytes(10**5000)


def test_an_argument_that_cannot_be_shown() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(UsageError, match="limit=<Rude>"):
        parse_bytes(Rude())  # type: ignore[arg-type]


@given(st.integers(1, 1 << 49))
def test_what_is_printed_is_read_back(size: int) -> None:
    # three figures: half a unit in the third, and a byte is not divided
    assert abs(parse_bytes(format_bytes(size)) - size) <= 0.0051 * size + 1
    assert parse_bytes(str(size)) == size


@given(st.floats(-1e18, 1e18))
def test_sizes_are_short_and_keep_their_sign(size: float) -> None:
    text = format_bytes(size)
    assert text.startswith("-") == (size < 0)
    assert format_bytes(-size).lstrip("-") == text.lstrip("-")
    assert len(text) <= 14
    number, unit = text.split(" ")
    assert abs(float(number)) < 1000 or unit == "TiB"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 B"),
        (0.4, "0.4 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1234567, "1.18 MiB"),
        (-3 * GIB, "-3 GiB"),
        (2**60, "1048576 TiB"),
        (math.nan, "unknown"),
        (math.inf, "unlimited"),
    ],
)
def test_format_bytes(size: float, expected: str) -> None:
    assert format_bytes(size) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (12000, "12,000"),
        (0.02, "0.02"),
        (-1500.4, "-1,500"),
        (999.4, "999"),
        (999.9, "1,000"),
        (1e18, "1e+18"),
        (0, "0"),
        (math.nan, "unknown"),
        (math.inf, "unlimited"),
    ],
)
def test_format_count(value: float, expected: str) -> None:
    assert format_count(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (2e-6, "2 us"),
        (0.0009999, "1 ms"),
        (0.0123, "12 ms"),
        (0.9999, "1.0 s"),
        (9.96, "10 s"),
        (59, "59 s"),
        (59.6, "1 min"),
        (64, "1 min 4 s"),
        (599.6, "10 min"),
        (3599, "1 h"),
        (11400, "3 h 10 min"),
        (86399, "1 d"),
        (86400 * 2 + 3600, "2 d 1 h"),
        (86400 * 40, "40 d"),
        (86400 * 365.25 * 2, "2 years"),
        (1e300, "over 100 years"),
        (-60, "-1 min"),
        (math.inf, "never"),
        (math.nan, "unknown"),
    ],
)
def test_format_duration(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


@given(st.floats(0, 1e12))
def test_durations_read_back(seconds: float) -> None:
    text = format_duration(seconds)
    if text == "over 100 years":
        assert seconds > 99 * 31_557_600
        return
    scale = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "years": 31_557_600}
    words = text.split(" ")
    total = sum(float(n) * scale[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
    assert total == pytest.approx(seconds, rel=0.06, abs=0.5 * scale[words[-1]] if seconds < 1 else 0)
