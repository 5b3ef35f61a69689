"""``python -m benchmarks.scale``: does an event cost the same after ten million of them, and with a million alive?

* calls: `leak_guard(every=100)` on a function that does nothing, from 10^3 to 10^7 calls (``--full``: 10^8);
* constructions: `track_instantiations`, each object dropped at once, from 10^3 to 10^6 (``--full``: 10^7);
* living: the same with 10 to 10^5 (``--full``: 10^6) other instances of the class alive;
* heap: calls beside a heap of 14 MiB to 1 GiB (``--full``: 8 GiB) of small objects, where reading the blocks is dear;
* many: 10^2 to 10^4 classes and functions, each used 100 times.

Guarded and bare loops take turns in chunks; a figure is the mean added time of an event over its decade, all samples
and looks included, and the median of the chunks, which leaves out the rare ones.  ``own`` is what the tracker takes.
Up to 10^5 events, which here take 20 ms, the means show the credit for samples and looks, paid once in a process.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import meminstr

CHUNK = 1_000
_HEAPS, _OBJECT_BYTES = (14, 140, 1024, 8192), 104
"""MiB; a list of one item with its number and the place in the list of all."""
FLAT = {"calls": 0.10, "constructions": 0.40}


def chunk(call: Callable[[int], object], number: int) -> float:
    """CPU seconds of so many calls."""
    repeat, clock = itertools.repeat(1, number), time.thread_time
    began = clock()
    for item in repeat:
        call(item)
    return clock() - began


def decade(bare: Callable[[int], object], ours: Callable[[int], object], number: int) -> tuple[float, float]:
    """Mean and median added nanoseconds over so many events."""
    added = []
    for _ in range(max(1, number // CHUNK)):
        size = min(CHUNK, number)
        added.append((chunk(ours, size) - chunk(bare, size)) / size * 1e9)
    return statistics.fmean(added), statistics.median(added)


def row(what: str, scale: int, figures: tuple[float, float], tracker: Any) -> dict[str, Any]:
    """One line of the table."""
    own = tracker.size_bytes()
    return {"what": what, "scale": scale, "mean_ns": figures[0], "median_ns": figures[1], "own_bytes": own}


def calls(top: int) -> list[dict[str, Any]]:
    """Decade by decade on one guarded function."""
    tracker = meminstr.ControllerMemoryTracker()

    def bare(item: int) -> int:
        return item

    guarded = meminstr.leak_guard(every=100, tracker=tracker)(bare)
    rows, done = [], 0
    for power in range(3, top + 1):
        rows.append(row("calls", 10**power, decade(bare, guarded, 10**power - done), tracker))
        done = 10**power
    tracker.uninstall()
    return rows


def _classes(tracker: Any) -> tuple[type, type]:
    def make() -> type:
        class Point:
            def __init__(self, x: int) -> None:
                self.x = x

        return Point

    tracked = make()
    meminstr.track_instantiations("Point", tracker=tracker)(tracked)
    return make(), tracked


def constructions(top: int) -> list[dict[str, Any]]:
    """Decade by decade, births and deaths."""
    tracker = meminstr.ControllerMemoryTracker()
    bare, tracked = _classes(tracker)
    rows, done = [], 0
    for power in range(3, top + 1):
        rows.append(row("constructions", 10**power, decade(bare, tracked, 10**power - done), tracker))
        done = 10**power
    tracker.uninstall()
    return rows


def living(top: int) -> list[dict[str, Any]]:
    """Births and deaths beside so many living ones."""
    rows = []
    for power in range(1, top + 1):
        tracker = meminstr.ControllerMemoryTracker()
        bare, tracked = _classes(tracker)
        kept = ([bare(1) for _ in range(10**power)], [tracked(1) for _ in range(10**power)])
        decade(bare, tracked, 20_000)
        found = row("living", 10**power, decade(bare, tracked, 50_000), tracker)
        found["bytes_per_living"] = sum(s.follower.size_bytes() - 8192 for s in tracker.classes.values()) / 10**power
        rows.append(found)
        tracker.uninstall()
        kept[0].clear()
        kept[1].clear()
        gc.collect()
    return rows


def heap(top: int) -> list[dict[str, Any]]:
    """Calls beside a heap of so many MiB of small objects."""
    rows = []
    for mib in _HEAPS[:top]:
        gc.disable()  # while they are made: the collector would walk them again and again
        kept: list[Any] = [[number] for number in range((mib << 20) // _OBJECT_BYTES)]
        gc.enable()
        tracker = meminstr.ControllerMemoryTracker()

        def bare(item: int) -> int:
            return item

        guarded = meminstr.leak_guard(every=100, tracker=tracker)(bare)
        decade(bare, guarded, 100_000)
        rows.append(row("heap, MiB", mib, decade(bare, guarded, 1_000_000), tracker))
        tracker.uninstall()
        kept.clear()
    return rows


def many(top: int) -> list[dict[str, Any]]:
    """So many classes and so many functions; a construction and a call of each in turn."""
    rows = []
    for power in range(2, top + 1):
        number = 10**power
        tracker = meminstr.ControllerMemoryTracker(max_subjects=2 * number)

        def variant(instrumented: bool, number: int = number, tracker: Any = tracker) -> Callable[[int], object]:
            pairs = []
            for index in range(number):
                cls = type(f"C{index}", (), {"__init__": eval("lambda self, x: None")})
                function = eval("lambda x: x")
                if instrumented:
                    meminstr.track_instantiations(f"C{index}", tracker=tracker)(cls)
                    function = meminstr.leak_guard(every=100, tracker=tracker)(function)
                pairs.append((cls, function))
            turn = itertools.cycle(pairs).__next__

            def both(item: int) -> None:
                cls, function = turn()
                cls(item)
                function(item)

            return both

        bare, ours = variant(False), variant(True)
        rows.append(row("many", number, decade(bare, ours, 100 * number), tracker))
        tracker.uninstall()
    return rows


PARTS: dict[str, tuple[Callable[[int], list[dict[str, Any]]], int, int]] = {
    "calls": (calls, 7, 8),
    "constructions": (constructions, 6, 7),
    "living": (living, 5, 6),
    "heap": (heap, 3, 4),
    "many": (many, 3, 4),
}


def main(argv: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=sorted(PARTS), default=list(PARTS), metavar="NAME")
    parser.add_argument("--full", action="store_true", help="a decade more of each (minutes)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows = []
    for name in args.parts:
        part, usual, full = PARTS[name]
        rows += part(full if args.full else usual)
        meminstr.uninstall()
    version = ".".join(map(str, sys.version_info[:3]))
    if args.json:
        print(json.dumps({"python": version, "flat_within": FLAT, "rows": rows}, indent=1))
        return 0
    print(f"CPython {version}; added CPU time an event, ns")
    print("| what | at | mean | median | own KiB | bytes a living one |")
    print("| --- | --- | --- | --- | --- | --- |")
    for line in rows:
        each = f"{line['bytes_per_living']:.0f}" if "bytes_per_living" in line else ""
        print(
            f"| {line['what']} | {line['scale']:,} | {line['mean_ns']:.0f} | {line['median_ns']:.0f} "
            f"| {line['own_bytes'] / 1024:.0f} | {each} |"
        )
    for name, allowed in FLAT.items():
        steady = [line["median_ns"] for line in rows if line["what"] == name and line["scale"] >= 1_000_000]
        if steady:
            spread = max(steady) / min(steady) - 1
            print(f"{name}: medians from 10^6 on within {spread:.0%} (to reach: {allowed:.0%})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
