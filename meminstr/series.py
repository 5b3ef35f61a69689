"""`Series`: the bounded, decimating history of one figure.  `SeriesView`: a frozen copy of it to judge.

Covers how readings are kept: a fixed number of slots, each with its first and last x, its time, and the least, mean
and greatest reading of equally many samples; when all slots are taken neighbours are merged and the
stride doubles, so a series always spans its whole history evenly by samples.  The latest raw readings are
kept beside the slots, so that what began a moment ago can be seen behind a long history.

Leaves to others: reading probes, clocks, and locks.  A series has no lock of its own: whoever owns it calls
it under theirs, and a forked child calls `Series.clear` before it adds.

Pure standard library: importing this costs nothing, and adding a sample allocates nothing that stays.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

CAPACITY = 96
RECENT = 16
_RESET_AFTER = 8  # this many samples in a row behind the last x: the counter was reset, not disturbed
_FORMAT = 2
_COLUMNS = ("x", "low", "sum")
_SINGLE = ("t", "over", "width")
"""In single precision, since differences: time since the first sample, greatest less least reading, slot width in x."""
_NO_COLUMNS, _NO_TIMES = array("d"), array("f")
_FIRST_ROOM = 12
_MOST = 3e38  # that single precision holds


def _empty() -> array[float]:
    return array("d")


@dataclass(frozen=True, slots=True)
class SeriesView:
    """What a series held at one moment.  The six columns have one entry for each completed slot."""

    x: array[float]
    """Position of the slot's last sample: a count of calls or constructions, or seconds."""
    t: array[float]
    """Time of the slot's last sample, in the caller's seconds (float32 steps from the first)."""
    low: array[float]
    """Least reading in the slot."""
    mean: array[float]
    """Mean of the slot's readings."""
    high: array[float]
    """Greatest reading in the slot (to single precision above the least)."""
    begin: array[float]
    """Position of the slot's first sample, where the least reading stands when anything grows."""
    samples: int = 0
    """All samples ever accepted, those of merged and unfinished slots included."""
    stride: int = 1
    """Samples in a slot."""
    epoch: int = 0
    """How often the stride has doubled: the statistics spend their error over epochs."""
    first: tuple[float, float, float] | None = None
    """(x, t, value) of the first sample."""
    last: tuple[float, float, float] | None = None
    """(x, t, value) of the latest sample, which may stand in an unfinished slot."""
    recent_x: array[float] = field(default_factory=_empty)
    """Positions of the latest raw samples, oldest first."""
    recent: array[float] = field(default_factory=_empty)
    """The latest raw readings, oldest first."""
    refused: int = 0
    """Samples refused because not finite or behind the last x."""
    restarts: int = 0
    """How often the history began anew because its counter was reset."""

    def __len__(self) -> int:
        return len(self.x)


