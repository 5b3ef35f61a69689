"""`Deltas`: what sampled calls changed, signal by signal, in constant memory."""

from __future__ import annotations

import math
from array import array

from .sampling import MEMORY_SIGNALS

EARLY = 128
"""How many early deltas are kept one by one, to tell a one-time growth and its moment."""


_K = len(MEMORY_SIGNALS)
_SUMS = 3 * _K + 1
_MEMORY = 32  # intervals between samples whose rates are kept
_ZERO, _NONE = array("d", [0.0]), array("d")
_FIRST_EARLY = 16


class Deltas:
    """Sampled per-call changes of each memory signal, over the recent part of the history, and the early ones singly.

    Sums are kept in two halves: when the samples have doubled, the older half is dropped.  What is asked of them is who
    grows *now*, and a warm-up in the first hundred calls must not answer for it.
    """

    __slots__ = (
        "_half", "_intervals", "_last", "_older", "_rates", "early", "early_used", "gap_sum", "last_call", "samples",
        "seconds",
    )  # fmt: skip

    def __init__(self) -> None:
        self.samples = 0
        # for each half: per signal count, sum, sum of squares; then the sum of slack (see `owned`)
        self._half = _SUMS * _ZERO
        self._older = _SUMS * _ZERO
        self.gap_sum = _K * _ZERO
        """Each delta times the calls since the delta before: the growth of all calls, estimated."""
        self.last_call = 0.0
        self.seconds = 1 * _ZERO
        """Of all these calls together, where whoever enters them says so: what others may have done in them."""
        self._last = array("d", [-1.0] * _K)
        # the two that are large are made when the first sample comes; the early ones double as they are needed
        self._rates = _NONE
        self._intervals = _K * _ZERO
        self.early = _NONE
        self.early_used = 0

    def make_room(self) -> int:
        """Have room for one more sample; returns the bytes that were allocated for it, mostly nought."""
        room = len(self.early)
        if self.early_used * (_K + 1) < room or room >= EARLY * (_K + 1):
            return 0
        if not room:
            self._rates = _K * _MEMORY * _ZERO
        wanted = min(EARLY, 2 * self.early_used or _FIRST_EARLY) * (_K + 1)
        early = wanted * _ZERO
        early[:room] = self.early
        self.early = early
        return 8 * (wanted - room) + (0 if room else 8 * _K * _MEMORY)

    def size_bytes(self) -> int:
        """Memory taken, roughly."""
        return 1100 + 8 * (len(self.early) + len(self._rates))

    def add(self, call: int, before: array[float], after: array[float], slack: float = 0.0) -> None:
        """Enter one sampled call's readings; unknown readings are passed over."""
        self.make_room()
        gap = max(1.0, call - self.last_call)
        self.last_call = call
        self.samples += 1
        if self.samples >= 16 and self.samples & (self.samples - 1) == 0:
            self._older, self._half = self._half, self._older
            for i in range(_SUMS):
                self._half[i] = 0.0
        sums = self._half
        sums[_SUMS - 1] += slack
        keep = self.early_used < EARLY
        base = self.early_used * (_K + 1)
        for i in range(_K):
            if before[i] < 0 or after[i] < 0:
                continue
            delta = after[i] - before[i]
            sums[3 * i] += 1
            sums[3 * i + 1] += delta
            sums[3 * i + 2] += delta * delta
            self.gap_sum[i] += delta * gap
            if keep:
                self.early[base + i] = delta * gap
            self._last[i] = after[i]
        if keep:
            self.early[base + _K] = call
            self.early_used += 1

    def between(self, before: array[float], call: int) -> None:
        """Note how each signal moved between the last sample and the one of this call, per call."""
        if not self._rates:
            return
        gap = max(1.0, call - self.last_call)
        for i in range(_K):
            if before[i] >= 0 and self._last[i] >= 0:
                n = int(self._intervals[i])
                self._rates[i * _MEMORY + n % _MEMORY] = (before[i] - self._last[i]) / gap
                self._intervals[i] = n + 1

    def events(self, index: int) -> float:
        """In how many of the recent samples growth was to be expected, had each call the same chance of it.

        Growth that comes in events, each at any call with the same chance, has a mean and a spread over the intervals
        between samples whose ratio tells how many events there are (shot noise: Campbell 1909); here the median and the
        median deviation, which an outlier does not move.  A list that gains a larger buffer now and then does so in few
        calls: that sampled ones saw none of it says nothing yet.
        """
        kept = min(int(self._intervals[index]), _MEMORY)
        if kept < 8:
            return 0.0
        rates = sorted(self._rates[index * _MEMORY : index * _MEMORY + kept])
        middle = rates[kept // 2]
        if middle <= 0:
            return 0.0
        spread = 1.4826 * sorted(abs(r - middle) for r in rates)[kept // 2]
        calls = max(1.0, self.last_call / max(1, self.samples))
        per_call = min(1.0, (middle / spread) ** 2 / calls) if spread > 0 else 1.0
        return per_call * (self._half[3 * index] + self._older[3 * index])

    def recent(self, index: int) -> tuple[int, float, float]:
        """Of one signal's recent changes: how many, their mean, and its standard error (infinite below two)."""
        n, total, squares = (self._half[3 * index + j] + self._older[3 * index + j] for j in range(3))
        if n < 2:
            return int(n), (total if n else 0.0), math.inf
        mean = total / n
        variance = max(0.0, squares / n - mean * mean) * n / (n - 1)
        return int(n), mean, math.sqrt(variance / n)

    def slack(self) -> float:
        """Blocks per recent sample that may or may not have gone with the results; see `owned`."""
        n = self._half[0] + self._older[0]
        return (self._half[_SUMS - 1] + self._older[_SUMS - 1]) / n if n else 0.0

    def early_growth(self, index: int) -> list[tuple[int, float]]:
        """The early calls with the growth each stands for, in order."""
        width = _K + 1
        return [(int(self.early[k * width + _K]), self.early[k * width + index]) for k in range(self.early_used)]
