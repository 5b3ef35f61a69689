"""The HTML of a report: one page that needs no network, for a screen, a phone and paper.

Cards, worst first, each with its charts; then the table of all subjects, the process and the cost.  All of it is
written here and read without JavaScript; ``page.js`` only adds zoom and figures under the pointer.  The page carries
its own content policy: nothing is loaded, and no script but ours, known by its digest, is run.  All text passes
`escape.safe` (controls) and `html.escape` (markup).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from ..verdict import Finding, Verdict
from .cards import card, row, text
from .escape import safe
from .record import Record
from .text import footer
from .wording import WORDS, conclusion

MOST_CARDS = 60
"""Cards on a page; the table below them holds every subject."""


def render(record: Record) -> str:
    """The report as one self-contained HTML page."""
    style, script = _piece("style.css"), _piece("page.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    headline = text(conclusion(record))
    cards = "\n".join(card(finding, record.process.limit_bytes) for finding in record.findings[:MOST_CARDS])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>meminstr: {headline}</title>
<style>{style}</style>
</head>
<body>
<header><p class="brand">meminstr</p><h1>{headline}</h1>
<p class="soft">{_where(record)}</p>
{_tally(record.findings)}</header>
<main>
{cards}
{_table(record)}
{_facts(record)}
</main>
<script>{script}</script>
</body>
</html>
"""


def _piece(name: str) -> str:
    return "\n" + Path(__file__).with_name(name).read_text(encoding="utf-8")


def _digest(piece: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(piece.encode()).digest()).decode()}"


def _where(record: Record) -> str:
    process = record.process
    parts = [process.command, process.host, None if process.pid is None else f"pid {process.pid}", process.python]
    shown = [text(safe(part, 200)) for part in parts if part]
    return " · ".join([*shown, f"report of {text(safe(record.created_at, 40))}"])


def _tally(findings: tuple[Finding, ...]) -> str:
    counted = [(verdict, sum(f.verdict is verdict for f in findings)) for verdict in Verdict]
    pills = "".join(
        f'<li class="{verdict.value}"><b>{n}</b> {WORDS[verdict].lower()}</li>' for verdict, n in counted if n
    )
    return f'<ul class="tally">{pills}</ul>' if pills else ""


def _table(record: Record) -> str:
    if not record.findings:
        return ""
    rows = "".join(row(finding, record.process.limit_bytes) for finding in record.findings)
    heads = "".join(f"<th>{head}</th>" for head in ("verdict", "subject", "kind", "events", "rate", "limit"))
    more = len(record.findings) - MOST_CARDS
    note = f'<p class="soft">The {more} best of them have no card above.</p>' if more > 0 else ""
    return (
        f'<h2>All subjects</h2>{note}<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _facts(record: Record) -> str:
    rows = "".join(f"<dt>{text(label)}</dt><dd>{text(value)}</dd>" for label, value in footer(record))
    return f"<h2>Process and cost</h2><dl>{rows}</dl>"
