"""``python -m benchmarks.transparency``: which tests of published packages change when everything is instrumented.

Each package comes with its own tests in its source distribution.  They are run bare twice, then with every function
under `leak_guard(every=100)`, then with every class under `track_instantiations`, each time in a process of its own,
and compared test by test.  Tests that differ between the two bare runs are left out; where something changed, the run
is made again, and what did not change again is listed apart.  The functions are run once more with no call sampled:
what still changes is the price of a replaced object, the rest is the price of the frame that a sampled call adds.

    python -m benchmarks.transparency                     all packages (needs the network; environments are thrown away)
    python -m benchmarks.transparency --packages toolz tenacity --envs DIR --classes
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NEEDED = ("psutil>=7.2", "numpy>=1.26", "wrapt>=2.5", "pytest")
UNSAMPLED = "functions, none sampled"
MODES = ("functions", UNSAMPLED, "classes")


@dataclass(frozen=True, slots=True)
class Package:
    """A package with its tests.

    Attributes:
        name: on the index; ``module`` is what is imported, when it is named otherwise.
        tests: paths in the source distribution.
        needs: what its tests need besides pytest.
        options: for pytest.
    """

    name: str
    module: str
    tests: tuple[str, ...] = ("tests",)
    needs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


_TIMEOUT_SECONDS = 1200

PACKAGES = {
    package.name: package
    for package in (
        Package("toolz", "toolz", ("toolz/tests", "toolz/sandbox/tests")),
        Package("tenacity", "tenacity", needs=("tornado", "typeguard", "trio")),
        Package(
            "structlog",
            "structlog",
            needs=(
                "pytest-asyncio",
                "freezegun",
                "pretend",
                "simplejson",
                "time-machine",
                "rich",
                "twisted",
                "greenlet",
            ),
        ),
        Package("asyncstdlib", "asyncstdlib", ("unittests",), needs=("typing_extensions",)),
        Package("attrs", "attr", needs=("hypothesis", "cloudpickle", "pympler")),
        Package("click", "click", options=("-m", "not stress")),
        Package("jinja2", "jinja2", needs=("trio",)),
        Package("marshmallow", "marshmallow", needs=("simplejson", "pytz", "tzdata")),
        Package(  # without 51,000 comparisons of each version with each, and the properties: minutes a run
            "packaging",
            "packaging",
            needs=("pretend", "hypothesis", "tomli_w", "coverage"),
            options=("--ignore=tests/property", "-k", "not test_comparison_true and not test_comparison_false"),
        ),
        Package("pyrsistent", "pyrsistent", needs=("hypothesis",)),
        Package(
            "traitlets", "traitlets", needs=("argcomplete", "pytest-mock"), options=("--ignore=tests/test_typing.py",)
        ),
        Package(
            "werkzeug",
            "werkzeug",
            needs=("ephemeral-port-reserve", "pytest-timeout", "cryptography", "watchdog"),
            options=("--timeout=60", "-k", "not watchdog"),  # a reloader that waits to be told of changed files
        ),
    )
}

_BY_THE_CLOCK = r"^AssertionError: \d+ not less than [\d.]+$"
CAUSES = (
    (r"not the same object as|it's not found as", "F5: the original was captured before, and pickles by name"),
    (r"assert .* is (not )?|is not |NO_FACTORY", "F6: the original was captured before, compared by identity"),
)  # fmt: skip


@contextmanager
def folder(given: Path | None) -> Iterator[Path]:
    """The folder for environments and sources: the one given, or one for this run only."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def prepare(package: Package, where: Path) -> tuple[Path, Path]:
    """The interpreter of an environment with the package and what its tests need, and the unpacked source."""
    home, source = where / f"env-{package.name}", where / f"src-{package.name}"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not source.exists():
        with tempfile.TemporaryDirectory() as scratch:
            _run([sys.executable, "-m", "venv", str(home)])
            pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
            _run([*pip, "download", "--quiet", "--no-deps", "--no-binary", package.name, "-d", scratch, package.name])
            archive = next(Path(scratch).glob("*.tar.gz"))
            with tarfile.open(archive) as tar:
                tar.extractall(Path(scratch) / "out", filter="data")
            _run([*pip, "install", "--quiet", str(archive), *NEEDED, *package.needs])
            shutil.move(str(next((Path(scratch) / "out").iterdir())), source)
    return python, source


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} ...: {done.stderr.strip()[-500:]}")


def library(where: Path) -> Path:
    """A copy of meminstr and of the runner, so that the path holds nothing else of ours."""
    made = where / "lib"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    shutil.copytree(HERE.parent / "meminstr", made / "meminstr", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "transparency_run.py", made)
    return made


