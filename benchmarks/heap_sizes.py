"""What sampling costs beside a large heap of small objects, and beside a fragmented one.

Run ``python -m benchmarks.heap_sizes [--gib 2.0] [--seconds 10] [--heaps small objects fragmented] [--json]``.

Reading the blocks walks all pools (CPython), reading the C heap all free chunks (glibc): 12 and 207 ms were measured
at 2 GB.  Each heap is made in a process of its own; then a guarded function of some microseconds is called for so many
seconds.  Printed: what one reading of each probe costs there, how many were made, and what all of them took: as a share
of the time that passed, and for each call.  The budget is the setting's share (0.001) with a cap of 1 ms: a reading
that is dearer than the cap is paid for before the next one is made, so that of a run of ten seconds the first reading
of 12 ms alone is a thousandth; ``after_first`` leaves out the first reading of each probe.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

HEAPS = ("small", "objects", "fragmented")
_OBJECT, _CHUNK = 48, 640
"""Bytes that a float in a list takes with its place in it, roughly, and a bytes object of 600."""


def heap_of(kind: str, size: int) -> list[Any]:
    """Something that takes so many bytes."""
    if kind == "objects":
        return [float(i) for i in range(size // _OBJECT)]
    if kind == "fragmented":
        kept = [bytes(600) for _ in range(size // _CHUNK)]
        for i in range(0, len(kept), 2):
            kept[i] = b""  # every other one is free again, and too small to be joined to its neighbours
        return kept
    return []


class Counted:
    """A probe's reader that counts its readings and what they took."""

    def __init__(self, probe: Any) -> None:
        self.read_it = probe.read
        self.seconds: list[float] = []

    def __call__(self) -> int:
        """A reading."""
        began = time.perf_counter()
        try:
            return int(self.read_it())
        finally:
            self.seconds.append(time.perf_counter() - began)


def one(kind: str, size: int, seconds: float) -> dict[str, Any]:
    """Calls beside one heap, in this process."""
    import meminstr

    kept = heap_of(kind, size)
    tracker = meminstr.ControllerMemoryTracker()
    readers = {}
    for name, timed in tracker.sampler.probes().items():
        if name in ("resident", "blocks", "heap"):
            readers[name] = timed.probe.read = Counted(timed.probe)

    def work(item: int) -> int:
        return sum(range(item % 100))

    guarded = meminstr.leak_guard(every=100, tracker=tracker)(work)
    calls, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(1000):
            guarded(calls)
            calls += 1
    passed = time.perf_counter() - began
    subject = next(iter(tracker.functions.values()))
    all_of = [value for reader in readers.values() for value in reader.seconds]
    later = [value for reader in readers.values() for value in reader.seconds[1:]]
    row = {
        "python": sys.version.split()[0],
        "heap": kind,
        "bytes": size if kept else 0,
        "seconds": round(passed, 2),
        "calls": calls,
        "samples": subject.samples,
        "readings": {name: len(reader.seconds) for name, reader in readers.items()},
        "median_us": {name: round(sorted(r.seconds)[len(r.seconds) // 2] * 1e6, 2) for name, r in readers.items()},
        "worst_us": {name: round(max(r.seconds) * 1e6, 1) for name, r in readers.items()},
        "share": sum(all_of) / passed,
        "after_first": sum(later) / passed,
        "us_per_call": sum(all_of) / calls * 1e6,
        "us_per_sample": sum(later) / max(1, subject.samples) * 1e6,
    }
    tracker.uninstall()
    return row


def main(argv: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heap_sizes", description=__doc__.partition("\n")[0])
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--heaps", nargs="+", choices=HEAPS, default=list(HEAPS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(one(args.heaps[0], int(args.gib * 2**30), args.seconds)))
        return 0
    rows = []
    for kind in args.heaps:
        command = [sys.executable, "-m", "benchmarks.heap_sizes", "--one", "--heaps", kind]
        command += ["--gib", str(args.gib), "--seconds", str(args.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        if args.json:
            print(json.dumps(rows[-1]), flush=True)
    if not args.json:
        print("| heap | calls | samples | a reading (us): resident, blocks, heap | share | later | us a call |")
        print("|---|---|---|---|---|---|---|")
        for row in rows:
            dear = ", ".join(f"{value:g} ({row['readings'][name]})" for name, value in row["median_us"].items())
            print(
                f"| {row['heap']} | {row['calls']:,} | {row['samples']:,} | {dear} | {row['share']:.4%} "
                f"| {row['after_first']:.4%} | {row['us_per_call']:.3f} |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
