"""Who holds a thousand retained objects in a heap of a million: time, longest pause, and objgraph beside it.

    python -m benchmarks.holders [--objects 1000000] [--repeat 3] [--deep] [--json]
    python -m benchmarks.holders --graphs 200

The pause is the longest time for which another thread could not run (a thread that wakes every millisecond
measures it).  objgraph is asked for one object and gives no groups; it is optional.

With ``--graphs`` both are asked about objects in so many random graphs of lists, dicts, instances, slots, closures and
deques under one module: wherever objgraph finds a chain from that module, there must be a path under it.
"""

from __future__ import annotations

import argparse
import collections
import gc
import json
import random
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any, cast

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


class Slotted:
    """An instance without a dict."""

    __slots__ = ("__weakref__", "left", "right")


def _put(holder: Any, obj: Any, rng: random.Random, number: int) -> None:
    if isinstance(holder, (list, collections.deque)):
        holder.append(obj)
    elif isinstance(holder, dict):
        holder[rng.choice([number, f"k{number}"])] = obj
    elif isinstance(holder, Slotted):
        setattr(holder, rng.choice(("left", "right")), obj)
    elif isinstance(holder, types.FunctionType):
        (holder.__closure__ or ())[0].cell_contents.append(obj)
    else:
        setattr(holder, f"x{rng.randrange(4)}", obj)


def graph(seed: int, size: int = 60) -> list[Any]:
    """Objects that hang on a new module ``rnd``, each put into an earlier one; some are replaced by later ones."""
    rng = random.Random(seed)
    module: Any = types.ModuleType("rnd")
    sys.modules["rnd"] = module
    module.root = {}
    made: list[Any] = [module.root]
    kinds: list[Callable[[], Any]] = [
        list, dict, collections.deque, Bus, Slotted, types.SimpleNamespace, lambda: _listener(cast(Any, []))
    ]  # fmt: skip
    for number in range(size):
        obj = rng.choice(kinds)()
        _put(rng.choice(made), obj, rng, number)
        made.append(obj)
    return made


def compare(graphs: int) -> dict[str, int]:
    """Over random graphs: how often both find a chain from the module, and how often only one does."""
    import objgraph

    counts = {"both": 0, "only objgraph": 0, "only meminstr": 0, "neither": 0}
    for seed in range(graphs):
        suspects = [obj for obj in graph(seed) if isinstance(obj, (Bus, Slotted))]
        suspects = random.Random(seed).sample(suspects, min(5, len(suspects)))
        frame = sys._getframe()
        while suspects:
            one = [suspects.pop()]
            ignored = [id(suspects), id(one), id(frame)]
            chain = objgraph.find_backref_chain(one[0], objgraph.is_proper_module, max_depth=60, extra_ignore=ignored)
            theirs = len(chain) > 1 and chain[0] is sys.modules["rnd"]
            del chain
            holding = find_holders(one, exclude=[suspects], budget_seconds=5)
            ours = any(group.path.startswith("rnd.") for group in holding.groups)
            counts[
                "both" if theirs and ours else "only objgraph" if theirs else "only meminstr" if ours else "neither"
            ] += 1
        del frame
    return counts


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--retained", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--deep", action="store_true", help="hold the objects deep inside the store")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--graphs", type=int, metavar="N", help="compare answers over N random graphs instead")
    arguments = parser.parse_args()
    if arguments.graphs:
        print(json.dumps({"python": sys.version.split()[0], "graphs": arguments.graphs, **compare(arguments.graphs)}))
        return
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
