"""Evidence for a finding: who holds the survivors, where they were born, what grew, what to do about it."""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..class_subject import ClassSubject
from ..evidence import advice, birth_sites, census, growth, holders
from ..evidence.expected_dead import Retained
from ..faults import note_fault
from ..registry import ControllerMemoryTracker
from ..subjects import FunctionSubject
from ..units import format_duration
from ..verdict import Counts, Finding, Holder, Verdict
from . import censuses
from .containers import census_seconds

_SURVIVORS = 1_000
_NATIVE = ("native_heap", "mapping", "container_buffer")
_MOST = 0.5
"""Of the growth, from which the containers' own memory is what grew."""
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
            birth_sites=birth_sites.shares([(row.site, row.weight) for row in living], most=3),
            contexts=birth_sites.tag_shares([(row.tags, row.weight) for row in living], most=3),
            culprit_type=f"{follower.cls.__module__}.{follower.cls.__qualname__}",
            advice=advice.advise(groups[0] if groups else None, finding.memory_kind, program=_program()),
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
    before = subject.state.get("census") or tracker.first_census
    return _with_growth(finding, before, after, tracker, budget_seconds, subject)


def explain_process(
    finding: Finding,
    tracker: ControllerMemoryTracker,
    budget_seconds: float,
    after: census.Census | None = None,
) -> Finding:
    """The same of a process that grows without a function or class to accuse.

    Where nothing is instrumented, what grew is told of one too young to be judged as well: there is nothing else.
    """
    young = finding.verdict in (Verdict.WARMING_UP, Verdict.INSUFFICIENT_DATA)
    alone = young and not any(tracker.subjects())
    if finding.verdict not in _SUSPICIOUS and not alone:
        return finding
    explained = _with_growth(finding, censuses.earlier(tracker), after, tracker, budget_seconds)
    if alone and finding.verdict is Verdict.INSUFFICIENT_DATA:
        explained = replace(explained, advice=None)  # what a program of seconds gathers may be what it is for
    return explained if explained.grown or not alone else finding


def _with_growth(
    finding: Finding,
    before: census.Census | None,
    after: census.Census | None,
    tracker: ControllerMemoryTracker,
    budget_seconds: float,
    subject: FunctionSubject | None = None,
) -> Finding:
    found = growth.Growth()
    kind = finding.memory_kind
    if before is not None:
        calls = max(0, (finding.calls or 0) - (finding.onset_call or 0))
        heap = _gained(subject, "heap") if subject is not None else _gained_by_process(tracker, before, "heap")
        found = growth.explain(
            before,
            after or census.take(budget_seconds=budget_seconds / 4),
            calls=calls,
            blocks=_gained(subject, "blocks") if subject is not None else _gained_by_process(tracker, before, "blocks"),
            size=heap,
            native=kind in _NATIVE,
            middles=censuses.since(tracker, before),
            budget_seconds=budget_seconds * 0.7,
            exclude=list(_ours(tracker)),
        )
        if kind in _NATIVE and found.container_bytes > max(1.0, _MOST * heap):
            kind = "container_buffer"
        elif kind in _NATIVE and found.holders:
            kind = "python_objects"  # in the C heap because they are large, but Python holds them
    groups = found.holders
    return replace(
        finding,
        memory_kind=kind,
        grown=found.grown,
        culprit_type=found.culprit,
        holders=groups,
        # without a path there is nothing to say of Python objects but what grew
        advice=advice.advise(groups[0] if groups else None, kind, found.culprit, _program())
        if groups or kind != "python_objects"
        else None,
    )


def census_now(tracker: ControllerMemoryTracker) -> census.Census | None:
    """A census, if there is something to compare it with and a function that grew."""
    functions = list(tracker.functions.values())
    if not any(f.state.get("census") for f in functions) and (functions or censuses.earlier(tracker) is None):
        return None
    return census.take(budget_seconds=max(0.25, census_seconds()), clock=time.thread_time)


def _program() -> str | None:
    """What to type after ``python`` to start this program again; its arguments are left out, they may be secrets."""
    name = getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", None)
    if isinstance(name, str):
        started = "-m " + name.removesuffix(".__main__")
    elif sys.argv and sys.argv[0] not in ("", "-", "-c"):
        started = shlex.quote(os.path.basename(sys.argv[0]))
    else:
        return None
    return started + (" ARGUMENTS" if len(sys.argv) > 1 else "")


def _gained(subject: FunctionSubject, signal: str) -> float:
    """What a signal gained since the census that was taken at the first suspicion."""
    last = subject.series[signal].last
    return max(0.0, last[2] - subject.state.get(f"census_{signal}", last[2])) if last is not None else 0.0


def _gained_by_process(tracker: ControllerMemoryTracker, before: census.Census, signal: str) -> float:
    """What the process gained since a census that noted where it stood; 0 where it did not."""
    series = tracker.sampler.series.get(signal)
    if series is None or series.last is None or signal not in before.marks:
        return 0.0
    return max(0.0, series.last[2] - before.marks[signal])


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
                extra={"expected_dead": reason},
                culprit_type=kind,
                holders=held,
                birth_sites=(),
                advice=advice.advise(held[0] if held else None, None),
                counts=Counts(retained=len(rows), alive=len(rows)),
            )
        )
    return found
