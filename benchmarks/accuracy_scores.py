"""What a live run got right, and the tables over many: precision, recall, delay, rate, kind, culprit, rivals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

KINDS = {"python": "python_objects", "native": "native_heap", "container": "container_buffer"}
CULPRITS: dict[str, tuple[str, ...]] = {
    "leak_registry": ("Tracked", ".reg"),
    "leak_cycles_gc_off": ("Tracked",),
    "leak_in_sessions": ("Tracked", ".lost"),
    "leak_listeners": ("function", ".cb"),
    "leak_exceptions": ("ValueError", ".errs"),
    "leak_lru_unbounded": ("lru_cache", "tuple", ".f"),
    "leak_rare_error_path": ("tuple", ".L"),
    "leak_native_16": (),
    "leak_native_4k": (),
    "unseen_leak_bound_methods": (".handlers", "Job", "method"),
    "unseen_leak_pending": (".pending", "list"),
    "unseen_leak_strings_in_c": (),
    "unseen_leak_byte_log": (".log", "bytearray"),
    "unseen_leak_numbers": (".values", "array"),
    "unseen_leak_behind_lru": (".kept", "tuple"),
    "unseen_leak_of_all_sizes": (".kept", "bytes"),
    "unseen_leak_generators": (".running", "generator"),
    "unseen_leak_beside_loading": (".kept", "str"),
    "unseen_leak_with_churn": (".kept", "float"),
}
"""What may be named: a type, or the container that grows; of C memory there is nothing to name.  Others: ``.L``."""
DECLARED = ("leak_list_8b", "leak_on_saw500", "leak_on_saw3000", "leak_1pct_noise", "leak_in_sessions", "leak_thread")
"""Leaks under churn or in stairs: two levels do not tell their rate, so what they were written with is the truth."""
_ACCUSED = ("leaking",)


def score(row: dict[str, Any]) -> dict[str, Any]:
    """Add to a raw row what was right in it."""
    leaking = [f for f in row["findings"] if f["verdict"] in _ACCUSED]
    fired = [at for at, _ in row["fired"]]
    worst = leaking[0] if leaking else row["fired"][-1][1] if fired else _worst(row["findings"])
    any_look, final_look = bool(leaking or fired), bool(leaking)
    out = {
        **row,
        "any_look": any_look,
        "final_look": final_look,
        "verdict": worst["verdict"],
        "subject": worst["subject"],
        "reason": worst["reason"],
        "kind": worst["memory_kind"],
        "culprit": worst.get("culprit_type"),
        "fired_at": fired[0] if fired else (row["calls"] if leaking else None),
        "delay": None,
        "early_alarm": False,
        "rate": None,
        "true_rate": None,
        "rate_error": None,
        "rate_covered": None,
        "bytes_covered": None,
        "kind_right": None,
        "culprit_right": None,
    }
    if not row["label"]:
        return out
    if any_look:
        out["delay"] = out["fired_at"] - row["onset"]
        out["early_alarm"] = bool(fired) and fired[0] < row["onset"]
    blocks, size = row["truth"]["blocks"], row["truth"]["bytes"]
    if row["name"] in DECLARED:
        blocks, size = row["declared"][0], row["declared"][1] if row["true_kind"] == "container" else None
    if row.get("kept") and row["name"] == "leak_thread":  # the thread lags behind: what it kept is known
        blocks = row["kept"]
    out["true_rate"] = round(blocks, 4)
    if final_look:
        out["kind_right"] = worst["memory_kind"] == KINDS[row["true_kind"]]
        out["culprit_right"] = _named(row["name"], worst)
        stated = worst["blocks_per_call"]
        if blocks >= 0.01 and stated is not None:
            out["rate"] = round(stated["value"], 4)
            out["rate_error"] = abs(stated["value"] / blocks - 1)
            out["rate_covered"] = _covers(stated, blocks)
        stated = worst["bytes_per_call"]
        if size and stated is not None:
            out["bytes_covered"] = _covers(stated, size)
            if out["rate_covered"] is None and row["true_kind"] != "python":
                out["rate"], out["true_rate"] = round(stated["value"], 2), round(size, 2)
                out["rate_error"] = abs(stated["value"] / size - 1)
                out["rate_covered"] = out["bytes_covered"]
    return out


def _worst(findings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    functions = [f for f in findings if f["subject_kind"] == "function"]
    return (functions or list(findings))[0]


def _covers(interval: dict[str, Any], truth: float) -> bool:
    # the truth is itself a difference of two levels: one block in some thousands of calls is not known
    slack = 0.002 * truth
    low = interval["low"] if interval["low"] is not None else -math.inf
    high = interval["high"] if interval["high"] is not None else math.inf
    return bool(low - slack <= truth <= high + slack)


def _named(name: str, finding: dict[str, Any]) -> bool | None:
    wanted = CULPRITS.get(name, (".L", "ndarray"))
    if not wanted:
        return None
    said = [finding.get("culprit_type") or ""]
    said += [g["name"] for g in finding.get("grown", []) if g["what"] == "container"]
    said += [h["path"] for h in finding.get("holders", [])]
    return any(any(mark in text for mark in wanted) for text in said)


def tables(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All figures of a set of runs, with a text to print."""
    failed = [r for r in rows if "error" in r]
    rows = [r for r in rows if "error" not in r]
    leaks, clean = [r for r in rows if r["label"]], [r for r in rows if not r["label"]]
    figures: dict[str, Any] = {}
    for look in ("any_look", "final_look"):
        found, alarms = sum(r[look] for r in leaks), sum(r[look] for r in clean)
        figures[f"{look} recall"] = _share(found, len(leaks))
        figures[f"{look} recall without hard"] = _share(
            sum(r[look] for r in leaks if not r["hard"]), sum(not r["hard"] for r in leaks)
        )
        figures[f"{look} false alarms"] = _share(alarms, len(clean))
        figures[f"{look} precision"] = _share(found, found + alarms)
    figures["alarm before the onset"] = _share(sum(r["early_alarm"] for r in leaks), len(leaks))
    for key, field in (
        ("interval covers the rate", "rate_covered"),
        ("interval covers the bytes", "bytes_covered"),
        ("kind right", "kind_right"),
        ("culprit right", "culprit_right"),
    ):
        known = [r for r in leaks if r[field] is not None]
        figures[key] = _share(sum(r[field] for r in known), len(known))
    delays = sorted(r["delay"] for r in leaks if r["delay"] is not None)
    errors = sorted(r["rate_error"] for r in leaks if r["rate_error"] is not None)
    shares = sorted(r["own_seconds"] / r["seconds"] for r in rows)
    numbers = {
        "delay in calls": _quantiles(delays),
        "relative rate error": _quantiles(errors),
        "own share of the run's seconds": _quantiles(shares),
        "own seconds": _quantiles(sorted(r["own_seconds"] for r in rows)),
    }
    rivals = {}
    for rule in rows[0]["rivals"] if rows else ():
        rivals[rule] = {
            "recall": _share(sum(r["rivals"][rule]["first"] is not None for r in leaks), len(leaks)),
            "false alarms": _share(sum(r["rivals"][rule]["first"] is not None for r in clean), len(clean)),
            "final recall": _share(sum(r["rivals"][rule]["final"] for r in leaks), len(leaks)),
            "final false alarms": _share(sum(r["rivals"][rule]["final"] for r in clean), len(clean)),
        }
    by_name = {}
    for name in sorted({r["name"] for r in rows}):
        mine = [r for r in rows if r["name"] == name]
        by_name[name] = {
            "runs": len(mine),
            "any_look": sum(r["any_look"] for r in mine),
            "final_look": sum(r["final_look"] for r in mine),
            "delay": _quantiles(sorted(r["delay"] for r in mine if r["delay"] is not None)),
            "rate_covered": _count(mine, "rate_covered"),
            "kind_right": _count(mine, "kind_right"),
            "culprit_right": _count(mine, "culprit_right"),
        }
    text = _text(len(leaks), len(clean), len(failed), figures, numbers, rivals, by_name)
    return {
        "runs": {"leaking": len(leaks), "clean": len(clean), "failed": len(failed)},
        "figures": figures,
        "numbers": numbers,
        "rivals": rivals,
        "workloads": by_name,
        "text": text,
    }


