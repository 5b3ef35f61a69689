"""The sentences of a report: figures of a finding in words, for text and HTML alike.

Every name that came from the program has passed `escape.safe` when it leaves here; a figure and its unit are
tied by a no-break space.  Layout, colour and markup are left to the renderers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ..units import MIB, format_bytes, format_count, format_duration
from ..verdict import BirthSite, Counts, Finding, Holder, Interval, Verdict
from .escape import NBSP, safe
from .record import Record

WORDS = {
    Verdict.LEAKING: "LEAKING",
    Verdict.GROWING: "GROWING",
    Verdict.WARMING_UP: "WARMING UP",
    Verdict.INCONCLUSIVE: "INCONCLUSIVE",
    Verdict.INSUFFICIENT_DATA: "INSUFFICIENT DATA",
    Verdict.CLEAN: "CLEAN",
}

_MEMORY = {
    "python_objects": "Python objects",
    "native_heap": "native heap: memory that C code allocated, or large buffers",
    "mapping": "memory mapped outside the allocators",
    "container_buffer": "the buffer of a container that grows",
    "fragmentation": "fragmentation: free memory that the allocator cannot give back",
    "descriptors": "open files or sockets",
    "tasks": "asyncio tasks",
    "device": "device memory",
}

_EVENTS = {"class": "construction", "function": "call", "route": "request", "task": "task"}


def event_of(finding: Finding | str) -> str:
    """What is counted of a finding or a kind of subject: a construction, a call, a request."""
    return _EVENTS.get(finding if isinstance(finding, str) else finding.subject_kind, "call")


def size(value: float) -> str:
    """Bytes with the unit tied on."""
    return format_bytes(value).replace(" ", NBSP)


def duration(value: float) -> str:
    """Seconds in words, tied together."""
    return format_duration(value).replace(" ", NBSP)


def plural(count: float, noun: str) -> str:
    """``1 process``, ``2 processes``."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{format_count(count)}{NBSP}{noun}{ending}"


def span(interval: Interval, show: Callable[[float], str]) -> str:
    """The confidence limits in brackets, with a space before; nothing where they say nothing."""
    low, high = _finite(interval.low), _finite(interval.high)
    if low is None and high is None:
        return ""
    if low is None or high is None:
        word, bound = ("at least", low) if high is None else ("at most", high)
        return f" ({word} {show(bound)})" if bound is not None else ""
    first, last = show(low), show(high)
    if first == last:
        return ""
    number, _, unit = first.rpartition(NBSP)
    if number and NBSP not in number and last.count(NBSP) == 1 and last.endswith(NBSP + unit):
        first = number  # 19.3 to 19.6 KiB, but 6 h to 10 d 9 h
    return f" ({first} to {last})"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def signed(value: float) -> str:
    """A count per event with its sign: ``+1.00``."""
    text = f"{value:.2f}" if 0.095 <= abs(value) < 999.5 else format_count(value)
    return text if value < 0 else f"+{text}"


def signed_count(value: float) -> str:
    """A number of things with its sign: ``+500``."""
    return f"{'+' if value >= 0 else ''}{format_count(round(value))}"


def signed_size(value: float) -> str:
    """Bytes with their sign: ``+19.5 KiB``."""
    return size(value) if value < 0 else f"+{size(value)}"


def rates(finding: Finding) -> list[str]:
    """How fast it grows, the most telling unit first."""
    event, out = event_of(finding), []
    live, per_call, hourly = finding.live_per_call, finding.bytes_per_call, finding.mb_per_hour
    per_thousand = _finite(finding.mb_per_1000)
    if live is not None and _finite(live.value):
        out.append(f"{signed(live.value)}{NBSP}instance/{event}{span(live, signed)}")
    if per_call is not None and _finite(per_call.value) and finding.subject_kind != "class":
        out.append(f"{signed_size(per_call.value)}/{event}{span(per_call, size)}")
    elif per_thousand:
        out.append(f"{size(per_thousand * MIB)} per 1000" + ("" if out else f" {event}s"))
    elif per_call is not None and _finite(per_call.value):
        out.append(f"{signed_size(per_call.value)}/{event}{span(per_call, size)}")
    if not out and finding.blocks_per_call is not None and _finite(finding.blocks_per_call.value):
        blocks = finding.blocks_per_call
        out.append(f"{signed(blocks.value)}{NBSP}memory blocks/{event}{span(blocks, signed)}")
    if hourly is not None and _finite(hourly.value) and (not out or finding.subject_kind == "process"):
        mib = hourly.scaled(MIB)
        out.append(f"{signed_size(mib.value)}/hour{span(mib, size)}")
    return out


def until_limit(finding: Finding, limit_bytes: int | None) -> str | None:
    """``2 GiB in 3 h 10 min (2 h 40 min to 3 h 50 min)``, or None."""
    eta = finding.eta_seconds
    if eta is None or not math.isfinite(eta.value):
        return None
    limit = size(limit_bytes) if limit_bytes else "its limit"
    if eta.value <= 0:
        return f"{limit} reached"
    return f"{limit} in {duration(eta.value)}{_eta_span(eta)}"


