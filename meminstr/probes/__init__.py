"""What this process's memory is: one file a source.

A probe answers with one integer; `TimedProbe` decides how often it may be asked; `tightest_limit` and
`headroom` tell what the surroundings allow.  What readings mean is not decided here, but in `meminstr.trend`.
"""

from __future__ import annotations

from collections.abc import Callable

from .base import Kind, Probe, ProbeUnavailable, Unit, UserProbe
from .blocks import BlocksProbe
from .budget import TimedProbe
from .container import Headroom, Limit, Surroundings, headroom, tightest_limit
from .heap import HeapProbe
from .peak import Peak, PeakMeter, PeakProbe, PeakWindow, process_meter
from .resident import ResidentProbe, shared_resident
from .resources import DescriptorsProbe, TasksProbe, ThreadsProbe

__all__ = [
    "BlocksProbe",
    "DescriptorsProbe",
    "Headroom",
    "HeapProbe",
    "Kind",
    "Limit",
    "Peak",
    "PeakMeter",
    "PeakProbe",
    "PeakWindow",
    "Probe",
    "ProbeUnavailable",
    "ResidentProbe",
    "Surroundings",
    "TasksProbe",
    "ThreadsProbe",
    "TimedProbe",
    "Unit",
    "UserProbe",
    "default_probes",
    "headroom",
    "process_meter",
    "shared_resident",
    "tightest_limit",
]


def default_probes() -> dict[str, Probe]:
    """The probes that work on this system, by name.

    ``resident`` is always among them; ``blocks``, ``heap``, ``descriptors`` and ``threads`` where they exist.
    """
    probes: dict[str, Probe] = {"resident": ResidentProbe()}
    makers: tuple[Callable[[], Probe], ...] = (BlocksProbe, HeapProbe, DescriptorsProbe, ThreadsProbe)
    for make in makers:
        try:
            probe = make()
        except ProbeUnavailable:
            continue
        probes[probe.name] = probe
    return probes