def _count(rows: Sequence[dict[str, Any]], field: str) -> str:
    known = [r[field] for r in rows if r[field] is not None]
    return f"{sum(known)}/{len(known)}" if known else "-"


def _text(leaks: int, clean: int, failed: int, figures: Any, numbers: Any, rivals: Any, by_name: Any) -> str:
    lines = [f"{leaks} leaking and {clean} clean runs, {failed} failed", ""]
    for name, share in figures.items():
        lines.append(f"| {name} | {_cell(share)} |")
    lines += ["", "| figure | median | p90 | max |", "|---|---|---|---|"]
    for name, q in numbers.items():
        lines.append(
            f"| {name} | {q['median']:.4g} | {q['p90']:.4g} | {q['max']:.4g} |" if q else f"| {name} | - | - | - |"
        )
    lines += ["", "| rival on the same runs | recall | false alarms | at the end: recall | false alarms |"]
    lines.append("|---|---|---|---|---|")
    for rule, row in rivals.items():
        lines.append(f"| {rule} | " + " | ".join(_cell(row[k]) for k in row) + " |")
    lines += ["", "| workload | any look | final | median delay | interval covers | kind | culprit |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, row in by_name.items():
        delay = f"{row['delay']['median']:.0f}" if row["delay"] else "-"
        lines.append(
            f"| {name} | {row['any_look']}/{row['runs']} | {row['final_look']}/{row['runs']} | {delay} "
            f"| {row['rate_covered']} | {row['kind_right']} | {row['culprit_right']} |"
        )
    return "\n".join(lines)


def _cell(share: dict[str, Any]) -> str:
    if not share["of"]:
        return "-"
    return f"{share['count']}/{share['of']} = {share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}]"


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    n = len(values)
    return {"median": values[n // 2], "p90": values[min(n - 1, int(0.9 * n))], "max": values[-1]}


def _share(count: int, of: int) -> dict[str, Any]:
    low, high = clopper_pearson(count, of)
    return {"count": count, "of": of, "value": count / of if of else None, "low": low, "high": high}


def clopper_pearson(count: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact limits of a binomial share, by bisection on its distribution function."""
    if not of:
        return 0.0, 1.0
    tail = (1 - confidence) / 2

    def at_most(k: int, p: float) -> float:
        if p <= 0 or p >= 1:
            return 1.0 if p <= 0 or k >= of else 0.0
        logs = (
            math.lgamma(of + 1)
            - math.lgamma(i + 1)
            - math.lgamma(of - i + 1)
            + i * math.log(p)
            + (of - i) * math.log1p(-p)
            for i in range(k + 1)
        )
        return min(1.0, math.fsum(math.exp(v) for v in logs))

    def solve(k: int, wanted: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(k, middle) > wanted else (low, middle)
        return (low + high) / 2

    return (0.0 if count == 0 else solve(count - 1, 1 - tail)), (1.0 if count == of else solve(count, tail))
