"""The telemetry bus of the demonstration: listeners subscribe, the loop publishes, and nobody else forgets.

A process-wide list of callbacks is the most common holder of leaked objects there is: a bound method keeps
its instance, and an instance that does not unsubscribe is kept for the life of the process.
"""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str, float], None]


class TelemetryBus:
    """Passes every published value to every subscribed listener, in the order of subscription."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener(topic, value)`` for everything published from now on."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Forget a listener; one that is not subscribed is ignored, so that cleanup may run twice."""
        try:
            self._listeners.remove(listener)
        except ValueError:
            pass

    def publish(self, topic: str, value: float) -> None:
        """Hand a value to all listeners."""
        for listener in self._listeners:
            listener(topic, value)

    def clear(self) -> None:
        """Forget all listeners (between two demonstrations in one process)."""
        self._listeners.clear()

    def __len__(self) -> int:
        return len(self._listeners)


BUS = TelemetryBus()
