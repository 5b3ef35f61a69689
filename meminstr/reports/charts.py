"""Charts as inline SVG, drawn when the page is written: they need neither script nor style sheet.

A chart is three pieces in a row of HTML: labels of fixed width, and beside them the drawing, which stretches.  Within
the drawing a nested ``svg`` of 1000 by 1000 units holds the curves, so that ``page.js`` zooms by giving it another
``viewBox``; text stands outside of it, placed in per cent, and keeps its size on any screen and on paper.  No ``style``
attribute is used: pages are served under policies that drop them.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .escape import safe
from .scales import Scale, shown

HEIGHT, BOTTOM = 208, 22
_GUTTER = 64
_ROWS = {"onset": 11, "horizon": 24}  # each kind of mark has its row of text above the curves, so that none collide

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """A line, with the least and greatest readings around it where a point stands for several."""

    name: str
    points: Sequence[Point]
    band: Sequence[tuple[float, float, float]] = ()
    """x, low, high."""
    tone: str = "main"
    """``main`` in the colour of the verdict, ``side`` quieter."""


@dataclass(frozen=True, slots=True)
class Cone:
    """Where the curve will go at the rate that was found: from a point on to `x`."""

    origin: Point
    x: float
    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across the chart: ``onset``, ``horizon`` and ``now`` stand at an x, a ``limit`` at a y."""

    kind: str
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """All that is drawn in one frame."""

    title: str
    axis: str
    """What the x axis counts, in words."""
    x: Scale
    y: Scale
    curves: Sequence[Curve]
    marks: Sequence[Mark] = ()
    cone: Cone | None = None
    note: str = ""
    """What lies outside the frame: a limit far above, a horizon far to the right."""

    @property
    def top(self) -> int:
        """Where the curves' field begins, in pixels: below the rows of text that there are."""
        return 8 + max((_ROWS.get(mark.kind, 0) for mark in self.marks), default=0)

    def down(self, value: float) -> float:
        """Pixels from the top of the drawing to a value."""
        return self.top + (HEIGHT - self.top - BOTTOM) * (1 - self.y.share(value))


def draw(chart: Chart) -> str:
    """The chart as a ``figure``."""
    named = chart.curves if len(chart.curves) > 1 else ()
    keys = "".join(f'<span class="key {c.tone}">{_text(c.name)}</span>' for c in named)
    keys += '<span class="key cone">forecast</span>' if chart.cone is not None else ""
    note = f'<p class="note">{_text(chart.note)}</p>' if chart.note else ""
    inside = [*_cone(chart), *_bands(chart), *_lines(chart), *_curves(chart)]
    tall = HEIGHT - chart.top - BOTTOM
    label = _text(f"{chart.title} over {chart.axis}: {_story(chart)}")
    return f"""<figure class="chart" data-x="{chart.x.low!r} {chart.x.high!r} {chart.x.kind}" \
data-y="{chart.y.low!r} {chart.y.high!r} {chart.y.kind}">
<figcaption><b>{_text(chart.title)}</b> <span class="soft">over {_text(chart.axis)}</span>\
<span class="keys">{keys}</span><span class="read"></span></figcaption>
<div class="frame"><svg class="labels" width="{_GUTTER}" height="{HEIGHT}" aria-hidden="true">{_y_labels(chart)}</svg>\
<svg class="area" width="100%" height="{HEIGHT}" role="img" aria-label="{label}">
<g class="grid">{_grid(chart)}</g>
<svg class="plot" y="{chart.top}" width="100%" height="{tall}" viewBox="0 0 1000 1000" preserveAspectRatio="none">\
{"".join(inside)}</svg>
{"".join(_mark_texts(chart))}</svg></div>{note}
</figure>"""


