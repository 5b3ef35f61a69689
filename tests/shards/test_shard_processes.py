"""Real processes: all ways to start them, all ways to end them, and what the last shard of a killed one says."""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from meminstr.shards import merged, status

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

ALL_WAYS = """
import multiprocessing, os, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
import shop
if __name__ == "__main__":
    shop.child(100)
    for way in ("fork", "spawn", "forkserver"):
        worker = multiprocessing.get_context(way).Process(target=shop.child, args=(200,))
        worker.start()
        worker.join()
        assert worker.exitcode == 0, (way, worker.exitcode)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        assert list(pool.map(shop.square, [3])) == [9]
    pid = os.fork()
    if not pid:
        shop.child(300)
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
    subprocess.run([sys.executable, "-c", "import shop; shop.child(400)"], check=True)
    subprocess.run([sys.executable, "-c", "import shop"], check=True)
"""


def test_every_way_to_start_a_process_leaves_a_shard(programs):
    # warnings are errors: a fork with our thread running would be one from 3.12 on
    programs.run("-W", "error", "-c", ALL_WAYS)
    assert sorted(programs.calls().values()) == [1, 100, 200, 200, 200, 300, 400]
    assert {one.ended for one in programs.shards()} == {"exit"}
    report = merged(programs.folder)
    assert report.finding("handle").calls == 1401
    parents = {one.pid: one.parent_pid for one in programs.shards()}
    (whole,) = [pid for pid, calls in programs.calls().items() if calls == 100]
    assert sum(parent == whole for parent in parents.values()) >= 4  # a fork server's child has another


def test_a_pool_whose_workers_are_recycled_and_terminated_loses_no_call(programs):
    program = (
        "import multiprocessing, shop\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('fork').Pool(2, maxtasksperchild=2) as pool:\n"
        "        assert pool.map(shop.square, range(8), chunksize=1) == [n * n for n in range(8)]\n"
        "        pool.close(); pool.join()\n"
    )
    programs.run("-c", program)
    calls = programs.calls().values()
    assert sum(calls) == 8  # a fifth worker may have begun before the fourth had its second
    assert len(calls) >= 4
    assert max(calls) <= 2


GROWS = """
import time, shop
while True:
    shop.child(5)
    shop.kept.append(bytearray(b"x" * 200_000))
    time.sleep(0.002)
"""


def last_words(programs, process):
    (note,) = merged(programs.folder).extra["notes"]
    (shard,) = programs.shards()
    assert status(shard) == "killed"
    assert shard.ended is None
    assert note.startswith(f"process {process.pid} on ")
    assert "was killed" in note
    return note, shard


def grown(programs, calls):
    return lambda: any(
        n >= calls and any(f.verdict.severity >= 4 for f in one.report.findings if f.subject == "handle")
        for one in programs.shards()
        for n in [one.report.finding("handle").calls or 0]
        if one.box.seconds_left is not None
    )


def test_after_kill_9_the_last_shard_tells_who_grew_and_how_long_it_had(programs):
    process = programs.start("-c", GROWS)
    programs.wait_until(grown(programs, 1000), process)
    process.kill()
    process.wait()
    note, shard = last_words(programs, process)
    assert "handle" in note
    assert "growing by" in note
    assert "enough for" in note
    assert shard.box.seconds_left > 0
    left_behind = [name for name in os.listdir(programs.folder) if not name.endswith(".shard.json")]
    assert len(left_behind) <= 1  # at most the one that was being written


ROOM_BYTES = 160 << 20


def own_memory_group():
    """A memory group below our own, where this machine lets us make one (version 1 or 2); None where not."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for folder, limit in (
            (f"/sys/fs/cgroup/memory{path}", "memory.limit_in_bytes"),
            (f"/sys/fs/cgroup{path}", "memory.max"),
        ):
            if names not in ("memory", ""):
                continue
            group = Path(folder, f"meminstr-test-{os.getpid()}")
            with suppress(OSError):
                group.mkdir()
                if (group / limit).exists():
                    return group, limit
                group.rmdir()
    return None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs control groups")
def test_after_a_real_out_of_memory_kill_the_black_box_says_that_it_was_near(programs):
    made = own_memory_group()
    if made is None:
        pytest.skip("this machine lets nobody make a memory group")
    group, limit = made
    try:
        (group / limit).write_text(str(ROOM_BYTES))
        with suppress(OSError):
            (group / "memory.swappiness").write_text("0")
        enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write(str(__import__('os').getpid()))\n"
        process = programs.start("-c", enter + GROWS.replace("0.002", "0.012"))
        process.wait(60)
        assert process.returncode == -signal.SIGKILL, process.stdout.read()
    finally:
        group.rmdir()
    note, shard = last_words(programs, process)
    assert shard.box.limit_bytes == ROOM_BYTES
    assert shard.box.left_bytes < 0.25 * ROOM_BYTES
    assert shard.box.seconds_left < 60
    assert "handle" in note


def test_at_a_limit_of_resources_the_shard_ends_with_the_program(programs):
    wall = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "import shop\n"
        "shop.child(50)\n"
        "while True:\n"
        "    shop.kept.append(bytearray(64 << 20))\n"
    )
    process = programs.start("-c", wall)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "MemoryError" in out
    (shard,) = programs.shards()
    assert shard.report.finding("handle").calls == 50


def test_a_process_killed_while_it_writes_leaves_a_whole_shard(programs):
    process = programs.start("-c", GROWS)
    for _ in range(3):
        count = max((one.seq for one in programs.shards()), default=0)
        programs.wait_until(lambda: any(one.seq > count for one in programs.shards()), process)
        os.kill(process.pid, signal.SIGSTOP)
        for name in os.listdir(programs.folder):
            if name.endswith(".shard.json"):
                json.loads((programs.folder / name).read_text())
        os.kill(process.pid, signal.SIGCONT)
    process.kill()
