"""The programs of the documentation: each says what its page claims, and its mended form nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

LEAKS = {
    "etl": ("load", "__main__.seen_references{*}"),
    "rag": ("session", "__main__.desk.open_sessions[*]"),
    "serving": ("Service.predict", "__main__.kept.monitor.recent[*]"),
}


def run(name, tmp_path, *words):
    report = tmp_path / "report.json"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MEMINSTR_", "COVERAGE"))}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=environment | {"MEMINSTR_REPORT": str(report), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    return {f["subject"]: f for f in json.loads(report.read_text())["findings"]}, done.stdout


@pytest.mark.parametrize("name", LEAKS)
def test_the_leak_is_found_and_its_holder_named(name, tmp_path):
    findings, printed = run(name, tmp_path)
    subject, holder = LEAKS[name]
    assert findings[subject]["verdict"] == "leaking", findings[subject]["reason"]
    assert findings[subject]["holders"][0]["path"] == holder
    assert holder in printed


@pytest.mark.parametrize("name", LEAKS)
def test_the_mended_program_is_clean(name, tmp_path):
    findings, _ = run(name, tmp_path, "--fixed")
    subject, _ = LEAKS[name]
    assert findings[subject]["verdict"] == "clean", findings[subject]["reason"]
    assert not [f for f in findings.values() if f["verdict"] in ("leaking", "growing")]