def spark(values: Sequence[float], width: int = 120, height: int = 28) -> str:
    """A line without axes; empty for fewer than two values."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    tall = height - 4
    last = len(values) - 1
    points = " ".join(
        f"{i / last * width:.1f},{2 + tall * (1 - ((v - low) / (high - low) if high > low else 0.5)):.1f}"
        for i, v in enumerate(values)
    )
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none" role="img" aria-label="history"><polyline points="{points}" fill="none" '
        'stroke="currentColor" stroke-width="1.5" vector-effect="non-scaling-stroke"/></svg>'
    )


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _story(chart: Chart) -> str:
    said = []
    for curve in chart.curves:
        first, last = curve.points[0][1], curve.points[-1][1]
        said.append(f"{curve.name} from {shown(first, chart.y.kind)} to {shown(last, chart.y.kind)}")
    return "; ".join([*said, *(safe(mark.text, 120) for mark in chart.marks)])


def _at(chart: Chart, point: Point) -> str:
    x = min(max(chart.x.share(point[0]), -1.0), 2.0)
    y = min(max(chart.y.share(point[1]), -9.0), 10.0)
    return f"{1000 * x:.1f},{1000 * (1 - y):.1f}"


def _cone(chart: Chart) -> Iterable[str]:
    if chart.cone is not None:
        cone = chart.cone
        corners = [cone.origin, (cone.x, cone.high), (cone.x, cone.low)]
        yield f'<polygon class="cone" points="{" ".join(_at(chart, p) for p in corners)}" fill-opacity="0.14"/>'
        yield _line("forecast", [_at(chart, cone.origin), _at(chart, (cone.x, cone.middle))], dash="5 4")


def _bands(chart: Chart) -> Iterable[str]:
    for curve in chart.curves:
        if curve.band:
            there = [_at(chart, (x, high)) for x, _, high in curve.band]
            back = [_at(chart, (x, low)) for x, low, _ in reversed(curve.band)]
            yield f'<polygon class="band {curve.tone}" points="{" ".join(there + back)}" fill-opacity="0.16"/>'


def _curves(chart: Chart) -> Iterable[str]:
    # the first curve last, so that it lies on top
    for curve in reversed(chart.curves):
        points = " ".join(_at(chart, point) for point in curve.points)
        yield (
            f'<polyline class="curve {curve.tone}" data-name="{_text(curve.name)}" points="{points}" fill="none" '
            'stroke="currentColor" stroke-width="2" stroke-linejoin="round" vector-effect="non-scaling-stroke"/>'
        )


def _lines(chart: Chart) -> Iterable[str]:
    for mark in chart.marks:
        if mark.kind == "limit":
            y = 1000 * (1 - chart.y.share(mark.at))
            ends = [f"-9999,{y:.1f}", f"9999,{y:.1f}"]
        else:
            x = 1000 * chart.x.share(mark.at)
            ends = [f"{x:.1f},-9999", f"{x:.1f},9999"]
        yield _line(f"mark {mark.kind}", ends, dash="" if mark.kind == "limit" else "2 3")


def _line(css: str, ends: list[str], dash: str) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<polyline class="{css}" points="{" ".join(ends)}" fill="none" stroke="currentColor"{dashes} '
        'vector-effect="non-scaling-stroke"/>'
    )


def _mark_texts(chart: Chart) -> Iterable[str]:
    for mark in chart.marks:
        if mark.kind == "limit":
            # below its line, at the left: curves come to a limit from below, at the right
            yield f'<text class="mark limit" x="4" y="{chart.down(mark.at) + 13:.1f}">{_text(mark.text)}</text>'
            continue
        share = chart.x.share(mark.at)
        end = share > 0.5
        x = f'x="{100 * share:.2f}%" dx="{-4 if end else 4}"' + (' text-anchor="end"' if end else "")
        y = _ROWS.get(mark.kind, 11)
        yield f'<text class="mark {mark.kind}" {x} y="{y}" data-at="{mark.at!r}">{_text(mark.text)}</text>'


def _y_labels(chart: Chart) -> str:
    return "".join(
        f'<text x="{_GUTTER - 8}" y="{chart.down(v) + 4:.1f}" text-anchor="end">{_text(shown(v, chart.y.kind))}</text>'
        for v in chart.y.ticks(4)
    )


def _grid(chart: Chart) -> str:
    lines = "".join(
        f'<line x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" stroke-opacity="0.15"/>'
        for y in map(chart.down, chart.y.ticks(4))
    )
    labels = ""
    for value in chart.x.ticks(4):
        share = chart.x.share(value)
        anchor = "start" if share < 0.06 else "end" if share > 0.94 else "middle"
        labels += (
            f'<text x="{100 * share:.2f}%" y="{HEIGHT - 5}" text-anchor="{anchor}">'
            f"{_text(shown(value, chart.x.kind))}</text>"
        )
    return lines + labels
