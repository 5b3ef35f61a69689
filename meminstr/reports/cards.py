"""The card of one finding: the sentence, its figures, the chain that holds, the charts, and what to do.

What raises no alarm gets a small card, its charts folded away.  Pieces of HTML with all text escaped; the page around
them is `html`.
"""

from __future__ import annotations

import html
import re

from ..units import MIB, format_count
from ..verdict import Finding, Holder, Interval, Verdict
from .charts import spark
from .escape import NBSP, safe
from .histories import sparkline
from .plots import main_charts, more_charts
from .wording import (
    WORDS,
    alarm,
    calm,
    details,
    duration,
    event_of,
    plural,
    rates,
    signed,
    size,
    span,
    until_limit,
)

# one step of a path: ".name", "[...]", the name at its start, or a note as "<not reached: a.b>"
_STEP = re.compile(r"\.?<[^<>]*>|\.?[^.\[\]]+|\[[^\]]*\]|[.\[\]]")


def text(value: str) -> str:
    """`value` for the text or an attribute of a page."""
    return html.escape(value, quote=True)


def card(finding: Finding, limit_bytes: int | None) -> str:
    """One finding as a ``section``."""
    alarming = finding.verdict.severity >= Verdict.GROWING.severity
    sentence = alarm(finding, limit_bytes) if alarming else calm(finding)
    told = finding.holders or finding.grown or finding.extra.get("allocation_sites") or finding.advice
    rows = details(finding) if alarming or told else []
    advice = "".join(f'<p class="do"><b>Do:</b> {_with_code(t)}</p>' for label, t in rows if label == "do")
    listed = _listed([(label, t) for label, t in rows if label not in ("do", "held by")])
    ordered = sorted(finding.holders, key=lambda h: (h.known, -h.count))[:5]
    loud = "card loud" if alarming else "card"
    small = not alarming and not _is_whole(finding)
    return f"""<section class="{loud} {finding.verdict.value}">
<h3><span class="word">{WORDS[finding.verdict]}</span>{text(safe(finding.subject, 200))}
<small class="soft">{text(safe(finding.subject_kind, 40))}</small>{_spark(finding) if small else ""}</h3>
<p class="sentence">{text(sentence)}</p>
{_tiles(finding, limit_bytes) if alarming else ""}{"".join(_chain(h, finding) for h in ordered)}\
{_charts(finding, limit_bytes, alarming)}<dl>{listed}</dl>{advice}
</section>"""


def _listed(rows: list[tuple[str, str]]) -> str:
    """The rows of a description list; a label stands once before all that bear it."""
    out, before = [], None
    for label, told in rows:
        out.append(("" if label == before else f"<dt>{text(label)}</dt>") + f"<dd>{text(told)}</dd>")
        before = label
    return "".join(out)


def _with_code(value: str) -> str:
    """Text in which names stand between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text(value))


def _is_whole(finding: Finding) -> bool:
    """Whether it is the process that the report speaks of; those below a watched one are of the same kind."""
    return finding.subject_kind == finding.subject == "process"


def _spark(finding: Finding) -> str:
    return spark(sparkline(finding))


def _charts(finding: Finding, limit_bytes: int | None, alarming: bool) -> str:
    first, more = main_charts(finding, limit_bytes), more_charts(finding, limit_bytes)
    if not (alarming or _is_whole(finding)):
        return _folded("Charts", [*first, *more])
    shown = f'<div class="charts">{"".join(first)}</div>' if first else ""
    return shown + _folded("More signals", more)


def _folded(title: str, charts: list[str]) -> str:
    if not charts:
        return ""
    return f'<details><summary>{title}</summary><div class="charts">{"".join(charts)}</div></details>'


def _tiles(finding: Finding, limit_bytes: int | None) -> str:
    """The figures of an alarm, large: how fast, how much, how long, since when."""
    event, tiles = event_of(finding), []
    live, per_call, hourly = finding.live_per_call, finding.bytes_per_call, finding.mb_per_hour
    if live is not None:
        tiles.append((f"instances per {event}", signed(live.value), _limits(span(live, signed))))
    if per_call is not None:
        tiles.append((f"bytes per {event}", size(per_call.value), _limits(span(per_call, size))))
    elif live is None and finding.blocks_per_call is not None:
        blocks = finding.blocks_per_call
        tiles.append((f"memory blocks per {event}", signed(blocks.value), _limits(span(blocks, signed))))
    if hourly is not None:
        tiles.append(("per hour", size(hourly.value * MIB), _limits(span(hourly.scaled(MIB), size))))
    eta = finding.eta_seconds
    left = until_limit(finding, limit_bytes)
    if eta is not None and left is not None:
        goal = size(limit_bytes) if limit_bytes else "its limit"
        time = "now" if eta.value <= 0 else duration(eta.value)
        tiles.append((f"until {goal}", time, _limits(_eta_limits(eta))))
    if finding.onset_call is not None:
        tiles.append(("since", f"{event} {format_count(max(1, finding.onset_call))}", ""))
    if not tiles:
        return ""
    shown = "".join(
        f'<div class="tile"><span class="soft">{text(label)}</span><b>{text(value)}</b>'
        f'<span class="soft">{text(limits)}</span></div>'
        for label, value, limits in tiles
    )
    return f'<div class="tiles">{shown}</div>\n'


def _eta_limits(eta: Interval) -> str:
    return span(eta, lambda seconds: duration(max(seconds, 0)))


def _limits(bracketed: str) -> str:
    return bracketed.strip(" ()").replace(NBSP, " ")


def _chain(holder: Holder, finding: Finding) -> str:
    path = safe(holder.path, 300)
    suspect = safe(holder.suspect, 300) if holder.suspect else ""
    first = path.rfind(suspect) if suspect else -1
    items = []
    for step in _STEP.finditer(path):
        # the suspect is a piece of the path: the steps that it covers are marked
        hit = first >= 0 and step.start() < first + len(suspect) and step.end() > first
        items.append(f'<li class="suspect">{text(step[0])}</li>' if hit else f"<li>{text(step[0])}</li>")
    known = ", accepted in the baseline" if holder.known else ""
    count = f"{text(plural(holder.count, 'object'))} held (root: {text(safe(holder.root, 40))}{known})"
    kind = safe(finding.culprit_type or "", 120).rpartition(".")[2]
    held = f'<li class="held">{text(f"{format_count(holder.count)} {kind}")}</li>' if kind else ""
    note = f'<p class="soft">{text(safe(holder.library, 300))}</p>' if holder.library else ""
    return f'<p class="soft">{count}</p><ol class="chain mono">{"".join(items)}{held}</ol>{note}'


def row(finding: Finding, limit_bytes: int | None) -> str:
    """One finding as a row of the table of all subjects."""
    calls = plural(finding.calls, event_of(finding)) if finding.calls is not None else ""
    cells = (
        safe(finding.subject, 200),
        safe(finding.subject_kind, 40),
        calls,
        ", ".join(rates(finding)),
        until_limit(finding, limit_bytes) or "",
    )
    word = f'<td class="{finding.verdict.value}"><span class="word">{WORDS[finding.verdict]}</span></td>'
    return f"<tr>{word}{''.join(f'<td>{text(cell)}</td>' for cell in cells)}</tr>"
