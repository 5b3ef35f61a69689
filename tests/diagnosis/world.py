"""A scripted world for trackers: memory that grows when told to, a clock that moves when told to."""

from meminstr.probes.budget import TimedProbe
from meminstr.registry import ControllerMemoryTracker


class FakeProbe:
    unit, kind = "bytes", "memory"

    def __init__(self, world, name):
        self.world, self.name, self.source = world, name, f"scripted {name}"

    def read(self):
        self.world.reads += 1
        value = self.world.values[self.name]
        if isinstance(value, Exception):
            raise value
        return value


class World:
    def __init__(self):
        self.values = {"resident": 200 << 20, "blocks": 100_000, "heap": 50 << 20}
        self.time = 1000.0
        self.reads = 0

    def clock(self):
        self.time += 1e-7
        return self.time

    def tracker(self, **options):
        probes = {name: TimedProbe(FakeProbe(self, name), clock=self.clock) for name in self.values}
        return ControllerMemoryTracker(probes=probes, clock=self.clock, **options)

    def grow(self, blocks=0, heap=0, resident=0):
        self.values["blocks"] += blocks
        self.values["heap"] += heap
        self.values["resident"] += resident
