"""Evidence for a finding: who holds the survivors, where they were born, what grew, what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..evidence import advice, birth_sites, census, holders
from ..faults import note_fault
from ..registry import ControllerMemoryTracker
from ..subjects import ClassSubject, FunctionSubject
from ..verdict import Finding, Grown, Holder, Verdict

_SURVIVORS = 200
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
        sites, contexts = birth_sites.of_survivors(subject.name, survivors)
        return replace(
            finding,
            holders=groups,
            birth_sites=sites,
            contexts=contexts,
            culprit_type=f"{follower.cls.__module__}.{follower.cls.__qualname__}",
            advice=advice.advise(groups[0] if groups else None, finding.memory_kind),
        )
    finally:
        survivors.clear()


def explain_function(
    finding: Finding, subject: FunctionSubject, tracker: ControllerMemoryTracker, budget_seconds: float
) -> Finding:
    """Add what grew since the first suspicion, who holds it, and advice."""
    if finding.verdict not in _SUSPICIOUS:
        return finding
    grown: tuple[Grown, ...] = ()
    groups: tuple[Holder, ...] = ()
    culprit = None
    before = subject.state.get("census")
    if before is not None:
        after = census.take(budget_seconds=budget_seconds / 4)
        grown = census.compare(before, after)[:5]
        culprit = next((g.name for g in grown if g.what == "type"), None)
        newest = census.examples(before, after, culprit) if culprit else []
        try:
            groups = _holders(newest, tracker, budget_seconds) if newest else ()
        finally:
            newest.clear()
    return replace(
        finding,
        grown=grown,
        culprit_type=culprit,
        holders=groups,
        advice=advice.advise(groups[0] if groups else None, finding.memory_kind),
    )


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
