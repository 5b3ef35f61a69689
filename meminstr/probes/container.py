"""What the surroundings allow: container, soft resource limits, the machine; read anew at each use.

Container limits change while a program runs and a process can be moved to another group, so nothing is
cached here (a full look costs about 0.3 ms: callers that ask often keep the answer for a second or so).

`tightest_limit` is the smallest amount that may ever be had; `headroom` is the smallest amount that is left.
They need not have the same source: 8 GiB allowed by the container help little on a machine with 1 GiB free.

Used of a container is its usage less the inactive page cache, which the kernel gives back before it kills; it
counts *all* processes of the group.  Used of ``RLIMIT_AS`` and ``RLIMIT_DATA`` is address space, not
resident memory.

Sources: Linux, Documentation/admin-guide/cgroup-v2.rst (``memory.max``: the ancestors' limits hold too) and
cgroup-v1/memory.rst (``hierarchical_memory_limit``); proc(5), "/proc/pid/mountinfo"; getrlimit(2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..forks import loading

_UNLIMITED = 1 << 60  # v1 writes "no limit" as the largest multiple of a page, rlimits as -1 or 2**64 - 1
_OCTAL = re.compile(r"\\([0-7]{3})")

Rlimits = Callable[[], dict[str, int]]


@dataclass(frozen=True, slots=True)
class Limit:
    """An amount of memory that cannot be passed: `bytes`, and where that is written."""

    bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class Headroom:
    """What is left: `bytes` (0 or more) under the limit `limit_bytes` of `source`.  Unknown figures are None."""

    bytes: int | None
    limit_bytes: int | None
    source: str


@dataclass(frozen=True, slots=True)
class _Room:
    limit: Limit
    used: int | None


def soft_limits() -> dict[str, int]:
    """The soft ``RLIMIT_AS`` and ``RLIMIT_DATA`` that are set, in bytes; empty where there is no such thing."""
    try:
        with loading.of("resource"):
            import resource
    except ImportError:
        return {}
    found: dict[str, int] = {}
    for name in ("RLIMIT_AS", "RLIMIT_DATA"):
        number = getattr(resource, name, None)
        if number is None:
            continue
        try:
            soft = resource.getrlimit(number)[0]
        except (OSError, ValueError):
            continue
        if soft != resource.RLIM_INFINITY and 0 <= soft < _UNLIMITED:
            found[name] = soft
    return found


def psutil_machine() -> tuple[int, int]:
    """Physical memory of the machine and what of it is available, in bytes, from psutil."""
    with loading.of("psutil"):
        import psutil

    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


class Surroundings:
    """Reads the limits around this process.

    Args:
        root: the root folder below which ``proc`` and the cgroup mounts are found.
        rlimits: soft limits by name, as `soft_limits`.
        machine: total and available bytes, where ``/proc/meminfo`` does not tell.
        process: whose group and address space: our own, or a process id.
    """

    def __init__(
        self,
        root: str | Path = "/",
        *,
        rlimits: Rlimits = soft_limits,
        machine: Callable[[], tuple[int, int]] = psutil_machine,
        process: int | str = "self",
    ) -> None:
        self._process = process
        self._root = Path(root)
        self._rlimits = rlimits
        self._machine = machine

    def limits(self) -> list[Limit]:
        """Every limit that is set, smallest first."""
        return sorted((room.limit for room in self._rooms()), key=lambda limit: limit.bytes)

    def tightest_limit(self) -> Limit | None:
        """The smallest limit; None when not even the machine's memory is known."""
        found = self.limits()
        return found[0] if found else None

    def headroom(self) -> Headroom:
        """The smallest amount left under any limit, with that limit."""
        rooms = [(max(0, room.limit.bytes - room.used), room.limit) for room in self._rooms() if room.used is not None]
        if not rooms:
            limit = self.tightest_limit()
            return Headroom(None, limit.bytes if limit else None, limit.source if limit else "unknown")
        left, limit = min(rooms, key=lambda pair: pair[0])
        return Headroom(left, limit.bytes, limit.source)

    def own_group_v2(self) -> Path | None:
        """The folder of this process's own cgroup v2, if it can be seen."""
        group = self._own_groups().get(2)
        for version, mount, mount_root in self._mounts():
            if version == 2 and group is not None:
                folder = next(self._own_and_ancestors(mount, mount_root, group), None)
                # an ancestor is what comes first where our own cannot be seen
                if folder is not None and folder.name == PurePosixPath(group).name:
                    return folder
        return None

    def _rooms(self) -> Iterator[_Room]:
        yield from self._groups()
        yield from self._soft()
        physical = self._physical()
        if physical is not None:
            yield physical

    def _soft(self) -> Iterator[_Room]:
        limits = self._rlimits()
        if limits:
            status = self._fields(f"proc/{self._process}/status")
            labels = {"RLIMIT_AS": "VmSize:", "RLIMIT_DATA": "VmData:"}
            for name, amount in limits.items():
                used = status.get(labels.get(name, ""))
                yield _Room(Limit(amount, f"soft {name}"), None if used is None else used * 1024)

    def _physical(self) -> _Room | None:
        fields = self._fields("proc/meminfo")
        total, available = fields.get("MemTotal:"), fields.get("MemAvailable:")
        if total and available is not None:
            return _Room(Limit(total * 1024, "physical memory"), max(0, total - available) * 1024)
        try:
            size, free = self._machine()
        except Exception:  # psutil.Error, OSError, NotImplementedError: whatever the platform lacks
            return None
        return _Room(Limit(size, "physical memory"), max(0, size - free)) if size > 0 else None

    def _groups(self) -> Iterator[_Room]:
        own = self._own_groups()
        for version, mount, mount_root in self._mounts():
            group = own.get(version)
            if group is None:
                continue
            for folder in self._own_and_ancestors(mount, mount_root, group):
                room = self._group_v2(folder) if version == 2 else self._group_v1(folder)
                if room is not None:
                    yield room

    def _own_groups(self) -> dict[int, str]:
        """Our group's path by cgroup version."""
        found: dict[int, str] = {}
        for line in (self._text(f"proc/{self._process}/cgroup") or "").splitlines():
            hierarchy, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if hierarchy == "0" and not controllers:
                found[2] = path
            elif "memory" in controllers.split(","):
                found[1] = path
        return found

    def _mounts(self) -> list[tuple[int, Path, str]]:
        """Version, mount point below our root, and the group that is mounted there."""
        found: list[tuple[int, Path, str]] = []
        for line in (self._text("proc/self/mountinfo") or "").splitlines():
            left, separator, right = line.partition(" - ")
            fields, kinds = left.split(" "), right.split(" ")
            if not separator or len(fields) < 5 or len(kinds) < 3:
                continue
            group, point = _unescaped(fields[3]), self._root / _unescaped(fields[4]).lstrip("/")
            if kinds[0] == "cgroup2":
                found.append((2, point, group))
            elif kinds[0] == "cgroup" and "memory" in kinds[2].split(","):
                found.append((1, point, group))
        if found:
            return found
        usual = self._root / "sys" / "fs" / "cgroup"
        return [(2, usual, "/"), (1, usual / "memory", "/")]

    def _own_and_ancestors(self, mount: Path, mount_root: str, group: str) -> Iterator[Path]:
        path = PurePosixPath(group)
        if mount_root != "/" and path.is_relative_to(mount_root):
            path = "/" / path.relative_to(mount_root)
        # a path out of our namespace ("/../x") or of the host, with only our own group mounted: what is
        # visible at the mount point is then the nearest that can be seen
        parts = () if ".." in path.parts else path.parts[1:]
        for depth in range(len(parts), -1, -1):
            folder = mount.joinpath(*parts[:depth])
            if folder.is_dir():
                yield folder

    def _group_v2(self, folder: Path) -> _Room | None:
        limit = _amount(self._read(folder / "memory.max"))
        if limit is None:
            return None
        usage = _amount(self._read(folder / "memory.current"))
        return _Room(Limit(limit, f"cgroup v2 {self._shown(folder)}/memory.max"), self._used(folder, usage))

    def _group_v1(self, folder: Path) -> _Room | None:
        limit, name = _amount(self._read(folder / "memory.limit_in_bytes")), "memory.limit_in_bytes"
        # in a container the ancestors' folders cannot be seen, but their limit is told here
        inherited = self._stat(folder).get("hierarchical_memory_limit")
        if inherited is not None and inherited < _UNLIMITED and (limit is None or inherited < limit):
            limit, name = inherited, "memory.stat hierarchical_memory_limit"
        if limit is None:
            return None
        usage = _amount(self._read(folder / "memory.usage_in_bytes"))
        return _Room(Limit(limit, f"cgroup v1 {self._shown(folder)}/{name}"), self._used(folder, usage))

    def _used(self, folder: Path, usage: int | None) -> int | None:
        if usage is None:
            return None
        stat = self._stat(folder)
        return max(0, usage - stat.get("total_inactive_file", stat.get("inactive_file", 0)))

    def _stat(self, folder: Path) -> dict[str, int]:
        return _numbers(self._read(folder / "memory.stat") or "")

    def _fields(self, name: str) -> dict[str, int]:
        return _numbers(self._text(name) or "")

    def _shown(self, folder: Path) -> str:
        return "/" + folder.relative_to(self._root).as_posix()

    def _text(self, name: str) -> str | None:
        return self._read(self._root / name)

    @staticmethod
    def _read(path: Path) -> str | None:
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None


def _amount(text: str | None) -> int | None:
    """Bytes of a limit or usage file; None for "max", unlimited, unreadable or no number."""
    stripped = (text or "").strip()
    if not stripped.isdecimal() or not stripped.isascii():
        return None
    amount = int(stripped)
    return amount if amount < _UNLIMITED else None


def _numbers(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdecimal() and words[1].isascii():
            found[words[0]] = int(words[1])
    return found


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def tightest_limit() -> Limit | None:
    """The smallest limit around this process: container, soft resource limits, physical memory."""
    return Surroundings().tightest_limit()


def headroom() -> Headroom:
    """The smallest amount of memory this process can still get, and what limits it."""
    return Surroundings().headroom()
