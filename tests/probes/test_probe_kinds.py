"""Blocks, C heap, descriptors, threads, tasks, a user's own, and which of them exist here."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

from meminstr.errors import UsageError
from meminstr.probes import (
    BlocksProbe,
    DescriptorsProbe,
    HeapProbe,
    Probe,
    ProbeUnavailable,
    TasksProbe,
    ThreadsProbe,
    UserProbe,
    default_probes,
)


def test_blocks_see_objects():
    probe = BlocksProbe()
    before = probe.read()
    kept = [object() for _ in range(10_000)]
    assert probe.read() - before >= 10_000
    assert len(kept) == 10_000
    assert (probe.name, probe.unit, probe.kind, probe.source) == (
        "blocks",
        "blocks",
        "memory",
        "sys.getallocatedblocks",
    )


def test_blocks_that_are_not_counted():
    with pytest.raises(ProbeUnavailable, match="PYTHONMALLOC"):
        BlocksProbe(lambda: 0)
    script = "from meminstr.probes import default_probes; print('blocks' in default_probes())"
    environment = {**os.environ, "PYTHONMALLOC": "malloc"}
    out = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_another_python(monkeypatch):
    monkeypatch.delattr(sys, "getallocatedblocks")
    with pytest.raises(ProbeUnavailable, match="getallocatedblocks"):
        BlocksProbe()
    assert "blocks" not in default_probes()


def test_heap_sum():
    probe = HeapProbe(lambda: types.SimpleNamespace(heap_used=5, mmap_used=7))
    assert probe.read() == 12
    assert probe.source == "mallinfo2 via psutil.heap_info"


def test_heap_sees_a_buffer():
    try:
        probe = HeapProbe()
    except ProbeUnavailable as error:
        pytest.skip(str(error))
    before = probe.read()
    buffer = np.empty(10_000_000, dtype=np.uint8)
    assert abs(probe.read() - before - buffer.nbytes) < 1_000_000


def test_heap_missing_failing_or_blind(monkeypatch):
    import psutil

    monkeypatch.delattr(psutil, "heap_info", raising=False)
    with pytest.raises(ProbeUnavailable, match="musl"):
        HeapProbe()
    assert "heap" not in default_probes()

    def fails():
        raise OSError("no")

    with pytest.raises(ProbeUnavailable, match="failed"):
        HeapProbe(fails)
    with pytest.raises(ProbeUnavailable, match="knows of no heap"):
        HeapProbe(lambda: types.SimpleNamespace(heap_used=0, mmap_used=0))
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ProbeUnavailable):
        HeapProbe()


def test_descriptors_go_up_and_down():
    probe = DescriptorsProbe()
    before = probe.read()
    ends = os.pipe()
    assert probe.read() == before + 2
    for end in ends:
        os.close(end)
    assert probe.read() == before


def test_descriptors_without_proc(tmp_path):
    probe = DescriptorsProbe(str(tmp_path))
    assert probe.source == "psutil"
    assert probe.read() > 0


def test_handles_on_windows(tmp_path, monkeypatch):
    from meminstr.probes import resources

    monkeypatch.setattr(resources, "psutil_process", lambda: types.SimpleNamespace(num_handles=lambda: 321))
    assert DescriptorsProbe(str(tmp_path)).read() == 321


def test_descriptors_unavailable(tmp_path):
    def fails():
        raise OSError("no access")

    with pytest.raises(ProbeUnavailable, match="no access"):
        DescriptorsProbe(str(tmp_path), fallback=fails)


def test_threads_go_up_and_down():
    probe = ThreadsProbe()
    before = probe.read()
    gate = threading.Event()
    threads = [threading.Thread(target=gate.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    during = probe.read()
    gate.set()
    for thread in threads:
        thread.join()
    assert during == before + 3


def test_threads_without_proc_or_with_a_strange_one(tmp_path):
    assert ThreadsProbe(str(tmp_path), fallback=lambda: 4).read() == 4
    strange = tmp_path / "self" / "task"
    strange.mkdir(parents=True)
    probe = ThreadsProbe(str(tmp_path), fallback=lambda: 4)  # no thread at all: not to be believed
    assert (probe.read(), probe.source) == (4, "threading.active_count")


def test_threads_when_proc_goes_away(tmp_path):
    task = tmp_path / "self" / "task" / "1"
    task.mkdir(parents=True)
    probe = ThreadsProbe(str(tmp_path), fallback=lambda: 4)
    if probe.source != "/proc/self/task":
        pytest.skip("this file system does not count links of folders")
    assert probe.read() == 1
    task.rmdir()
    task.parent.rmdir()
    assert (probe.read(), probe.source) == (4, "threading.active_count")


def test_tasks():
    async def main():
        probe = TasksProbe(asyncio.get_running_loop())
        before = probe.read()
        task = asyncio.create_task(asyncio.Event().wait())
        during = probe.read()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return before, during, probe.read(), probe

    before, during, after, probe = asyncio.run(main())
    assert (before, during, after) == (1, 2, 1)
    with pytest.raises(ProbeUnavailable):
        probe.read()


def test_user_probe():
    probe = UserProbe("gpu.bytes", lambda: np.int64(12), unit="bytes", kind="memory", floor=1024)
    assert (probe.read(), probe.name, probe.unit, probe.kind, probe.floor) == (12, "gpu.bytes", "bytes", "memory", 1024)
    assert probe.source.startswith("registered: ")
    assert isinstance(probe, Probe)
    assert UserProbe("x", lambda: 3.9).read() == 3


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "1a"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"read": 5}, "read"),
        ({"unit": "MB"}, "unit"),
        ({"kind": "other"}, "kind"),
        ({"floor": -1}, "floor"),
        ({"floor": float("nan")}, "floor"),
        ({"floor": "1"}, "floor"),
        ({"floor": True}, "floor"),
    ],
)
def test_user_probe_bad_arguments(arguments, word):
    with pytest.raises(UsageError, match=word):
        UserProbe(**{"name": "x", "read": lambda: 1, **arguments})


def test_default_probes_work():
    probes = default_probes()
    assert "resident" in probes
    for name, probe in probes.items():
        assert isinstance(probe, Probe)
        assert probe.name == name
        assert probe.unit in {"bytes", "blocks", "count"}
        assert probe.kind in {"memory", "resource"}
        assert probe.read() > 0
        assert probe.source
