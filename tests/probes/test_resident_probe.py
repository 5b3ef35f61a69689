"""The resident probe on real and fake /proc: closed, stolen and inherited descriptors, and no /proc at all."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from meminstr.probes import ResidentProbe
from meminstr.probes.kept_file import KeptFile, pread_keeping_the_lock
from meminstr.probes.resident import page_bytes, psutil_resident, shared_resident

linux = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
PAGE = page_bytes()


def fake_proc(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "self"
    folder.mkdir(parents=True)
    (folder / "statm").write_text(text)
    return folder / "statm"


def no_fallback() -> int:
    raise AssertionError("the fallback was read")


def probe_on(tmp_path: Path, text: str = "765 435 407 5 0 123 0\n", **extras) -> ResidentProbe:
    fake_proc(tmp_path, text)
    return ResidentProbe(str(tmp_path), fallback=extras.pop("fallback", no_fallback), **extras)


def test_second_field_in_pages(tmp_path):
    probe = probe_on(tmp_path)
    assert probe.read() == 435 * PAGE
    assert (probe.name, probe.unit, probe.kind, probe.source) == ("resident", "bytes", "memory", "/proc/self/statm")


def test_kept_descriptor_is_used_again_and_follows_the_file(tmp_path):
    probe = probe_on(tmp_path)
    probe.read()
    fd = probe._file.fd
    (tmp_path / "self" / "statm").write_text("900 500 1 1 0 1 0\n")
    assert probe.read() == 500 * PAGE
    assert probe._file.fd == fd


@pytest.mark.parametrize("text", ["", "garbage", "1 2 3", "a b c d e f g\n", "1 2 3 4 5 6 7 8\n"])
def test_text_that_is_not_statm_goes_to_the_fallback(tmp_path, text):
    probe = probe_on(tmp_path, text, fallback=lambda: 77)
    assert probe.read() == 77
    assert probe.source == "psutil"


def test_no_proc_goes_to_the_fallback(tmp_path):
    probe = ResidentProbe(str(tmp_path / "nowhere"), fallback=lambda: 12)
    assert probe.read() == 12
    assert probe.source == "psutil"


def test_running_out_of_descriptors_passes(tmp_path, monkeypatch):
    probe = probe_on(tmp_path, fallback=lambda: 5)
    real = os.open

    def full(*args, **kwargs):
        raise OSError(errno.EMFILE, "too many open files")

    probe._file.reopen()
    monkeypatch.setattr(os, "open", full)
    assert probe.read() == 5
    monkeypatch.setattr(os, "open", real)
    assert probe.read() == 435 * PAGE
    assert probe.source == "/proc/self/statm"


def test_descriptor_closed_by_the_program(tmp_path):
    probe = probe_on(tmp_path)
    probe.read()
    os.close(probe._file.fd)
    assert probe.read() == 435 * PAGE


def steal(fd: int, other: int) -> None:
    """What happens when a program closes everything and opens files of its own."""
    os.dup2(other, fd)
    os.close(other)


def test_descriptor_taken_by_a_pipe_is_left_alone(tmp_path):
    probe = probe_on(tmp_path)
    probe.read()
    fd = probe._file.fd
    reader, writer = os.pipe()
    os.write(writer, b"1 2 3 4 5 6 7\n")
    steal(fd, reader)
    assert probe.read() == 435 * PAGE
    assert probe._file.fd != fd
    assert os.read(fd, 100) == b"1 2 3 4 5 6 7\n"  # open still, and nothing was taken out of it
    os.close(fd)
    os.close(writer)


@pytest.mark.parametrize("pages", [1, 50_000])
def test_descriptor_taken_by_another_statm_is_seen_through(tmp_path, pages):
    probe = probe_on(tmp_path / "a")
    assert probe.read() == 435 * PAGE
    fd = probe._file.fd
    other = fake_proc(tmp_path / "b", f"99999 {pages} 1 1 0 1 0\n")
    steal(fd, os.open(other, os.O_RDONLY))
    assert probe.read() == 435 * PAGE
    assert os.pread(fd, 5, 0) == b"99999"  # the program's file was not closed
    os.close(fd)


def test_a_similar_foreign_statm_is_seen_through_within_64_readings(tmp_path):
    probe = probe_on(tmp_path / "a")
    probe.read()
    fd = probe._file.fd
    steal(fd, os.open(fake_proc(tmp_path / "b", "9 436 1 1 0 1 0\n"), os.O_RDONLY))
    readings = [probe.read() for _ in range(70)]
    assert readings[-1] == 435 * PAGE
    os.close(fd)


def test_a_real_jump_is_believed(tmp_path):
    probe = probe_on(tmp_path)
    probe.read()
    (tmp_path / "self" / "statm").write_text("900000 800000 1 1 0 1 0\n")
    assert probe.read() == 800_000 * PAGE


def test_standard_streams_are_never_taken(tmp_path):
    script = textwrap.dedent(
        f"""
        import os
        os.close(0)
        from meminstr.probes.kept_file import KeptFile
        file = KeptFile({str(fake_proc(tmp_path, "x"))!r}, 10)
        assert file.read() == b"x"
        assert file.fd > 2, file.fd
        assert os.open("/dev/null", os.O_RDONLY) == 0
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_pread_the_file_is_opened_each_time(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "pread")
    probe = probe_on(tmp_path, active_threads=lambda: 9)
    assert [probe.read() for _ in range(200)] == [435 * PAGE] * 200
    assert probe._file.fd == -1
    assert probe.source == "/proc/self/statm"


