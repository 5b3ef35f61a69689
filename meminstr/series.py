"""`Series`: the bounded, decimating history of one figure.  `SeriesView`: a frozen copy of it to judge.

Covers how readings are kept: a fixed number of slots, each with its last x and time and the least, mean
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
_FORMAT = 1
_COLUMNS = ("x", "low", "sum", "high")
_NO_COLUMNS, _NO_TIMES = array("d"), array("f")
_FIRST_ROOM = 12


def _empty() -> array[float]:
    return array("d")


@dataclass(frozen=True, slots=True)
class SeriesView:
    """What a series held at one moment.  The five columns have one entry for each completed slot."""

    x: array[float]
    """Position of the slot's last sample: a count of calls or constructions, or seconds."""
    t: array[float]
    """Time of the slot's last sample, in the caller's seconds (float32 steps from the first)."""
    low: array[float]
    """Least reading in the slot."""
    mean: array[float]
    """Mean of the slot's readings."""
    high: array[float]
    """Greatest reading in the slot."""
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
        "_behind",
        "_columns",
        "_filled",
        "_n",
        "_recent_at",
        "_t",
        "_t_first",
        "_t_last",
        "_v_first",
        "_v_last",
        "_x_first",
        "_x_last",
        "capacity",
        "epoch",
        "refused",
        "restarts",
        "room",
        "samples",
        "stride",
    )

    def __init__(self, capacity: int = CAPACITY) -> None:
        if capacity < 4 or capacity % 2:
            raise ValueError(f"capacity={capacity!r}: an even number of at least 4 slots is allowed")
        self.capacity = capacity
        # x, low, sum and high of all slots, then x and value of the latest samples, in one array: every
        # array of its own would cost 80 bytes, and a repeated one is allocated to the byte.  Slots are made when the
        # first sample comes, and twice as many when they are full: of ten thousand guarded functions most are idle.
        self.room = 0
        self._columns = _NO_COLUMNS
        # seconds since the first sample: single precision keeps a year to a few seconds, in half the room
        self._t = _NO_TIMES
        self.refused = self.restarts = 0
        self._reset()

    def _grow(self, room: int) -> None:
        old, had, n = self._columns, self.room, self._n + (1 if self._filled else 0)
        columns = array("d", (0.0,)) * (4 * room + 2 * RECENT)
        times = array("f", (0.0,)) * room
        if had:
            for number in range(4):
                columns[number * room : number * room + n] = old[number * had : number * had + n]
            columns[4 * room :] = old[4 * had :]
            times[:n] = self._t[:n]
        self._columns, self._t, self.room = columns, times, room

    def size_bytes(self) -> int:
        """Memory taken: the slots made so far, and the object with its numbers."""
        return self.room * 36 + (16 * RECENT + 160 if self.room else 0) + 400

    def _reset(self) -> None:
        self.samples = self.epoch = self._n = self._filled = self._behind = self._recent_at = 0
        self.stride = 1
        self._x_first = self._t_first = self._v_first = self._x_last = self._t_last = self._v_last = 0.0

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
        columns, capacity = self._columns, self.room
        at = self._recent_at
        self._recent_at = (at + 1) % RECENT
        at += 4 * capacity
        columns[at] = x
        columns[at + RECENT] = value
        if not self._filled:
            columns[n + capacity] = columns[n + 2 * capacity] = columns[n + 3 * capacity] = value
        else:
            if value < columns[n + capacity]:
                columns[n + capacity] = value
            elif value > columns[n + 3 * capacity]:
                columns[n + 3 * capacity] = value
            columns[n + 2 * capacity] += value
        columns[n] = x
        self._t[n] = self._t_last - self._t_first
        self._filled += 1
        if self._filled < self.stride:
            return False
        self._filled = 0
        self._n = n + 1
        return True

    def _amend(self, value: float) -> None:
        n = self._n if self._filled else self._n - 1
        low, high = n + self.room, n + 3 * self.room
        self._columns[low] = min(self._columns[low], value)
        self._columns[high] = max(self._columns[high], value)
        self._v_last = value
        self._behind = 0

    def _halve(self) -> None:
        columns, t, capacity = self._columns, self._t, self.room  # all are made when they are full
        half = capacity // 2
        low, total, high = capacity, 2 * capacity, 3 * capacity
        for i in range(half):
            j = 2 * i
            k = j + 1
            columns[i], t[i] = columns[k], t[k]
            columns[low + i] = min(columns[low + j], columns[low + k])
            columns[total + i] = columns[total + j] + columns[total + k]
            columns[high + i] = max(columns[high + j], columns[high + k])
        self._n = half
        self.stride *= 2
        self.epoch += 1

    def _slots(self, n: int) -> tuple[array[float], ...]:
        capacity = self.room
        if not capacity:
            return (_empty(), _empty(), _empty(), _empty())
        # spelled as a list: a tuple made of a generator leaves a block in the interpreter's free lists each time (3.11)
        return tuple([self._columns[at : at + n] for at in range(0, 4 * capacity, capacity)])

    def _latest(self) -> tuple[array[float], array[float]]:
        kept = min(self.samples, RECENT)
        base = 4 * self.room
        ring = [base + (self._recent_at - kept + i) % RECENT for i in range(kept)]
        return (
            array("d", [self._columns[at] for at in ring]),
            array("d", [self._columns[at + RECENT] for at in ring]),
        )

    def view(self) -> SeriesView:
        """A copy of the completed slots and the counts; an unfinished slot shows in `last` and `recent` only."""
        n, stride, start = self._n, self.stride, self._t_first
        x, low, total, high = self._slots(n)
        recent_x, recent = self._latest()
        return SeriesView(
            x=x,
            t=array("d", (start + t for t in self._t[:n])),
            low=low,
            mean=array("d", (s / stride for s in total)),
            high=high,
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
        x, low, total, high = self._slots(n)
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
            "t": list(self._t[:n]),
            "low": list(low),
            "sum": list(total),
            "high": list(high),
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
            if any(len(data[name]) != n for name in (*_COLUMNS, "t")):
                raise ValueError("a series whose columns differ in length")
            series._grow(series.capacity)
            for number, name in enumerate(_COLUMNS):
                begin = number * series.capacity
                series._columns[begin : begin + n] = array("d", data[name])
            series._t[:n] = array("f", data["t"])
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
                at += 4 * series.capacity
                series._columns[at], series._columns[at + RECENT] = x, value
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a series: {error}") from None
        return series


def array_bytes(room: int) -> tuple[int, int]:
    """Bytes of the two arrays of a `Series` with room for so many slots; noughts when it has none."""
    return (8 * (4 * room + 2 * RECENT), 4 * room) if room else (0, 0)
