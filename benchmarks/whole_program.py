"""``python -m benchmarks.whole_program``: whole programs with meminstr in them, against the same programs without.

Three programs, instrumented as people do it, where something is built or handled: the pendulum search of the
demonstration without its leak (3 classes followed, 1 function guarded), a JSON and regular-expression pipeline (1
class, 3 functions), and a threaded web server under a bounded local load (1 class, 3 functions; client and servers are
processes of their own).  A fourth row has the pipeline instrumented to the last record, a function of 2 us and a class
of 1 us: the price of that.  What is measured is the steady state: the instrumented variant has worked alone before,
until its samples are as rare as they become; what samples, looks and loading took until then, once, stands in the last
columns (``--warm 0``: from the start).  The harness keeps its times in arrays made before: a list of them would be a
growth, and be looked at.

Both variants live side by side and take turns unit by unit, in changing order, so that a busy machine harms both alike.
Slower by: the median over rounds of the ratio of their times (CPU time of the thread where the work is in this
process, wall time for the server), with the interval of that median (95 %, by order statistics).  Latencies are wall
time.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import math
import random
import re
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import meminstr

from .web_server import Pair

TARGET_SLOWER, TARGET_TAIL_US = 0.01, 50.0
Unit = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One program: what meminstr cost it.  Latencies in microseconds, bare and instrumented."""

    program: str
    units: int
    slower: float
    slower_low: float
    slower_high: float
    latency_us: dict[str, tuple[float, float]]
    events: int
    once_seconds: float
    """What samples, looks and loading took before the steady state."""
    once_in_seconds: float
    """CPU time of the process by then."""


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(
    program: str,
    rounds: list[tuple[float, float]],
    bare: Sequence[float],
    ours: Sequence[float],
    events: int,
    once: tuple[float, float],
) -> Row:
    """The row of one program from the times of its rounds (bare, instrumented) and of its units, in seconds."""
    ratios = sorted(mine / theirs - 1.0 for theirs, mine in rounds)
    n = len(ratios)
    spread = 0.98 * math.sqrt(n)  # half of 1.96 standard deviations of a binomial of one half
    low, high = max(0, int(n / 2 - spread)), min(n - 1, int(n / 2 + spread))
    bare, ours = sorted(bare), sorted(ours)
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    latency = {key: (_quantile(bare, q) * 1e6, _quantile(ours, q) * 1e6) for key, q in shares.items()}
    return Row(program, len(bare), ratios[n // 2], ratios[low], ratios[high], latency, events, *once)


def spent_by(tracker: Any) -> tuple[float, float]:
    """What samples, looks and loading took so far, and the CPU time of the process; seconds."""
    return tracker.sampler.cost_seconds() + tracker.sampler.loading_seconds, time.process_time()


def alternate(program: str, bare: Unit, ours: Unit, units: int, warm: int, tracker: Any, per_round: int = 30) -> Row:
    """Take turns unit by unit; `per_round` units of each make a round."""
    clock, cpu, draw = time.perf_counter, time.thread_time, random.Random(1)
    rounds = [(0.0, 0.0)] * (units // per_round)
    latencies = tuple(array("d", bytes(8 * units)) for _ in range(2))
    for unit in range(warm // 20):
        bare(unit)
    for unit in range(warm):
        ours(unit)
    once = spent_by(tracker)
    for number in range(len(rounds)):
        spent = [0.0, 0.0]
        for unit in range(number * per_round, (number + 1) * per_round):
            for side in (0, 1) if draw.random() < 0.5 else (1, 0):
                run = ours if side else bare
                began, began_cpu = clock(), cpu()
                run(unit)
                spent[side] += cpu() - began_cpu
                latencies[side][unit] = clock() - began
        rounds[number] = (spent[0], spent[1])
    return summary(program, rounds, latencies[0], latencies[1], events_of(tracker), once)


# ------------------------------------------------------------------ the pendulum search


def _pendulum_copy() -> tuple[Any, Any]:
    """A copy of the program's own modules: (loop, controllers); the classes of two copies are different ones."""
    name = "meminstr.commands.pendulum"
    kept = {key: sys.modules.pop(key) for key in list(sys.modules) if key == name or key.startswith(name + ".")}
    try:
        return importlib.import_module(f"{name}.loop"), importlib.import_module(f"{name}.controllers")
    finally:
        for key in [key for key in sys.modules if key == name or key.startswith(name + ".")]:
            del sys.modules[key]
        sys.modules.update(kept)


def pendulum(units: int, warm: int) -> Row:
    """A unit is one evaluation: a controller built, run in a closed loop of 20 steps, priced, cleaned up."""
    tracker = meminstr.ControllerMemoryTracker()

    def variant(instrumented: bool) -> Unit:
        loop, controllers = _pendulum_copy()
        classes = [controllers.ClassicalSMC, controllers.SuperTwistingSMC, controllers.HybridAdaptiveSMC]
        if instrumented:
            for cls in classes:
                meminstr.track_instantiations(cls.__name__, tracker=tracker)(cls)
            loop.evaluate = meminstr.leak_guard(tracker=tracker)(loop.evaluate)
        setup = loop.Setup(duration_s=0.1)
        gains = {cls: [(low + high) / 2 for low, high in cls.bounds] for cls in classes}

        def unit(number: int) -> None:
            cls = classes[number % 3]
            loop.evaluate(cls, gains[cls], setup)

        return unit

    try:
        return alternate("pendulum search", variant(False), variant(True), units, warm, tracker)
    finally:
        tracker.uninstall()


# ------------------------------------------------------------------ JSON and regular expressions

_LINE = re.compile(r"(?P<host>\S+) (?P<user>\S+) \[(?P<when>[^]]+)\] \"(?P<verb>\w+) (?P<path>\S+)\" (?P<code>\d+)")


def text_pipeline(units: int, warm: int, *, dense: bool = False) -> Row:
    """A unit parses 60 log lines into records, makes JSON of them, reads that back and adds up."""
    tracker = meminstr.ControllerMemoryTracker()
    lines = [f'10.0.{i % 7}.{i} user{i} [21/Nov/2026] "GET /a/{i}?q={i * i}" {200 + i % 3}' for i in range(60)]

    def variant(instrumented: bool) -> Unit:
        class Record:
            def __init__(self, fields: dict[str, str]) -> None:
                self.fields = fields
                self.code = int(fields["code"])

        class Batch:
            def __init__(self, records: list[Any]) -> None:
                self.records = records

        def parse(line: str) -> Any:
            found = _LINE.match(line)
            assert found is not None
            return Record(found.groupdict())

        def read(lines: list[str]) -> Any:
            return Batch([parse(line) for line in lines])

        def encode(batch: Any) -> str:
            return json.dumps([record.fields for record in batch.records])

        def total(text: str) -> int:
            return sum(int(row["code"]) for row in json.loads(text))

        if instrumented:
            guard = meminstr.leak_guard(tracker=tracker)
            meminstr.track_instantiations("Batch", tracker=tracker)(Batch)
            read, encode, total = guard(read), guard(encode), guard(total)
            if dense:
                meminstr.track_instantiations("Record", tracker=tracker)(Record)
                parse = guard(parse)

        def unit(number: int) -> int:
            return total(encode(read(lines)))

        return unit

    name = "JSON and regex, every record" if dense else "JSON and regex"
    try:
        return alternate(name, variant(False), variant(True), units, warm, tracker)
    finally:
        tracker.uninstall()


def events_of(tracker: Any) -> int:
    """Calls and constructions counted."""
    calls = sum(subject.calls() for subject in tracker.functions.values())
    return int(calls + sum(subject.follower.counts().constructed for subject in tracker.classes.values()))


# ------------------------------------------------------------------ a web server


def web(units: int, warm: int, clients: int = 3, per_round: int = 50, pairs: int = 4) -> Row:
    """A unit is one request over a kept connection; each client has a connection to both servers.

    Both have done the work of so many requests by themselves before.  Pairs of servers follow one another, as two
    processes of the same program differ by some per cent.
    """
    rounds: list[tuple[float, float]] = []
    latencies: tuple[list[float], list[float]] = ([], [])
    lock = threading.Lock()
    events, once = 0, (0.0, 0.0)

    def client(pair: Pair, seed: int, count: int) -> None:
        draw, clock = random.Random(seed), time.perf_counter
        ask = pair.connections()
        mine: tuple[list[float], list[float]] = ([], [])
        done: list[tuple[float, float]] = []
        for first in range(-(count // 10 // per_round * per_round), count, per_round):  # what comes before 0 warms
            spent = [0.0, 0.0]
            for number in range(first, first + per_round):
                for side in (0, 1) if draw.random() < 0.5 else (1, 0):
                    began = clock()
                    ask[side](f"/item/{number % 97}")
                    took = clock() - began
                    spent[side] += took
                    if first >= 0:
                        mine[side].append(took)
            if first >= 0:
                done.append((spent[0], spent[1]))
        with lock:
            rounds.extend(done)
            latencies[0].extend(mine[0])
            latencies[1].extend(mine[1])

    for _ in range(pairs):
        with Pair(warm) as pair:
            once = max(once, pair.spent())
            arguments = [(pair, seed, units // clients // pairs) for seed in range(clients)]
            threads = [threading.Thread(target=client, args=each) for each in arguments]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            events += pair.events()
    return summary("web server", rounds, *latencies, events, once)


PROGRAMS: dict[str, tuple[Callable[[int, int], Row], int, int]] = {
    "pendulum": (pendulum, 18_000, 9_000),
    "text": (text_pipeline, 60_000, 150_000),
    "dense": (lambda units, warm: text_pipeline(units, warm, dense=True), 6_000, 9_000),
    "web": (web, 60_000, 60_000),
}
"""Units measured and units before."""


def main(argv: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole_program", description=__doc__)
    parser.add_argument("--programs", nargs="+", choices=sorted(PROGRAMS), default=list(PROGRAMS), metavar="NAME")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of units (0.1 for a quick look)")
    parser.add_argument("--warm", type=float, default=1.0, help="of the usual number before them (0: from the start)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows = []
    for name in args.programs:
        run, units, warm = PROGRAMS[name]
        gc.collect()
        rows.append(run(max(600, int(units * args.share) // 300 * 300), int(warm * args.warm)))
    version = ".".join(map(str, sys.version_info[:3]))
    if args.json:
        facts = [{key: getattr(row, key) for key in Row.__slots__} for row in rows]
        print(json.dumps({"python": version, "rows": facts}, indent=1))
        return 0
    print(f"CPython {version}; latencies in us, bare / instrumented")
    print("| program | units | events | slower by | 95 % | p50 | p99 | p99.9 | p99.9 more | once, ms | in, s |")
    print("| --- " * 11 + "|")
    for row in rows:
        shown = [f"{a:.0f} / {b:.0f}" for a, b in row.latency_us.values()]
        bare, ours = row.latency_us["p99.9"]
        print(
            f"| {row.program} | {row.units} | {row.events} | {row.slower:+.2%} | {row.slower_low:+.2%} to "
            f"{row.slower_high:+.2%} | {' | '.join(shown)} | {ours - bare:+.0f} "
            f"| {row.once_seconds * 1e3:.0f} | {row.once_in_seconds:.1f} |"
        )
    print(f"to reach: at most {TARGET_SLOWER:.0%} slower, p99.9 at most {TARGET_TAIL_US:.0f} us more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