def _eta_span(eta: Interval) -> str:
    low, high = _finite(eta.low), _finite(eta.high)
    if low is not None and high is None:
        return f" ({duration(max(low, 0))} at the earliest)"
    return span(eta, lambda seconds: duration(max(seconds, 0)))


def held_by(finding: Finding) -> str | None:
    """The holder of the most objects, in short."""
    if not finding.holders:
        return None
    return f"held by {safe(main_holder(finding).path, 200)}"


def main_holder(finding: Finding) -> Holder:
    """The holder group with the most objects; those accepted in the baseline, and those not reached, last."""
    return max(finding.holders, key=lambda h: (not h.known, h.root != "unknown", h.count))


def site(birth: BirthSite) -> str:
    """``app/factory.py:41``."""
    return f"{safe(birth.file, 120)}:{birth.line}"


def cleanup_of(finding: Finding) -> str:
    """The name of the cleanup method, where the tracker gave it."""
    name = finding.extra.get("cleanup")
    return f"{safe(name, 40).removesuffix('()')}()" if isinstance(name, str) and name else "cleanup()"


def alarm(finding: Finding, limit_bytes: int | None) -> str:
    """The line of a leaking or growing subject: rates, time left; holder; birth site; cleanup."""
    clauses = rates(finding)
    eta = until_limit(finding, limit_bytes)
    if eta:
        clauses.append(eta)
    parts = [", ".join(clauses)] if clauses else []
    held = held_by(finding)
    if held:
        parts.append(held)
    if finding.birth_sites:
        parts.append(f"born at {site(finding.birth_sites[0])}")
    if finding.counts and finding.counts.retained and "expected_dead" in finding.extra:
        parts.append(f"expected dead: {safe(finding.extra['expected_dead'], 120) or 'watched'}")
    elif finding.counts and finding.counts.retained:
        parts.append(f"not released by {cleanup_of(finding)}")
    return "; ".join(parts) or because(finding)


def because(finding: Finding) -> str:
    """The reason in words; the bare word ``settled`` gets its figures."""
    reason = safe(finding.reason.strip(), 600)
    once = finding.one_time_growth
    if once is not None and "one-time" not in reason and "once" not in reason:
        grew = f"{size(once.bytes)} one-time growth until {event_of(finding)} {format_count(once.until_call)}"
        flat = ", flat since" if finding.verdict is Verdict.CLEAN else ""
        reason = f"{reason}: {grew}{flat}" if reason else f"{grew}{flat}"
    return reason


def calm(finding: Finding) -> str:
    """The line of a subject that raises no alarm: the reason, then what is known all the same."""
    parts = [because(finding)]
    if finding.verdict in (Verdict.WARMING_UP, Verdict.INCONCLUSIVE):
        now = rates(finding)
        if now:
            parts.append(f"{'so far' if finding.verdict is Verdict.INCONCLUSIVE else 'now'} {', '.join(now)}")
    if finding.verdict is Verdict.INSUFFICIENT_DATA and finding.calls is not None:
        so_far = plural(finding.calls, event_of(finding))
        if format_count(finding.calls) not in parts[0]:
            parts.append(f"{so_far} so far")
    bound = _finite(finding.excluded_bytes_per_call)
    if bound is not None and "exclude" not in parts[0] and finding.subject_kind != "process":
        tail = ", a smaller one is not" if finding.verdict is Verdict.INCONCLUSIVE else ""
        shown = size(bound) if bound >= 1 else f"1{NBSP}B"
        parts.append(f"excludes leaks above {shown} per {event_of(finding)}{tail}")
    if finding.counts and finding.counts.retained:
        outlived = plural(finding.counts.retained, "instance")
        parts.append(f"{outlived} outlived {cleanup_of(finding)}")
    return "; ".join(part for part in parts if part)


def life(counts: Counts, cleanup: str = "cleanup()") -> str:
    """The life counts that are not zero, in words."""
    words = (
        (counts.constructed, "constructed"),
        (counts.failed, "failed to construct"),
        (counts.cleaned, f"cleaned up by {cleanup}"),
        (counts.died, "died"),
        (counts.died_without_cleanup, "of them died without cleanup"),
        (counts.alive, "alive"),
        (counts.retained, "of them alive after cleanup"),
    )
    return ", ".join(f"{format_count(n)}{NBSP}{word}" for n, word in words if n)


