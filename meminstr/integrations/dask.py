"""A Dask cluster's workers, each with its verdicts: a plugin for them, and one merged report for the client.

    from meminstr.integrations.dask import install, report
    install(client, guard=["pkg.tasks:*"], track=["pkg.models:Model"])
    ...
    print(report(client))

The plugin reaches the workers that run and those that join later.  Kinds of task (Dask's key prefixes) are subjects of
kind ``task``: tasks of several threads overlap, so growth is attributed by least squares over many of them.  Each
worker sends its latest verdict with the heartbeat (``client.scheduler_info()``: ``metrics["meminstr"]``) and its
report every few seconds as an event to the scheduler, where it outlives a worker that is killed.

A worker that is killed loses what it found since its last event, no more.

Results that a worker holds for somebody are no leak: their bytes are in the process's figures, and as a signal of their
own, ``dask_managed``.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from dask.utils import key_split
from distributed.diagnostics.plugin import WorkerPlugin
from tornado.ioloop import PeriodicCallback

from ..decorators import leak_guard, track_instantiations
from ..diagnosis import report as local_report
from ..errors import UsageError
from ..faults import note_fault
from ..instrument.by_name import Instrumentation, instrument_by_name
from ..instrument.targets import Target
from ..registry import ControllerMemoryTracker, tracker
from ..reports.model import Report
from ..tallied import TalliedSubject, Tally
from .recycling import Recycler

TOPIC = "meminstr"
_MOST_KINDS = 200
_OTHER = "<other tasks>"


class MemoryPlugin(WorkerPlugin):
    """What `install` registers on each worker.

    Args:
        guard: functions, as ``MODULE:FUNCTION``, wildcards allowed.
        track: classes, as ``MODULE:CLASS`` or ``MODULE:CLASS=NAME``.
        every: one task in so many reads memory, besides the first ones.
        horizon: tasks of a kind that growth must last; None: the setting.
        interval: seconds between two reports to the scheduler.
        recycle: what `Recycler` takes, as ``{"eta_seconds": 600}``: a worker that nears its limit hands over what it
            holds and is started anew by its nanny; None: none is.

    Raises:
        UsageError: a target that cannot be read, or an option that is not allowed.
    """

    name = "meminstr"
    idempotent = True

    def __init__(
        self,
        guard: Iterable[str] = (),
        track: Iterable[str] = (),
        every: int = 10,
        horizon: float | None = None,
        interval: float = 5.0,
        recycle: Mapping[str, Any] | None = None,
    ) -> None:
        if recycle is not None:
            Recycler(**recycle)
        self._words = tuple(("--guard", text) for text in guard) + tuple(("--track", text) for text in track)
        self._targets()
        self._every, self._horizon, self._interval = every, horizon, interval
        self._recycle = None if recycle is None else dict(recycle)

    def __getstate__(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in ("_words", "_every", "_horizon", "_interval", "_recycle")}

    def _targets(self) -> list[Target]:
        return [
            Target.parse(
                text, option, "class" if option == "--track" else "function", "NAME" if option == "--track" else ""
            )
            for option, text in self._words
        ]

    # ------------------------------------------------------------ in the worker

    def setup(self, worker: Any) -> None:
        """Instrument by name, count tasks, and tell the scheduler from time to time."""
        self._worker = weakref.ref(worker)
        self._tracker: ControllerMemoryTracker = tracker
        self._kinds: dict[str, TalliedSubject] = {}
        self._running: dict[Any, Any] = {}
        self._tally = Tally(tracker.sampler, self._kind, self._every)
        self._work: Instrumentation = instrument_by_name(self._targets(), _apply)
        if "dask_managed" not in tracker.sampler.probes():
            tracker.register_probe("dask_managed", self._managed_bytes, unit="bytes")
        worker.metrics["meminstr"] = self._heartbeat
        self._latest: dict[str, Any] = {"verdict": "insufficient_data", "subject": None, "eta_seconds": None}
        self._callback = PeriodicCallback(self._push, 1000 * self._interval)
        self._callback.start()
        self._recycler = self._recycling(worker)

    def teardown(self, worker: Any) -> None:
        """The worker retires: its last report stays with the scheduler."""
        self._callback.stop()
        if self._recycler is not None:
            self._recycler.stop()
        self._push()
        worker.metrics.pop("meminstr", None)
        self._work.undo()

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """A task moved: told by the worker for each."""
        try:
            if finish == "executing":
                self._running[key] = self._tally.begin()
            elif start == "executing" and key in self._running:
                failed = RuntimeError("the task failed") if finish == "error" else None
                self._tally.end(self._running.pop(key), key_split(key), failed)
        except Exception as error:
            note_fault("counting Dask tasks", error)

    def _kind(self, name: str) -> TalliedSubject | None:
        known = self._kinds.get(name)
        if known is None:
            if len(self._kinds) >= _MOST_KINDS:
                name = _OTHER
            known = self._kinds.get(name)
        if known is None:
            known = TalliedSubject(name, "task", self._tracker.sampler, horizon=self._horizon)
            if not self._tracker.adopt(known):
                known.enabled = False
            self._kinds[name] = known
        return known

    def _recycling(self, worker: Any) -> Recycler | None:
        if self._recycle is None:
            return None
        loop, closing = worker.loop, worker.close_gracefully

        def close() -> None:  # in the recycler's thread
            # restart: the nanny starts a new worker in place of this one; without a nanny it is gone for good
            loop.add_callback(closing, restart=True, reason="meminstr-recycle")

        return Recycler(action=close, **self._recycle).start()

    def _managed_bytes(self) -> float:
        worker = self._worker()
        return 0.0 if worker is None else float(worker.state.nbytes)

    async def _heartbeat(self, worker: Any) -> dict[str, Any]:
        return self._latest

    def _push(self) -> None:
        worker = self._worker()
        if worker is None:
            return
        try:
            made = _made(worker.address, diagnose=False)
            worst = Report.from_dict(made).findings[:1]
            self._latest = {
                "verdict": worst[0].verdict.value if worst else "insufficient_data",
                "subject": worst[0].subject if worst else None,
                "eta_seconds": worst[0].eta_seconds.value if worst and worst[0].eta_seconds else None,
            }
            worker.log_event(TOPIC, made)
        except Exception as error:
            note_fault("reporting to the Dask scheduler", error)


def _apply(owner: object, name: str, obj: Any, target: Target) -> Any:
    if target.option == "--track":
        return track_instantiations(target.value, tracker=tracker)(obj)
    return leak_guard(tracker=tracker)(obj)


def _made(address: str, diagnose: bool) -> dict[str, Any]:
    made = local_report(diagnose).to_dict()
    made["dask_worker"] = address
    return made


def _asked(diagnose: bool, dask_worker: Any) -> dict[str, Any] | None:
    # a worker that the plugin has not reached yet has nothing to say
    return _made(dask_worker.address, diagnose) if MemoryPlugin.name in dask_worker.plugins else None


# ------------------------------------------------------------ at the client


def install(client: Any, **options: Any) -> MemoryPlugin:
    """Register `MemoryPlugin` on the workers of a cluster, those that run and those to come.

    Args:
        client: a ``distributed.Client``.
        options: what `MemoryPlugin` takes.

    Raises:
        UsageError: an option that is not allowed.
    """
    if not hasattr(client, "register_plugin"):
        raise UsageError(f"client={client!r} is not allowed: a distributed.Client is")
    plugin = MemoryPlugin(**options)
    client.register_plugin(plugin)
    return plugin


def report(client: Any, diagnose: bool = True) -> Report:
    """One report of all workers: of those that live as they are now, of those that are gone the last they sent.

    Args:
        client: a ``distributed.Client``.
        diagnose: look for holders in each worker.

    Raises:
        UsageError: no worker has ever reported (`install` comes first), or the client is none.
    """
    if not hasattr(client, "get_events"):
        raise UsageError(f"client={client!r} is not allowed: a distributed.Client is")
    latest: dict[tuple[str, int], Mapping[str, Any]] = {}
    for _, event in client.get_events(TOPIC):
        latest[_identity(event)] = event
    for answer in _live(client, diagnose).values():
        if isinstance(answer, Mapping):
            latest[_identity(answer)] = answer
    if not latest:
        raise UsageError("no worker has reported: install(client) first, and let a task run")
    return Report.merge(Report.from_dict(one) for one in latest.values())


def _identity(event: Mapping[str, Any]) -> tuple[str, int]:
    return str(event.get("dask_worker")), int(event["process"]["pid"])


def _live(client: Any, diagnose: bool) -> Mapping[str, Any]:
    try:
        answers = client.run(_asked, diagnose, on_error="return")
        return answers if isinstance(answers, Mapping) else {}
    except Exception as error:  # no worker lives, or the scheduler is gone: what was sent before stands
        note_fault("asking Dask workers", error)
        return {}
