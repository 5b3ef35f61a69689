"""The JSON form of a report: deterministic, strict (no NaN, no infinity), and readable back.

The contract stands in DESIGN.md and, for machines, in ``schema.json`` beside this file.  Keys may be added to
it, never changed; `record.VERSION` rises when a reader of the old format could no longer understand a report.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .record import Record


def dumps(record: Record) -> str:
    """The report as JSON text in ASCII, keys in the order of the contract, a newline at the end."""
    return json.dumps(record.to_dict(), indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def loads(text: str, where: str = "the report") -> Any:
    """The JSON value in `text`, with NaN and infinities read as None.

    Raises:
        UsageError: not JSON, or nested too deeply to be a report.
    """
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except RecursionError:
        raise UsageError(f"{where} is not a meminstr report: its JSON is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{where} is not a meminstr report: it is not JSON ({error})") from None


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a report."""
    text = Path(__file__).with_name("schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
