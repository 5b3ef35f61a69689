"""``python -m benchmarks.real_cases``: programs that nobody here wrote, judged through ``meminstr run``.

Each case under ``benchmarks/cases/real`` is run in an environment of its own with its pinned packages: a leak on the
leaky and on the fixed release, a clean one on its own.  The program does not know of meminstr; its ``workload:step`` is
guarded by name.  Printed: case, pin, verdict, rate against the truth.

A leaky release is right when it is `leaking`, or `growing` at the right rate (within a sixth of it) where too few
calls were made: fewer than the horizon and a slot, or fewer than the report itself says it needs, because garbage that
comes and goes beside the leak hides whether its pace is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CASES = HERE / "cases" / "real"
DEVELOPMENT = ("04", "06", "16", "20", "01", "09")
"""Developed on these; the others were run to report only."""
ACCUSED = ("leaking", "growing")
NEAR = 1 / 6


def cases(chosen: list[str]) -> list[tuple[Path, str]]:
    """(directory, pin file) of every run, leaks first."""
    out = []
    for directory in sorted(CASES.glob("*/*"), key=lambda p: (p.parent.name != "leaks", p.name)):
        if chosen and not any(directory.name.startswith(c) for c in chosen):
            continue
        out += [(directory, pins.name) for pins in sorted(directory.glob("*.txt"), reverse=True)]
    return out


def environment(directory: Path, pins: str, envs: Path) -> Path:
    """The interpreter of an environment with the case's pins and meminstr; made when it is not there."""
    home = envs / f"{directory.name}-{pins.removesuffix('.txt')}"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = home / "installed"
    if not marker.exists():
        run = [sys.executable, "-m", "venv", str(home)]
        subprocess.run(run, check=True, capture_output=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(directory / pins), "-e", str(HERE.parent)], check=True, capture_output=True)
        marker.touch()
    return python


def judge(directory: Path, pins: str, envs: Path, steps: int | None, every: int) -> dict[str, Any]:
    """Run one case and compare its report with the truth."""
    truth = json.loads((directory / "TRUTH.json").read_text(encoding="utf-8"))
    leaky = pins == "leaky.txt"
    wanted = steps or (12_000 if directory.parent.name == "leaks" else int(truth["verified_steps"]))
    if not steps:  # at most a minute of the program's own time
        wanted = max(2 * int(truth.get("steps_needed", 2000)), min(wanted, int(60_000 / truth["ms_per_step"])))
    python = environment(directory, pins, envs)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "report.json"
        command = [
            str(python), "-m", "meminstr", "run", "--guard", "workload:step", "--every", str(every),
            "--report", str(out), "--quiet", str(HERE / "cases" / "drive.py"), str(directory), str(wanted),
        ]  # fmt: skip
        where = {**os.environ, "PYTHONPATH": str(directory)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=scratch, check=False, env=where)
        if done.returncode or not out.exists():
            return {
                "case": directory.name,
                "pins": pins,
                "ok": False,
                "verdict": "failed",
                "detail": done.stderr[-800:],
            }
        report = json.loads(out.read_text(encoding="utf-8"))
    worst = max(report["findings"], key=lambda f: (f["verdict"] in ACCUSED, f["subject_kind"] == "function"))
    blocks = (worst["blocks_per_call"] or {}).get("value")
    size = (worst["bytes_per_call"] or {}).get("value")
    accused = [f for f in report["findings"] if f["verdict"] in ACCUSED]
    if leaky:
        early = wanted < 5_500 or "(pace)" in worst["reason"]
        near = abs((blocks or 0.0) / (truth.get("allocated_blocks_per_step") or 1.0) - 1) <= NEAR
        right = worst["verdict"] == "leaking" or (early and near and worst["verdict"] == "growing")
    else:
        right = not accused
    return {
        "case": directory.name,
        "pins": pins,
        "development": directory.name.startswith(DEVELOPMENT),
        "leaks": leaky,
        "steps": wanted,
        "subject": worst["subject"],
        "verdict": worst["verdict"],
        "reason": worst["reason"],
        "blocks_per_call": blocks,
        "true_blocks_per_call": truth.get("allocated_blocks_per_step", 0.0) if leaky else 0.0,
        "bytes_per_call": size,
        "true_bytes_per_call": truth.get("bytes_per_step", 0.0) if leaky else 0.0,
        "culprit_type": worst["culprit_type"],
        "true_type": truth.get("leaked_type") if leaky else None,
        "holder": worst["holders"][0]["path"] if worst["holders"] else None,
        "ok": right,
    }


def main(argv: list[str] | None = None) -> int:
    """Run the cases and print the table; exit code 1 when a verdict is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_cases", description=__doc__)
    parser.add_argument("--case", action="append", default=[], metavar="NUMBER", help="only cases that start so")
    parser.add_argument("--development", action="store_true", help="only the cases developed on")
    parser.add_argument("--steps", type=int, help="steps a run (default: what the case needs)")
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--envs", type=Path, help="keep environments here (default: a temporary directory)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    chosen = args.case or (list(DEVELOPMENT) if args.development else [])
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        envs = args.envs or Path(scratch)
        for directory, pins in cases(chosen):
            row = judge(directory, pins, envs, args.steps, args.every)
            rows.append(row)
            if not args.json:
                show(row)
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        wrong = [r for r in rows if not r["ok"]]
        print(f"{len(rows) - len(wrong)} of {len(rows)} right")
    return 0 if all(r["ok"] for r in rows) else 1


def show(row: dict[str, Any]) -> None:
    """One line, and what was wrong."""
    mark = "ok " if row["ok"] else "BAD"
    print(f"{mark} {row['case']:28} {row['pins'].removesuffix('.txt'):6} {row['verdict']:18}", end="")
    if row["verdict"] in ACCUSED:
        print(
            f" {row['blocks_per_call'] or 0:8.3f} blocks/call (true {row['true_blocks_per_call']:.3f})"
            f" {row['bytes_per_call'] or 0:8.0f} B/call (true {row['true_bytes_per_call']:.0f})"
            f" {row['culprit_type'] or ''} {row['holder'] or ''}",
            end="",
        )
    print(f"\n    {row.get('reason', row.get('detail', ''))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
