"""Leave for short calls to run on the reading that an earlier call took; `guard` gives it and takes it back."""

from __future__ import annotations

from .reading import Sample


class Granted:
    """Leave to run without a reading: until when, and the reading and limit it rests on.

    ``thread_id`` is None where calls of every thread may; watched ones of the main thread need the signal.
    """

    __slots__ = ("limit_bytes", "sample", "thread_id", "until")

    def __init__(self, until: float, sample: Sample, limit_bytes: int = 0, thread_id: int | None = None) -> None:
        self.until = until
        self.sample = sample
        self.limit_bytes = limit_bytes
        self.thread_id = thread_id


NOT_GRANTED = Granted(float("-inf"), Sample(0, float("-inf"), 0))
