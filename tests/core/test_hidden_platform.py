"""Where /proc, os.pread, resource, fork or the C heap's figures do not exist, it decorates and reports all the same."""

import subprocess
import sys

import pytest

HIDE = {
    "no pread": "import os; del os.pread",
    "no resource": "import sys; sys.modules['resource'] = None",
    "no heap figures": "import psutil; psutil.__dict__.pop('heap_info', None); psutil.__dict__.pop('heap_trim', None)",
    "no fork": "import os; del os.register_at_fork, os.fork",
    "no proc": """
import builtins, os
_open, _os_open, _listdir, _scandir = builtins.open, os.open, os.listdir, os.scandir
def hidden(path): return isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith('/proc')
def gone(real):
    def opened(path, *a, **k):
        if hidden(path): raise FileNotFoundError(2, 'No such file or directory', path)
        return real(path, *a, **k)
    return opened
builtins.open, os.open, os.listdir, os.scandir = gone(_open), gone(_os_open), gone(_listdir), gone(_scandir)
import psutil  # its own way to the figures, as on a system that never had /proc
class Info: rss = 123_000_000; vms = 10
class Process:
    def __init__(self, pid=None): self.pid = pid
    def memory_info(self): return Info
    def num_fds(self): return 5
    def num_threads(self): return 1
psutil.Process = Process
psutil.virtual_memory = lambda: type('M', (), {'total': 8 << 30, 'available': 4 << 30})()
""",
    "windows": (
        "import sys, wrapt, psutil, multiprocessing, sysconfig; sysconfig.get_config_vars(); sys.platform = 'win32'"
    ),
}

PROGRAM = """
import meminstr

kept = []

@meminstr.leak_guard(every=20)
def step(i):
    kept.append([i])

@meminstr.track_instantiations("thing")
class Thing:
    def close(self): pass

@meminstr.memory_limited(gb=900, mode="check")
def limited(): return 7

for i in range(3000):
    step(i)
    Thing().close()
assert limited() == 7
report = meminstr.report()
assert report.finding("step").calls == 3000
assert report.finding("thing").counts.constructed == 3000
assert str(report).isprintable() is False and report.to_json()
print(report.process.signals)
print([e["where"] for e in report.errors])
"""


def test_a_psutil_that_fails_is_a_fault_and_no_error_of_the_program():
    broken = HIDE["no proc"].partition("import psutil")[0]
    before, _, rest = PROGRAM.partition("@meminstr.memory_limited")  # a limit without any reading is a UsageError
    program = before + rest.partition("def limited(): return 7")[2]
    program = program.replace("assert limited() == 7", "").replace("print(report.process.signals)", "")
    done = subprocess.run([sys.executable, "-c", broken + program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "probe resident" in done.stdout


@pytest.mark.parametrize("name", HIDE)
def test_it_works_without(name):
    code = "\n".join(["import sys, os", HIDE["no pread"] if name == "windows" else "", HIDE[name], PROGRAM])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    signals, errors = done.stdout.strip().splitlines()
    assert "resident" in signals
    if name in ("no pread", "no proc"):
        assert "psutil" in signals
    if name == "no heap figures":
        assert "heap" not in signals
    assert errors == "[]"
