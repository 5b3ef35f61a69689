"""``python -m benchmarks.overhead``: what a guarded call adds, as a ratio to what a do-nothing wrapt decorator adds.

Every way is timed in one process, in turn with the others, at its steady state (many calls first, which pay for first
samples and looks), and the least of many rounds is kept: absolute figures depend on the machine, the ratios much less.
1.0 is what a `wrapt` decorator adds whose Python wrapper does nothing; for classes, one around ``__init__``,
construction and death together.  Pympler and memory_profiler are measured where they are installed.  tracemalloc slows
everything, so its figure is what it adds to a bare call.  At the end: what importing meminstr costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import time
import tracemalloc
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


class RunningClock:
    """Seconds while meminstr's own ways run: its budget must not grow with the time that the others take."""

    def __init__(self) -> None:
        self.before = 0.0
        self.since: float | None = None

    def __call__(self) -> float:
        return self.before + (0.0 if self.since is None else time.perf_counter() - self.since)

    def time(self, name: str, call: Callable[[], Any], number: int) -> float:
        """`time_loop`, with the clock running if it is one of ours."""
        self.since = time.perf_counter() if name.startswith("meminstr") else None
        try:
            return time_loop(call, number)
        finally:
            self.before, self.since = self(), None


CLOCK = RunningClock()
TRACKER = meminstr.ControllerMemoryTracker(clock=CLOCK)
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


def memory_profiled(function: Any) -> Any:
    """`memory_profiler.profile`, its table thrown away; slow, as it reads memory at every line."""
    import io

    from memory_profiler import profile

    return profile(function, stream=io.StringIO())


def plain_class() -> type:
    """Two attributes."""

    class Point:
        def __init__(self, x: int, y: int) -> None:
            self.x = x
            self.y = y

    return Point


def slotted_class() -> type:
    """Slots, weakly referable."""

    class Point:
        __slots__ = ("__weakref__", "x", "y")

        def __init__(self, x: int, y: int) -> None:
            self.x = x
            self.y = y

    return Point


def data_class() -> type:
    """A dataclass."""

    @dataclasses.dataclass
    class Point:
        x: int
        y: int

    return Point


def inheriting_class() -> type:
    """An inherited ``__init__``."""
    return type("Heir", (plain_class(),), {})


def _wrapt_init(cls: Any) -> None:
    cls.__init__ = do_nothing(cls.__init__)


def _closure_init(cls: Any) -> None:
    cls.__init__ = closure(cls.__init__)


def _tracked(cls: Any) -> None:
    meminstr.track_instantiations(tracker=TRACKER)(cls)


def _pympler(cls: Any) -> None:
    from pympler.classtracker import ClassTracker

    ClassTracker().track_class(cls)


CLASSES = {
    "class": plain_class,
    "slots": slotted_class,
    "dataclass": data_class,
    "inherited __init__": inheriting_class,
}
CLASS_WAYS: dict[str, Callable[[Any], None]] = {
    "bare": lambda cls: None,
    "do-nothing wrapt": _wrapt_init,
    "functools.wraps closure": _closure_init,
    "meminstr.track_instantiations": _tracked,
}
WARM = {"meminstr.leak_guard": 300_000, "meminstr.track_instantiations": 300_000}
"""Calls before the first round; some seconds in all, as the credit for looks is 0.3 s of a process's life."""
DEAR = {"psutil check a call": 20, "Pympler class tracker": 20, "memory_profiler": 1000}
"""Ways that get so many times fewer calls a round."""


def constructions() -> dict[str, dict[str, Callable[[], Any]]]:
    """kind of class -> way -> a construction that keeps nothing."""
    ways = dict(CLASS_WAYS)
    if "pympler" not in missing():
        ways["Pympler class tracker"] = _pympler
    out: dict[str, dict[str, Callable[[], Any]]] = {}
    for kind, make in CLASSES.items():
        out[kind] = {}
        for name, patch in ways.items():
            cls = make()
            patch(cls)
            out[kind][name] = functools.partial(cls, 1, 2)
    return out


def missing() -> list[str]:
    """Rivals that are not installed."""
    found = importlib.util.find_spec
    return [name for name in ("pympler", "memory_profiler") if found(name) is None]


def under_tracemalloc(number: int, rounds: int) -> list[dict[str, Any]]:
    """What `tracemalloc.start()` alone adds, for a function that allocates nothing and a construction."""
    calls = {"function": functools.partial(plain, 1), "class": functools.partial(plain_class(), 1, 2)}
    rows = []
    for kind, call in calls.items():
        off = min(time_loop(call, number) for _ in range(rounds))
        tracemalloc.start()
        try:
            on = min(time_loop(call, number) for _ in range(rounds))
        finally:
            tracemalloc.stop()
        rows.append({"kind": kind, "way": "tracemalloc on", "added_ns": (on - off) * 1e9, "ratio": None})
    return rows


def import_times(rounds: int) -> dict[str, float]:
    """CPU milliseconds of ``import wrapt`` and ``import meminstr`` in fresh interpreters, medians, taken in turn."""
    spent: dict[str, list[float]] = {"wrapt": [], "meminstr": []}
    code = "import time; began = time.process_time(); import {0}; print(time.process_time() - began)"
    for _ in range(rounds):
        for name, times in spent.items():
            done = subprocess.run([sys.executable, "-c", code.format(name)], capture_output=True, text=True, check=True)
            times.append(float(done.stdout))
    return {name: statistics.median(times) * 1e3 for name, times in spent.items()}


def measure(number: int, rounds: int) -> list[dict[str, Any]]:
    """All kinds and ways: nanoseconds added and the ratio to the floor."""
    rows = []
    kinds = {**subjects(), **constructions()}
    if "memory_profiler" not in missing():
        kinds["function"]["memory_profiler"] = functools.partial(memory_profiled(plain), 1)
    for calls in kinds.values():  # up to the steady state: first samples and looks are paid for, see WARM
        for name, call in calls.items():
            CLOCK.time(name, call, WARM.get(name, max(1, 2 * number // DEAR.get(name, 1))))
    for kind, calls in kinds.items():
        best = {name: float("inf") for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                best[name] = min(best[name], CLOCK.time(name, call, max(1, number // DEAR.get(name, 1))))
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
    imports = import_times(args.rounds)
    rows = measure(args.number, args.rounds) + under_tracemalloc(args.number, args.rounds)
    TRACKER.uninstall()
    ratio = imports["meminstr"] / imports["wrapt"]
    if args.json:
        facts = {"python": platform.python_version(), "missing": missing(), "rows": rows}
        print(json.dumps({**facts, "import_ms": imports, "import_ratio": ratio}, indent=1))
        return 0
    print(f"CPython {platform.python_version()}, ratio to what a do-nothing wrapt decorator adds")
    for row in rows:
        if row["way"] != "bare":
            shown = f"{row['ratio']:8.2f}" if row["ratio"] is not None else ""
            print(f"{row['kind']:18} {row['way']:32} {row['added_ns']:10.0f} ns {shown}")
    print(f"import wrapt {imports['wrapt']:.1f} ms, meminstr {imports['meminstr']:.1f} ms: {ratio:.2f} (at most 1.15)")
    for name in missing():
        print(f"not installed, left out: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
