"""Keeping a folder of shards bounded: servers that recycle their workers leave one behind with each.

Only shards of processes that ended well go, the oldest first, and only above the setting ``shards_kept``; what a killed
process said last stays until somebody clears the folder.
"""

from __future__ import annotations

import json
import os

from ..faults import note_fault
from .format import SUFFIX


def tidy(folder: str, kept: int) -> int:
    """Remove the oldest shards of processes that ended well, until ``kept`` files are left; returns how many went."""
    gone = 0
    try:
        with os.scandir(folder) as entries:
            found = [(entry.stat().st_mtime, entry.path) for entry in entries if entry.name.endswith(SUFFIX)]
        for _, path in sorted(found)[: max(0, len(found) - kept)]:
            if _ended(path):
                os.unlink(path)
                gone += 1
    except OSError as error:  # another process tidies too, or the folder is gone
        if not isinstance(error, FileNotFoundError):
            note_fault("tidying the shards", error)
    return gone


def _ended(path: str) -> bool:
    try:
        with open(path, encoding="utf-8") as stream:
            data = json.load(stream)
        return isinstance(data, dict) and data.get("ended") is not None
    except (OSError, ValueError):
        return False
