"""Peaks: nested and concurrent windows over one mark, with and without a kernel that sets it back."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import textwrap
import types

import pytest

from meminstr.probes import Peak, PeakMeter, PeakProbe, process_meter
from meminstr.probes import peak as peak_module
from meminstr.probes.peak import portable_mark

MIB = 1 << 20
linux = pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs /proc")


class Kernel:
    """A fake process: resident set, mark, and a clear_refs that works, refuses or lies."""

    def __init__(self, tmp_path, clears="works"):
        self.folder = tmp_path / "self"
        self.folder.mkdir()
        self.resident = self.mark = 10
        self.clears = clears
        self.resets = 0
        (self.folder / "status").write_text("")
        if clears != "refuses":
            (self.folder / "clear_refs").write_text("")
        self.meter = PeakMeter(str(tmp_path), resident=lambda: self.resident * MIB, mark=lambda: None)
        assert self.meter._status is not None
        self.meter._status._pread = self.pread

    def use(self, megabytes: int) -> None:
        self.resident = megabytes
        self.mark = max(self.mark, megabytes)

    def pread(self, fd, size, offset):
        order = self.folder / "clear_refs"
        if self.clears != "refuses" and order.read_bytes() == b"5":
            order.write_text("")
            self.resets += 1
            if self.clears == "works":
                self.mark = self.resident
        return f"Name:\tx\nVmHWM:\t{self.mark * 1024} kB\nVmRSS:\t{self.resident * 1024} kB\n".encode()


def test_peak_inside_a_window(tmp_path):
    kernel = Kernel(tmp_path)
    window = kernel.meter.begin()
    kernel.use(50)
    kernel.use(12)
    assert kernel.meter.so_far(window) == Peak(50 * MIB, True, "VmHWM")
    assert kernel.meter.end(window) == Peak(50 * MIB, True, "VmHWM")
    assert window.start_bytes == 10 * MIB


def test_earlier_peak_is_not_charged(tmp_path):
    kernel = Kernel(tmp_path)
    kernel.use(100)
    kernel.use(10)
    window = kernel.meter.begin()
    kernel.use(30)
    kernel.use(10)
    assert kernel.meter.end(window) == Peak(30 * MIB, True, "VmHWM")
    assert kernel.meter.lifetime_bytes() == 100 * MIB  # the life's mark survives the setting back


def test_nested_windows(tmp_path):
    kernel = Kernel(tmp_path)
    outer = kernel.meter.begin()
    kernel.use(80)
    kernel.use(10)
    inner = kernel.meter.begin()
    kernel.use(40)
    kernel.use(10)
    assert kernel.meter.end(inner).bytes == 40 * MIB
    kernel.use(20)
    assert kernel.meter.end(outer).bytes == 80 * MIB


def test_overlapping_windows(tmp_path):
    kernel = Kernel(tmp_path)
    first = kernel.meter.begin()
    kernel.use(60)
    kernel.use(10)
    second = kernel.meter.begin()
    kernel.use(30)
    assert kernel.meter.end(first).bytes == 60 * MIB
    kernel.use(10)
    kernel.use(70)
    kernel.use(10)
    assert kernel.meter.end(second).bytes == 70 * MIB


def test_no_needless_setting_back(tmp_path):
    kernel = Kernel(tmp_path)
    for _ in range(3):
        kernel.meter.end(kernel.meter.begin())
    assert kernel.resets == 0


@pytest.mark.parametrize("clears", ["refuses", "lies"])
def test_mark_that_cannot_be_set_back(tmp_path, clears):
    kernel = Kernel(tmp_path, clears)
    kernel.use(100)
    kernel.use(10)
    window = kernel.meter.begin()
    kernel.use(50)
    kernel.use(20)
    assert kernel.meter.end(window) == Peak(20 * MIB, False, "VmHWM")  # all that two readings can say
    window = kernel.meter.begin()
    kernel.use(120)
    kernel.use(20)
    assert kernel.meter.end(window) == Peak(120 * MIB, True, "VmHWM")  # a new high of the life is exact


def test_window_as_a_context_also_after_an_exception(tmp_path):
    kernel = Kernel(tmp_path)

    def peaks_and_fails(so_far) -> None:
        kernel.use(33)
        assert so_far().bytes == 33 * MIB
        kernel.use(10)
        raise KeyError

    with pytest.raises(KeyError), kernel.meter.window() as peak:
        peaks_and_fails(peak)
    kernel.use(99)
    assert peak().bytes == 33 * MIB
    assert kernel.meter._open == []


def test_status_without_marks_goes_to_the_portable_way(tmp_path):
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("Name:\tx\n")
    mark = [50 * MIB]
    meter = PeakMeter(str(tmp_path), resident=lambda: 20 * MIB, mark=lambda: (mark[0], "getrusage"))
    window = meter.begin()
    assert meter.end(window) == Peak(20 * MIB, False, "getrusage")
    mark[0] = 70 * MIB
    assert meter.end(window) == Peak(70 * MIB, True, "getrusage")
    assert meter.lifetime_bytes() == 70 * MIB


def test_nothing_but_readings(tmp_path):
    now = [10]
    meter = PeakMeter(str(tmp_path / "none"), resident=lambda: now[0], mark=lambda: None)
    window = meter.begin()
    now[0] = 15
    assert meter.end(window) == Peak(15, False, "two readings")
    assert PeakProbe(meter).read() == 15
    assert PeakProbe(meter).source == "two readings"


def test_stolen_status_descriptor(tmp_path):
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("VmHWM:\t4 kB\nVmRSS:\t4 kB\n")
    other = tmp_path / "other"
    other.write_text("VmHWM:\t9999 kB\nVmRSS:\t9999 kB\n")
    meter = PeakMeter(str(tmp_path))
    assert meter.lifetime_bytes() == 4096
    fd = meter._status.fd
    foreign = os.open(other, os.O_RDONLY)
    os.dup2(foreign, fd)
    os.close(foreign)
    assert meter.lifetime_bytes() == 4096
    os.close(fd)


@pytest.mark.parametrize(("platform", "factor"), [("linux", 1024), ("darwin", 1)])
def test_maxrss_is_bytes_on_macos_only(monkeypatch, platform, factor):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrusage", lambda who: types.SimpleNamespace(ru_maxrss=500))
    monkeypatch.setattr(peak_module.sys, "platform", platform)
    assert portable_mark() == (500 * factor, "getrusage")


def test_peak_on_windows(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    info = types.SimpleNamespace(rss=1, peak_wset=777)
    monkeypatch.setattr(peak_module, "psutil_process", lambda: types.SimpleNamespace(memory_info=lambda: info))
    assert portable_mark() == (777, "psutil peak_wset")
    del info.peak_wset
    assert portable_mark() is None

    def fails():
        raise OSError

    monkeypatch.setattr(peak_module, "psutil_process", fails)
    assert portable_mark() is None


@linux
def test_real_kernel():
    window = process_meter.begin()
    # mapped anew: an allocation might be served from what the process has freed but not given back
    with mmap.mmap(-1, 32 * MIB) as block:
        for page in range(0, 32 * MIB, 4096):
            block[page] = 1
    peak = process_meter.end(window)
    assert peak.source == "VmHWM"
    if not peak.exact:
        pytest.skip("this kernel does not set the mark back")
    # kernels from 6.2 on count resident pages in batches for each processor, hence the tolerance
    assert 31 * MIB <= peak.bytes - window.start_bytes < 34 * MIB
    assert process_meter.lifetime_bytes() >= peak.bytes


@linux
def test_child_of_a_fork_has_a_life_of_its_own():
    script = textwrap.dedent(
        """
        import os
        from meminstr.probes import process_meter
        block = bytearray(64 << 20)
        parent = process_meter.lifetime_bytes()
        window = process_meter.begin()
        del block
        if os.fork() == 0:
            ok = process_meter.lifetime_bytes() < parent - (32 << 20) and process_meter._open == []
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
        assert process_meter.end(window).bytes >= 64 << 20
        """
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)
