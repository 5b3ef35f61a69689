"""`assert_no_leak` beside psleak on the same functions: verdict, calls until the verdict, seconds.

    python -m benchmarks.test_mode [--tools meminstr,async,psleak,psleak-defaults] [--half development|holdout]
                                   [--seeds 0] [--only NAME] [--rows FILE] [--json OUT]

The functions are those of `benchmarks.cases.workloads`, `.unseen` and `.tested`, labelled.  Every run is a process of
its own, as a test file would be: meminstr as it is imported, psleak with ``PYTHONMALLOC=malloc`` and
``PYTHONUNBUFFERED=1`` as its documentation asks, by `MemoryLeakTestCase.execute`.  ``psleak`` is without its check
of cyclic garbage, which calls any reference cycle a leak; ``psleak-defaults`` is with it.  ``async`` is
`assert_no_leak_async` with the function as a coroutine function.  Calls are counted by the function itself, seconds
are those of the check alone.  Needs an interpreter that has psleak; a tool that is missing is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("meminstr", "async", "psleak", "psleak-defaults")


def _registry() -> dict[str, Any]:
    from .cases.tested import TESTED
    from .cases.unseen import UNSEEN
    from .cases.workloads import WORKLOADS

    return {**WORKLOADS, **UNSEEN, **TESTED}


def names_of(half: str) -> list[str]:
    """The functions of one half; both halves when it is empty."""
    ordered = sorted(_registry())
    return {"development": ordered[0::2], "holdout": ordered[1::2]}.get(half, ordered)


def _meminstr(step: Any) -> tuple[bool, str]:
    from meminstr import LeakDetected, assert_no_leak

    try:
        found = assert_no_leak(step)
    except LeakDetected as error:
        return True, str(error)
    return False, f"{found.verdict.value}: {found.reason}"


def _async(step: Any) -> tuple[bool, str]:
    from meminstr import LeakDetected, assert_no_leak_async

    async def stepping() -> None:
        step()

    try:
        found = asyncio.run(assert_no_leak_async(stepping))
    except LeakDetected as error:
        return True, str(error)
    return False, f"{found.verdict.value}: {found.reason}"


def _psleak(step: Any, garbage: bool = False) -> tuple[bool, str]:
    import warnings

    import psleak as rival

    warnings.simplefilter("ignore")

    class Case(rival.MemoryLeakTestCase):  # type: ignore[misc]
        checkers = rival.Checkers() if garbage else rival.Checkers.exclude("gcgarbage")

        def runTest(self) -> None:
            self.execute(step)

    Case.setUpClass()
    try:
        Case().runTest()
    except rival.Error as error:
        return True, f"{type(error).__name__}: {error}"
    return False, ""


def child(tool: str, name: str, seed: int) -> dict[str, Any]:
    """One check, in this process."""
    try:  # as a shell gives it; servers of builds have more
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    except ImportError:
        pass
    work = _registry()[name](seed)
    made = 0
    if name.startswith("tested_") and "event_loop" in name and tool == "async":
        return {"skipped": "an event loop inside of another"}

    def step() -> None:
        nonlocal made
        number = made
        made += 1
        work.step(number)

    check = {"meminstr": _meminstr, "async": _async, "psleak": _psleak}.get(tool, lambda s: _psleak(s, True))
    begun = time.perf_counter()
    cpu = time.process_time()
    try:
        alarm, said = check(step)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300], "calls": made}
    seconds = time.perf_counter() - begun
    return {
        "alarm": alarm,
        "calls": made,
        "seconds": round(seconds, 3),
        "cpu": round(time.process_time() - cpu, 3),
        "said": said[:600],
    }


def run(tool: str, name: str, seed: int) -> dict[str, Any]:
    """One run in a child process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MEMINSTR_", "PYTHONMALLOC"))}
    environment["PYTHONHASHSEED"] = str(seed)
    if tool.startswith("psleak"):
        environment |= {"PYTHONMALLOC": "malloc", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "benchmarks.test_mode", "--child", tool, name, str(seed)]
    row: dict[str, Any] = {"tool": tool, "name": name, "seed": seed, "label": _registry()[name].label}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300, env=environment
        )
        row.update(json.loads(done.stdout.strip().splitlines()[-1]))
    except subprocess.TimeoutExpired:
        row["error"] = "no verdict within 300 s"
    except (IndexError, ValueError):
        row["error"] = f"exit {done.returncode}: {done.stderr[-200:]}"
    return row


