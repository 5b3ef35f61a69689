"""`report`: the verdicts of everything instrumented, with their evidence, as a `Report`."""

from __future__ import annotations

import gc
import os
import platform
import socket
import sys
import time
from datetime import UTC, datetime
from typing import Any

from ..class_subject import ClassSubject
from ..errors import MeminstrError, UsageError
from ..evidence.baseline import load, mark_finding
from ..evidence.census import Census
from ..faults import faults, note_fault
from ..forks import cannot_finish, loading
from ..probes import process_meter
from ..probes.container import tightest_limit
from ..registry import ControllerMemoryTracker
from ..reports.model import Cost, ProcessFacts, Report
from ..seed_counts import each_bytes
from ..settings import current
from ..snapshot import Snapshot
from ..verdict import Finding, Verdict
from . import looking, tracing
from .confirming import dead_of
from .containers import bounded_fill
from .explaining import census_now, explain_class, explain_function, explain_process, watched
from .figures import Room, finding_of
from .histories import SUBJECTS, with_series
from .reckoning import Reckoned, reckon, settled
from .taking import record_of, take

_BLOCKS_PER_OBJECT = 4.0


def report(
    diagnose: bool | str = True, baseline: Any = None, *, tracker: ControllerMemoryTracker | None = None
) -> Report:
    """Judge everything instrumented so far.

    Args:
        diagnose: collect garbage first (unless the program switched the collector off), so that what has outlived its
            cleanup is known to be retained; and look for holders, birth sites and what grew, within the settings'
            ``diagnose_seconds``.  False: figures and verdicts only, in milliseconds.  ``"allocations"``: also trace
            allocations from here on, for a bounded time; asked for once more, the lines that kept memory are in
            ``allocation_sites`` of the findings (see `diagnosis.tracing`).
        baseline: path of a file of accepted fingerprints; holders in it are marked ``known``.
        tracker: whose subjects (default: `meminstr.tracker`).

    Returns:
        A `Report`: print it, or ask it for `findings`, `leaks`, `to_json`, `to_html`.

    Raises:
        UsageError: a baseline that cannot be read, a tracker that is none, or an unknown kind of diagnosis.
        MeminstrError: in a child that was forked while another thread imported: loading the analysis might never end.
    """
    if not looking.can_judge():
        names = ", ".join(sorted(cannot_finish()))
        raise MeminstrError(
            f"no report in this process: it was forked while another thread imported {names}, which never ends here; "
            "import that before the fork, or call meminstr.report() once"
        )
    if not isinstance(diagnose, bool) and diagnose != tracing.ALLOCATIONS:
        raise UsageError(f'diagnose={diagnose!r} is not allowed: True, False or "allocations" is')
    if tracker is None:
        from ..registry import tracker as the_global_one

        tracker = the_global_one
    if not isinstance(tracker, ControllerMemoryTracker):
        raise UsageError(f"tracker={tracker!r} is not allowed: a ControllerMemoryTracker, or None")
    known = _baseline(baseline)
    sites = tracing.read(tracker, at_once=diagnose == tracing.ALLOCATIONS) if diagnose else None
    # read before the collection: all samples so far hold what awaits one, and a last sample without it would look like
    # growth given back
    reading = tracker.read_now()
    freed: dict[str, float] = {}
    dead: dict[str, dict[str, float]] = {}
    collected = bool(diagnose) and gc.isenabled()
    if collected:
        # a program that switched its collector off keeps its cycles: collecting them would change what it does
        tracker.sampler.empty_free_lists()
        unreachable = gc.collect()
        dead = dead_of(tracker)
        after = tracker.sampler.now()
        freed = {name: reading[name] - after[name] for name in ("blocks", "heap") if name in reading and name in after}
        # a full collection empties free lists too, a thousand blocks or more: what it gave back was garbage only as far
        # as it found objects
        freed["blocks"] = min(freed.get("blocks", 0.0), _BLOCKS_PER_OBJECT * unreachable)
        if not unreachable:
            freed["heap"] = 0.0
    with loading, tracker.sampler.not_ours("reporting"):  # a fork waits for it; see `looking.look`
        made = _report(tracker, reading, bool(diagnose), freed, dead, known)
        begins = diagnose == tracing.ALLOCATIONS and sites is None
        made = tracing.attached(made, sites, begins)
    tracker.sampler.give_away(made)  # after the bracket: inside, its second reading would take it for growth
    if begins:
        tracing.begin(tracker)
    return made


