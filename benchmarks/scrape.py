"""What one scrape costs with a thousand subjects: ``python -m benchmarks.scrape``.  The target is one millisecond.

A thousand guarded functions are called, then scraped as prometheus_client scrapes (`generate_latest`, which also prints
the text), and as the text file is written.  Working the figures out happens in a thread, not at the scrape; its cost is
printed beside it.
"""

import sys
import time

from meminstr.exporters.prometheus import MeminstrCollector
from meminstr.exporters.source import Source
from meminstr.exporters.textfile import render
from meminstr.registry import ControllerMemoryTracker

SUBJECTS, CALLS, SCRAPES = 1000, 60, 200
TARGET_SECONDS = 0.001


def watched():
    tracker = ControllerMemoryTracker()
    functions = []
    for n in range(SUBJECTS):
        space = {}
        exec(f"def step{n}(): pass", space)
        functions.append(tracker.guard(space[f"step{n}"], every=5))
    for _ in range(CALLS):
        for function in functions:
            function()
    return tracker


def milliseconds(work, times=SCRAPES):
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    taken.sort()
    return 1000 * taken[len(taken) // 2], 1000 * taken[int(len(taken) * 0.99)]


def main():
    from prometheus_client import CollectorRegistry, generate_latest

    tracker = watched()
    registry = CollectorRegistry()
    collector = MeminstrCollector(tracker=tracker, refresh_seconds=3600)
    registry.register(collector)
    began = time.perf_counter()
    size = len(generate_latest(registry))
    first = time.perf_counter() - began
    whole = Source(lambda found: render(found).encode(), max_subjects=SUBJECTS, tracker=tracker, refresh_seconds=3600)
    rows = [
        (f"Prometheus, the 20 worst by name, {size:,} bytes", milliseconds(lambda: generate_latest(registry))),
        ("the same, our share of it", milliseconds(lambda: list(collector.collect()))),
        (f"text of all, {len(whole.get()):,} bytes", milliseconds(whole.get)),
    ]
    print(f"{SUBJECTS:,} subjects, median and 99th percentile of {SCRAPES} scrapes")
    for name, (middle, high) in rows:
        print(f"  {name:48} {middle:8.3f} ms  {high:8.3f} ms")
    print(f"  {'working it all out, in a thread (first scrape)':48} {1000 * first:8.1f} ms")
    whole.close()
    collector.close()
    tracker.uninstall()
    return 0 if rows[0][1][0] <= 1000 * TARGET_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
