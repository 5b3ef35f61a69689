"""The black box's arithmetic, on scripted readings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr.shards.room import Reading, Room
from meminstr.units import MIB


def steps(room, *residents, limit=1000 * MIB, start=0.0, source="cgroup"):
    return [
        room.add(Reading(start + at, resident, limit - resident, limit, source))
        for at, resident in enumerate(residents)
    ]


def test_nothing_is_known_before_the_first_reading():
    assert Room().box().resident_bytes is None
    assert Room().pressing()  # until it is: look


def test_steady_growth_gives_rate_and_time_left():
    room = Room()
    steps(room, *[100 * MIB + 10 * MIB * at for at in range(30)])
    box = room.box()
    assert box.bytes_per_second == pytest.approx(10 * MIB)
    assert box.left_bytes == 610 * MIB
    assert box.seconds_left == pytest.approx(61.0)
    assert box.over_seconds == 29.0


def test_a_neighbour_that_eats_the_room_counts():
    room = Room()
    for at in range(12):
        room.add(Reading(float(at), 50 * MIB, 500 * MIB - 20 * MIB * at, 1000 * MIB, "cgroup"))
    box = room.box()
    assert box.bytes_per_second is None
    assert box.seconds_left == pytest.approx((500 - 220) / 20)


def test_a_change_of_the_tightest_limit_is_no_growth():
    room = Room()
    steps(room, *[100 * MIB] * 12, limit=8000 * MIB, source="machine")
    steps(room, *[100 * MIB] * 12, limit=200 * MIB, start=12.0)
    assert room.box().seconds_left is None
    assert room.box().left_bytes == 100 * MIB


def test_each_level_is_told_once_and_again_after_it_was_left():
    room = Room()
    told = steps(room, 700 * MIB, 760 * MIB, 770 * MIB, 910 * MIB, 960 * MIB, 985 * MIB, 990 * MIB)
    assert told == [False, True, False, True, True, True, False]
    assert steps(room, 100 * MIB, 800 * MIB, start=7.0) == [False, True]


def test_it_presses_near_the_limit_and_when_little_time_is_left():
    near, fast, calm = Room(), Room(), Room()
    steps(near, *[800 * MIB] * 12)
    steps(fast, *[100 * MIB + 20 * MIB * at for at in range(12)])
    steps(calm, *[100 * MIB] * 12)
    assert (near.pressing(), fast.pressing(), calm.pressing()) == (True, True, False)


def test_without_a_limit_only_the_rate_is_known():
    room = Room()
    for at in range(12):
        room.add(Reading(float(at), 10 * MIB * at))
    assert room.box().bytes_per_second == pytest.approx(10 * MIB)
    assert room.box().seconds_left is None
    assert not room.pressing()


@given(st.lists(st.integers(0, 1 << 40), max_size=200), st.integers(1, 1 << 40))
def test_whatever_comes_in_no_time_left_is_negative(residents, limit):
    room = Room()
    for at, resident in enumerate(residents):
        room.add(Reading(at * 0.25, resident, max(0, limit - resident), limit, "cgroup"))
    left = room.box().seconds_left
    assert left is None or left >= 0.0


@given(st.lists(st.integers(0, 1 << 19), min_size=12, max_size=100))
def test_noise_below_a_mebibyte_is_no_growth(noise):
    room = Room()
    steps(room, *[100 * MIB + n for n in noise])
    assert room.box().bytes_per_second is None
