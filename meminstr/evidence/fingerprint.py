"""The name of a leak that is the same in the next run and on another machine."""

from __future__ import annotations

import hashlib

_VERSION = "1"


def fingerprint_of(path: str, type_name: str) -> str:
    """A digest of 16 hexadecimal digits of the normalised path and the type held.

    Paths hold identifiers only: no addresses, indices, keys of data or files, so neither does this.
    """
    text = "\n".join((_VERSION, path, type_name))
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
