"""A cgroup of its own for each worker process, where somebody has delegated cgroup v2 to this program.

Only groups made here are ever written to.  One is made where all of this is so: our own group, or the one above it
(with systemd's ``DelegateSubgroup=``), already hands the memory controller down, and its folder may be written to;
for root, who may write everywhere, the one above must also bear systemd's mark of delegation.  Enabling the
controller, or moving ourselves, would change groups that are not ours: then there is simply no group, and the
kernel's data limit and the watch of `isolated` remain.

Memory that was charged elsewhere stays there, so a worker is moved before it has loaded anything.
Source: Linux, Documentation/admin-guide/cgroup-v2.rst, "Delegation", ``memory.max``, ``memory.events``.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from ..faults import note_fault
from ..probes.container import Surroundings

_numbers = itertools.count(1)


class Group:
    """A group that was made here, with one process in it.

    Args:
        folder: its folder.
        remove: removes the folder.
    """

    def __init__(self, folder: Path, remove: Callable[[Path], object]) -> None:
        self._folder = folder
        self._remove = remove
        self._killed_before = 0

    def allow(self, more_bytes: int) -> bool:
        """Let the process have so many bytes more than it has now; whether that is kept from here on."""
        try:
            now = int((self._folder / "memory.current").read_text())
            self._killed_before = self._kills()
            _write(self._folder / "memory.max", str(now + more_bytes))
        except (OSError, ValueError) as error:
            note_fault("limiting the group of a worker", error)
            return False
        return True

    def lift(self) -> None:
        """Between calls there is no limit."""
        try:
            _write(self._folder / "memory.max", "max")
        except OSError as error:
            note_fault("limiting the group of a worker", error)

    def killed(self) -> bool:
        """Whether the kernel has killed in this group since `allow`."""
        return self._kills() > self._killed_before

    def remove(self) -> None:
        """Remove the group; its process has ended."""
        try:
            self._remove(self._folder)
        except OSError as error:
            note_fault("removing the group of a worker", error)

    def _kills(self) -> int:
        try:
            rows = (self._folder / "memory.events").read_text().splitlines()
            return sum(int(row.split()[1]) for row in rows if row.startswith("oom_kill "))
        except (OSError, ValueError, IndexError):
            return 0


class Groups:
    """Makes groups where it may.

    Args:
        root: the root folder below which ``proc`` and the cgroup mount are found.
        make, remove: make and remove a folder; the kernel fills it with its files, a test does so itself.
    """

    def __init__(
        self,
        root: str | Path = "/",
        make: Callable[[Path], object] = os.mkdir,
        remove: Callable[[Path], object] = os.rmdir,
    ) -> None:
        self._root = Path(root)
        self._make, self._remove = make, remove

    def place(self) -> Path | None:
        """Where groups can be made; None where nobody has delegated."""
        own = Surroundings(self._root).own_group_v2()
        if own is None:
            return None
        for folder in (own, own.parent):
            try:
                handed_down = (folder / "cgroup.subtree_control").read_text().split()
            except OSError:
                continue
            # moving a process needs the common ancestor of both groups, which this folder is
            writable = os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)
            if "memory" in handed_down and writable and (folder == own or _delegated(folder)):
                return folder
        return None

    def group_of(self, pid: int) -> Group | None:
        """A new group with this process in it; None where there can be none."""
        place = self.place()
        if place is None:
            return None
        folder = place / f"meminstr-{os.getpid()}-{next(_numbers)}"
        try:
            self._make(folder)
        except OSError:
            return None
        group = Group(folder, self._remove)
        try:
            if (folder / "memory.swap.max").exists():
                _write(folder / "memory.swap.max", "0")
            _write(folder / "cgroup.procs", str(pid))
        except OSError:
            group.remove()
            return None
        return group


def _delegated(folder: Path) -> bool:
    if os.geteuid() != 0:
        return True  # a folder that was given to this user
    for name in ("trusted.delegate", "user.delegate"):
        try:
            if os.getxattr(folder, name) == b"1":
                return True
        except OSError:
            pass
    return False


def _write(path: Path, text: str) -> None:
    # never makes a file: what the kernel has not put there does not exist
    number = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(number, text.encode())
    finally:
        os.close(number)
