"""A process that is too young to be judged as a whole says so, whatever its first seconds look like."""

import pytest

from meminstr.diagnosis.reckoning import reckon
from meminstr.series import Series
from meminstr.snapshot import Snapshot
from meminstr.verdict import Verdict


def process(seconds, shape):
    series = Series()
    for i in range(400):
        series.add(seconds * i / 400, seconds * i / 400, 100_000.0 + shape(i / 400))
    return Snapshot(float(seconds), {}, {"blocks": series.view()}, {}, ())


SHAPES = [lambda share: 50_000 * share, lambda share: 50_000 * (1 - 2.0 ** (-5 * share))]


@pytest.mark.parametrize("shape", SHAPES, ids=["steady", "saturating"])
def test_a_young_process_is_not_said_to_saturate_or_to_grow(shape):
    found = reckon(process(6, shape)).process.judgement
    assert found.verdict is Verdict.WARMING_UP
    assert found.reason.startswith("too young to be judged as a whole (6.0 s of 1 min), so go by the subjects; so far ")


def test_an_older_one_is():
    assert reckon(process(120, SHAPES[0])).process.judgement.verdict is Verdict.GROWING
    found = reckon(process(120, SHAPES[1])).process.judgement
    assert "too young" not in found.reason
