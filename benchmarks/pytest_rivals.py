"""The pytest plugin beside pytest-memray and psleak, on the same tests: what each finds, false failures, time.

    python -m benchmarks.pytest_rivals [--only meminstr]

The suite has tests that leak in seven ways and tests that do not, though they look like it: a cache that fills, a lazy
import, a reference cycle, a large result that is freed.  Each tool checks each test in its own words: meminstr's mark
``no_leaks``, pytest-memray's ``limit_leaks`` (100 KB a location, its documentation's example, over the same number of
calls), psleak's `execute`.  A tool that is not installed is left out.  Every tool runs in a process of its own.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BODIES = """
import functools, gc, os, threading, weakref
kept, by_key, listeners, files = [], {}, [], []
class Node: pass
class Bus:
    handlers = []
@functools.lru_cache(maxsize=64)
def cached(n): return bytearray(2000)
count = [0]

# ---- leaks
def leaks_objects(): kept.append(Node())
def leaks_buffer(): kept.append(bytearray(4000))
def leaks_by_key():
    count[0] += 1
    by_key[count[0]] = str(count[0]) * 20
def leaks_listener():
    node = Node()
    Bus.handlers.append(lambda: node)
def leaks_file(): files.append(os.dup(0))
def leaks_small():
    if count[0] % 10 == 0: kept.append(object())
    count[0] += 1
def leaks_cycle_kept():
    a, b = Node(), Node()
    a.other, b.other = b, a
    kept.append(weakref.ref(a)); listeners.append(a)

# ---- no leaks
def fine_nothing(): pass
def fine_freed(): bytearray(3 << 20)
def fine_cycle():
    a, b = Node(), Node()
    a.other, b.other = b, a
def fine_cache():
    count[0] += 1
    cached(count[0] % 64)
def fine_lazy_import():
    import decimal
    decimal.Decimal(1) + 1
def fine_thread():
    t = threading.Thread(target=fine_nothing); t.start(); t.join()
def fine_replaced():
    by_key["same"] = bytearray(1000)
def fine_text(): "-".join(str(n) for n in range(100)).split("-")
"""
NAMES = re.findall(r"^def ((?:leaks|fine)_\w+)", BODIES, re.M)

TOOLS = {
    "meminstr": ("meminstr", "import pytest\n", "@pytest.mark.no_leaks\ndef test_{0}(): {0}()\n", ["-p", "no:memray"]),
    "pytest-memray": (
        "pytest_memray",
        "import pytest\n",
        '@pytest.mark.limit_leaks("100 KB")\ndef test_{0}():\n    for _ in range(1000): {0}()\n',
        ["--memray", "-p", "no:meminstr"],
    ),
    "psleak": (
        "psleak",
        "import psleak, pytest\nclass TestIt(psleak.MemoryLeakTestCase):\n    pass\n",
        "def test_{0}(): TestIt().execute({0})\n",
        ["-p", "no:memray", "-p", "no:meminstr"],
    ),
}

# psleak skips its tests without these: it counts what malloc gives, not what Python's own allocator does
ENVIRONMENT = {"psleak": {"PYTHONMALLOC": "malloc", "PYTHONUNBUFFERED": "1"}}


def verdicts(tool):
    _, head, each, options = TOOLS[tool]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "test_rivals.py")
        file.write_text(BODIES + head + "".join(each.format(name) for name in NAMES))
        words = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=short", "-p", "no:cacheprovider", "-c", "/dev/null"]
        began = time.perf_counter()
        done = subprocess.run(
            [*words, *options, str(file)],
            cwd=folder,
            env={**os.environ, **ENVIRONMENT.get(tool, {})},
            capture_output=True,
            text=True,
            timeout=500,
        )
        seconds = time.perf_counter() - began
    words = r"^(PASSED|FAILED|ERROR|MEMORY PROBLEMS) \S+::test_(\w+)"
    outcome = {name: word for word, name in re.findall(words, done.stdout, re.M)}
    held = sum(
        f"held by {path}" in re.sub(r"\s+", " ", done.stdout)
        for path in ("test_rivals.kept", "test_rivals.Bus.handlers")
    )
    return outcome, seconds, held, done


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(TOOLS))
    parser.add_argument("--json", metavar="OUT")
    options = parser.parse_args()
    rows = {}
    for tool, (module, *_) in TOOLS.items():
        if options.only not in (None, tool):
            continue
        if importlib.util.find_spec(module) is None:
            print(f"{tool}: not installed")
            continue
        outcome, seconds, _, done = verdicts(tool)
        if set(outcome) != set(NAMES):
            print(f"{tool}: did not run\n{done.stdout[-2000:]}{done.stderr[-500:]}")
            continue
        rows[tool] = (outcome, seconds)
    print(f"{'':22}" + "".join(f"{tool:>16}" for tool in rows))
    for name in NAMES:
        words = ["found" if outcome[name] != "PASSED" else "-" for outcome, _ in rows.values()]
        print(f"{name:22}" + "".join(f"{word:>16}" for word in words))
    leaks = [name for name in NAMES if name.startswith("leaks")]
    summary = {}
    for tool, (outcome, seconds) in rows.items():
        found = sum(outcome[name] != "PASSED" for name in leaks)
        false = sum(outcome[name] != "PASSED" for name in NAMES if name not in leaks)
        summary[tool] = {
            "found": found,
            "leaks": len(leaks),
            "false": false,
            "fine": len(NAMES) - len(leaks),
            "seconds": seconds,
        }
    print(
        f"{'leaks found':22}"
        + "".join(f"{s['found']:>13}/{s['leaks']}" + " " * (2 - len(str(s["leaks"]))) for s in summary.values())
    )
    print(
        f"{'false failures':22}"
        + "".join(f"{s['false']:>13}/{s['fine']}" + " " * (2 - len(str(s["fine"]))) for s in summary.values())
    )
    print(f"{'seconds':22}" + "".join(f"{s['seconds']:>16.1f}" for s in summary.values()))
    if options.json:
        Path(options.json).write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
