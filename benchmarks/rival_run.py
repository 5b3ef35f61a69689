"""Other leak checkers on the same labelled workloads, each run in a process of its own, as their users have them.

Run ``python -m benchmarks.rival_run [--rivals psleak,pympler,scalene] [--half ..] [--seeds 0] [--rows FILE]`` with an
interpreter that has them.  One verdict a run: psleak raises or does not (memory checker only, its defaults, run under
``PYTHONMALLOC=malloc`` as it asks); Pympler's summaries are compared every 3,000 calls, and five growing differences in
a row are an alarm; scalene profiles memory and lists leaks or does not.  Calls: what psleak needs by itself; 24,000 for
the others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .accuracy import ROOT, names_of
from .accuracy_scores import clopper_pearson

RIVALS = ("psleak", "pympler", "scalene")
CALLS = 24_000
_EVERY = 3_000
_GROWING = 5


def psleak(name: str, seed: int) -> dict[str, Any]:
    """Whether psleak's test case raises, and how many calls it made."""
    import psleak as rival

    from .cases.unseen import make_any

    work = make_any(name, seed)
    made = 0

    def step() -> None:
        nonlocal made
        work.step(made)
        made += 1

    class Case(rival.MemoryLeakTestCase):  # type: ignore[misc]
        checkers = rival.Checkers.only("memory")

        def runTest(self) -> None:
            self.execute(step)

    Case.setUpClass()
    try:
        Case().runTest()
        alarm, said = False, ""
    except rival.MemoryLeakError as error:
        alarm, said = True, str(error)
    return {"alarm": alarm, "calls": made, "said": said[-200:]}


def pympler(name: str, seed: int) -> dict[str, Any]:
    """Whether five differences of summaries in a row grow, and whether the last does."""
    from pympler import tracker as rival

    from .cases.unseen import make_any

    work = make_any(name, seed)
    tracker = rival.SummaryTracker()
    tracker.diff()
    grown: list[float] = []
    first = None
    for i in range(CALLS):
        work.step(i)
        if i % _EVERY == _EVERY - 1:
            grown.append(sum(row[2] for row in tracker.diff()))
            if first is None and len(grown) >= _GROWING and min(grown[-_GROWING:]) > 0:
                first = i
    return {"alarm": first is not None, "calls": first, "last": grown[-1] > 1024, "any": max(grown) > 0}


def scalene(name: str, seed: int) -> dict[str, Any]:
    """Whether scalene's profile of the run lists a leak."""
    with tempfile.TemporaryDirectory() as folder:
        script, out = Path(folder) / "profiled.py", Path(folder) / "out.json"
        script.write_text(
            f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"from benchmarks.cases.unseen import make_any\nwork = make_any({name!r}, {seed})\n"
            f"for i in range({CALLS}):\n    work.step(i)\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "scalene", "run", "--memory", "--json", "--profile-all", "--outfile", str(out)]
        done = subprocess.run([*command, str(script)], capture_output=True, text=True, check=False, timeout=300)
        if not out.exists():
            return {"alarm": False, "said": f"exit {done.returncode}, no profile: {done.stderr[-150:]}"}
        files = json.loads(out.read_text(encoding="utf-8")).get("files", {})
    leaks = [f"{Path(file).name}:{line}" for file, facts in files.items() for line in facts.get("leaks", {})]
    return {"alarm": bool(leaks), "calls": CALLS, "said": ", ".join(leaks)[:200]}


def run(rival: str, name: str, seed: int) -> dict[str, Any]:
    """One run in a child process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MEMINSTR_", "PYTHONMALLOC"))}
    environment["PYTHONHASHSEED"] = str(seed)
    if rival == "psleak":
        environment["PYTHONMALLOC"] = "malloc"
    command = [sys.executable, "-m", "benchmarks.rival_run", "--child", rival, name, str(seed)]
    begun = time.monotonic()
    row: dict[str, Any] = {"rival": rival, "name": name, "seed": seed}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=400, env=environment
        )
        row.update(json.loads(done.stdout.strip().splitlines()[-1]))
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        row["error"] = f"{type(error).__name__}: {error}"[:300]
    row["seconds"] = round(time.monotonic() - begun, 2)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Recall and false alarms of each rival, with limits."""
    from .cases.unseen import UNSEEN
    from .cases.workloads import WORKLOADS

    label = {name: one.label for name, one in {**WORKLOADS, **UNSEEN}.items()}
    lines = ["| rival | recall | false alarms | failed | median seconds a run |", "|---|---|---|---|---|"]
    for rival in dict.fromkeys(row["rival"] for row in rows):
        mine = [row for row in rows if row["rival"] == rival]
        good = [row for row in mine if "error" not in row]
        cells = []
        for wanted in (1, 0):
            some = [row for row in good if label[row["name"]] == wanted]
            count = sum(row["alarm"] for row in some)
            low, high = clopper_pearson(count, len(some))
            cells.append(f"{count}/{len(some)} [{low:.2f}, {high:.2f}]")
        seconds = sorted(row["seconds"] for row in mine)
        lines.append(
            f"| {rival} | {cells[0]} | {cells[1]} | {len(mine) - len(good)} | {seconds[len(seconds) // 2]:.1f} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rivals", default=",".join(RIVALS))
    parser.add_argument("--half", choices=("development", "holdout", "unseen"), default="")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rows", metavar="FILE", help="JSON lines: read what was run already, add what is run now")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no more runs after this time")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        rival, name, seed = args.child
        one = {"psleak": psleak, "pympler": pympler, "scalene": scalene}[rival]
        print(json.dumps(one(name, int(seed))), flush=True)
        os._exit(0)  # threads of a workload do not keep a benchmark
    rows: list[dict[str, Any]] = []
    if args.rows and Path(args.rows).exists():
        rows = [json.loads(line) for line in Path(args.rows).read_text(encoding="utf-8").splitlines()]
    known = {(row["rival"], row["name"], row["seed"]) for row in rows}
    begun = time.monotonic()
    for seed in map(int, args.seeds.split(",")):
        for rival in args.rivals.split(","):
            for name in names_of(args.half):
                if (rival, name, seed) in known or time.monotonic() - begun > args.seconds:
                    continue
                rows.append(run(rival, name, seed))
                if args.rows:
                    with open(args.rows, "a", encoding="utf-8") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