def test_descriptor_is_closed_with_its_owner(tmp_path):
    file = KeptFile(str(fake_proc(tmp_path, "x")), 10)
    file.read()
    fd = file.fd
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_descriptor_is_not_inherited_by_programs(tmp_path):
    file = KeptFile(str(fake_proc(tmp_path, "x")), 10)
    file.read()
    assert not os.get_inheritable(file.fd)


@linux
def test_agrees_with_psutil():
    assert abs(ResidentProbe().read() - psutil_resident()) < 4 << 20


@linux
def test_sees_memory_that_is_taken():
    probe = ResidentProbe()
    before = probe.read()
    # mapped anew: an allocation might be served from what the process has freed but not given back
    with mmap.mmap(-1, 32 << 20) as block:
        for page in range(0, 32 << 20, 4096):
            block[page] = 1
        assert probe.read() - before > 28 << 20


@linux
@pytest.mark.parametrize("threads", [1, 4])
def test_child_of_a_fork_reads_its_own(threads):
    script = textwrap.dedent(
        f"""
        import os
        from meminstr.probes import ResidentProbe
        probe = ResidentProbe(active_threads=lambda: {threads})
        before = probe.read()
        inherited = probe._file.fd
        if os.fork() == 0:
            block = bytearray(64 << 20)
            grew = probe.read() - before > 48 << 20
            own = os.readlink(f"/proc/self/fd/{{probe._file.fd}}") == f"/proc/{{os.getpid()}}/statm"
            os._exit(0 if grew and own else 1)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
        assert probe._file.fd == inherited
        assert abs(probe.read() - before) < 8 << 20
        """
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


@linux
def test_among_threads_the_interpreter_lock_is_kept(monkeypatch):
    if pread_keeping_the_lock() is None:
        pytest.skip("no ctypes, or no lock to keep")
    probe = ResidentProbe(active_threads=lambda: 2)
    probe.read()
    calls = []
    real = os.pread
    monkeypatch.setattr(probe._file, "_pread", lambda *args: calls.append(args) or real(*args))
    readings = [probe.read() for _ in range(50)]
    assert calls == []
    assert all(abs(reading - psutil_resident()) < 8 << 20 for reading in readings)


@linux
def test_the_crowd_can_come_and_go():
    count = [1]
    probe = ResidentProbe(active_threads=lambda: count[0])
    assert probe._held is None
    count[0] = 3
    for _ in range(70):
        probe.read()
    assert probe._held is not None
    count[0] = 1
    for _ in range(70):
        probe.read()
    assert probe._held is None


@linux
def test_closed_descriptor_among_threads():
    probe = ResidentProbe(active_threads=lambda: 2)
    os.close(probe._file.fd)
    assert abs(probe.read() - psutil_resident()) < 8 << 20
    assert probe.source == "/proc/self/statm"


def test_held_pread_reports_errors_as_pread_does():
    pread = pread_keeping_the_lock()
    if pread is None:
        pytest.skip("no ctypes, or no lock to keep")
    with pytest.raises(OSError, match="Bad file descriptor"):
        pread(-1, 10, 0)


@pytest.mark.parametrize("free_threaded", [True, False])
def test_held_pread_only_where_there_is_a_lock(monkeypatch, free_threaded):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: not free_threaded, raising=False)
    if free_threaded:
        assert pread_keeping_the_lock() is None


def test_shared_probe_is_one():
    assert shared_resident() is shared_resident()