def _report(
    tracker: ControllerMemoryTracker,
    reading: dict[str, float],
    diagnose: bool,
    freed: dict[str, float],
    dead: dict[str, dict[str, float]],
    known: frozenset[str],
) -> Report:
    settings = current()
    began = time.perf_counter()
    fills = {}
    if diagnose:
        for subject in list(tracker.functions.values()):
            try:
                if subject.state.get("containers") is not None:
                    fill = bounded_fill(subject, record_of(subject, tracker.sampler.clock()))
                    if fill is not None:
                        fills[subject.name] = fill
            except Exception as error:
                note_fault(f"containers of {subject.name}", error)
    after = census_now(tracker) if diagnose else None
    snapshot = take(tracker, reading)
    limit = tightest_limit()
    resident = reading.get("resident")
    left = max(0, limit.bytes - int(resident)) if limit is not None and resident is not None else None
    room = Room(left, limit.bytes if limit is not None else None)
    latched = {name: leak for name, f in list(tracker.functions.items()) if (leak := f.state.get("leak")) is not None}
    reckoning = reckon(snapshot, horizon=settings.horizon, fills=fills, freed=freed, dead=dead, latched=latched)
    for one in reckoning.subjects:
        fill = fills.get(one.record.name) if one.record is not None else None
        full = fill is not None and not fill.remaining
        if one.record is not None and full and one.judgement.verdict is Verdict.WARMING_UP:
            tracker.functions[one.record.name].restart()  # the growth so far was the cache's, what comes is not
    findings: list[Finding] = []
    ends = time.perf_counter() + settings.diagnose_seconds
    for one in sorted([*reckoning.subjects, reckoning.process], key=lambda r: -r.judgement.verdict.severity):
        finding = _finding(tracker, settled(one), snapshot, room)
        if diagnose and (len(findings) < SUBJECTS or one.record is None):
            finding = with_series(finding, one, snapshot.process, settings.horizon, tracker.sampler.started)
        if diagnose:
            # half of what is left to each, so that a hard one does not leave the others without
            finding = _explained(tracker, finding, max(0.1, (ends - time.perf_counter()) / 2), after, one.through)
        findings.append(mark_finding(finding, known))
    if diagnose:
        found = watched(tracker, max(0.05, ends - time.perf_counter()))
        findings += [mark_finding(finding, known) for finding in found]
    cost_seconds = tracker.sampler.cost_seconds()
    cpu = max(1e-9, tracker.cpu_seconds())
    return Report(
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        process=ProcessFacts(
            pid=os.getpid(),
            host=socket.gethostname(),
            python=f"{platform.python_implementation()} {platform.python_version()}",
            command=_command(),
            started_at=datetime.fromtimestamp(tracker.started_wall, UTC).isoformat(timespec="milliseconds"),
            resident_bytes=None if resident is None else int(resident),
            peak_bytes=_peak(),
            limit_bytes=room.limit_bytes,
            signals=tracker.sampler.sources(),
        ),
        cost=Cost(
            seconds=round(cost_seconds, 6),
            share_of_cpu=round(min(1.0, cost_seconds / cpu), 6),
            bytes=tracker.size_bytes(),
        ),
        findings=tuple(findings),
        errors=tuple(faults()),
        breaches=tuple(tracker.breaches),
        extra=_extra(tracker, bool(freed), time.perf_counter() - began, after),
    )


def _finding(tracker: ControllerMemoryTracker, one: Reckoned, snapshot: Snapshot, room: Room) -> Finding:
    name = one.record.name if one.record is not None and one.record.kind == "class" else None
    subject = tracker.classes.get(name) if name is not None else None
    if subject is None:
        return finding_of(one, snapshot, room)
    survivors = subject.follower.live_objects(20)
    try:
        each = each_bytes(survivors)
    except Exception as error:
        note_fault(f"sizing {name}", error)
        each = 0.0
    finally:
        survivors.clear()
    follower = subject.follower
    cleanup = follower.cleanup_names[0] if follower.cleanup_names else None
    return finding_of(one, snapshot, room, counts=follower.counts(), instance_bytes=each, cleanup=cleanup)


def _explained(
    tracker: ControllerMemoryTracker,
    finding: Finding,
    budget_seconds: float,
    after: Census | None,
    through: str | None,
) -> Finding:
    try:
        subject: Any
        if finding.subject_kind == "class":
            subject = tracker.classes.get(finding.subject)
            if isinstance(subject, ClassSubject):
                return explain_class(finding, subject, tracker, budget_seconds)
        elif finding.subject_kind != "process" or through is not None:
            subject = tracker.functions.get(finding.subject if through is None else through)
            if subject is not None:
                return explain_function(finding, subject, tracker, budget_seconds, after)
        elif finding.subject_kind == "process":
            return explain_process(finding, tracker, budget_seconds, after)
    except Exception as error:
        note_fault(f"explaining {finding.subject}", error)
    return finding


def _peak() -> int | None:
    try:
        return process_meter.lifetime_bytes()
    except Exception as error:
        note_fault("peak of the process", error)
        return None


def _baseline(path: Any) -> frozenset[str]:
    if path is None:
        return frozenset()
    return load(path)


def _command() -> str | None:
    # the program's own name only: arguments may carry secrets
    argv = getattr(sys, "orig_argv", None) or sys.argv
    program = argv[1:3] if argv[1:2] == ["-m"] else argv[1:2]
    return " ".join([os.path.basename(sys.executable or "python"), *program]) if argv else None


def _extra(tracker: ControllerMemoryTracker, collected: bool, seconds: float, counted: Census | None) -> dict[str, Any]:
    """Facts beside the contract; those that a person should read are sentences in ``notes``, which the text prints."""
    sampler = tracker.sampler
    extra: dict[str, Any] = {
        "collected": collected,
        # beside ``cost``, which is what samples and looks took: paid once, and paid by whoever asks for a report
        "loading_seconds": round(sampler.loading_seconds, 6),
        "reporting_seconds": round(sampler.reporting_seconds + seconds, 6),
    }
    notes = []
    if tracker.parent_pid is not None:
        extra["forked_from"] = tracker.parent_pid
        notes.append(f"forked from process {tracker.parent_pid}: counts and histories begin at the fork")
    if tracker.dropped:
        extra["subjects_dropped"] = tracker.dropped
        notes.append(
            f"{tracker.dropped:,} functions or classes are not followed: there is room for "
            f"{tracker.max_subjects:,} (setting max_subjects)"
        )
    if tracker.breach_count > len(tracker.breaches):
        extra["breaches_in_all"] = tracker.breach_count
        notes.append(f"{tracker.breach_count:,} limits were broken in all; the first and the latest of them are kept")
    if counted is not None and counted.note is not None:
        notes.append(f"what grew is told in part: {counted.note}")
    if not tracker.enabled:
        notes.append("sampling is switched off (disable): histories end where it was")
    if notes:
        extra["notes"] = notes
    return extra
