"""Model serving: a small network answers requests, and a monitor watches for inputs that drift.

The monitor needs the means of the latest thousand inputs.  It keeps the inputs themselves, all of them: 2 KB a request
outside Python's own allocator, which no count of objects shows.  `--fixed` keeps a thousand means.
"""

import sys
from collections import deque

import numpy as np

import meminstr

FEATURES, HIDDEN, CLASSES = 256, 32, 4


class Model:
    """Two layers, made once: a one-time growth, not a leak."""

    def __init__(self, seed=0):
        draw = np.random.default_rng(seed)
        self.first = draw.normal(size=(FEATURES, HIDDEN)) / 16
        self.second = draw.normal(size=(HIDDEN, CLASSES)) / 6

    def __call__(self, x):
        """Scores of the classes, shape (CLASSES,)."""
        return np.maximum(x @ self.first, 0) @ self.second


class DriftMonitor:
    """Remembers inputs."""

    def __init__(self, fixed):
        self.recent = deque(maxlen=1000) if fixed else []
        self.fixed = fixed

    def note(self, x):
        """Keep what the drift test will need."""
        self.recent.append(float(x.mean()) if self.fixed else x)


class Service:
    """What a web framework would call."""

    def __init__(self, fixed=False):
        self.model, self.monitor = Model(), DriftMonitor(fixed)

    @meminstr.leak_guard(every=20)
    def predict(self, body):
        """The class of one request's body, bytes of FEATURES float64."""
        x = np.frombuffer(bytes(body), dtype=np.float64).copy()
        self.monitor.note(x)
        return int(np.argmax(self.model(x)))


def main(requests=12_000, fixed=False):
    """Serve requests one after the other."""
    draw = np.random.default_rng(1)
    service = Service(fixed)
    bodies = [draw.normal(size=FEATURES).tobytes() for _ in range(50)]
    for number in range(requests):
        service.predict(bodies[number % len(bodies)])
    return service


if __name__ == "__main__":
    kept = main(fixed="--fixed" in sys.argv)
    print(meminstr.report())
