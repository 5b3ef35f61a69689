"""Fifty guarded functions, one of which keeps 64 bytes in one call of ten: who is named?

Run ``python -m benchmarks.attribution [--mode threads|async] [--calls 1000000] [--functions 50]``.  The functions are
called at random by four threads, or by four tasks that are suspended inside each call.  Prints who is accused; exit
code 1 unless it is the leaking one alone.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

GUILTY = 17
WORKERS = 4


def functions(count: int, suspended: bool, kept: list[bytes]) -> list[Callable[[int], Any]]:
    """The guarded functions; ``kept`` is what the guilty one leaves behind."""
    import meminstr

    def leaky(i: int) -> None:
        if i % 10 == 3:
            kept.append((i % 251).to_bytes(1, "big") * 31)

    made = []
    for k in range(count):

        def plain(i: int, guilty: bool = k == GUILTY) -> None:
            if guilty:
                leaky(i)

        async def waiting(i: int, guilty: bool = k == GUILTY) -> None:
            if guilty:
                leaky(i)
            await asyncio.sleep(0)

        one: Any = waiting if suspended else plain
        one.__name__ = one.__qualname__ = f"work_{k:02}"
        made.append(meminstr.leak_guard(every=20, on_leak=lambda finding: None)(one))
    return made


def call_them(made: list[Callable[[int], Any]], calls: int, suspended: bool) -> None:
    """Call them at random from four threads or tasks."""

    def run(seed: int) -> None:
        choose = random.Random(seed)
        for i in range(calls // WORKERS):
            made[choose.randrange(len(made))](i)

    async def task(seed: int) -> None:
        choose = random.Random(seed)
        for i in range(calls // WORKERS):
            await made[choose.randrange(len(made))](i)

    async def gathered() -> None:
        await asyncio.gather(*[task(seed) for seed in range(WORKERS)])

    if suspended:
        asyncio.run(gathered())
        return
    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(argv: list[str] | None = None) -> int:
    """Run and print."""
    import meminstr

    parser = argparse.ArgumentParser(prog="python -m benchmarks.attribution", description=__doc__.partition("\n")[0])
    parser.add_argument("--mode", choices=("threads", "async"), default="threads")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--functions", type=int, default=50)
    args = parser.parse_args(argv)
    kept: list[bytes] = []
    made = functions(args.functions, args.mode == "async", kept)
    call_them(made, args.calls, args.mode == "async")
    report = meminstr.report()
    accused = [f.subject for f in report.findings if f.verdict in ("leaking", "growing")]
    guilty = [name for name in accused if f"work_{GUILTY:02}" in name]
    print(
        f"{args.mode}: {args.calls:,} calls, {len(kept):,} objects kept; {len(accused)} accused, guilty one: {guilty}"
    )
    for name in accused:
        print(f"  {name}")
    return 0 if guilty and len(accused) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
