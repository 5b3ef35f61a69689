"""Does meminstr see itself?  Guarded functions that leave nothing behind, for a million calls and all their looks.

Run ``python -m benchmarks.self_noise [--calls 1000000] [--workload noop|sessions] [--every 20] [--pace MICROSECONDS]``.

After the first 10,000 calls the level of blocks and of the C heap, less what is booked as meminstr's own, may drift by
16 blocks and 4 KiB at most, and the verdict must not accuse.  Of the sessions workload the living sessions are
taken off at three blocks each; what is left still varies with the free lists, so only its verdict is asserted.
"""

from __future__ import annotations

import argparse
import json
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


def drift(calls: int, every: int, workload: str = "noop", pace: float = 0.0) -> dict[str, Any]:
    """Levels after the first 10,000 calls and at the end, in blocks and heap bytes, without meminstr's own."""
    import meminstr
    from benchmarks.cases.workloads import make
    from meminstr.registry import ControllerMemoryTracker

    tracker = ControllerMemoryTracker()
    case = make("clean_sessions", 0) if workload == "sessions" else None
    bare = case.step if case is not None else noop
    function = meminstr.leak_guard(every=every, on_leak=lambda finding: None, tracker=tracker)(bare)
    sampler = tracker.sampler
    blocks, heap = array("d", [0.0] * _READINGS), array("d", [0.0] * _READINGS)
    reading = sampler.buffer()
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
    report = meminstr.report(tracker=tracker)
    finding = next(f for f in report.findings if f.subject_kind == "function")
    tracker.uninstall()
    tenth = max(1, taken // 10)
    return {
        "workload": workload,
        "calls": calls,
        "blocks": min(blocks[taken - tenth : taken]) - min(blocks[:tenth]),
        "heap_bytes": min(heap[taken - tenth : taken]) - min(heap[:tenth]),
        "verdict": str(finding.verdict),
        "reason": finding.reason,
        "analysis_seconds": sampler.analysis_seconds,
        "python": sys.version.split()[0],
    }


def _owned_by(case: Any) -> float:
    # a session is an object, its attributes and its tuple of arguments; the number in it may be shared
    from benchmarks.cases.workloads import Tracked

    return 3.0 * Tracked.live if case is not None else 0.0


def main(argv: list[str] | None = None) -> int:
    """Print the drift; exit code 1 when it is too large."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.self_noise", description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--workload", choices=("noop", "sessions"), default="noop")
    parser.add_argument("--pace", type=float, default=0.0, help="microseconds of sleep a call, in naps of a thousand")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    row = drift(args.calls, args.every, args.workload, args.pace)
    print(json.dumps(row) if args.json else "\n".join(f"{k:18} {v}" for k, v in row.items()))
    quiet = row["verdict"] not in ("leaking", "growing")
    still = row["blocks"] <= MOST_BLOCKS and row["heap_bytes"] <= MOST_BYTES
    return 0 if quiet and (still or args.workload == "sessions") else 1


if __name__ == "__main__":
    sys.exit(main())
