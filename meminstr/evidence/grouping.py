"""Objects held in the same way are one line of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..verdict import Holder
from . import library
from .paths import Path


def group(paths: Mapping[Path, int], retained: Mapping[Path, int | None]) -> tuple[Holder, ...]:
    """Holders, the largest count first; equal counts in the order of their paths.

    Args:
        paths: how many objects each path holds.
        retained: bytes of all objects of a path, where estimated.
    """
    holders = [
        Holder(
            path=path.text,
            root=path.root,
            count=count,
            retained_bytes=retained.get(path),
            fingerprint=path.fingerprint,
            suspect=path.suspect,
            library=library.explain(path.text),
        )
        for path, count in paths.items()
    ]
    return merged(holders)


def merged(holders: Iterable[Holder]) -> tuple[Holder, ...]:
    """Holders with the same fingerprint added up: groups of several diagnoses become one list."""
    found: dict[str, Holder] = {}
    for holder in holders:
        key = holder.fingerprint or holder.path
        before = found.get(key)
        if before is not None:
            sizes = [h.retained_bytes for h in (before, holder) if h.retained_bytes is not None]
            holder = Holder(
                path=before.path,
                root=before.root,
                count=before.count + holder.count,
                retained_bytes=sum(sizes) if sizes else None,
                fingerprint=before.fingerprint,
                suspect=before.suspect,
                library=before.library,
                known=before.known or holder.known,
            )
        found[key] = holder
    return tuple(sorted(found.values(), key=lambda h: (h.root == "unknown", -h.count, h.path)))
