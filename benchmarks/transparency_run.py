"""Run a package's own tests with everything in it instrumented by name, and write down how each test ended.

Started by `benchmarks.transparency` in an environment of the package's own, with a copy of meminstr on the path; a
bare run is the same without meminstr.  Instrumenting comes before pytest, which itself imports some of the packages.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from typing import Any

SETTINGS = json.loads(os.environ.pop("TRANSPARENCY", "{}"))
os.environ.pop("PYTHONSAFEPATH", None)  # for this process only: the tests start scripts that import their neighbours


class Recorder:
    """A pytest plugin: the worst outcome of each test, and the last lines of its failure."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.words: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xpassed" if report.passed else "xfailed"
        if report.when == "call" or outcome != "passed":
            before = self.outcomes.get(report.nodeid)
            if before in (None, "passed"):
                self.outcomes[report.nodeid] = outcome if report.when == "call" else f"{outcome} in {report.when}"
                if report.failed:
                    self.words[report.nodeid] = _told(report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.outcomes[f"{report.nodeid} (collection)"] = "failed"
            self.words[f"{report.nodeid} (collection)"] = _told(report)


def _told(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr)[-600:]


def instrument(package: str, mode: str) -> Any:
    """Everything of the package, by wildcards; the package's own tests are left out."""
    from meminstr import registry
    from meminstr.decorators import leak_guard, track_instantiations
    from meminstr.instrument.by_name import instrument_by_name
    from meminstr.instrument.targets import Target

    registry.tracker.max_subjects = 1_000_000
    if mode == "functions, none sampled":
        registry.sampling_switch = lambda every, *more: itertools.repeat(0).__next__  # type: ignore[assignment]
    option, wants = ("--track", "class") if mode == "classes" else ("--guard", "function")
    paths = ("*", "*.*", "*.*.*")
    texts = [f"{module}:{path}" for module in (package, f"{package}.*") for path in paths]

    def apply(owner: object, name: str, obj: Any, target: Target) -> Any:
        module = getattr(owner, "__module__", None) if isinstance(owner, type) else getattr(owner, "__name__", "")
        if ".tests" in str(module) or ".conftest" in str(module):
            return None
        return track_instantiations(obj) if wants == "class" else leak_guard(every=SETTINGS["every"])(obj)

    return instrument_by_name([Target.parse(text, option, wants) for text in texts], apply)


def main() -> int:
    """Instrument, run, write the record."""
    work = instrument(SETTINGS["package"], SETTINGS["mode"]) if SETTINGS["mode"] != "bare" else None
    import pytest

    recorder = Recorder()
    code = pytest.main(sys.argv[1:], plugins=[recorder])
    record: dict[str, Any] = {"code": int(code), "outcomes": recorder.outcomes, "words": recorder.words}
    if work is not None:
        from meminstr import faults
        from meminstr.registry import tracker

        record["applied"] = len(work.applied)
        record["skipped"] = sorted(f"{row.subject} {row.why}" for row in work.skipped)
        record["faults"] = faults.faults()
        record["samples"] = sum(subject.samples for subject in tracker.subjects())
        record["events"] = sum(
            subject.calls() if subject.kind == "function" else subject.follower.counts().constructed
            for subject in tracker.subjects()
        )
    with open(SETTINGS["out"], "w", encoding="utf-8") as file:
        json.dump(record, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
