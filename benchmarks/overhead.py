"""``python -m benchmarks.overhead``: what a guarded call adds, as a ratio to what a do-nothing wrapt decorator adds.

Every way is timed in one process, in turn with the others, and the least of many rounds is kept: absolute figures
depend on the machine, the ratios much less.  1.0 is what a `wrapt` decorator adds whose Python wrapper does nothing.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import wrapt

import meminstr

ROUNDS = 25


@wrapt.decorator
def do_nothing(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """The floor that users accept."""
    return wrapped(*args, **kwargs)


def closure(function: Any) -> Any:
    """A plain `functools.wraps` closure."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def guarded(function: Any) -> Any:
    """`leak_guard(every=100)`, exact counts."""
    return meminstr.leak_guard(every=100, tracker=TRACKER)(function)


def limited(function: Any) -> Any:
    """`memory_limited` in check mode."""
    return meminstr.memory_limited(gb=1000, mode="check", tracker=TRACKER)(function)


def limited_watch(function: Any) -> Any:
    """`memory_limited` in watch mode, the default."""
    return meminstr.memory_limited(gb=1000, tracker=TRACKER)(function)


def psutil_check(function: Any) -> Any:
    """What people write by hand: psutil at every call."""
    import psutil

    process = psutil.Process()

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        before = process.memory_info().rss
        result = function(*args, **kwargs)
        inner.grown = process.memory_info().rss - before  # type: ignore[attr-defined]
        return result

    return inner


TRACKER = meminstr.ControllerMemoryTracker()
WAYS: dict[str, Callable[[Any], Any]] = {
    "bare": lambda f: f,
    "do-nothing wrapt": do_nothing,
    "functools.wraps closure": closure,
    "meminstr.leak_guard": guarded,
    "meminstr.memory_limited check": limited,
    "meminstr.memory_limited watch": limited_watch,
    "psutil check a call": psutil_check,
}


def plain(a: int) -> int:
    """A function with next to no body."""
    return a


async def coroutine(a: int) -> int:
    """A coroutine function with next to no body."""
    return a


def generator(a: int) -> Any:
    """A generator of one item."""
    yield a


def time_loop(call: Callable[[], Any], number: int) -> float:
    """Seconds per call of one loop."""
    repeat = range(number)
    began = time.perf_counter()
    for _ in repeat:
        call()
    return (time.perf_counter() - began) / number


def run_coroutine(function: Any) -> Callable[[], Any]:
    """Drive a coroutine without an event loop."""

    def call() -> None:
        try:
            function(1).send(None)
        except StopIteration:
            return

    return call


def subjects() -> dict[str, dict[str, Callable[[], Any]]]:
    """kind -> way -> a call."""
    out: dict[str, dict[str, Callable[[], Any]]] = {
        "function": {}, "method": {}, "static method": {}, "class method": {}, "coroutine": {}, "generator": {},
    }  # fmt: skip
    for name, way in WAYS.items():
        function = way(plain)
        out["function"][name] = functools.partial(function, 1)
        cls = type("C", (), {"method": way(lambda self, a: a)})
        instance = cls()
        out["method"][name] = eval("lambda: i.method(1)", {"i": instance})
        out["static method"][name] = eval("lambda: c.s(1)", {"c": type("S", (), {"s": staticmethod(way(plain))})})
        klass = type("K", (), {"k": classmethod(way(lambda cls, a: a))})
        out["class method"][name] = eval("lambda: c.k(1)", {"c": klass})
        if "psutil" not in name:
            out["coroutine"][name] = run_coroutine(way(coroutine))
            out["generator"][name] = (lambda g: lambda: list(g(1)))(way(generator))
    return out


def measure(number: int, rounds: int) -> list[dict[str, Any]]:
    """All kinds and ways: nanoseconds added and the ratio to the floor."""
    rows = []
    for kind, calls in subjects().items():
        best = {name: float("inf") for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                best[name] = min(best[name], time_loop(call, number if "psutil" not in name else number // 20))
        floor = best["do-nothing wrapt"] - best["bare"]
        for name, seconds in best.items():
            added = seconds - best["bare"]
            rows.append({"kind": kind, "way": name, "added_ns": added * 1e9, "ratio": added / floor})
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--number", type=int, default=10_000, help="calls a loop")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows = measure(args.number, args.rounds)
    if args.json:
        print(json.dumps({"python": platform.python_version(), "rows": rows}, indent=1))
        return 0
    print(f"CPython {platform.python_version()}, ratio to what a do-nothing wrapt decorator adds")
    for row in rows:
        if row["way"] != "bare":
            print(f"{row['kind']:14} {row['way']:32} {row['added_ns']:10.0f} ns {row['ratio']:8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
