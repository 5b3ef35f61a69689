"""Fifty guarded functions, one of which keeps 64 bytes in one call of ten: who is named?

Run ``python -m benchmarks.attribution [--mode threads|async] [--seeds 0 1 2] [--calls 2000000] [--functions 50]
[--no-leak] [--json]``.  The functions are called at random by four threads, or by four tasks that are suspended inside
each call; the seed draws which one leaks and in what order they are called.  Each seed runs in a process of its own.
Prints who is accused at the end, and who was announced on the way; exit code 1 unless it is the leaking one alone
(or nobody, with ``--no-leak``) in every run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

WORKERS = 4
EVERY = 20


def guilty_of(seed: int, count: int) -> int:
    """Which function leaks."""
    return random.Random(f"who leaks {seed}").randrange(count)


def functions(
    count: int, suspended: bool, kept: list[bytes], guilty: int | None, on_leak: Callable[[Any], None]
) -> list[Callable[[int], Any]]:
    """The guarded functions; ``kept`` is what the guilty one leaves behind."""
    import meminstr

    def leaky(i: int) -> None:
        if i % 10 == 3:
            kept.append((i % 251).to_bytes(1, "big") * 31)

    made = []
    for k in range(count):

        def plain(i: int, leaks: bool = k == guilty) -> None:
            if leaks:
                leaky(i)

        async def waiting(i: int, leaks: bool = k == guilty) -> None:
            if leaks:
                leaky(i)
            await asyncio.sleep(0)

        one: Any = waiting if suspended else plain
        one.__name__ = one.__qualname__ = f"work_{k:02}"
        made.append(meminstr.leak_guard(every=EVERY, on_leak=on_leak)(one))
    return made


def call_them(made: list[Callable[[int], Any]], calls: int, suspended: bool, seed: int) -> None:
    """Call them at random from four threads or tasks."""

    def run(worker: int) -> None:
        choose = random.Random(WORKERS * seed + worker)
        for i in range(calls // WORKERS):
            made[choose.randrange(len(made))](i)

    async def task(worker: int) -> None:
        choose = random.Random(WORKERS * seed + worker)
        for i in range(calls // WORKERS):
            await made[choose.randrange(len(made))](i)

    async def gathered() -> None:
        await asyncio.gather(*[task(worker) for worker in range(WORKERS)])

    if suspended:
        asyncio.run(gathered())
        return
    threads = [threading.Thread(target=run, args=(worker,)) for worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def one_run(mode: str, seed: int, calls: int, count: int, leaks: bool) -> dict[str, Any]:
    """One run in this process."""
    import meminstr

    kept: list[bytes] = []
    announced: list[str] = []
    guilty = guilty_of(seed, count) if leaks else None
    made = functions(count, mode == "async", kept, guilty, lambda finding: announced.append(finding.subject))
    began = time.perf_counter()
    call_them(made, calls, mode == "async", seed)
    seconds = time.perf_counter() - began
    report = meminstr.report()
    accused = {f.subject: str(f.verdict) for f in report.findings if f.verdict in ("leaking", "growing")}
    name = None if guilty is None else f"work_{guilty:02}"
    found = next((f for f in report.findings if f.subject == name), None)
    subjects = list(meminstr.tracker.functions.values())
    samples = sorted(s.deltas.samples for s in subjects)
    return {
        "mode": mode,
        "seed": seed,
        "python": platform.python_version(),
        "calls": calls,
        "functions": count,
        "seconds": round(seconds, 2),
        "kept": len(kept),
        "guilty": name,
        "accused": accused,
        "announced": sorted(set(announced)),
        "guilty_only": list(accused) == ([] if name is None else [name]) and set(announced) <= set(accused),
        "leaking": found is not None and str(found.verdict) == "leaking",
        "blocks_per_call": None if found is None or found.blocks_per_call is None else found.blocks_per_call.value,
        "samples_of_each": [samples[0], samples[len(samples) // 2], samples[-1]],
        "mixed_share": round(sum(s.mixed for s in subjects) / max(1, sum(s.samples for s in subjects)), 4),
        "cost_seconds": report.cost.seconds,
    }


def in_a_process(args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.attribution", "--one", "--mode", args.mode, "--seeds", str(seed)]
    command += ["--calls", str(args.calls), "--functions", str(args.functions)]
    command += ["--no-leak"] if args.no_leak else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(argv: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attribution", description=__doc__.partition("\n")[0])
    parser.add_argument("--mode", choices=("threads", "async"), default="threads")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--calls", type=int, default=2_000_000)
    parser.add_argument("--functions", type=int, default=50)
    parser.add_argument("--no-leak", action="store_true", help="nobody leaks: nobody may be accused")
    parser.add_argument("--json", action="store_true", help="one JSON object a run")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(one_run(args.mode, args.seeds[0], args.calls, args.functions, not args.no_leak)))
        return 0
    right = 0
    for seed in args.seeds:
        run = in_a_process(args, seed)
        good = run["guilty_only"] and (args.no_leak or run["leaking"])
        right += good
        if args.json:
            print(json.dumps(run), flush=True)
            continue
        print(
            f"{run['mode']} seed {seed}: {run['calls']:,} calls in {run['seconds']} s, {run['kept']:,} objects kept by "
            f"{run['guilty']}; accused {run['accused']}, announced {run['announced']}; samples of each "
            f"{run['samples_of_each']}; {'right' if good else 'WRONG'}",
            flush=True,
        )
    if not args.json:
        print(f"right in {right} of {len(args.seeds)}")
    return 0 if right == len(args.seeds) else 1


if __name__ == "__main__":
    sys.exit(main())
