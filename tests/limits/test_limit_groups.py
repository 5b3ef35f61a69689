"""Cgroups for workers, on a fake tree: where they are made, what is written there, and that nothing else is."""

from __future__ import annotations

import os
import shutil

import limited_in_workers
import pytest

from meminstr.decorators.limiting import memory_limited
from meminstr.errors import MemoryLimitExceeded
from meminstr.faults import clear_faults, faults
from meminstr.limits.groups import Groups
from meminstr.limits.guard import Guard
from meminstr.limits.isolated import isolate
from meminstr.limits.workers import Workers

MB = 1 << 20


class Tree:
    """A delegated group, with the kernel's part played: files appear with a folder and go with it."""

    def __init__(self, root, handed_down="cpu memory", group="/app.service", fill=True):
        self.root, self.fill = root, fill
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text(f"0::{group}\n")
        self.mount = root / "sys/fs/cgroup"
        self.own = self.mount / group.strip("/")
        self.own.mkdir(parents=True)
        for folder in {self.own, self.own.parent}:
            (folder / "cgroup.procs").write_text("1\n")
            (folder / "cgroup.subtree_control").write_text("")
        (self.own / "cgroup.subtree_control").write_text(handed_down)
        self.removed = []

    def make(self, folder):
        folder.mkdir()
        if self.fill:
            for name, text in (
                ("memory.max", "max"),
                ("memory.current", str(10 * MB)),
                ("memory.events", "oom 0\noom_kill 0\noom_group_kill 0\n"),
                ("memory.swap.max", "max"),
                ("cgroup.procs", ""),
            ):
                (folder / name).write_text(text)

    def remove(self, folder):
        self.removed.append(folder.name)
        shutil.rmtree(folder)

    def groups(self):
        return Groups(self.root, self.make, self.remove)

    def made(self):
        return sorted(folder for folder in self.mount.rglob("meminstr-*") if folder.is_dir())


def test_a_group_is_made_below_our_own_where_memory_is_handed_down(tmp_path):
    tree = Tree(tmp_path)
    group = tree.groups().group_of(4711)
    (folder,) = tree.made()
    assert folder.parent == tree.own
    assert (folder / "cgroup.procs").read_text() == "4711"
    assert (folder / "memory.swap.max").read_text() == "0"
    assert group.allow(200 * MB)
    assert (folder / "memory.max").read_text() == str(210 * MB)
    assert not group.killed()
    (folder / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert group.killed()
    assert group.allow(1)
    assert not group.killed()
    group.lift()
    assert (folder / "memory.max").read_text() == "max"
    group.remove()
    assert tree.made() == []


def test_a_delegated_group_above_our_own_serves_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    tree = Tree(tmp_path, handed_down="", group="/app.service/main")
    (tree.own.parent / "cgroup.subtree_control").write_text("memory pids")
    assert tree.groups().place() == tree.own.parent
    # root may write everywhere: that is no delegation
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    marks = {}

    def getxattr(path, name):
        if name not in marks:
            raise OSError("no such mark")
        return marks[name]

    monkeypatch.setattr(os, "getxattr", getxattr)
    assert tree.groups().place() is None
    marks["trusted.delegate"] = b"1"
    assert tree.groups().place() == tree.own.parent


@pytest.mark.parametrize("handed_down", ["", "cpu io", "memory_not"])
def test_without_delegation_there_is_none_and_nothing_is_written(tmp_path, handed_down):
    tree = Tree(tmp_path, handed_down=handed_down)
    before = {p: p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    assert tree.groups().group_of(1) is None
    assert {p: p.read_text() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_without_cgroup_v2_there_is_none(tmp_path):
    assert Groups(tmp_path).group_of(1) is None
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/not/seen\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    assert Groups(tmp_path).group_of(1) is None


def test_what_the_system_refuses_leaves_nothing_behind(tmp_path):
    tree = Tree(tmp_path, fill=False)  # a folder without the kernel's files: no process can be moved there
    assert tree.groups().group_of(1) is None
    assert tree.made() == []

    def refuse(folder):
        raise PermissionError("read-only")

    assert Groups(tmp_path, refuse).group_of(1) is None


def test_a_group_that_cannot_be_limited_is_a_fault_of_ours_only(tmp_path):
    clear_faults()
    tree = Tree(tmp_path)
    group = tree.groups().group_of(1)
    shutil.rmtree(tree.made()[0])
    assert not group.allow(1)
    group.lift()
    group.remove()
    assert not group.killed()
    assert {f["where"] for f in faults()} == {"limiting the group of a worker", "removing the group of a worker"}
    clear_faults()


def isolated_in(tree, world, function):
    limit = memory_limited(mb=300, mode="process").limit
    workers = Workers(tree.groups())
    return isolate(function.__wrapped__, "call", Guard(limit, "call", world.services, lambda: world), workers), workers


def test_a_worker_lives_in_its_group_and_takes_it_along(tmp_path, world):
    tree = Tree(tmp_path)
    call, workers = isolated_in(tree, world, limited_in_workers.pid)
    number = call()
    (folder,) = tree.made()
    assert (folder / "cgroup.procs").read_text() == str(number)
    assert (folder / "memory.max").read_text() == "max"
    workers.close()
    assert tree.made() == []
    assert tree.removed == [folder.name]


def test_a_kill_by_the_group_is_told_as_such(tmp_path, world):
    tree = Tree(tmp_path)
    call, workers = isolated_in(tree, world, limited_in_workers.die)
    kills = []

    def killed(self):
        kills.append(1)
        return True

    from meminstr.limits import groups

    original = groups.Group.killed
    groups.Group.killed = killed
    try:
        with pytest.raises(MemoryLimitExceeded) as caught:
            call("kill")
    finally:
        groups.Group.killed = original
        workers.close()
    breach = caught.value.breach
    assert kills == [1]
    assert breach["mechanism"] == "cgroup"
    assert "the watch of the worker, its cgroup)" in breach["note"]
    assert tree.made() == []


def test_without_a_group_the_record_says_what_stood_instead(world):
    limit = memory_limited(mb=300, mode="process").limit
    workers = Workers()
    call = isolate(limited_in_workers.die.__wrapped__, "call", Guard(limit, "call", world.services), workers)
    try:
        with pytest.raises(MemoryLimitExceeded) as caught:
            call("kill")
    finally:
        workers.close()
    assert caught.value.breach["note"].endswith("(it stood behind the kernel's data limit, the watch of the worker)")


def test_uninstalling_ends_the_warm_workers():
    from meminstr.limits.workers import process_workers
    from meminstr.registry import ControllerMemoryTracker

    assert limited_in_workers.add(1, 2) == 3
    assert process_workers._idle
    ControllerMemoryTracker().uninstall()
    assert not process_workers._idle


def test_uninstalling_gives_the_signal_back_at_once():
    import signal

    from meminstr.limits.services import process_services
    from meminstr.registry import ControllerMemoryTracker

    call = memory_limited(gb=1000)(lambda: None)
    for _ in range(50):
        call()
    ControllerMemoryTracker().uninstall()
    assert not process_services().watcher.running()
    assert process_services().main_thread.installed_signal is None
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
