"""From a judgement to a `Finding` with the units people use: bytes per call, MiB per hour, time to the limit.  Pure."""

from __future__ import annotations

import math
import statistics
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from ..judgement import Judgement, eta
from ..snapshot import Snapshot, SubjectRecord
from ..units import MIB
from ..verdict import Counts, Finding, Interval, OneTimeGrowth, Verdict
from .reckoning import PROCESS, Reckoned

_SMALL_BLOCK = Interval(64.0, 16.0, 512.0)
"""Bytes of a small-object block of which nothing more is known: pymalloc's size classes span these limits."""

_LARGEST_SMALL = 512.0
"""Bytes: a larger block is the C heap's."""

_RESIDENT_TELLS = MIB


@dataclass(frozen=True, slots=True)
class Room:
    """What is left to the limit, in bytes; None when there is no limit or no reading."""

    bytes: int | None
    limit_bytes: int | None


def finding_of(
    reckoned: Reckoned,
    snapshot: Snapshot,
    room: Room,
    *,
    counts: Counts | None = None,
    instance_bytes: float = 0.0,
    cleanup: str | None = None,
) -> Finding:
    """The numbers of one finding; holders and sites are added by `explaining`.

    Args:
        reckoned: the judged subject.
        snapshot: where it was recorded.
        room: what is left to the limit.
        counts: a class's life counts.
        instance_bytes: mean owned size of a class's survivors.
        cleanup: name of the method after which a class's instance should soon be gone.
    """
    record, judged = reckoned.record, reckoned.judgement
    if record is None:
        return _process_finding(reckoned, snapshot, room)
    per_call = _bytes_per_call(record, judged, counts, instance_bytes)
    blocks = judged.rates.get("blocks") if record.kind != "class" else None
    live = live_rate(record, judged)
    grows = judged.verdict in (Verdict.LEAKING, Verdict.GROWING)
    per_second = _calls_per_second(record)
    left = None
    if grows and per_call is not None and room.bytes is not None:
        left = eta(per_call, room.bytes, per_second)
    return Finding(
        subject=record.name,
        subject_kind=record.kind,
        verdict=judged.verdict,
        reason=_reason(reckoned),
        memory_kind=judged.memory_kind,
        calls=record.calls,
        onset_call=None if judged.onset_x is None or not grows else int(judged.onset_x),
        one_time_growth=_one_time(reckoned),
        bytes_per_call=per_call if grows else None,
        blocks_per_call=blocks if grows else None,
        live_per_call=live if grows else None,
        mb_per_1000=per_call.value * 1000 / MIB if grows and per_call is not None else None,
        mb_per_hour=per_call.scaled(per_second * 3600 / MIB) if grows and per_call is not None else None,
        eta_seconds=left,
        excluded_bytes_per_call=None if grows else _excluded(judged, record, instance_bytes),
        counts=counts,
        signals=tuple(f"{s.name} ({s.source})" if s.source else s.name for s in judged.signals),
        extra=_extra(reckoned, cleanup),
    )


def _process_finding(reckoned: Reckoned, snapshot: Snapshot, room: Room) -> Finding:
    judged = reckoned.judgement
    grows = judged.verdict in (Verdict.LEAKING, Verdict.GROWING)
    view = snapshot.process.get("resident")
    rate = judged.rates.get("heap") or judged.rates.get("resident")
    # a growth found beside a function counts that function's calls, not seconds: no rate by the hour from it
    by_second = "outside of them" not in judged.reason
    return Finding(
        subject=PROCESS,
        subject_kind=PROCESS,
        verdict=judged.verdict,
        reason=judged.reason,
        memory_kind=judged.memory_kind,
        one_time_growth=None,
        mb_per_hour=rate.scaled(3600 / MIB) if grows and by_second and rate is not None else None,
        eta_seconds=(
            eta(rate, room.bytes, 1.0) if grows and by_second and rate is not None and room.bytes is not None else None
        ),
        signals=tuple(f"{s.name} ({s.source})" if s.source else s.name for s in judged.signals),
        extra={} if view is None else {"history": history(view.x, view.mean)},
    )


def _reason(reckoned: Reckoned) -> str:
    reason = reckoned.judgement.reason
    note = reckoned.record.note if reckoned.record is not None else None
    return "; ".join((reason, *reckoned.notes, *((note,) if note else ())))


def _one_time(reckoned: Reckoned) -> OneTimeGrowth | None:
    quiet = reckoned.judgement.verdict in (Verdict.CLEAN, Verdict.WARMING_UP, Verdict.INCONCLUSIVE)
    return reckoned.one_time if quiet and not reckoned.outside else None


def _extra(reckoned: Reckoned, cleanup: str | None) -> dict[str, object]:
    record = reckoned.record
    out: dict[str, object] = {}
    if record is None:
        return out
    if cleanup is not None:
        out["cleanup"] = cleanup
    if record.failures:
        out["failures_of_sampled_calls"] = record.failures
    out["samples"] = record.samples
    view = record.series.get("live") or record.series.get("blocks") or record.series.get("resident")
    if view is not None and len(view) > 1:
        out["history"] = history(view.x, view.mean)
    return out


def history(x: Iterable[float], y: Iterable[float]) -> list[array[float]]:
    """Pairs for a small chart.

    Arrays, not lists: a report is sized by copying it (`Sampler.give_away`), and a copied list shares its numbers.
    """
    return [array("d", (round(a, 3), round(b, 1))) for a, b in zip(x, y, strict=True)]


