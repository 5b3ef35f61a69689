"""What a trial says of a leak: one sentence of figures, and the lines of the error.  Pure."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from ..judgement import Judgement
from ..sentences import amount
from ..units import MIB, format_count
from ..verdict import Finding, Interval, Verdict
from .readings import UNITS, Readings

_SIGNAL_OF = {
    "python_objects": "blocks",
    "native_heap": "heap",
    "container_buffer": "heap",
    "descriptors": "descriptors",
    "threads": "threads",
    "mapping": "mapped",
}
_WORDS = {
    "blocks": "Python objects and buffers",
    "heap": "the C heap",
    "descriptors": "open descriptors",
    "threads": "running threads",
    "mapped": "memory mapped outside of the C heap",
}

_UNSURE = 0.1
"""Of the size of a block: the calls that were traced are few."""


def accused(finding: Finding, judged: Judgement, readings: Readings) -> Finding:
    """The finding of a leak, with the figures that make it one in one sentence."""
    begin = readings.calls()[1] if readings.count > readings.begin + 1 else 0.0
    onset = finding.onset_call if finding.onset_call is not None and finding.onset_call > begin else None
    each = judged.rates.get("mapped") if judged.memory_kind == "mapping" else finding.bytes_per_call
    return replace(
        finding, verdict=Verdict.LEAKING, reason=_reason(judged, readings), onset_call=onset, bytes_per_call=each
    )


def _reason(judged: Judgement, readings: Readings) -> str:
    name = _SIGNAL_OF.get(judged.memory_kind or "", "blocks")
    begin = readings.begin if readings.count > readings.begin + 1 else 0
    values, calls = readings.column(name, begin), readings.calls(begin)
    gained, made = values[-1] - values[0], int(calls[-1] - calls[0])
    if gained <= 0 or made <= 0:
        return judged.reason
    unit, rose = UNITS[name], sum(b > a for a, b in pairwise(values))
    each = f"{amount(gained / made, unit)} a call" if gained >= made else f"one {unit} in {made / gained:.3g} calls"
    return (
        f"{_WORDS[name]}: +{amount(gained, unit)} in {format_count(made)} calls, {each}; up in {rose} of "
        f"{len(values) - 1} readings, behind a collection each, with no end in sight"
    )


def out_of(name: str, judged: Judgement) -> Judgement:
    """The judgement of a function that takes so much with each call that there was no room for more of them."""
    kind = {signal: kind for kind, signal in _SIGNAL_OF.items() if kind != "container_buffer"}[name]
    return replace(judged, verdict=Verdict.LEAKING, memory_kind=kind)


def with_block_bytes(finding: Finding, each: float | None, heap: Interval | None) -> Finding:
    """The finding with its bytes per call by the size of the blocks that were seen to be kept.

    Args:
        each: bytes outside of the C heap for each block, None when not known.
        heap: what the C heap gains per call.
    """
    blocks = finding.blocks_per_call
    if each is None or blocks is None or finding.bytes_per_call is None or finding.memory_kind != "python_objects":
        return finding
    value, low, high = (
        max(0.0, (heap.value if of is None else of) if heap is not None else 0.0) + max(0.0, count) * each * factor
        for of, count, factor in (
            (None, blocks.value, 1.0),
            (heap.low if heap else None, blocks.value if blocks.low is None else blocks.low, 1 - _UNSURE),
            (heap.high if heap else None, blocks.value if blocks.high is None else blocks.high, 1 + _UNSURE),
        )
    )
    hour = finding.mb_per_hour
    if hour is not None and finding.bytes_per_call.value > 0:
        by_call = hour.value / finding.bytes_per_call.value
        hour = Interval(value, low, high).scaled(by_call)
    return replace(finding, bytes_per_call=Interval(value, low, high), mb_per_1000=value * 1000 / MIB, mb_per_hour=hour)


def message(finding: Finding) -> str:
    """The lines of the error, as in a report."""
    from ..reports.text import finding_lines

    return "\n".join(finding_lines(finding, width=100))
