"""Limits of the surroundings, on fake trees of /proc and /sys/fs/cgroup."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from meminstr.probes import Headroom, Limit, Surroundings, headroom, tightest_limit
from meminstr.probes.container import psutil_machine, soft_limits

GIB = 1 << 30
V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def surroundings(root: Path, files: dict[str, str], **extras) -> Surroundings:
    write(root, files)
    extras.setdefault("rlimits", dict)
    extras.setdefault("machine", lambda: (64 * GIB, 48 * GIB))
    return Surroundings(root, **extras)


def v2(group: str = "/a/b/c", **limits: str) -> dict[str, str]:
    files = {"proc/self/cgroup": f"0::{group}\n", "proc/self/mountinfo": V2}
    for folder, value in limits.items():
        files[f"sys/fs/cgroup/{folder.replace('_', '/')}/memory.max"] = value
    return files


def test_v2_own_group(tmp_path):
    found = surroundings(tmp_path, v2(a="max\n", a_b="max\n", a_b_c=f"{2 * GIB}\n")).tightest_limit()
    assert found == Limit(2 * GIB, "cgroup v2 /sys/fs/cgroup/a/b/c/memory.max")


def test_v2_smallest_is_an_ancestor(tmp_path):
    around = surroundings(tmp_path, v2(a=f"{GIB}\n", a_b="max\n", a_b_c=f"{2 * GIB}\n"))
    assert around.tightest_limit() == Limit(GIB, "cgroup v2 /sys/fs/cgroup/a/memory.max")
    assert [limit.bytes for limit in around.limits()] == [GIB, 2 * GIB, 64 * GIB]


def test_limit_is_read_at_use(tmp_path):
    around = surroundings(tmp_path, v2(a_b_c=f"{2 * GIB}\n"))
    assert around.tightest_limit().bytes == 2 * GIB
    write(tmp_path, v2(a_b_c=f"{3 * GIB}\n"))
    assert around.tightest_limit().bytes == 3 * GIB
    write(tmp_path, v2("/d", d=f"{GIB}\n"))  # moved to another group
    assert around.tightest_limit().bytes == GIB


@pytest.mark.parametrize("text", ["max", "", "garbage", "-5", "1e9", "9223372036854771712", "²"])
def test_no_limit_in_the_group_leaves_the_machine(tmp_path, text):
    found = surroundings(tmp_path, v2(a_b_c=text)).tightest_limit()
    assert found == Limit(64 * GIB, "physical memory")


def test_unreadable_group_file(tmp_path):
    around = surroundings(tmp_path, v2(a=f"{GIB}\n"))
    (tmp_path / "sys/fs/cgroup/a/b/c/memory.max").mkdir(parents=True)  # reading a folder fails, for root too
    assert around.tightest_limit().bytes == GIB


def test_namespace_shows_own_group_as_root(tmp_path):
    around = surroundings(tmp_path, {**v2("/"), "sys/fs/cgroup/memory.max": f"{GIB}\n"})
    assert around.tightest_limit() == Limit(GIB, "cgroup v2 /sys/fs/cgroup/memory.max")


@pytest.mark.parametrize("group", ["/../other", "/docker/0123", "/system.slice/docker-0123.scope"])
def test_path_that_is_not_visible_falls_back_to_the_mount(tmp_path, group):
    around = surroundings(tmp_path, {**v2(group), "sys/fs/cgroup/memory.max": f"{GIB}\n"})
    assert around.tightest_limit().bytes == GIB


def test_mounted_below_a_group(tmp_path):
    mount = "31 23 0:28 /docker/0123 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
    files = {
        "proc/self/cgroup": "0::/docker/0123/worker\n",
        "proc/self/mountinfo": mount,
        "sys/fs/cgroup/worker/memory.max": f"{GIB}\n",
        "sys/fs/cgroup/memory.max": f"{2 * GIB}\n",
    }
    assert [limit.bytes for limit in surroundings(tmp_path, files).limits()][:2] == [GIB, 2 * GIB]


def test_mount_point_with_a_blank(tmp_path):
    mount = r"31 23 0:28 / /my\040groups rw - cgroup2 cgroup2 rw" + "\n"
    files = {"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": mount, "my groups/a/memory.max": f"{GIB}\n"}
    assert surroundings(tmp_path, files).tightest_limit().bytes == GIB


def test_mountinfo_missing_or_garbage_uses_the_usual_place(tmp_path):
    files = v2(a_b_c=f"{GIB}\n")
    for text in ("", "what\nis this - \n"):
        files["proc/self/mountinfo"] = text
        assert surroundings(tmp_path, files).tightest_limit().bytes == GIB
    (tmp_path / "proc/self/mountinfo").unlink()
    assert Surroundings(tmp_path, rlimits=dict).tightest_limit().bytes == GIB


def v1(own: str, **extras: str) -> dict[str, str]:
    return {
        "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/app/web\n3:cpuset:/x\n0::/\n",
        "proc/self/mountinfo": V1,
        "sys/fs/cgroup/memory/app/web/memory.limit_in_bytes": own,
        **extras,
    }


def test_v1_own_group(tmp_path):
    found = surroundings(tmp_path, v1(f"{GIB}\n")).tightest_limit()
    assert found == Limit(GIB, "cgroup v1 /sys/fs/cgroup/memory/app/web/memory.limit_in_bytes")


def test_v1_ancestor(tmp_path):
    files = v1("9223372036854771712\n", **{"sys/fs/cgroup/memory/app/memory.limit_in_bytes": f"{GIB}\n"})
    assert surroundings(tmp_path, files).tightest_limit().bytes == GIB


def test_v1_ancestor_that_only_the_statistics_show(tmp_path):
    stat = {"sys/fs/cgroup/memory/app/web/memory.stat": f"cache 5\nhierarchical_memory_limit {GIB}\n"}
    found = surroundings(tmp_path, v1("9223372036854771712\n", **stat)).tightest_limit()
    assert found.bytes == GIB
    assert found.source.endswith("hierarchical_memory_limit")


def test_hybrid_takes_the_smaller(tmp_path):
    files = v1(f"{3 * GIB}\n")
    files["proc/self/mountinfo"] = V1 + V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    files["sys/fs/cgroup/unified/memory.max"] = f"{2 * GIB}\n"
    assert [limit.bytes for limit in surroundings(tmp_path, files).limits()][:2] == [2 * GIB, 3 * GIB]


def test_soft_limits_count(tmp_path):
    around = surroundings(tmp_path, v2(a_b_c=f"{2 * GIB}\n"), rlimits=lambda: {"RLIMIT_AS": GIB})
    assert around.tightest_limit() == Limit(GIB, "soft RLIMIT_AS")


def test_physical_memory_from_meminfo(tmp_path):
    files = {"proc/meminfo": "MemTotal:  1048576 kB\nMemFree: 1 kB\nMemAvailable: 262144 kB\n"}
    around = surroundings(tmp_path, files)
    assert around.tightest_limit() == Limit(GIB, "physical memory")
    assert around.headroom() == Headroom(GIB // 4, GIB, "physical memory")


def test_nothing_known(tmp_path):
    def fails() -> tuple[int, int]:
        raise NotImplementedError

    around = surroundings(tmp_path, {}, machine=fails)
    assert around.tightest_limit() is None
    assert around.headroom() == Headroom(None, None, "unknown")
    assert surroundings(tmp_path, {}, machine=lambda: (0, 0)).tightest_limit() is None


def test_limit_known_but_not_what_is_used(tmp_path):
    around = surroundings(tmp_path, v2(a_b_c=f"{GIB}\n"), machine=lambda: (0, 0))
    assert around.headroom() == Headroom(None, GIB, "cgroup v2 /sys/fs/cgroup/a/b/c/memory.max")


def test_headroom_v2_gives_back_the_inactive_cache(tmp_path):
    files = v2(a_b_c=f"{2 * GIB}\n")
    files["sys/fs/cgroup/a/b/c/memory.current"] = f"{GIB}\n"
    files["sys/fs/cgroup/a/b/c/memory.stat"] = f"anon 5\ninactive_file {GIB // 4}\n"
    room = surroundings(tmp_path, files).headroom()
    assert room == Headroom(2 * GIB - GIB * 3 // 4, 2 * GIB, "cgroup v2 /sys/fs/cgroup/a/b/c/memory.max")


def test_headroom_v1(tmp_path):
    files = v1(f"{2 * GIB}\n")
    files["sys/fs/cgroup/memory/app/web/memory.usage_in_bytes"] = f"{GIB}\n"
    files["sys/fs/cgroup/memory/app/web/memory.stat"] = f"inactive_file 7\ntotal_inactive_file {GIB // 2}\n"
    assert surroundings(tmp_path, files).headroom().bytes == 2 * GIB - GIB // 2


def test_least_room_need_not_be_under_the_tightest_limit(tmp_path):
    files = v2(a_b_c=f"{8 * GIB}\n")
    files["sys/fs/cgroup/a/b/c/memory.current"] = f"{GIB}\n"
    around = surroundings(tmp_path, files, machine=lambda: (64 * GIB, GIB))
    assert around.tightest_limit().bytes == 8 * GIB
    assert around.headroom() == Headroom(GIB, 64 * GIB, "physical memory")


def test_headroom_of_soft_limits_is_address_space(tmp_path):
    files = {"proc/self/status": "Name:\tx\nVmSize:\t  1048576 kB\nVmData:\t 524288 kB\n"}
    around = surroundings(tmp_path, files, rlimits=lambda: {"RLIMIT_AS": 2 * GIB, "RLIMIT_DATA": GIB})
    assert around.headroom() == Headroom(GIB // 2, GIB, "soft RLIMIT_DATA")


def test_headroom_is_never_negative(tmp_path):
    files = v2(a_b_c=f"{GIB}\n")
    files["sys/fs/cgroup/a/b/c/memory.current"] = f"{3 * GIB}\n"
    assert surroundings(tmp_path, files).headroom().bytes == 0


def test_on_this_machine():
    limit, room = tightest_limit(), headroom()
    assert limit is not None
    assert 0 < limit.bytes <= psutil_machine()[0]
    assert room.bytes is not None
    assert 0 < room.bytes < room.limit_bytes


def test_soft_limits_of_a_real_process():
    pytest.importorskip("resource")
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))\n"
        "from meminstr.probes.container import soft_limits; print(soft_limits())"
    )
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert out.strip() == str({"RLIMIT_AS": 8 << 30})


def test_soft_limits_without_the_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert soft_limits() == {}


def test_soft_limits_that_fail_or_do_not_exist(monkeypatch):
    resource = pytest.importorskip("resource")

    def fails(number):
        raise OSError

    monkeypatch.setattr(resource, "getrlimit", fails)
    assert soft_limits() == {}
    monkeypatch.delattr(resource, "RLIMIT_AS")
    monkeypatch.setattr(resource, "getrlimit", lambda number: (resource.RLIM_INFINITY, 0))
    assert soft_limits() == {}
