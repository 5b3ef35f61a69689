"""One live run of a labelled workload, in a process of its own: the tool inside, as a user has it.

Started by `benchmarks.accuracy` (``python -m benchmarks.live_run NAME SEED CALLS EVERY [classes|truth]``); writes one
JSON object to standard output.  ``truth`` runs the same workload without the tool and measures what it really leaves
behind: small-object bytes by ``sys._debugmallocstats``, C heap by the allocator, both after a collection.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import tempfile
import time
from array import array
from typing import Any

RIVAL_EVERY = 20


def truth(name: str, seed: int, calls: int) -> dict[str, Any]:
    """Blocks and bytes a call leaves behind, over the second half of the run."""
    import psutil

    from benchmarks.cases.unseen import make_any as make

    heap_info = getattr(psutil, "heap_info", None)

    def level() -> tuple[float, float]:
        if gc.isenabled():
            gc.collect()
        with tempfile.TemporaryFile() as file:
            kept = os.dup(2)
            os.dup2(file.fileno(), 2)
            try:
                sys._debugmallocstats()
            finally:
                os.dup2(kept, 2)
                os.close(kept)
            file.seek(0)
            text = file.read().decode()
        small = int(re.search(r"bytes in allocated blocks\s*=\s*([\d,]+)", text)[1].replace(",", ""))  # type: ignore[index]
        heap = 0
        if heap_info is not None:
            info = heap_info()
            heap = info.heap_used + info.mmap_used
        return sys.getallocatedblocks(), small + heap

    w = make(name, seed)
    level()
    for i in range(calls // 2):
        w.step(i)
    begin = level()
    for i in range(calls // 2, calls):
        w.step(i)
    end = level()
    return {"blocks": (end[0] - begin[0]) / (calls - calls // 2), "bytes": (end[1] - begin[1]) / (calls - calls // 2)}


def live(name: str, seed: int, calls: int, every: int, classes: bool) -> dict[str, Any]:
    """Run one workload guarded, and say what the tool said."""
    import meminstr
    from benchmarks.cases import unseen, workloads

    from .rivals import ResidentReader, verdicts

    if classes:
        meminstr.track_instantiations(workloads.Tracked)
    w = unseen.make_any(name, seed)
    at = half = 0
    fired: list[tuple[int, dict[str, Any]]] = []

    def on_leak(finding: Any) -> None:
        fired.append((at, finding.to_dict()))

    step = meminstr.leak_guard(every=every, on_leak=on_leak)(w.step)
    readings = array("d", [0.0] * (calls // RIVAL_EVERY))
    reader = ResidentReader()
    begun, cpu = time.perf_counter(), time.process_time()
    for at in range(calls):
        if at % RIVAL_EVERY == 0:
            readings[at // RIVAL_EVERY] = reader.read()
        step(at)
        if at == calls // 2:
            half = len(getattr(w, "L", ()))
    kept = (len(getattr(w, "L", ())) - half) / (calls - calls // 2)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    tracker = meminstr.tracker
    cost = tracker.sampler.cost_seconds()
    states = {s.name: s.state.get("verdict") for s in tracker.subjects()}
    report = meminstr.report()
    w.close()
    findings = [f.to_dict() for f in report.findings]
    return {
        "name": name,
        "seed": seed,
        "label": w.label,
        "onset": w.onset,
        "true_kind": w.kind,
        "hard": w.hard,
        "declared": list(w.rate),
        "calls": calls,
        "kept": kept,
        "classes": classes,
        "fired": fired,
        "findings": [{k: v for k, v in f.items() if k not in ("history", "birth_sites")} for f in findings],
        "last_look": states,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "own_seconds": cost,
        "looks_seconds": tracker.sampler.analysis_seconds,
        "loading_seconds": tracker.sampler.loading_seconds,
        "own_levels": list(tracker.sampler.own),
        "errors": [str(e)[:300] for e in report.errors],
        "rivals": verdicts(readings, RIVAL_EVERY),
    }


def main() -> int:
    name, seed, calls, every = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    mode = sys.argv[5] if len(sys.argv) > 5 else ""
    row = truth(name, seed, calls) if mode == "truth" else live(name, seed, calls, every, mode == "classes")
    sys.stdout.write(json.dumps(row, default=str) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of a workload do not keep a benchmark