def details(finding: Finding) -> list[tuple[str, str]]:
    """What stands below the line of a subject: label and text, in the order of use."""
    out: list[tuple[str, str]] = []
    if finding.verdict.severity >= Verdict.GROWING.severity:
        why = because(finding)
        if finding.onset_call is not None and "since " not in why:
            why += f"; since {event_of(finding)} {format_count(finding.onset_call)}"
        out.append(("why", why))
    if finding.culprit_type:
        out.append(("what", f"objects of type {safe(finding.culprit_type, 120)}"))
    elif finding.memory_kind:
        kind = safe(finding.memory_kind, 60)
        out.append(("what", _MEMORY.get(kind, kind.replace("_", " "))))
    if finding.counts and "expected_dead" not in finding.extra:
        out.append(("count", life(finding.counts, cleanup_of(finding))))
    for holder in sorted(finding.holders, key=lambda h: (h.known, h.root == "unknown", -h.count))[:5]:
        out.append(("held by", _holder(holder)))
    for birth in finding.birth_sites[:3]:
        out.append(("born at", f"{site(birth)} in {safe(birth.function, 80)} ({birth.share:.0%})"))
    for context in finding.contexts[:3]:
        tags = ", ".join(f"{safe(k, 40)}={safe(v, 80)}" for k, v in context.tags.items())
        out.append(("during", f"{tags} ({context.share:.0%})"))
    for row in _allocation_sites(finding)[:5]:
        out.append(("made at", row))
    for grown in finding.grown[:5]:
        more = f", {size(grown.bytes)}" if grown.bytes is not None else ""
        out.append(("grew", f"{safe(grown.name, 120)}: {signed_count(grown.count)} {_unit(grown.what)}{more}"))
    if finding.advice:
        out.append(("do", safe(finding.advice, 800)))
    return [(label, text) for label, text in out if text]


def _allocation_sites(finding: Finding) -> list[str]:
    sites = finding.extra.get("allocation_sites")
    out = []
    for site in sites if isinstance(sites, (list, tuple)) else ():
        if isinstance(site, Mapping) and all(isinstance(site.get(key), int) for key in ("line", "bytes", "count")):
            kept = f"{size(site['bytes'])} in {plural(site['count'], 'block')}"
            out.append(f"{safe(site.get('file'), 120)}:{site['line']} ({kept} kept)")
    return out


def _unit(what: str) -> str:
    return "entries" if what == "container" else "instances"


def _holder(holder: Holder) -> str:
    held = f", {size(holder.retained_bytes)}" if holder.retained_bytes is not None else ""
    text = f"{safe(holder.path, 300)} ({plural(holder.count, 'object')}{held}; root: {safe(holder.root, 40)})"
    if holder.suspect:
        text += f"; suspect {safe(holder.suspect, 120)}"
    if holder.library:
        text += f"; {safe(holder.library, 300)}"
    return text + ("; accepted in the baseline" if holder.known else "")


def conclusion(record: Record) -> str:
    """The whole report in a sentence or two: who, and how long."""
    subjects = [f for f in record.findings if f.subject_kind != "process"]
    leaking = [f for f in subjects if f.verdict is Verdict.LEAKING]
    growing = [f for f in subjects if f.verdict is Verdict.GROWING]
    whole = [f for f in record.leaks if f.subject_kind == "process"]
    total = plural(len(subjects), "subject")
    if leaking:
        verb = "is leaking" if len(leaking) == 1 else "are leaking"
        text = f"{len(leaking)} of {total} {verb}: {_names(leaking)}."
    elif whole:
        text = "The process is leaking" + (
            f", but none of the {total} is proven to: the leak is elsewhere." if subjects else "."
        )
    elif not subjects:
        text = "Nothing was instrumented, or nothing of it has run: no function and no class has been judged."
    else:
        text = f"No leak is proven; {_tally(subjects)}."
    accepted = [f for f in leaking if f.extra.get("known") is True]
    if accepted:
        text += f" Accepted in the baseline: {_names(accepted)}."
    if growing:
        text += f" Growing, to be watched: {_names(growing)}."
    return text + _time_left(record)


def _time_left(record: Record) -> str:
    alarming = [f for f in record.findings if f.verdict.severity >= Verdict.GROWING.severity]
    timed = [f for f in alarming if f.eta_seconds is not None and math.isfinite(f.eta_seconds.value)]
    if not timed:
        return ""
    # what the process as a whole does is what meets the limit; a subject is a part of it
    first = min(timed, key=lambda f: (f.subject_kind != "process", f.eta_seconds.value if f.eta_seconds else 0))
    left = until_limit(first, record.process.limit_bytes)
    if left is None:
        return ""
    return f" Memory limit {left}." if left.endswith("reached") else f" At this rate memory reaches {left}."


def _tally(findings: list[Finding]) -> str:
    counted: dict[Verdict, int] = {}
    for finding in findings:
        counted[finding.verdict] = counted.get(finding.verdict, 0) + 1
    words = {
        Verdict.GROWING: "growing",
        Verdict.WARMING_UP: "warming up",
        Verdict.INCONCLUSIVE: "inconclusive",
        Verdict.INSUFFICIENT_DATA: "with too few data",
        Verdict.CLEAN: "clean",
    }
    return f"of {plural(len(findings), 'subject')}: " + ", ".join(
        f"{counted[verdict]} {word}" for verdict, word in words.items() if verdict in counted
    )


def _names(findings: list[Finding]) -> str:
    shown = ", ".join(safe(f.subject, 60) for f in findings[:3])
    return shown if len(findings) <= 3 else f"{shown} and {len(findings) - 3} more"