def run_tests(package: Package, python: Path, source: Path, lib: Path, mode: str, every: int) -> dict[str, Any]:
    """One run of the package's tests: the record of `transparency_run`."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "record.json"
        settings = {"mode": mode, "package": package.module, "out": str(out), "every": every}
        environment = {
            **os.environ, "PYTHONPATH": str(lib), "PYTHONHASHSEED": "0", "PYTHONSAFEPATH": "1",
            "TRANSPARENCY": json.dumps(settings), "HYPOTHESIS_STORAGE_DIRECTORY": scratch, "TZ": "UTC",
        }  # fmt: skip
        for name in [name for name in environment if name.startswith("MEMINSTR_")]:
            del environment[name]
        command = [
            str(python), "-m", "transparency_run", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--tb=short",
            "-o", "addopts=", f"--basetemp={scratch}/tmp", *package.options, *package.tests,
        ]  # fmt: skip
        how: dict[str, Any] = {"capture_output": True, "text": True, "check": False, "timeout": _TIMEOUT_SECONDS}
        done = subprocess.run(command, cwd=source, env=environment, **how)
        if not out.exists():
            return {"code": done.returncode, "outcomes": {}, "words": {}, "died": (done.stdout + done.stderr)[-800:]}
        record: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return record


def changes(bare: dict[str, str], again: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """Tests that ended otherwise than in both bare runs, each with what became of it."""
    steady = {test: how for test, how in bare.items() if again.get(test) == how}
    found = {test: f"{how} -> {now.get(test, 'not run')}" for test, how in steady.items() if now.get(test) != how}
    found.update({test: f"new: {how}" for test, how in now.items() if test not in bare and test not in again})
    return found


def cause(test: str, words: str, unsampled: dict[str, str] | None) -> str:
    """Why a test changed: by experiment (does it change when no call is sampled?), then by its message."""
    if re.search(_BY_THE_CLOCK, words):
        return "the test allows so many milliseconds by the clock, and a sample or look came in between"
    if unsampled is not None and test not in unsampled:
        return "F3/F4/F9: a frame more under a sampled call"
    for pattern, told in CAUSES:
        if re.search(pattern, words):
            return told
    return "?"


class Runs:
    """The runs of one package, each kept in a file where a folder is given: what was made is not made again."""

    def __init__(self, package: Package, where: Path, lib: Path, every: int, records: Path | None) -> None:
        self.package, self.lib, self.every, self.records = package, lib, every, records
        self.python, self.source = prepare(package, where)

    def run(self, mode: str, number: int) -> dict[str, Any]:
        """The record of the run with this number, made now or earlier."""
        name = f"{self.package.name}-{mode.replace(', ', '-').replace(' ', '-')}-{number}.json"
        file = None if self.records is None else self.records / name
        if file is not None and file.exists():
            earlier: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return earlier
        say(f"{self.package.name}: {mode}, run {number}")
        record = run_tests(self.package, self.python, self.source, self.lib, mode, self.every)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(record), encoding="utf-8")
        return record


def judge(package: Package, runs: Runs, modes: list[str]) -> dict[str, Any]:
    """All runs of one package."""
    first, second = runs.run("bare", 1), runs.run("bare", 2)
    bare, again = first["outcomes"], second["outcomes"]
    row: dict[str, Any] = {
        "package": package.name,
        "tests": len(bare),
        "passed": sum(how == "passed" for how in bare.values()),
        "flaky": sorted(test for test in {*bare, *again} if bare.get(test) != again.get(test)),
        "died": first.get("died"),
        "modes": {},
    }
    for mode in modes:
        record = runs.run(mode, 1)
        if record.get("applied") and not record.get("events"):
            raise RuntimeError(f"{mode}: of what was instrumented nothing was counted, so this compares bare with bare")
        found = changes(bare, again, record["outcomes"])
        outcomes = runs.run(mode, 2)["outcomes"] if found else {}
        changed = {test: how for test, how in found.items() if test in changes(bare, again, outcomes)}
        row["modes"][mode] = {
            "changed": changed,
            "changed_once": sorted(set(found) - set(changed)),
            "words": {test: record["words"].get(test, "") for test in changed},
            **{key: record.get(key) for key in ("applied", "skipped", "faults", "samples", "events", "died")},
        }
    unsampled = row["modes"].get(UNSAMPLED, {}).get("changed")
    for mode, run in row["modes"].items():
        against = unsampled if mode == "functions" else None
        run["causes"] = {test: cause(test, run["words"][test], against) for test in run["changed"]}
    return row


def table(rows: list[dict[str, Any]], every: int) -> str:
    """The figures as Markdown."""
    modes = [mode for mode in MODES if any(mode in row["modes"] for row in rows)]
    version = ".".join(map(str, sys.version_info[:3]))
    out = [
        f"Tests whose result changed against two bare runs, CPython {version}, functions sampled one call in {every}.",
        "",
        "| package | tests | passed bare | " + " | ".join(f"{mode} | instrumented" for mode in modes) + " |",
        "| --- " * (3 + 2 * len(modes)) + "|",
    ]
    for row in rows:
        cells = [row["package"], row["tests"], row["passed"]]
        for mode in modes:
            found = row["modes"].get(mode)
            cells += [len(found["changed"]), found["applied"]] if found else ["", ""]
        out.append("| " + " | ".join(map(str, cells)) + " |")
    total = ["all", *(sum(row[key] for row in rows) for key in ("tests", "passed"))]
    for mode in modes:
        found_all = [row["modes"][mode] for row in rows if mode in row["modes"]]
        total += [sum(len(f["changed"]) for f in found_all), sum(f["applied"] or 0 for f in found_all)]
    out += ["| " + " | ".join(map(str, total)) + " |", ""]
    for mode in modes:
        lines = [
            f"| {row['package']} | {test.replace('|', '/')} | {how} | {row['modes'][mode]['causes'][test]} |"
            for row in rows
            for test, how in row["modes"].get(mode, {"changed": {}})["changed"].items()
        ]
        if lines:
            out += [f"Changed by {mode}:", "", "| package | test | what became of it | cause |", "| --- " * 4 + "|"]
            out += [*lines, ""]
    out += _left_out(rows, modes)
    return "\n".join(out).rstrip() + "\n"


def _left_out(rows: list[dict[str, Any]], modes: list[str]) -> list[str]:
    out = []
    for mode in modes:
        why: dict[str, int] = {}
        for row in rows:
            for line in row["modes"].get(mode, {}).get("skipped") or ():
                reason = re.sub(r"\S+\.\S+", "it", line.partition(" ")[2])
                why[reason] = why.get(reason, 0) + 1
        if why:
            out += [
                f"Left alone by {mode}:",
                "",
                *(f"- {count} x {reason}" for reason, count in sorted(why.items())),
                "",
            ]
    flaky = [f"{row['package']} {test}" for row in rows for test in row["flaky"]]
    if flaky:
        out += ["Not compared, because the two bare runs differ:", "", *(f"- {line}" for line in flaky), ""]
    once = [
        f"{row['package']} {test} ({mode})" for row in rows for mode in modes
        for test in row["modes"].get(mode, {}).get("changed_once", ())
    ]  # fmt: skip
    if once:
        out += ["Changed in one of two instrumented runs only:", "", *(f"- {line}" for line in once), ""]
    return out


def say(text: str) -> None:
    """What is being done, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run and print; exit code 1 when a class changed a test or a run could not be made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transparency", description=__doc__.partition("\n")[0])
    parser.add_argument("--packages", nargs="+", choices=sorted(PACKAGES), default=list(PACKAGES), metavar="NAME")
    parser.add_argument("--functions", action="store_true", help="functions only")
    parser.add_argument("--classes", action="store_true", help="classes only")
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--envs", type=Path, help="keep environments and sources here (default: a temporary folder)")
    parser.add_argument("--records", type=Path, help="keep each run here, and make none again that is here already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--show", nargs="+", type=Path, metavar="JSON", help="print the table of earlier runs instead")
    args = parser.parse_args(argv)
    if args.show:
        earlier = [json.loads(path.read_text(encoding="utf-8")) for path in args.show]
        print(table([row for facts in earlier for row in facts["rows"]], args.every), end="")
        return 0
    both = args.functions == args.classes
    modes = [mode for mode in MODES if both or (mode == "classes") == args.classes]
    rows, broken = [], []
    with folder(args.envs) as where:
        lib = library(where)
        for name in args.packages:
            try:
                runs = Runs(PACKAGES[name], where, lib, args.every, args.records)
                rows.append(judge(PACKAGES[name], runs, modes))
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                broken.append(f"{name}: {error}")
                print(f"{name} could not be tried: {error}", file=sys.stderr)
    if args.json:
        print(json.dumps({"python": sys.version.split()[0], "rows": rows, "broken": broken}, indent=1))
    else:
        print(table(rows, args.every), end="")
    return 1 if broken or any(row["modes"].get("classes", {}).get("changed") for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
