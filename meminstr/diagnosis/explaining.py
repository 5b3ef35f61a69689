"""Evidence for a finding: who holds the survivors, where they were born, what grew, what to do about it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..evidence import advice, birth_sites, census, holders, newest
from ..evidence.expected_dead import Retained
from ..faults import note_fault
from ..registry import ControllerMemoryTracker
from ..subjects import ClassSubject, FunctionSubject
from ..units import format_duration
from ..verdict import Counts, Finding, Grown, Holder, Verdict

_SURVIVORS = 200
_OF_GROWTH = 0.03
_MOST = 0.5
_SUSPICIOUS = (Verdict.LEAKING, Verdict.GROWING)


def explain_class(
    finding: Finding, subject: ClassSubject, tracker: ControllerMemoryTracker, budget_seconds: float
) -> Finding:
    """Add holders (for any retained instance, whatever the verdict), birth sites, contexts and advice."""
    retained = bool(finding.counts and finding.counts.retained)
    if not retained and finding.verdict not in _SUSPICIOUS:
        return finding
    follower = subject.follower
    survivors = follower.retained_objects(_SURVIVORS) if retained else follower.live_objects(_SURVIVORS)
    try:
        groups = _holders(survivors, tracker, budget_seconds)
        living = subject.reservoir.living()
        return replace(
            finding,
            holders=groups,
            birth_sites=birth_sites.shares([row.site for row in living], most=3),
            contexts=birth_sites.tag_shares([row.tags for row in living], most=3),
            culprit_type=f"{follower.cls.__module__}.{follower.cls.__qualname__}",
            advice=advice.advise(groups[0] if groups else None, finding.memory_kind),
        )
    finally:
        survivors.clear()


def explain_function(
    finding: Finding,
    subject: FunctionSubject,
    tracker: ControllerMemoryTracker,
    budget_seconds: float,
    after: census.Census | None = None,
) -> Finding:
    """Add what grew since the first suspicion, who holds it, and advice.

    Args:
        finding: of the function, or of the process that grows with its calls.
        subject: the function.
        tracker: its tracker.
        budget_seconds: what may be spent.
        after: a census of now, taken before the report made objects of its own; None: taken here.
    """
    if finding.verdict not in _SUSPICIOUS:
        return finding
    grown: tuple[Grown, ...] = ()
    groups: tuple[Holder, ...] = ()
    everything: tuple[Grown, ...] = ()
    culprit = None
    before = subject.state.get("census") or tracker.first_census
    if before is not None:
        after = after or census.take(budget_seconds=budget_seconds / 4)
        # what grew much less than the blocks did is not what leaks: strings and C memory have no type to count
        least = max(10, int(_OF_GROWTH * _blocks_since(subject)))
        everything = census.compare(before, after, at_least=least, name_of=census.container_name)
        everything = tuple(g for g in everything if not g.name.startswith("meminstr."))
        culprit, grown = newest.culprit(everything), everything[:6]
        suspects = newest.examples(before, after, culprit) if culprit else []
        try:
            groups = _holders(suspects, tracker, budget_seconds) if suspects else ()
        finally:
            suspects.clear()
    kind = finding.memory_kind
    if kind == "native_heap" and _one_buffer(everything, subject):
        kind = "container_buffer"
    return replace(
        finding,
        memory_kind=kind,
        grown=grown,
        culprit_type=culprit,
        holders=groups,
        # without a path there is nothing to say of Python objects but what grew
        advice=advice.advise(groups[0] if groups else None, kind)
        if groups or kind != "python_objects"
        else None,
    )


def _one_buffer(everything: tuple[Grown, ...], subject: FunctionSubject) -> bool:
    """Whether containers that grew entry by entry account for most of the C heap's growth since the first census."""
    heap = subject.series["heap"]
    before = subject.state.get("census_heap")
    if before is None or heap.last is None:
        return False
    buffers = sum(g.bytes or 0 for g in everything if g.what == "container")
    return buffers >= _MOST * max(1.0, heap.last[2] - before)


def census_now(tracker: ControllerMemoryTracker) -> census.Census | None:
    """A census, if there is something to compare it with and a function that grew."""
    if not any(f.state.get("census") for f in list(tracker.functions.values())):
        return None
    return census.take(budget_seconds=0.25)


def _blocks_since(subject: FunctionSubject) -> float:
    last = subject.series["blocks"].last
    return max(0.0, last[2] - subject.state.get("census_blocks", last[2])) if last is not None else 0.0


def _holders(objects: list[Any], tracker: ControllerMemoryTracker, budget_seconds: float) -> tuple[Holder, ...]:
    if not objects:
        return ()
    try:
        found = holders.find_holders(objects, budget_seconds=budget_seconds, exclude=_ours(tracker))
        return tuple(found.groups[:5])
    except Exception as error:
        note_fault("finding holders", error)
        return ()


def _ours(tracker: ControllerMemoryTracker) -> Iterable[Any]:
    yield tracker
    yield tracker.__dict__
    for subject in tracker.subjects():
        yield subject
        yield subject.__dict__
        yield subject.state


def watched(tracker: ControllerMemoryTracker, budget_seconds: float) -> list[Finding]:
    """One finding for each reason and type of objects that were expected dead and live: `meminstr.watch`."""
    groups: dict[tuple[str, str], list[Retained]] = {}
    # a report settles the question at once, whatever the grace; the caller has collected
    for row in tracker.watchlist.settle(collect=False, now=math.inf):
        groups.setdefault((row.type, row.reason), []).append(row)
    found = []
    for (kind, reason), rows in groups.items():
        survivors = [obj for row in rows[:_SURVIVORS] if (obj := row.object) is not None]
        try:
            held = _holders(survivors, tracker, budget_seconds / len(groups))
        finally:
            survivors.clear()
        oldest = max(0.0, time.monotonic() - min(row.since for row in rows))
        many = "object that was" if len(rows) == 1 else "objects that were"
        found.append(
            Finding(
                subject=kind,
                subject_kind="type",
                verdict=Verdict.LEAKING,
                reason=f"{len(rows):,} {many} expected dead ({reason}) {'lives' if len(rows) == 1 else 'live'} still, "
                f"the oldest for {format_duration(oldest)}",
                memory_kind="python_objects",
                culprit_type=kind,
                holders=held,
                birth_sites=(),
                advice=advice.advise(held[0] if held else None, None),
                counts=Counts(retained=len(rows), alive=len(rows)),
            )
        )
    return found
