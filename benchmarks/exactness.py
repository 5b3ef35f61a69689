"""``python -m benchmarks.exactness``: is every event counted, and does a forked child start from nought?

* threads: 16 threads x 10^6 events each of a guarded function, of a class's constructions and deaths, and of cleanups,
  under a switch interval of 10 us; lost is what was done less what was counted;
* asyncio: 16 tasks x 10^5 calls of a coroutine function that gives way;
* forks: 1,000 while three threads call, construct and note faults; a child must find nothing of its parent's, count its
  own events exactly, read memory and end: one that does not within 15 s is ended by its alarm and counted as hanging.

Exit code 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import meminstr

THREADS, EVENTS, FORKS, TASKS = 16, 1_000_000, 1_000, 16
_ALARM_SECONDS = 15


def in_threads(work: Callable[[], None]) -> None:
    """Do it in sixteen threads at once."""
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def row(what: str, done: int, counted: int, began: float) -> dict[str, Any]:
    """One line of the table."""
    return {"what": what, "done": done, "counted": counted, "lost": done - counted, "seconds": time.time() - began}


def calls(events: int) -> list[dict[str, Any]]:
    """A guarded function."""
    tracker = meminstr.ControllerMemoryTracker()

    @meminstr.leak_guard(tracker=tracker)
    def step(number: int) -> int:
        return number

    def work() -> None:
        for number in range(events):
            step(number)

    began = time.time()
    in_threads(work)
    (subject,) = tracker.functions.values()
    counted = subject.calls()
    tracker.uninstall()
    return [row("calls", THREADS * events, counted, began)]


def constructions(events: int) -> list[dict[str, Any]]:
    """A followed class; each fourth instance is cleaned up."""
    tracker = meminstr.ControllerMemoryTracker()

    @meminstr.track_instantiations("Thing", tracker=tracker)
    class Thing:
        def __init__(self, number: int) -> None:
            self.number = number

        def close(self) -> None:
            self.number = 0

    def work() -> None:
        for number in range(events):
            thing = Thing(number)
            if not number % 4:
                thing.close()

    began = time.time()
    in_threads(work)
    counts = tracker.classes["Thing"].follower.counts()
    tracker.uninstall()
    done = THREADS * events
    return [
        row("constructions", done, counts.constructed, began),
        row("deaths", done, counts.died or 0, began),
        row("cleanups", THREADS * len(range(0, events, 4)), counts.cleaned, began),
    ]


def tasks(events: int) -> list[dict[str, Any]]:
    """A guarded coroutine function under asyncio."""
    tracker = meminstr.ControllerMemoryTracker()

    @meminstr.leak_guard(tracker=tracker)
    async def step(number: int) -> int:
        if not number % 100:
            await asyncio.sleep(0)
        return number

    async def work() -> None:
        for number in range(events):
            await step(number)

    async def everything() -> None:
        await asyncio.gather(*(work() for _ in range(TASKS)))

    began = time.time()
    asyncio.run(everything())
    (subject,) = tracker.functions.values()
    counted = subject.calls()
    tracker.uninstall()
    return [row("asyncio calls", TASKS * events, counted, began)]


def forks(number: int) -> dict[str, Any]:
    """Children of a process that three threads keep busy."""
    tracker = meminstr.ControllerMemoryTracker()

    @meminstr.leak_guard(every=2, tracker=tracker)
    def step(x: int) -> int:
        return x

    @meminstr.track_instantiations("Thing", tracker=tracker)
    class Thing:
        def __init__(self, x: int) -> None:
            self.x = x

        def close(self) -> None:
            self.x = 0

    stop = threading.Event()

    def load() -> None:
        turn = 0
        while not stop.is_set():
            step(turn)
            Thing(turn).close()
            meminstr.faults.note_fault("load", ValueError("on purpose"))
            turn += 1

    def child() -> int:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_ALARM_SECONDS)
        (subject,) = tracker.functions.values()
        follower = tracker.classes["Thing"].follower
        before = (subject.calls(), follower.counts().constructed, follower.counts().alive, meminstr.faults.faults())
        if before != (0, 0, 0, []):
            return 3
        for turn in range(50):
            step(turn)
        kept = [Thing(turn) for turn in range(7)]
        counts = follower.counts()
        tracker.read_now()
        return 0 if (subject.calls(), counts.constructed, counts.alive) == (50, 7, len(kept)) else 4

    threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    ended: dict[str, int] = {}
    began = time.time()
    for _ in range(number):
        pid = os.fork()
        if not pid:
            code = 5
            try:
                code = child()
            finally:
                os._exit(code)
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            how = "hung" if os.WTERMSIG(status) == signal.SIGALRM else f"signal {os.WTERMSIG(status)}"
        else:
            codes = {0: "exact", 3: "counted its parent's", 4: "miscounted its own", 5: "failed"}
            how = codes.get(os.WEXITSTATUS(status), "failed")
        ended[how] = ended.get(how, 0) + 1
    stop.set()
    for thread in threads:
        thread.join()
    tracker.uninstall()
    return {"forks": number, "ended": ended, "seconds": time.time() - began}


def main(argv: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exactness", description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of all events and forks (0.01 for a quick look)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside threads: that is the point here
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        forked = forks(max(1, int(FORKS * args.share))) if hasattr(os, "fork") else None  # first: the heap is small
        each = int(EVENTS * args.share)
        rows = calls(each) + constructions(each) + tasks(each // 10)
    finally:
        sys.setswitchinterval(interval)
    facts = {"python": sys.version.split()[0], "threads": THREADS, "rows": rows, "forks": forked}
    good = not any(line["lost"] for line in rows) and (forked is None or set(forked["ended"]) == {"exact"})
    if args.json:
        print(json.dumps(facts, indent=1))
        return 0 if good else 1
    print(f"CPython {facts['python']}, {THREADS} threads or tasks")
    print("| events | done | counted | lost | s |")
    print("| --- " * 5 + "|")
    for line in rows:
        print(f"| {line['what']} | {line['done']:,} | {line['counted']:,} | {line['lost']} | {line['seconds']:.0f} |")
    if forked is not None:
        ended = ", ".join(f"{count} {how}" for how, count in sorted(forked["ended"].items()))
        print(f"{forked['forks']} forks under load: {ended} ({forked['seconds']:.0f} s)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
