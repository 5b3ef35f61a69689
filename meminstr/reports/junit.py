"""A comparison as JUnit XML: one test case a subject, which CI systems show without further ado.

What met a condition is a failure; subjects that are only in BASE are skipped.  The form is that of the schema that
Jenkins, GitLab and GitHub's reporters read: ``testsuites/testsuite/testcase`` with ``failure`` and ``skipped``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from .compare import GONE, Change, Comparison, sentence
from .conditions import Failure
from .escape import NBSP, safe

# what XML 1.0 cannot hold even as a reference; `safe` leaves none, a lone surrogate of a file might
_IMPOSSIBLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(comparison: Comparison, failed: Sequence[Failure], created_at: str = "") -> str:
    """The XML text.

    Args:
        comparison: what changed.
        failed: the subjects that met a condition.
        created_at: when HEAD was made, ISO 8601.
    """
    skipped = sum(change.what == GONE for change in comparison.records)
    bad = {(f.change.subject, f.change.subject_kind) for f in failed}
    counts = f'tests="{len(comparison.records)}" failures="{len(bad)}" errors="0" skipped="{skipped}"'
    stamp = (
        f" timestamp={_attribute(created_at[:19])}" if re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", created_at) else ""
    )
    cases = "".join(_case(change, failed) for change in comparison.records)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites name="meminstr" {counts}>\n<testsuite name="meminstr" {counts} time="0"{stamp}>\n'
        f"{cases}</testsuite>\n</testsuites>\n"
    )


def _case(change: Change, failed: Sequence[Failure]) -> str:
    name, kind = _attribute(safe(change.subject, 200)), _attribute(f"meminstr.{safe(change.subject_kind, 40)}")
    why = [f for f in failed if f.change is change]
    told = f"{change.what}: {sentence(change)}".replace(NBSP, " ")
    if why:
        message = "; ".join(safe(f"{f.why} ({f.condition})", 400) for f in why)
        inside = f'<failure type="memory" message={_attribute(message)}>{_text(told)}</failure>'
    elif change.what == GONE:
        inside = f"<skipped message={_attribute('only in the report compared with')}/>"
    else:
        inside = f"<system-out>{_text(told)}</system-out>"
    return f'<testcase name={name} classname={kind} time="0">{inside}</testcase>\n'


def _attribute(value: str) -> str:
    return quoteattr(_IMPOSSIBLE.sub("?", value))


def _text(value: str) -> str:
    return escape(_IMPOSSIBLE.sub("?", value))
