"""The monitors this project grew from, with their names, arguments, keys and log texts kept.

`MemoryMonitor` compares with a limit, `ProductionMemoryMonitor` with a baseline; both can repeat their check in a
thread or an asyncio task.  `monitor_controller_loop` exercises one controller.  They log to
``meminstr.monitors``.  What is a leak, and whose, is not theirs to say: see `meminstr.report`.
"""

from __future__ import annotations

from .alert import AlertCallback, MemoryAlert
from .controller_loop import monitor_controller_loop
from .memory_monitor import GuardRecord, MemoryMonitor
from .production_monitor import ProductionMemoryMonitor

__all__ = [
    "AlertCallback",
    "GuardRecord",
    "MemoryAlert",
    "MemoryMonitor",
    "ProductionMemoryMonitor",
    "monitor_controller_loop",
]
