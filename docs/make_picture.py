"""Makes ``docs/images/report.png``: the top of the demonstration's HTML report, as the README shows it.

    python docs/make_picture.py        needs chromium; about half a minute

The report is that of a real run.  Twice as fine as the screen where the file stays small enough for a README.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OUT = Path(__file__).with_name("images") / "report.png"
LARGEST_BYTES = 200_000
WIDTH, HEIGHT = 1010, 1085
NAMES = ("chromium", "chromium-browser", "google-chrome")


def photograph(browser: str, page: Path, out: Path, scale: float) -> None:
    """The top of the page as a PNG file."""
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=2000"]
    words += [f"--user-data-dir={out.parent / 'profile'}", f"--force-device-scale-factor={scale}"]
    words += [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={out}", page.as_uri()]
    subprocess.run([browser, *words], check=True, capture_output=True, timeout=120)


def main() -> int:
    """Run the demonstration, write its page, photograph it."""
    browser = next((path for name in NAMES if (path := shutil.which(name))), None)
    if browser is None:
        print("no chromium on this machine", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        data, page, picture = (Path(folder) / name for name in ("demo.json", "demo.html", "demo.png"))
        for words in (["demo", "--plain", "--report", str(data)], ["report", str(data), "--html", str(page)]):
            subprocess.run([sys.executable, "-m", "meminstr", *words], check=True, capture_output=True, timeout=300)
        for scale in (1.5, 1.25, 1.0):
            photograph(browser, page, picture, scale)
            if picture.stat().st_size <= LARGEST_BYTES:
                break
        OUT.parent.mkdir(exist_ok=True)
        shutil.copyfile(picture, OUT)
    print(f"{OUT.name}: {OUT.stat().st_size:,} bytes, scale {scale}")
    return 0 if OUT.stat().st_size <= LARGEST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
