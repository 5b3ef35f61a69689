"""A comparison as SARIF 2.1.0: findings at lines of source, as code scanning shows them beside a pull request.

A result stands where the surviving instances were born, or at no line where that is not known; it is told from others
by the fingerprint of its holder, so that it stays the same result over commits.  Source: OASIS, Static Analysis
Results Interchange Format 2.1.0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from .._version import __version__
from ..verdict import Finding, Verdict
from .compare import GONE, SAME, Change, Comparison, sentence
from .conditions import Failure
from .escape import NBSP, safe
from .record import Record

_RULES = {
    "leaking": ("Memory leak", "Memory grows with calls or constructions and is never given back."),
    "growing": ("Growing memory", "The evidence of a leak, before the horizon that would prove it."),
    "worse": ("Faster growth", "The rate of growth lies above the one compared with; the intervals do not overlap."),
    "new": ("New subject", "A subject that the report compared with does not hold."),
    "condition": ("Condition met", "A condition of --fail-on is met."),
}
_ORDER = list(_RULES)


def render(comparison: Comparison, head: Record, failed: Sequence[Failure]) -> str:
    """The JSON text of a log with one run.

    Args:
        comparison: what changed.
        head: the newer report, whose findings know their lines.
        failed: the subjects that met a condition: their results are errors, the others warnings and notes.
    """
    found = {(f.subject, f.subject_kind): f for f in reversed(head.findings)}
    results = []
    for change in comparison.records:
        finding = found.get((change.subject, change.subject_kind))
        why = [f for f in failed if f.change is change]
        if change.what != GONE and finding is not None and (why or _notable(change)):
            results.append(_result(change, finding, why))
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "meminstr", "version": __version__, "rules": [_rule(n) for n in _ORDER]}},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        ],
    }
    return json.dumps(log, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _notable(change: Change) -> bool:
    return change.is_regression or change.head_verdict in (Verdict.LEAKING, Verdict.GROWING)


def _rule(name: str) -> dict[str, Any]:
    title, text = _RULES[name]
    return {
        "id": f"meminstr/{name}",
        "name": title.title().replace(" ", ""),
        "shortDescription": {"text": title},
        "fullDescription": {"text": text},
        "defaultConfiguration": {"level": "error" if name == "leaking" else "warning"},
    }


def _result(change: Change, finding: Finding, why: Sequence[Failure]) -> dict[str, Any]:
    name = _rule_of(change)
    told = f"{safe(change.subject, 120)} ({change.what}): {sentence(change)}".replace(NBSP, " ")
    if finding.holders:
        told += f"; held by {safe(finding.holders[0].path, 200)}"
    told += "".join(f"; {safe(f.why, 200)} ({safe(f.condition, 60)})" for f in why)
    if finding.advice:
        told += f". Do: {safe(finding.advice, 400)}"
    fingerprint = next((h.fingerprint for h in finding.holders if h.fingerprint), None)
    key = f"{change.subject_kind}\0{change.subject}\0{fingerprint or ''}"
    result: dict[str, Any] = {
        "ruleId": f"meminstr/{name}",
        "ruleIndex": _ORDER.index(name),
        "level": "error" if why else "warning" if _notable(change) else "note",
        "message": {"text": told},
        "locations": [_location(finding)],
        "partialFingerprints": {"meminstr/v1": hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32]},
        "baselineState": "new" if change.base_verdict is None else "unchanged" if change.what == SAME else "updated",
    }
    return result


def _rule_of(change: Change) -> str:
    verdict = change.head_verdict
    if verdict is Verdict.LEAKING or verdict is Verdict.GROWING:
        return verdict.value
    return change.what if change.what in _RULES else "condition"


def _location(finding: Finding) -> dict[str, Any]:
    name = safe(finding.subject, 200)
    kind = "type" if finding.subject_kind == "class" else "function" if finding.subject_kind == "function" else "module"
    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": name, "kind": kind}]}
    if finding.birth_sites:
        site = finding.birth_sites[0]
        location["physicalLocation"] = {
            "artifactLocation": {"uri": _uri(site.file)},
            "region": {"startLine": max(1, site.line)},
        }
    return location


def _uri(file: str) -> str:
    path = safe(file, 400).replace("\\", "/")
    return f"file://{quote(path)}" if PurePosixPath(path).is_absolute() else quote(path)
