"""Observable instruments for OpenTelemetry (extra ``otel``: its API only; the program brings the SDK).

    from meminstr.exporters.opentelemetry import instrument
    instrument()                                 # before or after the SDK is set up

The instruments bear names of their own (``meminstr.*``): what semantic conventions name, as ``process.memory.usage``,
is emitted by OpenTelemetry's own instrumentation already.  The SDK's reader asks every so often; it is answered from
what a thread worked out (see `source`), and where the process writes shards, for all processes that do: then only one
of them should export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .._version import __version__
from ..errors import UsageError
from ..faults import note_fault
from ..registry import ControllerMemoryTracker
from ..reports.files import StrPath
from .families import ALL, Family
from .source import Source


def instrument(
    meter: Any = None,
    *,
    max_subjects: int = 100,
    directory: StrPath | None = None,
    tracker: ControllerMemoryTracker | None = None,
    refresh_seconds: float = 15.0,
) -> Callable[[], None]:
    """Create the instruments.

    Args:
        meter: an OpenTelemetry meter; None: the global provider's, named ``meminstr``.
        max_subjects: how many functions and classes get attributes of their own.
        directory: a folder of shards; None: the one this process writes to, else its own report.
        tracker: whose subjects, without shards; None: the global one.
        refresh_seconds: how old the figures may be.

    Returns:
        A function that closes the instruments: they say nothing more, and the thread behind them ends.

    Raises:
        UsageError: opentelemetry-api is not installed, or an argument is not allowed.
    """
    try:
        from opentelemetry import metrics
    except ImportError:
        raise UsageError("OpenTelemetry metrics need opentelemetry-api: pip install 'meminstr[otel]'") from None

    def form(found: tuple[Family, ...]) -> dict[str, list[Any]]:
        return {
            family.dotted: [metrics.Observation(value, dict(labels)) for labels, value in family.samples]
            for family in found
        }

    source = Source(
        form, max_subjects=max_subjects, directory=directory, tracker=tracker, refresh_seconds=refresh_seconds
    )
    if meter is None:
        meter = metrics.get_meter("meminstr", __version__)

    closed: list[bool] = []

    def answer(dotted: str) -> Callable[[Any], Iterable[Any]]:
        def observe(_: Any) -> Iterable[Any]:
            try:
                return [] if closed else source.get().get(dotted, [])
            except Exception as error:  # somebody else's exporter thread must not die of us
                note_fault("observing metrics", error)
                return []

        return observe

    for _, dotted, unit, kind, text in ALL.values():
        create = meter.create_observable_counter if kind == "counter" else meter.create_observable_gauge
        create(dotted, callbacks=[answer(dotted)], unit=unit, description=text)

    def close() -> None:
        closed.append(True)  # a reader asks once more when it shuts down
        source.close()

    return close
