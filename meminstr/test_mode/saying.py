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
    "blocks": "Python blocks",
    "heap": "the C heap",
    "descriptors": "open descriptors",
    "threads": "threads",
    "mapped": "memory mapped outside of the C heap",
}

_UNSURE = 0.1
"""Of the size of a block: the calls that were traced are few."""


def reason(judged: Judgement, readings: Readings) -> str:
    """The figures that make it a leak, in one sentence."""
    name = _SIGNAL_OF.get(judged.memory_kind or "", "blocks")
    values, calls = readings.column(name), readings.calls()
    if len(values) < 2:
        return judged.reason
    gained, made = values[-1] - values[0], int(calls[-1] - calls[0])
    rose = sum(b > a for a, b in pairwise(values))
    each = amount(gained / made, UNITS[name]) if gained >= made else f"1 {UNITS[name]} in {made / gained:,.0f} calls"
    return (
        f"{_WORDS[name]} grew by {amount(gained, UNITS[name])} in {format_count(made)} calls ({each}), in {rose} of "
        f"{len(values) - 1} readings behind a collection each, with no end in sight"
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
