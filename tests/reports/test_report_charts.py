from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_curves import CALLS, CALM, CURVES, INSTANCES, POINTS, UPLOAD, WHOLE, series, with_series
from report_examples import FACTS, LOAD

from meminstr.reports import scales
from meminstr.reports.histories import MOST, histories, sparkline
from meminstr.reports.json import schema
from meminstr.reports.model import Report
from meminstr.reports.plots import main_charts, more_charts
from meminstr.reports.scales import BYTES, Scale, shown
from meminstr.units import MIB
from meminstr.verdict import Finding, Interval, Verdict

LIMIT = 700 << 20
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
COLUMNS = st.lists(st.floats() | st.none() | st.integers(), max_size=12)


@given(
    st.one_of(JUNK, st.lists(st.fixed_dictionaries({"x": COLUMNS, "seconds": COLUMNS, "mean": COLUMNS}), max_size=3))
)
def test_a_damaged_history_is_left_out(junk) -> None:
    finding = Finding("f", "function", Verdict.LEAKING, "grew", extra={"series": junk})
    for history in histories(finding):
        assert len(history.x) == len(history.mean) >= 2
        assert all(map(math.isfinite, (*history.x, *history.mean, *history.low, *history.high)))
        assert list(history.x) == sorted(set(history.x))
    Report("now", findings=(finding,)).to_html()


def test_long_histories_are_thinned_and_keep_their_ends() -> None:
    long = [float(i) for i in range(1, 1900)]
    finding = with_series(
        UPLOAD, {"name": "heap", "unit": "byte", "x_unit": "call", "x": long, "seconds": long, "mean": long}
    )
    (history,) = histories(finding)
    assert len(history.x) <= MOST
    assert history.x[0] == 1.0
    assert history.x[-1] > 1880


def test_what_is_drawn_of_a_function() -> None:
    over_calls, over_time = main_charts(UPLOAD, LIMIT)
    assert '<b>C heap</b> <span class="soft">over calls' in over_calls
    assert "over time" in over_time
    assert "onset: call 1,500" in over_calls
    assert "horizon: 5,000 calls" in over_calls
    assert 'class="cone"' in over_calls
    assert 'class="forecast"' in over_calls
    assert 'class="band main"' in over_calls
    assert len(more_charts(UPLOAD, LIMIT)) == 1
    assert over_calls.count("data-name=") == 1


def test_onset_stands_at_its_call_and_at_its_time() -> None:
    over_calls, over_time = main_charts(UPLOAD, LIMIT)
    onset = re.compile(r'class="mark onset" .*?data-at="([\d.]+)"')
    assert float(onset.search(over_calls)[1]) == 1500.0
    assert float(onset.search(over_time)[1]) == 750.0  # half a second a call


def test_the_process_shows_limit_and_forecast_in_its_resident_memory() -> None:
    resident, heap, blocks = main_charts(WHOLE, LIMIT)
    assert "limit 700 MiB" in resident
    assert "limit" not in heap
    assert 'class="cone"' not in blocks
    low, high, kind = re.search(r'data-y="(\S+) (\S+) (\w+)"', resident).groups()
    assert kind == "bytes"
    assert float(low) < LIMIT < float(high)
    # too far above to be drawn: in words below the chart
    far = main_charts(WHOLE, 64 << 30)[0]
    assert '<p class="note">limit 64 GiB' in far
    assert 'class="mark limit"' not in far


def test_the_cone_leads_to_the_limit_where_it_is_near() -> None:
    resident = main_charts(replace(WHOLE, mb_per_hour=Interval(137.0, 120.0, 155.0)), LIMIT)[0]
    right = float(re.search(r'data-x="\S+ (\S+) seconds"', resident)[1])
    needed = (LIMIT - WHOLE.extra["series"][0]["mean"][-1]) / (137.0 * 2**20 / 3600)
    assert right > 3600 + needed


