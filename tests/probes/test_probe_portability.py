"""Windows, macOS and musl, by hiding what they lack, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

HIDE = textwrap.dedent(
    """
    import builtins, os, sys
    real_open, real_os_open, real_stat, real_listdir, real_isdir = (
        builtins.open, os.open, os.stat, os.listdir, os.path.isdir
    )
    # psutil must be there first, as Linux's own: the hidden system cannot load another
    import psutil
    memory = psutil.Process().memory_info()

    def hidden(path):
        text = os.fspath(path) if not isinstance(path, int) else ""
        return isinstance(text, str) and text.startswith(("/proc", "/sys"))

    def refuse(real):
        def call(path, *args, **kwargs):
            if hidden(path):
                raise FileNotFoundError(2, "no such file", path)
            return real(path, *args, **kwargs)
        return call

    class Info:
        rss, vms, peak_wset = 50 << 20, 90 << 20, 60 << 20

    class Process:
        def __init__(self, pid=None): self.pid = pid
        def memory_info(self): return Info
        def num_handles(self): return 111

    class Memory:
        total, available = 8 << 30, 6 << 30

    psutil.Process = Process
    psutil.virtual_memory = lambda: Memory
    if hasattr(psutil, "heap_info"):
        del psutil.heap_info
    builtins.open, os.open, os.stat, os.listdir = map(refuse, (real_open, real_os_open, real_stat, real_listdir))
    os.path.isdir = lambda path: not hidden(path) and real_isdir(path)
    import io
    io.open = builtins.open
    sys.modules["resource"] = None
    sys.modules["fcntl"] = None
    """
)
WINDOWS = HIDE + textwrap.dedent(
    """
    del os.pread, os.register_at_fork, os.sysconf, os.fork
    sys.platform = "win32"
    """
)


@pytest.mark.parametrize("prelude", [HIDE, WINDOWS], ids=["no proc", "windows"])
def test_everything_works_with_what_is_left(prelude):
    script = prelude + textwrap.dedent(
        """
        from meminstr.probes import *
        from meminstr.monitors import *
        probes = default_probes()
        assert sorted(probes) == ["blocks", "descriptors", "resident", "threads"], sorted(probes)
        assert probes["resident"].source == "psutil"
        assert probes["resident"].read() == 50 << 20
        assert (probes["descriptors"].read(), probes["descriptors"].source) == (111, "psutil")
        assert probes["threads"].read() == 1
        for probe in probes.values():
            assert TimedProbe(probe).read_if_due() > 0
        assert tightest_limit() == Limit(8 << 30, "physical memory")
        assert headroom() == Headroom(6 << 30, 8 << 30, "physical memory")
        window = process_meter.begin()
        assert process_meter.end(window) == Peak(50 << 20, False, "psutil peak_wset")
        assert PeakProbe().read() == 60 << 20

        monitor = MemoryMonitor(limit_gb=None)
        assert monitor.limit_bytes == 8 << 30
        assert monitor.get_memory_usage() == 50 / 1024
        with monitor.memory_guard() as record:
            pass
        assert (record.peak_bytes, record.peak_exact) == (50 << 20, False)
        production = ProductionMemoryMonitor()
        assert production.baseline_mb == 50.0
        assert production.check_memory() is None
        monitor.start(60)
        monitor.stop()
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_nothing_heavy_is_imported():
    script = textwrap.dedent(
        """
        import sys
        import meminstr.probes, meminstr.monitors
        heavy = {"numpy", "psutil", "asyncio", "ctypes"} & set(sys.modules)
        assert not heavy, heavy
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_no_descriptor_is_opened_by_the_import():
    script = textwrap.dedent(
        """
        import os, sys
        if not os.path.isdir("/proc/self/fd"):
            sys.exit()
        before = os.listdir("/proc/self/fd")
        import meminstr.probes, meminstr.monitors
        assert os.listdir("/proc/self/fd") == before
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True)
