"""``python docs/make_outputs.py [NAME...]``: what the examples print, and the table of settings.

The pages include it.  Machine names, process numbers and paths are left out, figures are as printed.
"""

from __future__ import annotations

import dataclasses
import inspect
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
SETTINGS = "settings"
_LEFT_OUT = [
    (re.compile(r"^process  pid .*$", re.M), "process  pid 4711, host, CPython"),
    (re.compile(re.escape(str(DOCS)) + "/?"), ""),
]


def main(names: list[str]) -> int:
    """Make the named outputs, or all."""
    (DOCS / "outputs").mkdir(exist_ok=True)
    for name in names or [*RUNS, SETTINGS]:
        if name == SETTINGS:
            (DOCS / "outputs" / "settings.md").write_text(settings_table(), encoding="utf-8")
            continue
        if name not in RUNS:
            print(f"{name!r} is not an output: {', '.join([*RUNS, SETTINGS])} are", file=sys.stderr)
            return 2
        done = subprocess.run([sys.executable, *RUNS[name]], cwd=DOCS, capture_output=True, text=True, check=True)
        text = done.stdout if name != "demo" else done.stdout + done.stderr
        for pattern, instead in _LEFT_OUT:
            text = pattern.sub(instead, text)
        (DOCS / "outputs" / f"{name}.txt").write_text(text.strip() + "\n", encoding="utf-8")
        print(f"{name}: {len(text.splitlines())} lines")
    return 0


def settings_table() -> str:
    """The settings as a Markdown table: names, defaults and allowed values from the code, words from its docstring."""
    from meminstr.settings import _RULES, Settings

    listed = inspect.cleandoc(Settings.__doc__ or "").partition("Attributes:")[2].partition("Raises:")[0]
    meant = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", listed, re.M))
    rows = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
    for one in dataclasses.fields(Settings):
        text = " ".join(meant[one.name].split()).replace("``", "`")
        default = "none" if one.default is None else str(one.default).lower()
        rows.append(f"| `{one.name}` | {default} | {_RULES[one.name].allowed} | {text} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
