"""How often the judgement alarms on histories that do not leak, and the smallest leak it finds in noise.

Run ``python -m benchmarks.simulated_nulls [--series 40] [--samples 1200] [--every 20] [--seed 1] [--json FILE]``.

Every history is made of random numbers, not measured: that is what allows many looks.  A look is a judgement at a
completed slot; an alarm is a look that says ``leaking``.  The nulls were written before the constants were looked
at: none of them is fitted to.  A structure that fills linearly for longer than the horizon is not among the nulls,
since no statistic tells it from a leak.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from meminstr.judgement import Policy, Signal, judge_signal, prime
from meminstr.series import Series
from meminstr.verdict import Verdict

Rng = np.random.Generator
SD = 300.0
LEVEL = 10_000.0


def white(rng: Rng, n: int) -> np.ndarray:
    return LEVEL + rng.normal(0, SD, n)


def autoregressive(phi: float) -> Callable[[Rng, int], np.ndarray]:
    def make(rng: Rng, n: int) -> np.ndarray:
        steps = rng.normal(0, SD * math.sqrt(1 - phi * phi), n)
        out = np.empty(n)
        value = rng.normal(0, SD)
        for i in range(n):
            value = phi * value + steps[i]
            out[i] = value
        return LEVEL + out

    return make


def random_walk(rng: Rng, n: int) -> np.ndarray:
    return LEVEL + np.cumsum(rng.normal(0, 20, n))


def reflected_walk(rng: Rng, n: int) -> np.ndarray:
    # a walk folded into a band: bounded, as real occupancy is
    position = np.cumsum(rng.normal(0, 40, n)) + rng.uniform(0, 2000)
    folded = np.mod(position, 2000)
    return LEVEL + np.minimum(folded, 2000 - folded)


def sawtooth(rng: Rng, n: int) -> np.ndarray:
    out = np.empty(n)
    left = level = 0.0
    period = rng.uniform(5, 100)
    for i in range(n):
        if left <= 0:
            left, level = period * rng.uniform(0.7, 1.3), 0.0
        level += 20
        left -= 1
        out[i] = level
    return LEVEL + out


def telegraph(rng: Rng, n: int) -> np.ndarray:
    flips = rng.random(n) < 1 / rng.uniform(20, 200)
    return LEVEL + 1000.0 * (np.cumsum(flips) % 2)


def pareto_spikes(rng: Rng, n: int) -> np.ndarray:
    return LEVEL + 100 * rng.pareto(1.1, n)


def wave(rng: Rng, n: int) -> np.ndarray:
    period = rng.uniform(50, 400)
    return LEVEL + 1000 * np.sin(2 * np.pi * (np.arange(n) / period + rng.random())) + rng.normal(0, 20, n)


def coupon_collector(rng: Rng, n: int) -> np.ndarray:
    # the distinct of n draws of 20 keys each from a finite universe
    universe = int(rng.uniform(2000, 12_000))
    seen = np.zeros(universe, dtype=bool)
    out = np.empty(n)
    for i in range(n):
        seen[rng.integers(0, universe, 20)] = True
        out[i] = seen.sum()
    return LEVEL + out


def power_fill(rng: Rng, n: int) -> np.ndarray:
    # the distinct keys of a Zipf stream grow as a power below one
    power = rng.uniform(0.2, 0.7)
    expected = 3000 * (np.arange(1, n + 1) / n) ** power
    return LEVEL + np.cumsum(rng.poisson(np.diff(expected, prepend=0.0)))


def records(rng: Rng, n: int) -> np.ndarray:
    # a pool that keeps the highest concurrency ever seen
    return LEVEL + np.maximum.accumulate(rng.exponential(60, n))


def warm_up_then_noise(rng: Rng, n: int) -> np.ndarray:
    at = rng.uniform(5, 60)
    return LEVEL + 5000 * (1 - np.exp(-np.arange(n) / at)) + rng.normal(0, 30, n)


NULLS: dict[str, Callable[[Rng, int], np.ndarray]] = {
    "white": white,
    "autoregressive .9": autoregressive(0.9),
    "autoregressive .99": autoregressive(0.99),
    "random walk": random_walk,
    "reflected walk": reflected_walk,
    "sawtooth": sawtooth,
    "telegraph": telegraph,
    "Pareto spikes": pareto_spikes,
    "wave": wave,
    "coupon collector": coupon_collector,
    "power": power_fill,
    "records": records,
    "warm-up": warm_up_then_noise,
}

NOISES: dict[str, Callable[[Rng, int], np.ndarray]] = {
    "one-sided": lambda rng, n: LEVEL + rng.exponential(SD, n),
    "white": white,
    "sawtooth": sawtooth,
    "autoregressive .9": autoregressive(0.9),
}


def counted(expected: np.ndarray, rng: Rng, size: int = 3) -> np.ndarray:
    """A count in steps of `size` blocks whose increments have these expectations, behind a start-up of 250 blocks."""
    return LEVEL + 250 + size * np.cumsum(rng.poisson(np.diff(expected, prepend=0.0) / size))


def families(samples: int, every: int) -> dict[str, tuple[bool, np.ndarray]]:
    """Growth that slows down, and leaks alone and beside such growth: whether it leaks, and its expected course."""
    t = np.arange(1, samples + 1) / samples
    calls = t * samples * every
    out: dict[str, tuple[bool, np.ndarray]] = {}
    for power in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        for total in (300, 1000, 20_000):
            out[f"power {power}, {total} blocks"] = (False, total * t**power)
    for tau in (0.05, 0.1, 0.3, 0.6, 1.0):
        for total in (300, 20_000):
            out[f"exponential {tau}, {total} blocks"] = (False, total * (1 - np.exp(-t / tau)))
    for since in (0.01, 0.1):
        out[f"logarithm {since}, 1000 blocks"] = (False, 1000 * np.log1p(t / since) / math.log1p(1 / since))
    out["two exponentials"] = (False, 2000 * (1 - np.exp(-t / 0.05)) + 600 * (1 - np.exp(-t / 0.4)))
    for rate in (0.05, 0.2, 1.0, 5.0):
        out[f"leak of {rate} a call"] = (True, rate * calls)
        out[f"leak of {rate} beside power 0.5"] = (True, rate * calls + 1000 * np.sqrt(t))
        out[f"leak of {rate} behind exponential 0.05"] = (True, rate * calls + 2000 * (1 - np.exp(-t / 0.05)))
        out[f"leak of {rate} since the middle"] = (True, rate * np.maximum(0.0, calls - calls[-1] / 2))
    return out


def shapes(args: argparse.Namespace, policy: Policy) -> list[dict[str, Any]]:
    """For each family: series that alarm at any look, at the last, and the median call of the first alarm."""
    rows = []
    for number, (name, (leaks, expected)) in enumerate(families(args.samples, args.every).items()):
        first, final = [], 0
        for k in range(args.shapes):
            rng = np.random.default_rng((args.seed, 1000 + number, k))
            verdicts = list(looks(counted(expected, rng), args.every, policy))
            alarmed = [x for x, verdict in verdicts if verdict is Verdict.LEAKING]
            first += alarmed[:1]
            final += verdicts[-1][1] is Verdict.LEAKING
        row = {"family": name, "leaks": leaks, "series": args.shapes, "any_look": len(first), "at_end": final}
        rows.append({**row, "median_first": sorted(first)[len(first) // 2] if first else None})
    return rows


def looks(values: np.ndarray, every: int, policy: Policy) -> Iterator[tuple[int, Verdict]]:
    """(x, verdict) at every completed slot."""
    series = Series()
    for i, value in enumerate(values):
        x = (i + 1) * every
        if series.add(float(x), x / 1000, float(value)):
            yield x, judge_signal(Signal("blocks", "block", series.view()), policy).verdict


def false_alarms(args: argparse.Namespace, policy: Policy) -> list[dict[str, Any]]:
    rows = []
    for number, (name, make) in enumerate(NULLS.items()):
        alarmed = alarms = total = final = 0
        states: dict[str, int] = {}
        begun = time.perf_counter()
        for k in range(args.series):
            rng = np.random.default_rng((args.seed, number, k))
            count = 0
            verdict = Verdict.INSUFFICIENT_DATA
            for _, verdict in looks(make(rng, args.samples), args.every, policy):
                total += 1
                count += verdict is Verdict.LEAKING
            alarms += count
            alarmed += count > 0
            final += verdict is Verdict.LEAKING
            states[verdict] = states.get(verdict, 0) + 1
        rows.append(
            {
                "null": name,
                "series": args.series,
                "looks": total,
                "alarm_looks": alarms,
                "alarmed_series": alarmed,
                "alarmed_at_end": final,
                "end": states,
                "ms_per_look": 1000 * (time.perf_counter() - begun) / max(1, total),
            }
        )
    return rows


def smallest_leaks(args: argparse.Namespace, policy: Policy) -> list[dict[str, Any]]:
    rows = []
    for number, (name, make) in enumerate(NOISES.items()):
        for growth_sd in (0.5, 1, 2, 4, 8, 16):
            found = 0
            for k in range(args.leaks):
                rng = np.random.default_rng((args.seed, 100 + number, k))
                values = make(rng, args.samples) + np.arange(args.samples) * (growth_sd * SD / args.samples)
                found += any(verdict is Verdict.LEAKING for _, verdict in looks(values, args.every, policy))
            rows.append({"noise": name, "growth_sd": growth_sd, "found": found, "series": args.leaks})
    return rows


def delays(args: argparse.Namespace, policy: Policy) -> list[dict[str, Any]]:
    rows = []
    for calls_per_block in (1, 10, 50, 100, 200, 500):
        needed = max(policy.horizon, 64 * calls_per_block) * 1.3
        calls = np.arange(1, int(needed / args.every) + 2) * args.every
        first: dict[str, int] = {}
        for x, verdict in looks(LEVEL + calls // calls_per_block, args.every, policy):
            first.setdefault(verdict, x)
        rows.append(
            {
                "calls_per_block": calls_per_block,
                "growing_at": first.get(Verdict.GROWING),
                "leaking_at": first.get(Verdict.LEAKING),
            }
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=40, help="histories of each null")
    parser.add_argument("--leaks", type=int, default=8, help="histories of each leak")
    parser.add_argument("--shapes", type=int, default=20, help="histories of each family of growth")
    parser.add_argument("--samples", type=int, default=1200)
    parser.add_argument("--every", type=int, default=20, help="calls between samples")
    parser.add_argument("--horizon", type=float, default=5000.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON; - is standard output")
    args = parser.parse_args(argv)
    prime()
    policy = Policy(horizon=args.horizon)
    nulls = false_alarms(args, policy)
    leaks = smallest_leaks(args, policy)
    waits = delays(args, policy)
    grown = shapes(args, policy)
    out = sys.stderr if args.json == "-" else sys.stdout
    print(f"{'null':20} {'looks':>8} {'alarms':>7} {'series':>9} {'at end':>7} {'ms':>6}  at the end", file=out)
    for row in nulls:
        end = ", ".join(f"{k} {v}" for k, v in sorted(row["end"].items()))
        print(
            f"{row['null']:20} {row['looks']:8} {row['alarm_looks']:7} {row['alarmed_series']:4}/{row['series']:4} "
            f"{row['alarmed_at_end']:7} {row['ms_per_look']:6.2f}  {end}",
            file=out,
        )
    total = sum(row["looks"] for row in nulls)
    series = sum(row["alarmed_series"] for row in nulls)
    print(f"{series} alarmed series of {len(nulls) * args.series}, {total} looks", file=out)
    print(f"\n{'noise':20} leaks found by growth over the run, in SDs of {SD:.0f} blocks", file=out)
    for name in NOISES:
        cells = [f"{r['growth_sd']:g}: {r['found']}/{r['series']}" for r in leaks if r["noise"] == name]
        print(f"{name:20} " + "  ".join(cells), file=out)
    print("\ncalls per block   growing at   leaking at", file=out)
    for row in waits:
        print(f"{row['calls_per_block']:15} {row['growing_at']!s:>12} {row['leaking_at']!s:>12}", file=out)
    print("\nfamily of growth (Poisson, 3 blocks an event)    alarms at any look  at the end  first at", file=out)
    for row in grown:
        mark = "leak " if row["leaks"] else "clean"
        cells = f"{row['any_look']:4}/{row['series']:3} {row['at_end']:10} {row['median_first']!s:>10}"
        print(f"{mark} {row['family']:40} {cells}", file=out)
    if args.json:
        figures = {"nulls": nulls, "leaks": leaks, "delays": waits, "shapes": grown}
        text = json.dumps({"settings": vars(args), **figures}, indent=1)
        if args.json == "-":
            print(text)
        else:
            with open(args.json, "w", encoding="utf-8") as file:
                file.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
