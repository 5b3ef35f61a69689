"""A collector for prometheus_client (extra ``prometheus``): register it, and every scrape shows the verdicts.

    from meminstr.exporters.prometheus import register
    register()                                   # in the registry that the program exposes already

A scrape hands over what a thread worked out (see `source`).  The client library takes 3 to 4 us to print one sample,
so the labels are bounded to the 20 worst subjects by default, which keeps a scrape below a millisecond; the calls of
all others are counted together.  Behind several workers set ``MEMINSTR_SHARDS``: each then answers for all.  The
client's own multiprocess mode passes custom collectors over: serve this one from a plain ``CollectorRegistry``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import UsageError
from ..registry import ControllerMemoryTracker
from ..reports.files import StrPath
from .families import Family
from .source import Source


class MeminstrCollector:
    """Gives a registry of prometheus_client the metrics of this process, or of all that write shards.

    Args:
        max_subjects: how many functions and classes get labels of their own.
        directory: a folder of shards; None: the one this process writes to, else its own report.
        tracker: whose subjects, without shards; None: the global one.
        refresh_seconds: how old the figures may be.

    Raises:
        UsageError: prometheus_client is not installed, or an argument is not allowed.
    """

    def __init__(
        self,
        *,
        max_subjects: int = 20,
        directory: StrPath | None = None,
        tracker: ControllerMemoryTracker | None = None,
        refresh_seconds: float = 15.0,
    ) -> None:
        core = _library("prometheus_client.core")

        def form(found: tuple[Family, ...]) -> list[Any]:
            return [_metric(core, family) for family in found]

        self._source = Source(
            form, max_subjects=max_subjects, directory=directory, tracker=tracker, refresh_seconds=refresh_seconds
        )

    def describe(self) -> Iterable[Any]:
        """Nothing: a registry would otherwise collect at registration."""
        return ()

    def collect(self) -> Iterable[Any]:
        """The metrics as they were worked out last."""
        return self._source.get()

    def close(self) -> None:
        """End the thread behind it."""
        self._source.close()


def register(registry: Any = None, **options: Any) -> MeminstrCollector:
    """Register a `MeminstrCollector` with a registry (default: the library's own).

    Raises:
        UsageError: prometheus_client is not installed, an argument is not allowed, or there is one already.
    """
    client = _library("prometheus_client")
    collector = MeminstrCollector(**options)
    (client.REGISTRY if registry is None else registry).register(collector)
    return collector


def _library(name: str) -> Any:
    try:
        if name == "prometheus_client":
            import prometheus_client

            return prometheus_client
        import prometheus_client.core

        return prometheus_client.core
    except ImportError:
        raise UsageError("Prometheus metrics need prometheus_client: pip install 'meminstr[prometheus]'") from None


def _metric(core: Any, family: Family) -> Any:
    metric = core.Metric(family.name, family.help, family.kind)
    for labels, value in family.samples:
        metric.add_sample(family.exposed, dict(labels), value)
    return metric
