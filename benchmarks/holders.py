"""Who holds a thousand retained objects in a heap of a million: time, longest pause, and objgraph beside it.

    python benchmarks/holders.py [--objects 1000000] [--repeat 3] [--deep] [--json]

The pause is the longest time for which another thread could not run (a thread that wakes every millisecond
measures it).  objgraph is asked for one object and gives no groups; it is optional.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import threading
import time
import types
from typing import Any

from meminstr.evidence.holders import find_holders


class Session:
    """What should have died."""

    def __init__(self, number: int) -> None:
        self.number = number


class Event:
    """What holds it."""

    def __init__(self, callback: Any) -> None:
        self.callback = callback


class Bus:
    """Where it is registered."""

    def __init__(self) -> None:
        self._listeners: list[Event] = []


def _listener(controller: Session) -> Any:
    return lambda: controller


def build(tracked: int, retained: int, deep: bool) -> list[Session]:
    """A module with a store of `tracked` objects, and a bus that holds `retained` sessions.

    With `deep` the bus lies inside one row of the store, out of reach of a walk near the roots.
    """
    shop = types.ModuleType("shop")
    sys.modules["shop"] = shop
    space: Any = shop
    space.store = {number: {"row": [number], "pair": (number, [])} for number in range(tracked // 4)}
    bus = Bus()
    if deep:
        space.store[tracked // 8]["row"].append([bus])
    else:
        space.bus = bus
    sessions = [Session(number) for number in range(retained)]
    bus._listeners.extend(Event(_listener(session)) for session in sessions)
    return sessions


class Pauses:
    """The longest time that another thread was kept from running."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop:
            before = time.perf_counter()
            time.sleep(0.001)
            self.longest = max(self.longest, time.perf_counter() - before - 0.001)

    def __enter__(self) -> Pauses:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop = True
        self._thread.join()


def ours(sessions: list[Session], owner: list[Any]) -> dict[str, Any]:
    """One diagnosis, with the longest pause."""
    with Pauses() as pauses:
        before = time.perf_counter()
        holding = find_holders(sessions, exclude=[sessions, owner])
        seconds = time.perf_counter() - before
    return {
        "asked": len(sessions),
        "seconds": seconds,
        "longest_pause": pauses.longest,
        "examined": holding.examined,
        "complete": holding.complete,
        "path": holding.groups[0].path if holding.groups else None,
        "groups": len(holding.groups),
    }


def objgraphs(session: Session, owner: list[Any]) -> dict[str, Any] | None:
    """The chain to one object, as objgraph finds it."""
    try:
        import objgraph
    except ImportError:
        return None
    with Pauses() as pauses:
        before = time.perf_counter()
        chain = objgraph.find_backref_chain(session, objgraph.is_proper_module, extra_ignore=[id(owner)])
        seconds = time.perf_counter() - before
    return {
        "asked": 1,
        "seconds": seconds,
        "longest_pause": pauses.longest,
        "path": " -> ".join(type(step).__name__ for step in chain),
    }


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--retained", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--deep", action="store_true", help="hold the objects deep inside the store")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sessions = build(arguments.objects, arguments.retained, arguments.deep)
    gc.collect()
    gc.disable()  # a collection of the young objects of either tool would be a pause of its own
    rows: dict[str, list[dict[str, Any]]] = {"meminstr, all": [], "meminstr, one": [], "objgraph, one": []}
    for _ in range(arguments.repeat):
        rows["meminstr, all"].append(ours(sessions, sessions))
        rows["meminstr, one"].append(ours(sessions[-1:], sessions))
        rival = objgraphs(sessions[-1], sessions)
        if rival is not None:
            rows["objgraph, one"].append(rival)
    # the fastest run's time, with the worst pause of all runs
    best = {name: dict(min(runs, key=lambda run: run["seconds"])) for name, runs in rows.items() if runs}
    for name, row in best.items():
        row["longest_pause"] = max(run["longest_pause"] for run in rows[name])
        row["slowest"] = max(run["seconds"] for run in rows[name])
    before = time.perf_counter()
    gc.collect()
    collection = time.perf_counter() - before
    if arguments.json:
        facts = {
            "tracked": len(gc.get_objects()),
            "python": sys.version.split()[0],
            "best": best,
            "collection": collection,
            "runs": rows,
        }
        print(json.dumps(facts, indent=1))
        return
    print(f"Python {sys.version.split()[0]}, {len(gc.get_objects()):,} tracked objects, best of {arguments.repeat}")
    for name, row in best.items():
        spent = f"{row['seconds'] * 1e3:8.1f} ms (slowest {row['slowest'] * 1e3:.1f})"
        print(f"{name:14} {spent}, worst pause {row['longest_pause'] * 1e3:6.1f} ms  {row['path']}")
    print(f"one collection of this heap: {collection * 1e3:.1f} ms")
    print("objgraph runs one inside its time, meminstr leaves it to its caller")
    if "objgraph, one" in best:
        print(f"times faster for one object: {best['objgraph, one']['seconds'] / best['meminstr, one']['seconds']:.1f}")


if __name__ == "__main__":
    main()
