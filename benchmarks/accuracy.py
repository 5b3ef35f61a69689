"""How often the verdict is right, live: labelled workloads, each in a process of its own with the tool inside.

Run ``python -m benchmarks.accuracy [--half development|holdout|unseen] [--seeds 0,2,4] [--workloads a,b]
[--calls 24000] [--every 20] [--classes] [--jobs 2] [--short] [--rows FILE [--seconds 500]] [--json FILE]``.
With ``--rows`` each run is added to a file of JSON lines at once, and what is there already is not run again: a long
measurement can be taken in pieces.

The workload is guarded as a user does it (``leak_guard(every=20)`` on its step).  *Any look* counts an alarm raised at
any moment or standing at the end; *final look* only what the report at the end says.  Every finding counts, the
process's own included.  Development and hold-out are fixed: ``sorted(WORKLOADS)[0::2]`` with even seeds was looked at
while the engine was built, the other names with odd seeds only to be reported.  Intervals are Clopper and Pearson's
(1934) at 95 %.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .accuracy_scores import score, tables

ROOT = Path(__file__).resolve().parents[1]
SHORT = (
    ("clean_noop", 0, 12_000),
    ("clean_churn", 0, 12_000),
    ("clean_dict_fifo", 0, 12_000),
    ("clean_lru2k", 1, 16_000),
    ("leak_list_64b", 0, 8_000),
    ("leak_registry", 0, 8_000),
    ("leak_native_4k", 0, 8_000),
    ("leak_late3000", 1, 14_000),
)
"""Clear cases for CI: (workload, seed, calls)."""

Case = tuple[str, int, int]


def names_of(half: str) -> list[str]:
    """The workloads of one half, or those never seen before the engine was frozen; both halves when it is empty."""
    from benchmarks.cases.unseen import UNSEEN
    from benchmarks.cases.workloads import WORKLOADS

    if half == "unseen":
        return sorted(UNSEEN)
    ordered = sorted(WORKLOADS)
    return {"development": ordered[0::2], "holdout": ordered[1::2]}.get(half, ordered)


def _child(name: str, seed: int, calls: int, every: int, mode: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.live_run", name, str(seed), str(calls), str(every), mode]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MEMINSTR_", "PYTHONMALLOC"))}
    environment["PYTHONHASHSEED"] = str(seed)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=600, env=environment)
    if done.returncode or not done.stdout.strip():
        raise RuntimeError(f"{name} seed {seed} {mode}: exit {done.returncode}\n{done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return row


def run_one(case: Case, every: int, classes: bool) -> dict[str, Any]:
    """One live run with its truth, scored."""
    name, seed, calls = case
    row = _child(name, seed, calls, every, "classes" if classes else "live")
    if row["label"]:
        row["truth"] = _child(name, seed, calls, every, "truth")
    return score(row)


def run_all(
    cases: Sequence[Case],
    every: int = 20,
    classes: bool = False,
    jobs: int = 2,
    each: Callable[[dict[str, Any]], object] = lambda row: None,
) -> list[dict[str, Any]]:
    """Run all cases, `jobs` at a time; a run that fails is a row with an ``error``."""

    def guarded(case: Case) -> dict[str, Any]:
        try:
            row = run_one(case, every, classes)
        except Exception as error:
            row = {"name": case[0], "seed": case[1], "error": str(error)}
        each(row)
        return row

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(guarded, cases))


def _show(row: dict[str, Any]) -> None:
    if "error" in row:
        print(f"FAILED {row['name']} {row['seed']}: {row['error']}", flush=True)
        return
    wrong = [k for k in ("any_look", "final_look") if row[k] != bool(row["label"])]
    wrong += [k for k in ("kind_right", "culprit_right", "rate_covered") if row[k] is False]
    mark = "    " if not wrong else "BAD " if set(wrong) & {"any_look", "final_look"} else "note"
    print(
        f"{mark} {row['name']:22} {row['seed']:3} {row['verdict']:17} at {row['fired_at']!s:>6}"
        f" (onset {row['onset']:5}) {row['kind'] or '':16} {row['rate']!s:>9} of {row['true_rate']!s:>9}"
        f" {row['culprit'] or '':24} {' '.join(wrong)}"
        + (f"\n       {row['subject']}: {row['reason']}" if wrong else ""),
        flush=True,
    )


def _kept(path: str | None) -> dict[Case, dict[str, Any]]:
    if not path or not Path(path).exists():
        return {}
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {(row["name"], row["seed"], row["calls"]): row for row in rows if "error" not in row}


def main(argv: list[str] | None = None) -> int:
    """Run what is asked for and print the tables; exit code 1 when a verdict at the end is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__.partition("\n")[0])
    parser.add_argument("--half", choices=("development", "holdout", "unseen"), default="")
    parser.add_argument("--seeds", help="as 0,2,4 or 0:60:2 (default: 0,2,4; of the hold-out 1,3,5)")
    parser.add_argument("--rows", metavar="FILE", help="JSON lines: read what was run already, add what is run now")
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no more runs after this time")
    parser.add_argument("--workloads", help="names, with commas between")
    parser.add_argument("--calls", type=int, default=24_000)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--classes", action="store_true", help="also track instantiations, where there is a class")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="a handful of clear cases, for CI")
    parser.add_argument("--quiet", action="store_true", help="only the tables and what is wrong")
    parser.add_argument("--json", metavar="FILE", help="write rows and scores; - is standard output")
    args = parser.parse_args(argv)
    if args.jobs not in (1, 2):
        parser.error(f"--jobs {args.jobs}: 1 or 2 is allowed, more would disturb the readings of one another")
    cases: list[Case]
    if args.short:
        cases = list(SHORT)
    else:
        names = args.workloads.split(",") if args.workloads else names_of(args.half)
        unknown = set(names) - {*names_of(""), *names_of("unseen")}
        if unknown:
            parser.error(f"--workloads: no such workload: {', '.join(sorted(unknown))}")
        wanted = args.seeds or ("1,3,5" if args.half == "holdout" else "0,2,4")
        seeds = list(range(*map(int, wanted.split(":")))) if ":" in wanted else [int(one) for one in wanted.split(",")]
        cases = [(name, seed, args.calls) for seed in seeds for name in names]

    def each(row: dict[str, Any]) -> None:
        bad = "error" in row or row["any_look"] != bool(row["label"]) or row["final_look"] != bool(row["label"])
        if args.json != "-" and (bad or not args.quiet):
            _show(row)

    known = _kept(args.rows)
    begun = time.monotonic()

    def keep(row: dict[str, Any]) -> None:
        each(row)
        if args.rows:
            with open(args.rows, "a", encoding="utf-8") as file:
                file.write(json.dumps(row, default=str) + "\n")

    wanted_now = [case for case in cases if case not in known]
    rows = [known[case] for case in cases if case in known]
    for at in range(0, len(wanted_now), args.jobs):
        if time.monotonic() - begun < args.seconds:
            rows += run_all(wanted_now[at : at + args.jobs], args.every, args.classes, args.jobs, keep)
    if len(rows) < len(cases):
        print(f"{len(rows)} of {len(cases)} runs so far")
    result = tables(rows)
    result["settings"] = {k: v for k, v in vars(args).items() if k != "json"}
    result["python"] = platform.python_version()
    if args.json == "-":
        print(json.dumps({**result, "rows": rows}, indent=1, default=str))
    else:
        print(result["text"])
        if args.json:
            text = json.dumps({**result, "rows": rows}, indent=1, default=str)
            Path(args.json).write_text(text + "\n", encoding="utf-8")
    wrong = [r for r in rows if "error" in r or r["final_look"] != bool(r["label"])]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
