"""``python docs/make_outputs.py``: runs the examples and keeps what they printed, for the pages to include.

Machine names, process numbers and paths are left out, figures are as printed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent
RUNS = {
    "etl": ["examples/etl.py"],
    "rag": ["examples/rag.py"],
    "rag-fixed": ["examples/rag.py", "--fixed"],
    "serving": ["examples/serving.py"],
    "demo": ["-m", "meminstr", "demo"],
}
_LEFT_OUT = [
    (re.compile(r"^process  pid .*$", re.M), "process  pid 4711, host, CPython"),
    (re.compile(re.escape(str(DOCS)) + "/?"), ""),
]


def main(names: list[str]) -> int:
    """Make the named outputs, or all."""
    for name in names or RUNS:
        if name not in RUNS:
            print(f"{name!r} is not an output: {', '.join(RUNS)} are", file=sys.stderr)
            return 2
        done = subprocess.run([sys.executable, *RUNS[name]], cwd=DOCS, capture_output=True, text=True, check=True)
        text = done.stdout if name != "demo" else done.stdout + done.stderr
        for pattern, instead in _LEFT_OUT:
            text = pattern.sub(instead, text)
        (DOCS / "outputs" / f"{name}.txt").write_text(text.strip() + "\n", encoding="utf-8")
        print(f"{name}: {len(text.splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
