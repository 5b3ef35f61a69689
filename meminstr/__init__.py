"""meminstr: memory instrumentation that people leave switched on in production.

    @meminstr.memory_limited(gb=2)               # a call that takes the process past 2 GiB is refused or stopped
    @meminstr.track_instantiations("classical")  # construction, cleanup() and death of every controller
    @meminstr.leak_guard(every=100)              # does a call of this leave memory behind?
    print(meminstr.report())                     # trends, verdicts, who holds what, how long until the limit

The public names and nothing else; each is loaded on first use, so that importing meminstr costs what importing wrapt
costs.
"""

from __future__ import annotations

import os as _os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .forks import loading as _loading

if TYPE_CHECKING:
    from .asked import serve_dump as serve_dump
    from .at_exit import report_at_exit as report_at_exit
    from .decorators import leak_guard as leak_guard
    from .decorators import memory_limited as memory_limited
    from .decorators import track_instantiations as track_instantiations
    from .diagnosis import report as report
    from .errors import LeakDetected as LeakDetected
    from .errors import MeminstrError as MeminstrError
    from .errors import MemoryLimitExceeded as MemoryLimitExceeded
    from .errors import UsageError as UsageError
    from .evidence.birth_sites import context as context
    from .monitors import MemoryAlert as MemoryAlert
    from .monitors import MemoryMonitor as MemoryMonitor
    from .monitors import ProductionMemoryMonitor as ProductionMemoryMonitor
    from .monitors import monitor_controller_loop as monitor_controller_loop
    from .probes.container import headroom as headroom
    from .registry import ControllerMemoryTracker as ControllerMemoryTracker
    from .registry import tracker as tracker
    from .reports.model import Report as Report
    from .shards import write_shards as write_shards
    from .switchboard import bounded as bounded
    from .switchboard import disable as disable
    from .switchboard import enable as enable
    from .switchboard import mark_warm as mark_warm
    from .switchboard import register_probe as register_probe
    from .switchboard import uninstall as uninstall
    from .switchboard import watch as watch
    from .test_mode import assert_no_leak as assert_no_leak
    from .test_mode import assert_no_leak_async as assert_no_leak_async
    from .verdict import Finding as Finding
    from .verdict import Verdict as Verdict

_HOMES = {
    "ControllerMemoryTracker": "registry",
    "Finding": "verdict",
    "LeakDetected": "errors",
    "MeminstrError": "errors",
    "MemoryAlert": "monitors",
    "MemoryLimitExceeded": "errors",
    "MemoryMonitor": "monitors",
    "ProductionMemoryMonitor": "monitors",
    "Report": "reports.model",
    "UsageError": "errors",
    "Verdict": "verdict",
    "assert_no_leak": "test_mode",
    "assert_no_leak_async": "test_mode",
    "bounded": "switchboard",
    "context": "evidence.birth_sites",
    "disable": "switchboard",
    "enable": "switchboard",
    "headroom": "probes.container",
    "leak_guard": "decorators",
    "mark_warm": "switchboard",
    "memory_limited": "decorators",
    "monitor_controller_loop": "monitors",
    "register_probe": "switchboard",
    "report": "diagnosis",
    "report_at_exit": "at_exit",
    "serve_dump": "asked",
    "track_instantiations": "decorators",
    "tracker": "registry",
    "uninstall": "switchboard",
    "watch": "switchboard",
    "write_shards": "shards",
}

__all__ = [*sorted(_HOMES), "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _loading.of(f"{__name__}.{home}"):
        value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if _os.environ.get("MEMINSTR_REPORT"):
    # the environment asks for a report at exit, of a program that does not know of it
    from .at_exit import register_from_environment as _register

    _register()
if _os.environ.get("MEMINSTR_SHARDS"):
    # the same of shards: a child of a program that writes them writes its own
    from .shards.lifecycle import register_from_environment as _register_shards

    _register_shards()
if _os.environ.get("MEMINSTR_DUMP"):
    # and of a socket that answers `meminstr dump PID`
    from .asked import register_from_environment as _register_dump

    _register_dump()
