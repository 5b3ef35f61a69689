"""The end of a guarded call: its peak, a last judgement, and what reaches the caller.

The call's own exception wins, unless it is ours: the private stop, the cancellation we asked for, or the
`MemoryError` of the kernel's wall, each of which becomes `MemoryLimitExceeded` here and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import MemoryLimitExceeded
from . import breach as records
from .call import Call
from .interrupt import stop_of
from .policy import FAULT_BYTES_PER_SECOND

if TYPE_CHECKING:
    from .guard import Guard

_NOISE_BYTES = 1 << 20  # the kernel counts resident pages in batches

_DELAY_SECONDS = 0.05
"""An interruption that lands later than this is told of in the record's note."""


def judge_ended(guard: Guard, call: Call, now: float, error: BaseException | None) -> None:
    """Take the last reading and the peak; write the record if nobody has and the limit was passed."""
    services = guard.services
    sample = services.readings.fresh()
    peak = services.readings.peak_since(call.entry.window)
    bound = 0.0 if call.fresh_start else FAULT_BYTES_PER_SECOND * services.cores * guard.staleness_seconds
    exact = peak.exact and (call.fresh_start or peak.resident_bytes > call.entry.resident_bytes + bound)
    seen = peak.resident_bytes if exact else sample.resident_bytes
    if failed_allocation(guard, error):
        with services.kernel.lifted():
            guard.breached(call, seen, now, "kernel", error)
    elif call.breach is None and call.headroom(sample.resident_bytes) < 0:
        if not services.relief.attempt() or call.headroom(services.readings.peek()) < 0:
            guard.breached(call, sample.resident_bytes, now, "exit")
        elif seen > sample.resident_bytes + _NOISE_BYTES:
            # what was collected just now does not account for a higher peak before
            guard.breached(call, seen, now, "peak")
    elif call.breach is None and call.headroom(seen) < 0:
        guard.breached(call, seen, now, "peak")
    top = max(peak.resident_bytes, sample.resident_bytes)
    if call.breach is not None:
        records.complete_peak(call.breach, top, exact)
    services.recent.add(guard.subject, now, now - call.entered_at, top)
    if error is None:
        services.admission.learn(guard.subject, top - call.entry.resident_bytes)


def failed_allocation(guard: Guard, error: BaseException | None) -> bool:
    """Whether the call met the kernel's wall."""
    return (
        guard.limit.mode == "kernel" and isinstance(error, MemoryError) and not isinstance(error, MemoryLimitExceeded)
    )


def end_breach(guard: Guard, call: Call, error: BaseException | None) -> None:
    """Complete the record of a call that was above its limit, and raise if that is what was asked for.

    Raises:
        MemoryLimitExceeded: unless the limit only warns, or the call ended with an exception of its own.
    """
    record = call.breach
    assert record is not None
    guard.wait_for_record()
    if record["mechanism"] in ("entry", "admission") and not guard.limit.raises:
        return  # told of at its start, and let through
    _note_delay(guard, call, record)
    was_ours = call.cancelled and call.task.uncancel() <= call.cancels_before
    stop = stop_of(error, call) if error is not None else None
    cancelled = was_ours and type(error).__name__ == "CancelledError"
    kernel = failed_allocation(guard, error)
    if error is not None and not (stop or cancelled or kernel):
        if guard.limit.raises and not isinstance(error, MemoryLimitExceeded):
            record["action"] = f"raised {type(error).__name__} of its own"
        return
    if guard.limit.raises or kernel:
        record["action"] = "stopped" if stop or cancelled else "raised"
        raised = records.error_from(record, error if kernel else None)
        try:
            raise raised.with_traceback(None if stop is None else stop.__traceback__) from raised.__cause__
        finally:
            del raised, stop, error  # this frame is in the traceback: no cycle that would keep the call's memory


def _note_delay(guard: Guard, call: Call, record: dict[str, Any]) -> None:
    services = guard.services
    now = services.readings.clock()
    if call.interrupted_at is not None:
        until = call.landed_at if call.landed_at is not None else now
        record["uninterruptible_seconds"] = max(0.0, until - call.interrupted_at)
        if record["uninterruptible_seconds"] > _DELAY_SECONDS and record["note"] is None:
            record["note"] = "could not be interrupted at once: a C call held the interpreter's lock"
    elif call.watched and record["mechanism"] in ("exit", "peak"):
        # the watcher never got to look: the interpreter's lock was held, or the call was too short
        late = now - max(services.watcher.due_at, call.entered_at)
        if _DELAY_SECONDS < late < float("inf"):
            record["uninterruptible_seconds"] = late
            record["note"] = "could not be interrupted: the interpreter's lock was held"
