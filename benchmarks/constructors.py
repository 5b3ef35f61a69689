"""What following a class adds to construction and death: ``python -m benchmarks.constructors [--json]``.

Every way builds the same class afresh and constructs it in a loop that keeps nothing, so a figure covers birth and
death.  Short rounds of all ways alternate and the best of each counts; ratios are to a do-nothing wrapt wrapper on
`__init__` of the same run.  Whole rounds under one way differ by some per cent, so ratios are good to about 0.05.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import wrapt

from meminstr.instrument.classes import follow_class
from meminstr.instrument.ledger import Ledger

TARGET_RATIO = 0.6


class Silent:
    """An observer that does nothing: the cost of being told, without what the registry reads."""

    def sampled(self, follower: Any, constructed: int, phase: str) -> None: ...

    def born(self, follower: Any, instance: Any) -> None: ...


def plain() -> type:
    class Point:
        def __init__(self, x: int, y: int) -> None:
            self.x = x
            self.y = y

    return Point


def bare_of(cls: type) -> type:
    return cls


def wraps_closure(cls: type) -> type:
    init = cls.__init__

    @functools.wraps(init)
    def around(self: Any, *args: Any, **kwargs: Any) -> Any:
        return init(self, *args, **kwargs)

    cls.__init__ = around
    return cls


def wrapt_noop(cls: type) -> type:
    cls.__init__ = wrapt.FunctionWrapper(cls.__init__, lambda wrapped, instance, args, kwargs: wrapped(*args, **kwargs))
    return cls


def followed(cls: type, observer: Any = None) -> type:
    follow_class(cls, ledger=Ledger(), observer=observer)
    return cls


def observed(cls: type) -> type:
    return followed(cls, Silent())


def slotted() -> type:
    class Point:
        __slots__ = ("x", "y")

        def __init__(self, x: int, y: int) -> None:
            self.x = x
            self.y = y

    return Point


def initless() -> type:
    class Empty:
        pass

    return Empty


def inheriting() -> type:
    return type("Heir", (plain(),), {})


WAYS: dict[str, tuple[Callable[[], type], Callable[[type], type], tuple[Any, ...]]] = {
    "bare": (plain, bare_of, (1, 2)),
    "functools.wraps closure": (plain, wraps_closure, (1, 2)),
    "wrapt, does nothing": (plain, wrapt_noop, (1, 2)),
    "followed": (plain, followed, (1, 2)),
    "followed and sampled every 100": (plain, observed, (1, 2)),
    "bare, inherited __init__": (inheriting, bare_of, (1, 2)),
    "followed, inherited __init__": (inheriting, observed, (1, 2)),
    "bare, no __init__": (initless, bare_of, ()),
    "followed, no __init__": (initless, observed, ()),
    "bare, slots": (slotted, bare_of, (1, 2)),
    "counted, slots": (slotted, observed, (1, 2)),
}


def pympler_way(cls: type) -> type:
    """Pympler's class tracker, when it is installed."""
    from pympler.classtracker import ClassTracker

    ClassTracker().track_class(cls)
    return cls


def seconds(cls: type, args: tuple[Any, ...], times: int) -> float:
    clock = time.perf_counter
    start = clock()
    for _ in itertools.repeat(None, times):
        cls(*args)
    return clock() - start


def measure(times: int, rounds: int) -> dict[str, float]:
    """Nanoseconds a construction and death, by way."""
    ways = dict(WAYS)
    try:
        import pympler.classtracker  # noqa: F401

        ways["Pympler class tracker"] = (plain, pympler_way, (1, 2))
    except ImportError:
        pass
    made = {way: (patch(make()), args) for way, (make, patch, args) in ways.items()}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for way, (cls, args) in made.items():
            count = times // 20 if "Pympler" in way else times
            best[way] = min(best[way], seconds(cls, args, count) / count * 1e9)
    return best


def table(best: dict[str, float]) -> list[dict[str, Any]]:
    floor = best["wrapt, does nothing"] - best["bare"]
    rows, base = [], best["bare"]
    for way, ns in best.items():
        if way.startswith("bare"):
            base = ns
        added = ns - (best["bare"] if "Pympler" in way else base)
        rows.append({"way": way, "ns": round(ns), "added_ns": round(added), "ratio": round(added / floor, 2)})
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.constructors", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--times", type=int, default=20_000, help="constructions a round (default 20000)")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args(argv)
    rows = table(measure(options.times, options.rounds))
    ratio = next(row["ratio"] for row in rows if row["way"] == "followed and sampled every 100")
    if options.json:
        facts = {"python": sys.version.split()[0], "target_ratio": TARGET_RATIO, "ratio": ratio, "ways": rows}
        print(json.dumps(facts, indent=2))
    else:
        print(f"{'way':34s} {'ns':>7s} {'added':>7s} {'ratio':>6s}   Python {sys.version.split()[0]}")
        for row in rows:
            print(f"{row['way']:34s} {row['ns']:7d} {row['added_ns']:7d} {row['ratio']:6.2f}")
        print(f"target: at most {TARGET_RATIO} of wrapt for every instance followed; measured {ratio}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
