"""The page in a real browser, headless: layout, colours, print, and what the script adds.

Chromium comes with the system.  Where there is none the tests are skipped, except where BROWSER=required.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from report_curves import CURVES

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

MEASURE = f"<script>{Path(__file__).with_name('measure.js').read_text('utf-8')}</script></body>"
NARROWEST = 500
"""A window is no narrower: what is to be narrower goes into a frame."""
FRAME = """<!DOCTYPE html><body style="margin:0"><iframe id="f" style="border:0" width="{width}" height="3000"
onload="document.body.append(document.importNode(f.contentDocument.getElementById('facts'), true))" srcdoc="{page}">"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("BROWSER") == "required":
            pytest.fail("BROWSER=required, and there is no chromium")
        pytest.skip("no chromium on this machine")
    return found


def run(browser: str, folder: Path, *words: str) -> str:
    fixed = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [browser, *fixed, profile, "--virtual-time-budget=2000", *words], capture_output=True, timeout=110, check=True
    )
    return done.stdout.decode("utf-8", "replace")


def page_of(folder: Path, text: str) -> str:
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def measured(browser, tmp_path_factory):
    """Facts of the page by width and colours.  The policy is taken out, for the measuring script to run."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", CURVES.to_html()).replace("</body>", MEASURE)

    def facts(width: int, dark: bool = False):
        folder = tmp_path_factory.mktemp("page")
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        page = text if width >= NARROWEST else FRAME.format(width=width, page=html.escape(text, quote=True))
        dom = run(browser, folder, f"--window-size={width},2000", *scheme, "--dump-dom", page_of(folder, page))
        return json.loads(html.unescape(re.findall(r'<pre id="facts">(.*?)</pre>', dom, re.DOTALL)[-1]))

    known = {}
    return lambda *which: known[which] if which in known else known.setdefault(which, facts(*which))


def overlap(a, b) -> bool:
    return a[0] < b[2] - 1 and b[0] < a[2] - 1 and a[1] < b[3] - 1 and b[1] < a[3] - 1


@pytest.mark.parametrize("width", [1100, 390])
def test_layout(measured, width: int) -> None:
    facts = measured(width)
    assert facts["width"] == width
    assert facts["wide"] <= width  # nothing to scroll sideways
    tops = [card["box"][1] for card in facts["cards"]]
    assert tops == sorted(tops)
    assert "leaking" in facts["cards"][0]["kind"]
    assert all(0 <= card["box"][0] < card["box"][2] <= width for card in facts["cards"])
    assert len(facts["charts"]) == 7  # two of each leak, three of the process; the calm one's are folded
    for chart in facts["charts"]:
        left, top, right, bottom = chart["area"]
        assert right - left > 150
        assert bottom - top > 150
        assert 0 <= left
        assert right <= width
        for curve in chart["curves"]:
            assert left - 2 <= curve[0]
            assert curve[2] <= right + 2
            assert chart["plot"][1] - 2 <= curve[1]
            assert curve[3] <= chart["plot"][3] + 2
        texts = chart["marks"] + chart["labels"]
        assert not [(a, b) for i, a in enumerate(texts) for b in texts[:i] if overlap(a, b)]
        assert all(box[0] >= -1 and box[2] <= width + 1 for box in texts)
    first, second = (chart["area"] for chart in facts["charts"][:2])
    assert (first[1] == second[1]) == (width == 1100)  # side by side on a screen, below each other on a phone


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read(measured, dark: bool) -> None:
    facts = measured(1100, True) if dark else measured(1100)
    assert len(facts["contrasts"]) > 50
    assert min(facts["contrasts"])[0] >= 4.5, min(facts["contrasts"])  # WCAG 2.2, AA
    assert min(facts["sizes"]) >= 11


def test_pointer_and_zoom(measured) -> None:
    facts = measured(1100)
    whole, ticks = facts["before"]
    assert whole == "0 0 1000 1000"
    assert re.fullmatch(r"[\d,]+: .*\d", facts["read"])
    assert facts["zoomed"][0] != whole
    assert facts["zoomed"][1] != ticks
    assert not facts["zoomed"][2]
    left, _, wide, _ = map(float, facts["zoomed"][0].split())
    assert left == pytest.approx(250, abs=2)
    assert wide == pytest.approx(250, abs=3)
    assert facts["after"] == facts["before"]  # the script writes the same ticks as the page had


def test_the_page_itself_runs_its_script_and_no_other(browser, tmp_path) -> None:
    dom = run(browser, tmp_path, "--window-size=1100,1000", "--dump-dom", page_of(tmp_path, CURVES.to_html()))
    charts = CURVES.to_html().count("<figure")
    assert f'data-ready="{charts}"' in dom
    assert "<title>meminstr: " in dom  # the name with a script in it has not renamed the page
    foreign = CURVES.to_html().replace("</body>", "<script>document.title = 'taken'</script></body>")
    assert "<title>taken" not in run(browser, tmp_path, "--dump-dom", page_of(tmp_path, foreign))


def test_screenshot_and_print(browser, tmp_path) -> None:
    artefacts = Path(os.environ.get("ARTIFACTS") or tmp_path)
    artefacts.mkdir(parents=True, exist_ok=True)
    picture, paper = artefacts / "report.png", artefacts / "report.pdf"
    page = page_of(tmp_path, CURVES.to_html())
    run(browser, tmp_path, "--window-size=1100,1400", f"--screenshot={picture}", page)
    data = picture.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1100, 1400)
    assert len(data) > 40_000  # an empty page is 5 KB
    run(browser, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={paper}", page)
    data = paper.read_bytes()
    assert data.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 6
