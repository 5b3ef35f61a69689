"""The HTML of a report: one page without network or script, for a screen, a phone and paper.

Cards, worst first, then the table of all subjects, the process and the cost.  All text passes `escape.safe`
(controls) and `html.escape` (markup); the style sheet beside this file is set into the page.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..units import format_count
from ..verdict import Finding, Holder, Verdict
from .escape import safe
from .record import Record
from .text import footer
from .wording import WORDS, alarm, calm, conclusion, details, event_of, rates, until_limit

_TALL, _WIDE = 48, 352

# one step of a path: ".name", "[...]" or the name at its start
_STEP = re.compile(r"\.?[^.\[\]]+|\[[^\]]*\]|[.\[\]]")


def render(record: Record) -> str:
    """The report as one self-contained HTML page."""
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    headline = _text(conclusion(record))
    cards = "\n".join(_card(finding, record.process.limit_bytes) for finding in record.findings)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>meminstr: {headline}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{headline}</h1>
<p class="soft">meminstr report, {_text(safe(record.created_at, 40))}</p></header>
<main>
{cards}
{_table(record)}
{_facts(record)}
</main>
</body>
</html>
"""


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _card(finding: Finding, limit_bytes: int | None) -> str:
    alarming = finding.verdict.severity >= Verdict.GROWING.severity
    sentence = alarm(finding, limit_bytes) if alarming else calm(finding)
    rows = details(finding) if alarming or finding.holders or finding.advice else []
    advice = "".join(f'<p class="do"><b>Do:</b> {_text(t)}</p>' for label, t in rows if label == "do")
    listed = "".join(
        f"<dt>{_text(label)}</dt><dd>{_text(t)}</dd>" for label, t in rows if label not in ("do", "held by")
    )
    ordered = sorted(finding.holders, key=lambda h: (h.known, -h.count))[:5]
    return f"""<section class="card {finding.verdict.value}">
<h3><span class="word">{WORDS[finding.verdict]}</span>{_text(safe(finding.subject, 200))}
<small class="soft">{_text(safe(finding.subject_kind, 40))}</small></h3>
<p>{_text(sentence)}</p>
{_sparkline(finding)}{"".join(_chain(h) for h in ordered)}<dl>{listed}</dl>{advice}
</section>"""


def _chain(holder: Holder) -> str:
    suspect = safe(holder.suspect, 300) if holder.suspect else None
    items = []
    for step in _STEP.findall(safe(holder.path, 300)):
        # the suspect is a piece of the path; the step that carries its last name is marked
        hit = suspect is not None and step.strip(".[]'\"") != "" and suspect.endswith(step.strip("."))
        items.append(f'<li class="suspect">{_text(step)}</li>' if hit else f"<li>{_text(step)}</li>")
    known = ", accepted in the baseline" if holder.known else ""
    count = f"{format_count(holder.count)} held by ({_text(safe(holder.root, 40))}{known})"
    note = f'<p class="soft">{_text(safe(holder.library, 300))}</p>' if holder.library else ""
    return f'<p class="soft">{count}</p><ol class="chain mono">{"".join(items)}</ol>{note}'


def _sparkline(finding: Finding) -> str:
    points = list(_points(finding.extra.get("history")))
    if len(points) < 2:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    path = " ".join(
        f"{_share(x, left, right) * (_WIDE - 4) + 2:.1f},{_TALL - 3 - _share(y, low, high, flat=0.5) * (_TALL - 6):.1f}"
        for x, y in points
    )
    return (
        f'<svg viewBox="0 0 {_WIDE} {_TALL}" preserveAspectRatio="none" role="img" aria-label="history">'
        f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="2" '
        'vector-effect="non-scaling-stroke"/></svg>'
    )


def _points(history: Any) -> Iterable[tuple[float, float]]:
    if not isinstance(history, (list, tuple)):
        return
    for point in history[:2000]:
        if isinstance(point, (list, tuple)) and len(point) == 2:
            x, y = point
            if all(isinstance(v, (int, float)) and abs(v) < 1e300 and math.isfinite(v) for v in (x, y)):
                yield float(x), float(y)


def _share(value: float, low: float, high: float, flat: float = 0.0) -> float:
    return (value - low) / (high - low) if high > low else flat


def _table(record: Record) -> str:
    if not record.findings:
        return ""
    rows = []
    for finding in record.findings:
        calls = f"{format_count(finding.calls)} {event_of(finding)}s" if finding.calls is not None else ""
        cells = (
            safe(finding.subject, 200),
            safe(finding.subject_kind, 40),
            calls,
            ", ".join(rates(finding)),
            until_limit(finding, record.process.limit_bytes) or "",
        )
        word = f'<td class="{finding.verdict.value}"><span class="word">{WORDS[finding.verdict]}</span></td>'
        rows.append(f"<tr>{word}{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>")
    heads = ("verdict", "subject", "kind", "events", "rate", "limit")
    return (
        '<h2>All subjects</h2><div class="scroll"><table><thead><tr>'
        f"{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _facts(record: Record) -> str:
    rows = "".join(f"<dt>{_text(label)}</dt><dd>{_text(text)}</dd>" for label, text in footer(record))
    return f"<h2>Process and cost</h2><dl>{rows}</dl>"