def wilson(count: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if not of:
        return 0.0, 1.0
    p, zz = count / of, z * z / of
    middle, half = p + zz / 2, z * math.sqrt(p * (1 - p) / of + zz / (4 * of))
    return max(0.0, (middle - half) / (1 + zz)), min(1.0, (middle + half) / (1 + zz))


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each tool reached.  A check that ends in an error of another kind found nothing and passed nothing."""
    out = []
    for tool in dict.fromkeys(row["tool"] for row in rows):
        mine = [row for row in rows if row["tool"] == tool and "skipped" not in row]
        leaky, clean = [r for r in mine if r["label"]], [r for r in mine if not r["label"]]
        found = [r for r in leaky if r.get("alarm")]
        false = [r for r in clean if r.get("alarm")]
        told = [r for r in mine if "alarm" in r]
        one: dict[str, Any] = {"tool": tool, "runs": len(mine), "errors": len(mine) - len(told)}
        for figure, count, of in (
            ("recall", len(found), len(leaky)),
            ("precision", len(found), len(found) + len(false)),
            ("false_alarms", len(false), len(clean)),
        ):
            one[figure] = {"count": count, "of": of, "interval": [round(v, 3) for v in wilson(count, of)]}
        for word, some in (("leaks_found", found), ("clean_passed", [r for r in clean if r.get("alarm") is False])):
            one[f"calls_{word}"] = _spread([r["calls"] for r in some])
        one["calls"] = _spread([r["calls"] for r in told])
        one["seconds"] = _spread([r["seconds"] for r in told])
        out.append(one)
    return out


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 2),
        "mean": round(statistics.fmean(ordered), 2),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2),
        "most": round(ordered[-1], 2),
    }


def table(found: list[dict[str, Any]]) -> str:
    """The summary in words."""
    lines = [
        "| tool | recall | precision | false alarms | errors | calls to find a leak (median / mean) "
        "| calls to pass (median / mean) | calls of all (mean) | seconds (median / 95 % / most) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        cells = [one["tool"]]
        for figure in ("recall", "precision", "false_alarms"):
            share = one[figure]
            rate = share["count"] / share["of"] if share["of"] else float("nan")
            low, high = share["interval"]
            cells.append(f"{share['count']}/{share['of']} = {rate:.3f} [{low:.3f}, {high:.3f}]")
        cells.append(str(one["errors"]))
        for key in ("calls_leaks_found", "calls_clean_passed"):
            spread = one[key]
            cells.append("-" if spread is None else f"{spread['median']:,.0f} / {spread['mean']:,.0f}")
        cells.append("-" if one["calls"] is None else f"{one['calls']['mean']:,.0f}")
        took = one["seconds"]
        cells.append("-" if took is None else f"{took['median']:.2f} / {took['p95']:.2f} / {took['most']:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def wrong(rows: list[dict[str, Any]]) -> str:
    """Which verdicts were wrong, by tool."""
    lines = []
    for tool in dict.fromkeys(row["tool"] for row in rows):
        for word, label, alarm in (("missed", 1, False), ("accused", 0, True)):
            names: dict[str, int] = {}
            for r in rows:
                if r["tool"] == tool and r["label"] == label and r.get("alarm") is alarm:
                    names[r["name"]] = names.get(r["name"], 0) + 1
            told = ", ".join(n if k == 1 else f"{n} ({k})" for n, k in sorted(names.items()))
            lines.append(f"- {tool} {word}: {told or 'none'}")
        errors = [f"{r['name']} ({r['error'][:80]})" for r in rows if r["tool"] == tool and "error" in r]
        if errors:
            lines.append(f"- {tool} without a verdict: {', '.join(errors)}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--half", choices=("development", "holdout"), default="")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", help="names that contain this")
    parser.add_argument("--rows", metavar="FILE", help="JSON lines: read what was run already, add what is run now")
    parser.add_argument("--json", metavar="OUT")
    parser.add_argument("--each", action="store_true", help="print each run")
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no more runs after this time")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        tool, name, seed = args.child
        print(json.dumps(child(tool, name, int(seed))), flush=True)
        os._exit(0)  # threads of a function do not keep a benchmark
    names = [name for name in names_of(args.half) if not args.only or args.only in name]
    rows: list[dict[str, Any]] = []
    if args.rows and Path(args.rows).exists():
        rows = [json.loads(line) for line in Path(args.rows).read_text(encoding="utf-8").splitlines()]
    known = {(row["tool"], row["name"], row["seed"]) for row in rows}
    begun = time.monotonic()
    for tool in args.tools.split(","):
        module = tool.partition("-")[0].replace("async", "meminstr")
        if importlib.util.find_spec(module) is None:
            print(f"{module} is not installed: left out")
            continue
        for seed in map(int, args.seeds.split(",")):
            for name in names:
                if (tool, name, seed) in known or time.monotonic() - begun > args.seconds:
                    continue
                row = run(tool, name, seed)
                rows.append(row)
                if args.each:
                    print({k: v if k != "said" else v[:150] for k, v in row.items()}, flush=True)
                if args.rows:
                    with open(args.rows, "a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
    chosen = [r for r in rows if r["name"] in names and str(r["seed"]) in args.seeds.split(",")]
    chosen = [r for r in chosen if r["tool"] in args.tools.split(",")]
    found = summary(chosen)
    print(f"{len(names)} functions, {sum(_registry()[n].label for n in names)} leak; seeds {args.seeds}\n")
    print(f"{table(found)}\n\n{wrong(chosen)}")
    if args.json:
        Path(args.json).write_text(json.dumps({"summary": found, "rows": chosen}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
