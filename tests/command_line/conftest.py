import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CORE = str(Path(__file__).with_name("fake_core.py"))


class Ended:
    """What a process left behind."""

    def __init__(self, done: subprocess.CompletedProcess) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def report(self) -> dict:
        lines = [line for line in self.err.splitlines() if line.startswith("REPORT ")]
        assert len(lines) == 1, self.err
        return json.loads(lines[0].removeprefix("REPORT "))

    @property
    def err_without_report(self) -> str:
        return "".join(line for line in self.err.splitlines(keepends=True) if not line.startswith("REPORT "))


class Shell:
    """Runs Python, plainly or through the command line, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def python(self, *words: str, env: dict | None = None, stdin: str | None = None) -> Ended:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MEMINSTR_")}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "100"} | (env or {})
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            input=stdin,
            check=False,
        )
        return Ended(done)

    def meminstr(self, *words: str, **more: dict) -> Ended:
        """The command line over the core that only counts."""
        return self.python(CORE, *words, **more)

    def real(self, *words: str, **more: dict) -> Ended:
        """The command line as users have it."""
        return self.python("-m", "meminstr", *words, **more)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)
