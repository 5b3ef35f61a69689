"""Cached readings and the peaks between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meminstr.limits.reading import MeterWindows, Readings
from meminstr.probes.peak import PeakMeter


class Windows:
    def __init__(self, peaks):
        self.peaks = list(peaks)

    def turn(self):
        return self.peaks.pop(0)

    def forget(self):
        pass


def test_a_reading_is_taken_again_only_when_it_is_older_than_asked_for():
    now, reads = [0.0], []
    readings = Readings(lambda: reads.append(1) or len(reads), None, lambda: now[0])
    first = readings.recent(0.001)
    now[0] = 0.0009
    assert readings.recent(0.001) is first
    now[0] = 0.001
    assert readings.recent(0.001).resident_bytes == 2
    assert len(reads) == 2


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=60), st.data())
def test_the_peak_since_any_window_is_the_maximum_of_the_windows_since(peaks, data):
    readings = Readings(lambda: 0, Windows([None, *peaks]), lambda: 0.0)
    samples = [readings.fresh() for _ in range(len(peaks) + 1)]
    start = data.draw(st.integers(0, len(peaks) - 1))
    peak = readings.peak_since(samples[start].window)
    since = peaks[start:]
    assert peak.resident_bytes == max(value for value, _ in since)
    if peak.exact:
        assert any(exact and value == peak.resident_bytes for value, exact in since)


def test_the_list_of_peaks_is_bounded_and_stays_an_upper_bound():
    falling = [(10_000 - i, True) for i in range(500)]
    readings = Readings(lambda: 0, Windows([None, *falling]), lambda: 0.0)
    samples = [readings.fresh() for _ in range(501)]
    assert len(readings._peaks) <= 64
    for start in range(0, 500, 7):
        peak = readings.peak_since(samples[start].window)
        assert peak.resident_bytes >= falling[start][0]
        assert peak.exact == (peak.resident_bytes == falling[start][0]) or not peak.exact
    assert readings.peak_since(samples[499].window).exact


def test_without_a_high_water_mark_the_highest_look_counts_and_is_not_exact():
    resident = [10]
    readings = Readings(lambda: resident[0], None, lambda: 0.0)
    start = readings.fresh()
    resident[0] = 99
    assert readings.peek() == 99
    resident[0] = 20
    readings.fresh()
    peak = readings.peak_since(start.window)
    assert (peak.resident_bytes, peak.exact) == (99, False)


def test_the_real_meter_sees_what_came_and_went():
    windows = MeterWindows(PeakMeter())
    readings = Readings(lambda: 0, windows)
    start = readings.fresh()
    block = bytearray(64 << 20)
    size = len(block)
    del block
    readings.fresh()
    peak = readings.peak_since(start.window)
    windows.forget()
    assert peak.resident_bytes > size
    assert readings.fresh().window == 3