def _bytes_per_call(
    record: SubjectRecord, judged: Judgement, counts: Counts | None, instance_bytes: float
) -> Interval | None:
    if record.kind == "class":
        live = live_rate(record, judged)
        return None if live is None or not instance_bytes else live.scaled(instance_bytes)
    blocks, heap, resident = (judged.rates.get(n) for n in ("blocks", "heap", "resident"))
    if blocks is None and heap is None:
        return resident
    slopes = {s.name: s.rate for s in judged.signals}
    heap_value = _positive(heap if heap is not None else slopes.get("heap"))
    if blocks is None or blocks.value <= 0:
        return heap_value
    if heap is None:
        # what cannot be read, or has shown no limits yet, is not nought: no upper limit follows from the blocks alone
        known = _block_size(record, slopes.get("blocks") or blocks, heap_value, resident)
        least = max(0.0, blocks.low or 0.0) * (known.low or 0.0)
        return Interval(heap_value.value + blocks.value * known.value, least, None)
    size = _block_size(record, slopes.get("blocks") or blocks, _positive(slopes.get("heap")), resident)
    # a block beyond the small sizes lies in the C heap and is counted there too: of the blocks only those are sure to
    # be small that the heap's growth leaves over, and where it could hold them all nothing tells which they are
    least = max(0.0, (blocks.low or 0.0) - (heap_value.high or 0.0) / _LARGEST_SMALL)
    doubtful = 0.5 if heap_value.value > blocks.value * _LARGEST_SMALL else 1.0
    return Interval(
        heap_value.value + blocks.value * size.value * doubtful,
        (heap_value.low or 0.0) + least * (size.low or 0.0),
        (heap_value.high or 0.0) + max(0.0, blocks.high or blocks.value) * (size.high or size.value),
    )


def live_rate(record: SubjectRecord, judged: Judgement) -> Interval | None:
    """Instances per construction, now.

    Counts are exact, so the later half of the slots' means over the slots' middles gives the slope; the judge's own, of
    the slots' least values over their ends, is biased where slots widen (a sampler short of budget).
    """
    if record.kind != "class":
        return None
    name = "retained" if "retained" in judged.rates else "live"
    judge, view = judged.rates.get(name), record.series.get(name)
    if judge is None or view is None or len(view) < 4:
        return judge
    middles = [(a + b) / 2 for a, b in zip(view.begin, view.x, strict=True)]
    half = len(middles) // 2
    x, y = middles[half:], list(view.mean[half:])
    slope = statistics.linear_regression(x, y).slope if len(set(x)) > 1 else judge.value
    low = slope if judge.low is None else min(judge.low, slope)
    high = slope if judge.high is None else max(judge.high, slope)
    if judge.low is not None and judge.high is not None and judge.high - judge.low < 0.1 * abs(slope):
        # deterministic but for the bias above: the interval is that of the means
        spread = abs(slope - judge.value)
        low, high = slope - min(spread, 0.005 * abs(slope)), slope + min(spread, 0.005 * abs(slope))
    return Interval(slope, low, high)


def _positive(rate: Interval | None) -> Interval:
    if rate is None or rate.value <= 0:
        return Interval(0.0, 0.0, max(0.0, rate.high or 0.0) if rate else 0.0)
    return Interval(rate.value, max(0.0, rate.low or 0.0), rate.high if rate.high is not None else rate.value)


def _block_size(record: SubjectRecord, blocks: Interval, heap: Interval, resident: Interval | None) -> Interval:
    """Mean bytes of a leaked block: from the resident set where it grew enough to tell, else the size classes."""
    view = record.series.get("resident")
    if resident is not None and view is not None and len(view) > 1 and blocks.value > 0:
        grown = view.mean[-1] - view.mean[len(view) // 2]
        if grown > _RESIDENT_TELLS:
            size = (resident.value - heap.value) / blocks.value
            if 16 <= size <= 512:
                wide = 1.25 if grown > 4 * _RESIDENT_TELLS else 1.5
                # the small difference of two large figures is as uncertain as these are
                doubt = _half_width(resident) + _half_width(heap)
                least, most = size / wide - doubt / blocks.value, size * wide + doubt / blocks.value
                return Interval(size, max(least, _SMALL_BLOCK.low or 0.0), min(most, _LARGEST_SMALL))
    return _SMALL_BLOCK


def _half_width(rate: Interval) -> float:
    low, high = rate.low, rate.high
    return math.inf if low is None or high is None else (high - low) / 2


def _excluded(judged: Judgement, record: SubjectRecord, instance_bytes: float) -> float | None:
    """Bytes per call of the smallest leak that the histories exclude: the sum over what each signal would miss."""
    if judged.verdict is Verdict.INSUFFICIENT_DATA:
        return None
    by_name = {s.name: s.excluded_rate for s in judged.signals}
    if record.kind == "class":
        rate = by_name.get("live")
        return None if rate is None or not instance_bytes else rate * instance_bytes
    exact = [by_name[name] for name in ("blocks", "heap") if name in by_name]
    if not exact:
        return by_name.get("resident")
    if None in exact:
        return None
    # blocks of the largest small size: a bound that assumes less would be broken by a leak of larger ones
    return (by_name.get("blocks") or 0.0) * _LARGEST_SMALL + (by_name.get("heap") or 0.0)


def _calls_per_second(record: SubjectRecord) -> float:
    views = [v for v in record.series.values() if len(v) > 1]
    if not views:
        return 0.0
    view = max(views, key=len)
    seconds = view.t[-1] - (view.first[1] if view.first else view.t[0])
    calls = view.x[-1] - (view.first[0] if view.first else view.x[0])
    return calls / seconds if seconds > 0 else 0.0
