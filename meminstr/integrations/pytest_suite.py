"""``--meminstr``: what each test of a suite left behind, and the summary at its end.

A reading after each test's tear-down, behind a collection, is compared with the one before: Python blocks, C heap,
resident set.  What is left behind need not be a leak: the first test that imports something keeps it.  The summary
says so, and names the tests; the mark ``no_leaks`` tells one from the other.

Under xdist each worker measures its own tests; the figures travel with their reports, and the controller sums up.
"""

from __future__ import annotations

import gc
import heapq
import sys
from collections.abc import Generator
from typing import Any

import pytest

from ..probes.resident import shared_resident
from ..units import format_bytes, format_count

PROPERTY = "meminstr"
_KEPT_FACTOR = 4
_BLOCK_BYTES = 64
"""Roughly, of a small object: what makes blocks and bytes comparable for the order of the table."""
_WORTH_BYTES = 32 * 1024
"""Less than this is not named."""


class Suite:
    """Measures tests in the process that runs them, and sums up in the one that has the terminal.

    Args:
        config: pytest's.
        top: how many tests the summary names.
    """

    def __init__(self, config: pytest.Config, top: int) -> None:
        self._top = top
        self._is_worker = hasattr(config, "workerinput")
        self._heap = _heap_reader()
        self._last: tuple[int, int, int] | None = None
        self._first: tuple[int, int, int] | None = None
        self._rows: list[tuple[int, str, tuple[int, int, int]]] = []
        self._tests = 0
        self._workers: dict[str, tuple[int, int]] = {}

    def _read(self) -> tuple[int, int, int]:
        if gc.isenabled():
            gc.collect()
        return sys.getallocatedblocks(), self._heap(), shared_resident().read()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        """The state before the first test."""
        if self._last is None:
            self._last = self._first = self._read()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """What this test left behind goes along with its report."""
        try:
            return (yield)
        finally:
            now = self._read()
            before = self._last or now
            item.user_properties.append((PROPERTY, [b - a for a, b in zip(before, now, strict=True)]))
            self._last = now

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the figures of a finished test."""
        if self._is_worker or report.when != "teardown":
            return
        self._tests += 1
        for name, value in report.user_properties:
            if name == PROPERTY and isinstance(value, (list, tuple)) and len(value) == 3:
                blocks, heap, resident = (int(n) for n in value)
                weight = blocks * _BLOCK_BYTES + heap
                if weight >= _WORTH_BYTES:
                    self._rows.append((weight, report.nodeid, (blocks, heap, resident)))
        if len(self._rows) > _KEPT_FACTOR * max(self._top, 25):
            self._rows = heapq.nlargest(max(self._top, 25), self._rows)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker's whole goes to the controller."""
        output: Any = getattr(session.config, "workeroutput", None)
        if output is not None and self._first is not None and self._last is not None:
            output[PROPERTY] = [self._first[2], self._last[2]]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take a worker's whole."""
        found = getattr(node, "workeroutput", {}).get(PROPERTY)
        if found is not None:
            self._workers[node.gateway.id] = (int(found[0]), int(found[1]))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table."""
        write = terminalreporter.write_line
        terminalreporter.section("memory (meminstr)")
        if self._first is not None and self._last is not None and not self._workers:
            self._workers = {"": (self._first[2], self._last[2])}
        for name, (first, last) in sorted(self._workers.items()):
            who = f"{name}: " if name else ""
            write(f"{who}{format_bytes(first)} resident before the first test, {format_bytes(last)} after the last")
        rows = heapq.nlargest(self._top, self._rows)
        if not rows:
            write(f"{self._tests:,} tests, none of which left more than {format_bytes(_WORTH_BYTES)} behind")
            return
        named = f"{len(rows):,} of them" if len(rows) < self._tests else "they"
        write(f"{self._tests:,} tests; {named} left behind, the most first:")
        write(f"{'C heap':>10} {'blocks':>9} {'resident':>10}  test")
        for _, nodeid, (blocks, heap, resident) in rows:
            shown = f"{format_bytes(heap):>10} {format_count(blocks):>9} {format_bytes(resident):>10}"
            write(f"{shown}  {nodeid}")
        write("imports and caches stay too: the mark no_leaks tells whether a test leaks each time it runs")


def _heap_reader() -> Any:
    import psutil

    info = getattr(psutil, "heap_info", None)  # not on every platform
    if info is None:
        return lambda: 0

    def read() -> int:
        heap = info()
        return int(heap.heap_used + heap.mmap_used)

    return read
