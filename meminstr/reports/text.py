"""The plain text of a report: verdicts first, worst on top, every line within the width.

Written for someone who was woken by it: a sentence that says it all, then who, how fast, how long, who holds
it and what to do; process, cost and faults come last.  The sentences themselves are made in `wording`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..units import format_count
from ..verdict import Finding, Verdict
from .breaches import breach_line
from .escape import NBSP, display_width, safe, wrap
from .record import Record
from .wording import WORDS, alarm, calm, conclusion, details, duration, plural, size

MIN_WIDTH = 40

_COLORS = {
    Verdict.LEAKING: "1;31",
    Verdict.GROWING: "33",
    Verdict.WARMING_UP: "36",
    Verdict.INCONCLUSIVE: "35",
    Verdict.INSUFFICIENT_DATA: "2",
    Verdict.CLEAN: "32",
}

_HOW_TO = (
    "To see who uses the memory, decorate classes with @meminstr.track_instantiations and functions with "
    "@meminstr.leak_guard,",
    "or change nothing and name them: meminstr run --track MODULE:CLASS --guard MODULE:FUNCTION script.py",
)


def render(record: Record, width: int = 100, color: bool = False) -> str:
    """The report as text.

    Args:
        record: the report.
        width: columns that no line exceeds; less than 40 counts as 40.
        color: set verdict words in ANSI colours.

    Returns:
        Lines joined by newlines, without one at the end.
    """
    width = max(width, MIN_WIDTH)
    lines = wrap(conclusion(record), width)
    if not any(f.subject_kind != "process" for f in record.findings):
        for hint in _HOW_TO:
            lines += wrap(hint, width, "  ", "  ")
    before: Verdict | None = None
    for finding in record.findings:
        alarming = finding.verdict.severity >= Verdict.GROWING.severity
        if alarming or finding.verdict is not before:
            lines.append("")
        before = finding.verdict
        column = max(display_width(_name(f)) for f in record.findings if f.verdict is finding.verdict)
        limit = record.process.limit_bytes
        lines += finding_lines(finding, width, limit_bytes=limit, column=column, color=color)
    lines.append("")
    for label, text in footer(record):
        lines += wrap(text, width, f"{label:<9}", " " * 9)
    return "\n".join(lines)


def finding_lines(
    finding: Finding, width: int = 100, *, limit_bytes: int | None = None, column: int = 0, color: bool = False
) -> list[str]:
    """The lines of one finding, as in the report: verdict and sentence, then what stands below it.

    Args:
        finding: the finding.
        width: columns that no line exceeds; less than 40 counts as 40.
        limit_bytes: the limit that its time left leads to.
        column: pad the name to this many columns, for a list of compact findings.
        color: set the verdict word in an ANSI colour.
    """
    width = max(width, MIN_WIDTH)
    word = WORDS[finding.verdict]
    alarming = finding.verdict.severity >= Verdict.GROWING.severity
    sentence = alarm(finding, limit_bytes) if alarming else calm(finding)
    name = _name(finding)
    if not alarming:
        name += " " * (min(column, width // 4) - display_width(name))
    indent = " " * 9
    # spaces of the column and of the name itself must survive the wrapping
    lines = wrap(f"{name.replace(' ', NBSP)}{NBSP} {sentence}", width, f"{word}  ", indent)
    if color:
        lines[0] = f"\x1b[{_COLORS[finding.verdict]}m{word}\x1b[0m{lines[0][len(word) :]}"
    told = finding.holders or finding.grown or finding.extra.get("allocation_sites")
    if alarming or told or (finding.verdict is Verdict.WARMING_UP and finding.advice):
        for label, text in details(finding):
            lines += wrap(text, width, f"{indent}{label:<9}", " " * 18)
    return lines


def _name(finding: Finding) -> str:
    return safe(finding.subject, 120) or "(no name)"


def footer(record: Record) -> list[tuple[str, str]]:
    """The rows below the verdicts: process, memory, signals, own cost, breaches, faults, notes."""
    process, cost = record.process, record.cost
    rows: list[tuple[str, str]] = []
    who = [f"pid{NBSP}{process.pid}"] if process.pid is not None else []
    who += [safe(v, 200) for v in (process.host, process.python, process.command) if v]
    if record.processes:
        who.insert(0, f"{plural(len(record.processes), 'process')} merged")
    rows.append(("process", ", ".join(who)))
    memory = [
        f"{size(value)} {word}"
        for value, word in ((process.resident_bytes, "resident"), (process.peak_bytes, "at the peak"))
        if value is not None
    ]
    memory.append(f"limit {size(process.limit_bytes)}" if process.limit_bytes else "no limit known")
    rows.append(("memory", ", ".join(memory)))
    rows.append(("signals", ", ".join(safe(s, 80) for s in process.signals)))
    own = [
        f"{duration(cost.seconds)}" if cost.seconds is not None else "",
        f"{cost.share_of_cpu:.2%} of CPU time" if cost.share_of_cpu is not None else "",
        f"{size(cost.bytes)} of memory" if cost.bytes is not None else "",
    ]
    if any(own):
        rows.append(("cost", f"meminstr itself took {', '.join(part for part in own if part)}"))
    rows += [("breach", breach_line(entry)) for entry in record.breaches[-10:]]
    if len(record.breaches) > 10:
        rows.append(("breach", f"and {len(record.breaches) - 10} earlier ones"))
    rows += [("fault", fault_line(entry)) for entry in record.errors[:10]]
    if len(record.errors) > 10:
        rows.append(("fault", f"and {len(record.errors) - 10} more kinds of fault"))
    notes = record.extra.get("notes")
    if isinstance(notes, (list, tuple)):
        rows += [("note", safe(note, 400)) for note in notes[:10]]
    rows.append(("written", safe(record.created_at, 40)))
    return [(label, text) for label, text in rows if text]


def fault_line(entry: Mapping[str, Any]) -> str:
    """A fault of meminstr itself in one sentence."""
    count = entry.get("count")
    times = f" ({format_count(count)} times)" if isinstance(count, int) and count > 1 else ""
    what = ": ".join(safe(entry[k], 300) for k in ("error", "message") if entry.get(k))
    return f"in meminstr itself, {safe(entry.get('where', 'somewhere'), 120)}: {what or 'failed'}{times}"