def test_instances_are_drawn_together_from_zero() -> None:
    over_calls, _ = main_charts(INSTANCES, LIMIT)
    assert 'data-name="alive after cleanup"' in over_calls
    assert 'data-name="alive"' in over_calls
    assert re.search(r'data-y="0.0 ', over_calls)
    assert "horizon: 500 constructions" in over_calls


def test_what_is_calm_has_no_forecast_and_its_charts_are_folded() -> None:
    charts = main_charts(CALM, LIMIT)
    assert not any('class="cone"' in chart or "onset" in chart for chart in charts)
    text = Report("now", FACTS, findings=(CALM,)).to_html()
    assert "<details><summary>Charts</summary>" in text
    assert 'class="spark"' in text


def test_a_horizon_far_ahead_is_told_below() -> None:
    young = with_series(
        UPLOAD, series("heap", "byte", "call", CALLS[:20], CALLS[:20], rate=(1.0, 0.9, 1.1), onset=75.0, horizon=1e6)
    )
    assert "the horizon of 1,000,000 calls lies ahead" in main_charts(young, None)[0]


def test_curves_in_the_page_have_the_points_of_the_report() -> None:
    text = CURVES.to_html()
    for points in re.findall(r'class="curve [^"]*" data-name="[^"]*" points="([^"]*)"', text):
        pairs = [tuple(map(float, pair.split(","))) for pair in points.split(" ")]
        assert len(pairs) == POINTS
        assert all(-0.1 <= x <= 1000.1 and -0.1 <= y <= 1000.1 for x, y in pairs)


def test_series_are_of_the_schema_and_bounded() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    validator.validate(CURVES.to_dict())
    data = json.loads(CURVES.to_json())
    assert Report.from_dict(data).to_html() == CURVES.to_html()
    entry = next(f for f in data["findings"] if "series" in f)["series"][0]
    entry["x"] = [float(i) for i in range(201)]
    assert not validator.is_valid(data)


def test_the_sparkline_of_a_finding() -> None:
    assert len(sparkline(CALM)) == POINTS
    assert sparkline(replace(CALM, extra={"history": [[0, 1], [1, 5]]})) == [1.0, 5.0]
    assert sparkline(replace(CALM, extra={})) == []


@given(st.sampled_from(["bytes", "count", "seconds"]), st.floats(0, 1e15), st.floats(1e-6, 1e15))
def test_ticks_are_round_few_and_inside(kind: str, low: float, width: float) -> None:
    scale = scales.spanning(low, low + width, kind, least=1.0)
    for about in (3, 4):
        ticks = scale.ticks(about)
        assert len(ticks) <= 2 * about + 3
        assert all(scale.low - 1e-6 * abs(scale.low) - 1e-6 <= t <= scale.high * (1 + 1e-6) + 1e-6 for t in ticks)
        assert all(scales.shown(t, kind) for t in ticks)


@pytest.mark.parametrize(
    ("rough", "kind", "step"),
    [
        (3.0, "count", 5.0),
        (0.3, "count", 1.0),
        (40.0, "seconds", 60.0),
        (0.03, "seconds", 0.05),
        (100_000.0, "seconds", 172_800.0),
        (3 << 20, "bytes", 5 << 20),
        (900 << 20, "bytes", 1 << 30),
    ],
)
def test_steps(rough: float, kind: str, step: float) -> None:
    assert scales.step_of(rough, kind) == pytest.approx(step)


def test_noise_is_no_mountain() -> None:
    scale = scales.spanning(1e9, 1e9 + 100, "bytes", least=5e7)
    assert scale.high - scale.low > 5e7
    assert scale.low < 1e9 < scale.high


def test_ticks_of_bytes_are_round_in_the_unit_of_their_labels():
    labels = [shown(at, BYTES) for at in Scale(30.6 * MIB, 32.4 * MIB, BYTES).ticks(4)]
    assert labels == ["31 MiB", "31.5 MiB", "32 MiB"]


def test_two_points_are_no_chart_yet():
    short = with_series(LOAD, series("heap", "byte", "call", [1.0, 2.0], [1e6, 1e6]))
    assert main_charts(short, None) == more_charts(short, None) == []
