from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from hypothesis import given, settings
from report_examples import ADAPTIVE, FACTS, REPORT, SIX
from report_strategies import reports

import meminstr.reports as reports_package
from meminstr.reports.cards import card, row
from meminstr.reports.model import Report
from meminstr.verdict import Holder, Verdict

VOID = {"meta", "br", "polyline"}
TAGS = set(
    "html head meta title style script body header main section h1 h2 h3 p span small b dl dt dd ol ul li svg g line "
    "code polyline polygon text figure figcaption details summary div table thead tbody tr th td".split()
)
ATTRIBUTES = set(
    "lang charset name content http-equiv class viewbox preserveaspectratio role aria-label aria-hidden points fill "
    "fill-opacity stroke stroke-width stroke-opacity stroke-linejoin stroke-dasharray vector-effect width height x y "
    "dx x1 x2 y1 y2 text-anchor data-x data-y data-at data-name".split()
)


class Page(HTMLParser):
    """The page's tags, checked for balance, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.words: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)

    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def check_self_contained(page: Page, text: str) -> None:
    assert page.seen <= TAGS, page.seen - TAGS  # no link, no img, no iframe
    names = {name for name, _ in page.attributes}
    assert names <= ATTRIBUTES, names - ATTRIBUTES  # no src, no href, no style, no on*
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    assert not re.search(r"url\(|@import|https?:", style)
    # one script, the same whatever the report holds, and the policy knows its digest and the style sheet's
    (script,) = page.scripts
    assert script == "\n" + (files(reports_package) / "page.js").read_text("utf-8")
    policy = next(value for _, value in page.attributes if value and value.startswith("default-src"))
    for kind, piece in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(piece.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


@given(reports)
@settings(max_examples=50, deadline=None)
def test_any_report_is_one_harmless_page(report: Report) -> None:
    text = report.to_html()
    text.encode("utf-8")
    check_self_contained(Page(text), text)
    assert not set(map(chr, range(32))) & set(text) - {"\n"}


def test_content_and_order() -> None:
    text = REPORT.to_html()
    words = Page(text).text()
    for expected in (
        "1 of 7 subjects is leaking: adaptive.",
        "LEAKING adaptive class +1.00 instance/construction, 1.2 MiB per 1000, 2 GiB in 3 h 10 min",
        "11,997 objects held (root: module) app .bus ._listeners [*] .callback",
        "13,000 objects held (root: class, accepted in the baseline) worker .seen [*] the pool remembers what it ran",
        "born at app/factory.py:41 in build (98%)",
        "Do: Unregister the callback in cleanup().",
        "All subjects",
        "LEAKING adaptive class 12,000 constructions",
        "meminstr itself took 210 ms",
        "step broke its memory limit",
    ):
        assert expected in words, expected
    order = [text.index(f'{verdict}">\n<h3>') for verdict in ("leaking", "growing", "warming_up", "clean")]
    assert order == sorted(order)
    assert text.count('<section class="card') == len(SIX)
    assert text.count('class="suspect"') == 1
    assert '<li class="suspect">._listeners</li>' in text


def test_dark_phone_and_print() -> None:
    text = REPORT.to_html()
    for rule in ("prefers-color-scheme: dark", "@media print", "@media (max-width", 'name="viewport"'):
        assert rule in text


@pytest.mark.parametrize(
    ("history", "points"),
    [
        ([[0, 0], [10, 5], [20, 10]], "0.0,26.0 60.0,14.0 120.0,2.0"),
        ([[0, 7], [1, 7]], "0.0,14.0 120.0,14.0"),
        ([[0, 1], "x", [1], [2, None], [3, float("nan")], [1, 2]], "0.0,26.0 120.0,2.0"),
        ([[0, 1]], None),
        ("junk", None),
        (None, None),
    ],
)
def test_sparkline(history: object, points: str | None) -> None:
    finding = replace(ADAPTIVE, verdict=Verdict.CLEAN, extra={"history": history})
    text = Report("now", FACTS, findings=(finding,)).to_html()
    if points is None:
        assert "<svg" not in text
    else:
        assert f'points="{points}"' in text


def test_empty_report() -> None:
    text = Report("now").to_html()
    assert "Nothing was instrumented" in text
    assert "All subjects" not in text


def test_names_in_advice_are_code_and_a_label_stands_once():
    told = replace(ADAPTIVE, advice="hold it by `weakref.ref` <b>", grown=(*ADAPTIVE.grown, *ADAPTIVE.grown))
    page = card(told, None)
    assert "hold it by <code>weakref.ref</code> &lt;b&gt;" in page
    assert page.count("<dt>grew</dt>") == 1
    assert page.count("<dd>app.bus._listeners: ") == 2


def test_a_note_in_a_path_is_one_step():
    holder = Holder("<not reached: app.[x].Row>", "unknown", 3)
    page = card(replace(ADAPTIVE, holders=(holder,)), None)
    assert "<li>&lt;not reached: app.[x].Row&gt;</li>" in page
    assert "3 objects held (root: unknown)" in page.replace("\u00a0", " ")


def test_a_single_call_is_one_call_and_the_first_is_number_one():
    told = replace(ADAPTIVE, subject_kind="function", calls=1, onset_call=0)
    page = card(told, None) + row(told, None)
    assert ">1 call<" in page.replace("\u00a0", " ")
    assert ">call 1<" in page
