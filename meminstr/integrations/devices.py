"""Accelerator memory as signals of the process: what torch and CuPy say is in use on each device.

    import meminstr.integrations.devices as devices
    devices.register()

For each device two figures: what live tensors take (``allocated``, exact) and what the library's caching allocator
holds (``reserved``, which also grows by fragmentation).  They are judged as any other signal of the process, with the
memory kind ``device``.  Nothing is imported before `register`; a figure is read only as often as the budget allows.
Which call left a tensor behind is not said here: tensors are Python objects too, and are seen as such.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ..decorators.guarding import chosen
from ..errors import UsageError
from ..registry import ControllerMemoryTracker

LIBRARIES = ("torch", "cupy")
FLOOR_BYTES = 1024 * 1024
"""Growth below this is no matter: allocators hand out device memory in blocks of this order."""

Reader = Callable[[], int]


def register(
    libraries: Sequence[str] = LIBRARIES, *, tracker: ControllerMemoryTracker | None = None
) -> tuple[str, ...]:
    """Judge the memory of accelerators from now on.

    Args:
        libraries: ``torch``, ``cupy`` or both; those that are not installed are passed over.
        tracker: where (default: `meminstr.tracker`).

    Returns:
        The names of the signals that were added, as ``device_torch_cuda0_allocated``; none twice, so that a second call
        adds nothing, and none at all on a machine without an accelerator.

    Raises:
        UsageError: a library that is not known, or none of them is installed.
    """
    if isinstance(libraries, str) or not libraries or any(name not in LIBRARIES for name in libraries):
        raise UsageError(f"libraries={libraries!r} is not allowed: some of {', '.join(LIBRARIES)} are")
    found = [name for name in libraries if name in sys.modules or importlib.util.find_spec(name) is not None]
    if not found:
        raise UsageError(f"none of {', '.join(libraries)} is installed: device memory cannot be read")
    where = chosen(tracker)
    added = []
    for library in found:
        module = importlib.import_module(library)
        for name, read in _READERS[library](module):
            if name not in where.sampler.probes():
                where.register_probe(name, read, unit="bytes", floor=FLOOR_BYTES)
                added.append(name)
    return tuple(added)


def _torch(torch: Any) -> Iterator[tuple[str, Reader]]:
    for kind in ("cuda", "xpu"):  # ROCm calls itself cuda
        backend = getattr(torch, kind, None)
        if backend is not None and backend.is_available():
            for index in range(backend.device_count()):
                yield f"device_torch_{kind}{index}_allocated", partial(_asked, backend, "memory_allocated", index)
                yield f"device_torch_{kind}{index}_reserved", partial(_asked, backend, "memory_reserved", index)
    mps = getattr(getattr(torch, "backends", None), "mps", None)
    if mps is not None and mps.is_available():
        yield "device_torch_mps_allocated", lambda: int(torch.mps.current_allocated_memory())
        yield "device_torch_mps_reserved", lambda: int(torch.mps.driver_allocated_memory())


def _cupy(cupy: Any) -> Iterator[tuple[str, Reader]]:
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError:  # no driver, or no device
        count = 0

    def pool(index: int, figure: str) -> int:
        with cupy.cuda.Device(index):
            return int(getattr(cupy.get_default_memory_pool(), figure)())

    for index in range(count):
        yield f"device_cupy_cuda{index}_allocated", partial(pool, index, "used_bytes")
        yield f"device_cupy_cuda{index}_reserved", partial(pool, index, "total_bytes")


def _asked(backend: Any, figure: str, index: int) -> int:
    return int(getattr(backend, figure)(index))


_READERS: dict[str, Callable[[Any], Iterator[tuple[str, Reader]]]] = {"torch": _torch, "cupy": _cupy}
