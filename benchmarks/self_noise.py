"""Does meminstr see itself?  Guarded functions that leave nothing behind, for a million calls and all their looks.

Run ``python -m benchmarks.self_noise [--calls 1000000] [--workload noop|sessions] [--every 20] [--pace MICROSECONDS]
[--control] [--json]``.

After the first 10,000 calls the level of blocks and of the C heap, less what is booked as meminstr's own, may drift by
16 blocks and 4 KiB at most, the 99 % interval of their slope (Theil and Sen) covers nought, and the verdict must not
accuse.  The sessions workload moves by more than that on its own: its living sessions are taken off at three blocks
each, and ``--control`` runs it bare, read at the same calls and judged by nobody, in a process of its own.  Its drift
and its spread are what the guarded run is to be compared with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from array import array
from typing import Any

WARM = 10_000
MOST_BLOCKS = 16
MOST_BYTES = 4096
_READINGS = 256


def noop(i: int) -> None:
    """Do nothing."""


def drift(
    calls: int, every: int, workload: str = "noop", pace: float = 0.0, seed: int = 0, guarded: bool = True
) -> dict[str, Any]:
    """Levels after the first 10,000 calls and at the end, in blocks and heap bytes, without meminstr's own."""
    import meminstr
    from benchmarks.cases.workloads import make
    from meminstr.registry import ControllerMemoryTracker

    tracker = ControllerMemoryTracker()
    case = make("clean_sessions", seed) if workload == "sessions" else None
    bare = case.step if case is not None else noop
    function = bare
    if guarded:
        function = meminstr.leak_guard(every=every, on_leak=lambda finding: None, tracker=tracker)(bare)
    sampler = tracker.sampler
    blocks, heap = array("d", [0.0] * _READINGS), array("d", [0.0] * _READINGS)
    reading = sampler.buffer()
    sampler.read(reading)
    stride = max(1, (calls - WARM) // _READINGS)
    taken = 0
    for i in range(calls):
        function(i)
        if pace and i % 1000 == 0:
            time.sleep(pace * 1e-3)
        if i >= WARM and (i - WARM) % stride == 0 and taken < _READINGS:
            sampler.read(reading)
            # of the sessions workload only what is not its live set counts
            live = _owned_by(case)
            if reading[1] >= 0 and reading[2] >= 0:  # a probe may be resting
                blocks[taken], heap[taken] = reading[1] - live, reading[2]
                taken += 1
    tenth = max(1, taken // 10)
    row = {
        "workload": workload,
        "seed": seed,
        "guarded": guarded,
        "calls": calls,
        "blocks": min(blocks[taken - tenth : taken]) - min(blocks[:tenth]),
        "heap_bytes": min(heap[taken - tenth : taken]) - min(heap[:tenth]),
        "blocks_spread": max(blocks[:taken]) - min(blocks[:taken]),
        "heap_spread": max(heap[:taken]) - min(heap[:taken]),
        "blocks_slope_per_million": _slope(blocks[:taken], stride),
        "heap_slope_per_million": _slope(heap[:taken], stride),
        "python": sys.version.split()[0],
    }
    if guarded:
        report = meminstr.report(tracker=tracker)
        finding = next(f for f in report.findings if f.subject_kind == "function")
        subject = tracker.functions[finding.subject]
        row |= {
            "verdict": str(finding.verdict),
            "reason": finding.reason,
            "analysis_seconds": sampler.analysis_seconds,
            "samples": subject.samples,
        }
    tracker.uninstall()
    return row


def _slope(levels: array[float], stride: int) -> list[float]:
    import numpy as np

    from meminstr.trend.rates import theil_sen

    # of the lowest of four each: so many points are what the estimator is made for
    lows = np.array(levels)[: len(levels) // 4 * 4].reshape(-1, 4).min(axis=1)
    slope = theil_sen(np.arange(len(lows), dtype=float) * 4 * stride / 1e6, lows)
    return [slope.low, slope.value, slope.high]


def _owned_by(case: Any) -> float:
    # a session is an object, its attributes and its tuple of arguments; the number in it may be shared
    from benchmarks.cases.workloads import Tracked

    return 3.0 * Tracked.live if case is not None else 0.0


def still(row: dict[str, Any]) -> bool:
    """Whether the levels stayed where they were, and nobody is accused."""
    if row.get("verdict") in ("leaking", "growing"):
        return False
    if row["workload"] == "sessions":
        return True  # to be compared with the control: the workload itself does not keep still
    return row["blocks"] <= MOST_BLOCKS and row["heap_bytes"] <= MOST_BYTES


def main(argv: list[str] | None = None) -> int:
    """Print the drift; exit code 1 when it is too large."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.self_noise", description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--workload", choices=("noop", "sessions"), default="noop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pace", type=float, default=0.0, help="microseconds of sleep a call, in naps of a thousand")
    parser.add_argument("--control", action="store_true", help="first the same without a guard, in its own process")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.control:
        command = [sys.executable, "-m", "benchmarks.self_noise", "--bare", "--calls", str(args.calls)]
        command += ["--every", str(args.every), "--workload", args.workload, "--seed", str(args.seed)]
        command += ["--pace", str(args.pace)] + (["--json"] if args.json else [])
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, end="", flush=True)
    row = drift(args.calls, args.every, args.workload, args.pace, args.seed, guarded=not args.bare)
    print(json.dumps(row) if args.json else "\n".join(f"{k:24} {v}" for k, v in row.items()), flush=True)
    return 0 if still(row) else 1


if __name__ == "__main__":
    sys.exit(main())