class Series:
    """History of one figure in constant memory, under 4 KiB for 96 slots; less while it is short.

    A sample is refused (False, and counted in `refused`) when x, time or value is NaN or infinite, or when x
    lies behind the last one, as after a clock step.  When eight samples in a row lie behind, the counter
    was reset: the history is dropped, counted in `restarts`, and begins anew with the next of them.  A
    sample at the same x as the last (a second report with no call between) is no new observation of growth:
    it widens that slot's least and greatest reading and becomes `last`, and fills no slot.  Times behind the
    last are taken as the last.
    """

    __slots__ = (
        "_behind", "_columns", "_filled", "_n", "_recent_at", "_single", "_t_first", "_t_last", "_v_first", "_v_last",
        "_x_begin", "_x_first", "_x_last", "capacity", "epoch", "refused", "restarts", "room", "samples", "stride",
    )  # fmt: skip

    def __init__(self, capacity: int = CAPACITY) -> None:
        if capacity < 4 or capacity % 2:
            raise ValueError(f"capacity={capacity!r}: an even number of at least 4 slots is allowed")
        self.capacity = capacity
        # x, low and sum of all slots, then x and value of the latest samples, in one array: every
        # array of its own would cost 80 bytes, and a repeated one is allocated to the byte.  Slots are made when the
        # first sample comes, and twice as many when they are full: of ten thousand guarded functions most are idle.
        self.room = 0
        self._columns = _NO_COLUMNS
        # seconds since the first sample (single precision keeps a year to a few seconds, in half the room), greatest
        # reading over the least, the slot's width
        self._single = _NO_TIMES
        self.refused = self.restarts = 0
        self._reset()

    def _grow(self, room: int) -> None:
        old, had, n = self._columns, self.room, self._n + (1 if self._filled else 0)
        columns = array("d", (0.0,)) * (3 * room + 2 * RECENT)
        single = array("f", (0.0,)) * (3 * room)
        if had:
            for number in range(3):
                columns[number * room : number * room + n] = old[number * had : number * had + n]
                single[number * room : number * room + n] = self._single[number * had : number * had + n]
            columns[3 * room :] = old[3 * had :]
        self._columns, self._single, self.room = columns, single, room

    def size_bytes(self) -> int:
        """Memory taken: the slots made so far, and the object with its numbers."""
        return self.room * 36 + (16 * RECENT + 160 if self.room else 0) + 400

    def _reset(self) -> None:
        self.samples = self.epoch = self._n = self._filled = self._behind = self._recent_at = 0
        self.stride = 1
        self._x_first = self._t_first = self._v_first = self._x_last = self._t_last = self._v_last = 0.0
        self._x_begin = 0.0

    def clear(self) -> None:
        """Forget everything, the counts of refusals and restarts too; no memory is given back or taken."""
        self._reset()
        self.refused = self.restarts = 0

    @property
    def first(self) -> tuple[float, float, float] | None:
        """(x, t, value) of the first sample, or None."""
        return (self._x_first, self._t_first, self._v_first) if self.samples else None

    @property
    def last(self) -> tuple[float, float, float] | None:
        """(x, t, value) of the latest sample, or None."""
        return (self._x_last, self._t_last, self._v_last) if self.samples else None

    def __len__(self) -> int:
        """Completed slots."""
        return self._n

    def add(self, x: float, t: float, value: float) -> bool:
        """Add one reading.

        Args:
            x: its position: calls or constructions so far, or seconds; never falling.
            t: its time in seconds, of a clock that does not go back.
            value: the reading.

        Returns:
            True when a slot was completed, which is the moment to judge anew.
        """
        if not (isfinite(x) and isfinite(t) and isfinite(value)):
            self.refused += 1
            return False
        if not self.samples:
            self._x_first, self._t_first, self._v_first = x, t, value
            self._t_last = t
        elif x <= self._x_last:
            if x == self._x_last:
                self._amend(value)
                return False
            self._behind += 1
            if self._behind < _RESET_AFTER:
                self.refused += 1
                return False
            self._reset()
            self.restarts += 1
            return self.add(x, t, value)
        if t > self._t_last:
            self._t_last = t
        self._x_last, self._v_last = x, value
        self.samples += 1
        self._behind = 0
        n = self._n
        if n == self.room and not self._filled:
            if n < self.capacity:
                self._grow(min(self.capacity, 2 * n or _FIRST_ROOM))
            else:
                self._halve()
                n = self._n
        columns, single, room = self._columns, self._single, self.room
        at = self._recent_at
        self._recent_at = (at + 1) % RECENT
        at += 3 * room
        columns[at] = x
        columns[at + RECENT] = value
        if not self._filled:
            columns[n + room] = columns[n + 2 * room] = value
            single[n + room] = single[n + 2 * room] = 0.0
            self._x_begin = x
        else:
            self._widen(n, value)
            columns[n + 2 * room] += value
            single[n + 2 * room] = min(x - self._x_begin, _MOST)
        columns[n] = x
        single[n] = self._t_last - self._t_first
        self._filled += 1
        if self._filled < self.stride:
            return False
        self._filled = 0
        self._n = n + 1
        return True

    def _widen(self, n: int, value: float) -> None:
        # have the slot's least and greatest reading hold this one too
        columns, single, room = self._columns, self._single, self.room
        low = columns[n + room]
        if value < low:
            columns[n + room] = value
            single[n + room] = min(single[n + room] + (low - value), _MOST)
        elif value - low > single[n + room]:
            single[n + room] = min(value - low, _MOST)

    def _amend(self, value: float) -> None:
        self._widen(self._n if self._filled else self._n - 1, value)
        self._v_last = value
        self._behind = 0

    def _halve(self) -> None:
        columns, single, room = self._columns, self._single, self.room  # all are made when they are full
        half = room // 2
        low, total, over, width = room, 2 * room, room, 2 * room
        for i in range(half):
            j = 2 * i
            k = j + 1
            single[width + i] = min(columns[k] - columns[j] + single[width + j], _MOST)
            columns[i], single[i] = columns[k], single[k]
            one, other = columns[low + j], columns[low + k]
            least = min(one, other)
            single[over + i] = min(max(one - least + single[over + j], other - least + single[over + k]), _MOST)
            columns[low + i] = least
            columns[total + i] = columns[total + j] + columns[total + k]
        self._n = half
        self.stride *= 2
        self.epoch += 1

    def _slots(self, n: int) -> tuple[list[array[float]], list[array[float]]]:
        room = self.room
        if not room:
            return [_empty()] * 3, [_empty()] * 3
        starts = range(0, 3 * room, room)  # lists: a tuple of a generator leaves a block in free lists each time (3.11)
        return [self._columns[at : at + n] for at in starts], [self._single[at : at + n] for at in starts]

    def _latest(self) -> tuple[array[float], array[float]]:
        kept = min(self.samples, RECENT)
        base = 3 * self.room
        ring = [base + (self._recent_at - kept + i) % RECENT for i in range(kept)]
        columns = self._columns
        return array("d", [columns[at] for at in ring]), array("d", [columns[at + RECENT] for at in ring])

    def view(self) -> SeriesView:
        """A copy of the completed slots and the counts; an unfinished slot shows in `last` and `recent` only."""
        n, stride, start = self._n, self.stride, self._t_first
        (x, low, total), (t, over, width) = self._slots(n)
        recent_x, recent = self._latest()
        return SeriesView(
            x=x,
            t=array("d", [start + one for one in t]),
            low=low,
            mean=array("d", [one / stride for one in total]),
            high=array("d", [least + more for least, more in zip(low, over, strict=True)]),
            begin=array("d", [end - wide for end, wide in zip(x, width, strict=True)]),
            samples=self.samples,
            stride=stride,
            epoch=self.epoch,
            first=self.first,
            last=self.last,
            recent_x=recent_x,
            recent=recent,
            refused=self.refused,
            restarts=self.restarts,
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain numbers and lists, for a shard or a snapshot."""
        n = self._n + (1 if self._filled else 0)
        (x, low, total), (t, over, width) = self._slots(n)
        recent_x, recent = self._latest()
        return {
            "format": _FORMAT,
            "capacity": self.capacity,
            "samples": self.samples,
            "stride": self.stride,
            "epoch": self.epoch,
            "filled": self._filled,
            "refused": self.refused,
            "restarts": self.restarts,
            "first": list(self.first) if self.first else None,
            "last": [*self.last] if self.last else None,
            "x": list(x),
            "low": list(low),
            "sum": list(total),
            "t": list(t),
            "over": list(over),
            "width": list(width),
            "recent_x": list(recent_x),
            "recent": list(recent),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Series:
        """The series that `to_dict` described.

        Raises:
            ValueError: a key is missing, a column has a wrong length, or the format is another.
        """
        try:
            if data["format"] != _FORMAT:
                raise ValueError(f"a series of format {data['format']!r}: format {_FORMAT} is allowed")
            series = cls(int(data["capacity"]))
            filled = int(data["filled"])
            n = len(data["x"])
            if n > series.capacity or filled >= int(data["stride"]) or (filled and not n):
                raise ValueError(f"a series of {n} slots where {series.capacity} fit")
            if any(len(data[name]) != n for name in (*_COLUMNS, *_SINGLE)):
                raise ValueError("a series whose columns differ in length")
            series._grow(series.capacity)
            for number, (name, single) in enumerate(zip(_COLUMNS, _SINGLE, strict=True)):
                begin = number * series.capacity
                series._columns[begin : begin + n] = array("d", data[name])
                series._single[begin : begin + n] = array("f", data[single])
            if filled:
                series._x_begin = series._columns[n - 1] - series._single[2 * series.capacity + n - 1]
            series.samples, series.stride = int(data["samples"]), int(data["stride"])
            series.epoch, series._filled = int(data["epoch"]), filled
            series.refused, series.restarts = int(data["refused"]), int(data["restarts"])
            series._n = n - (1 if filled else 0)
            if series.samples:
                series._x_first, series._t_first, series._v_first = map(float, data["first"])
                series._x_last, series._t_last, series._v_last = map(float, data["last"])
            for x, value in zip(data["recent_x"][-RECENT:], data["recent"][-RECENT:], strict=True):
                at = series._recent_at
                series._recent_at = (at + 1) % RECENT
                at += 3 * series.capacity
                series._columns[at], series._columns[at + RECENT] = x, value
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a series: {error}") from None
        return series


def array_bytes(room: int) -> tuple[int, int]:
    """Bytes of the two arrays of a `Series` with room for so many slots; noughts when it has none."""
    return (8 * (3 * room + 2 * RECENT), 12 * room) if room else (0, 0)
