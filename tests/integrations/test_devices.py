"""Accelerator memory, on stand-ins for torch and CuPy: which signals there are, and that a leak of theirs is named."""

import sys
import types

import pytest

from meminstr import UsageError
from meminstr.diagnosis import report
from meminstr.integrations import devices
from meminstr.registry import ControllerMemoryTracker
from meminstr.verdict import Verdict


class Backend:
    """What ``torch.cuda`` offers, for two devices."""

    def __init__(self):
        self.allocated, self.reserved = [0, 0], [0, 0]

    def is_available(self):
        return True

    def device_count(self):
        return 2

    def memory_allocated(self, index):
        return self.allocated[index]

    def memory_reserved(self, index):
        return self.reserved[index]


@pytest.fixture
def cuda(monkeypatch):
    torch = types.ModuleType("torch")
    torch.cuda = Backend()
    monkeypatch.setitem(sys.modules, "torch", torch)
    return torch.cuda


@pytest.fixture
def cupy(monkeypatch):
    module, current, pools = types.ModuleType("cupy"), [0], {0: (10, 20), 1: (30, 40)}

    class Device:
        def __init__(self, index):
            self.index = index

        def __enter__(self):
            self.before, current[0] = current[0], self.index

        def __exit__(self, *_):
            current[0] = self.before

    class Pool:
        def used_bytes(self):
            return pools[current[0]][0]

        def total_bytes(self):
            return pools[current[0]][1]

    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 2, CUDARuntimeError=type("CUDARuntimeError", (Exception,), {})
    )
    module.cuda = types.SimpleNamespace(Device=Device, runtime=runtime)
    module.get_default_memory_pool = Pool
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def made():
    clock = Clock()
    return ControllerMemoryTracker(probes={}, clock=clock), clock


def run(tracker, clock, step, readings=400):
    buffer = tracker.sampler.buffer()
    for number in range(readings):
        step(number)
        clock.now += 5.0
        tracker.sampler.read(buffer)
        tracker.sampler.keep(buffer)
    return report(False, tracker=tracker).findings[-1]


def test_torch_devices_are_signals(cuda):
    tracker, _ = made()
    names = devices.register(["torch"], tracker=tracker)
    assert names == tuple(f"device_torch_cuda{i}_{what}" for i in (0, 1) for what in ("allocated", "reserved"))
    cuda.allocated[1], cuda.reserved[1] = 7, 9
    probes = tracker.sampler.probes()
    assert [probes[name].read() for name in names] == [0, 0, 7, 9]
    assert devices.register(["torch"], tracker=tracker) == ()


def test_cupy_pools_are_read_on_their_own_device(cupy):
    tracker, _ = made()
    names = devices.register(["cupy"], tracker=tracker)
    assert [tracker.sampler.probes()[name].read() for name in names] == [10, 20, 30, 40]


def test_cupy_without_a_device_adds_nothing(cupy):
    def none():
        raise cupy.cuda.runtime.CUDARuntimeError("no device")

    cupy.cuda.runtime.getDeviceCount = none
    assert devices.register(["cupy"], tracker=made()[0]) == ()


def test_a_device_leak_is_judged_and_called_one(cuda):
    tracker, clock = made()
    devices.register(["torch"], tracker=tracker)

    def serve(number):
        cuda.allocated[0] += 200_000
        cuda.reserved[0] = -(-cuda.allocated[0] // 20_000_000) * 20_000_000

    found = run(tracker, clock, serve)
    assert (found.subject_kind, found.verdict, found.memory_kind) == ("process", Verdict.LEAKING, "device")
    assert "device_torch_cuda0_allocated" in found.reason
    assert "device tensors" in (found.advice or "device tensors")


def test_a_model_that_is_loaded_and_serves_is_no_leak(cuda):
    tracker, clock = made()
    devices.register(["torch"], tracker=tracker)

    def serve(number):
        cuda.allocated[0] = 3_000_000_000 + 50_000_000 * (number % 7)
        cuda.reserved[0] = 3_400_000_000

    assert run(tracker, clock, serve).verdict is Verdict.CLEAN


def test_a_device_that_fails_is_a_gap_and_no_error(cuda):
    tracker, clock = made()
    devices.register(["torch"], tracker=tracker)

    def broken(index):
        raise RuntimeError("device lost")

    cuda.memory_allocated = broken
    probe = tracker.sampler.probes()["device_torch_cuda0_reserved"]
    run(tracker, clock, lambda number: None, readings=20)
    assert probe.read() == 0


@pytest.mark.parametrize("libraries", ["torch", (), ("jax",)])
def test_bad_libraries(libraries):
    with pytest.raises(UsageError, match="libraries="):
        devices.register(libraries, tracker=made()[0])


def test_nothing_is_installed(monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    for name in devices.LIBRARIES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(UsageError, match="torch, cupy"):
        devices.register(tracker=made()[0])
