"""What celery's signals do in a child, without a worker: tasks tallied by name, and a child that is due says so."""

import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("celery")

import billiard.pool
from celery.signals import task_postrun, task_prerun, worker_process_init, worker_process_shutdown

from meminstr import UsageError
from meminstr.faults import faults
from meminstr.integrations import celery as ours
from meminstr.registry import ControllerMemoryTracker


@pytest.fixture
def signals(monkeypatch):
    """Celery's signals, with our receivers taken off again."""
    all_of_them = (task_prerun, task_postrun, worker_process_init, worker_process_shutdown)
    before = [list(one.receivers) for one in all_of_them]
    monkeypatch.setattr(ours, "_connected", [])
    monkeypatch.setattr(ours.os, "register_at_fork", lambda **_: None)
    yield
    for one, receivers in zip(all_of_them, before, strict=True):
        one.receivers = receivers
        one.sender_receivers_cache.clear()


@pytest.fixture
def run(signals):
    """Counts tasks with a tracker of its own; runs one by its signals."""
    tracker = ControllerMemoryTracker()
    ours.count_tasks(every=1, tracker=tracker)

    def one(number, name, state="SUCCESS"):
        task = SimpleNamespace(name=name)
        task_prerun.send(None, task_id=number, task=task)
        task_postrun.send(None, task_id=number, task=task, state=state)

    one.tracker = tracker
    return one


def test_tasks_are_tallied_by_name_and_failures_counted(run):
    for number in range(20):
        run(number, "jobs.load", "FAILURE" if number % 4 == 0 else "SUCCESS")
    run("x", "jobs.store")
    task_postrun.send(None, task_id="never begun", task=SimpleNamespace(name="jobs.load"), state="SUCCESS")
    counted = {name: subject.calls() for name, subject in run.tracker.functions.items()}
    assert counted == {"jobs.load": 20, "jobs.store": 1}
    assert {subject.kind for subject in run.tracker.functions.values()} == {"task"}
    assert run.tracker.functions["jobs.load"].failures == 5


def test_names_beyond_the_bound_are_counted_together(run, monkeypatch):
    monkeypatch.setattr(ours, "_MOST_KINDS", 3)
    for number in range(9):
        run(number, f"jobs.of_{number}")
    assert {name: subject.calls() for name, subject in run.tracker.functions.items()} == {
        "jobs.of_0": 1, "jobs.of_1": 1, "jobs.of_2": 1, "<other tasks>": 6,
    }  # fmt: skip


def test_a_forked_child_forgets_what_its_parent_was_doing(run):
    (tasks,) = ours._connected
    task_prerun.send(None, task_id=1, task=None)
    tasks._forked()
    task_postrun.send(None, task_id=1, task=SimpleNamespace(name="jobs.load"), state="SUCCESS")
    assert not run.tracker.functions


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ours.count_tasks(on_leak="raise"), "not allowed for tasks"),
        (lambda: ours.count_tasks(every=0), "every"),
        (lambda: ours.recycling(3, leaking=True), "a celery application is"),
        (lambda: ours.recycling(SimpleNamespace(conf=SimpleNamespace()), action=print), "action"),
        (lambda: ours.recycling(SimpleNamespace(conf=SimpleNamespace())), "eta_seconds"),
    ],
)
def test_bad_arguments_are_refused(signals, call, words):
    with pytest.raises(UsageError, match=words):
        call()
    assert not ours._connected


class FakeRecycler:
    """Remembers what it was made with; due when told."""

    made: list
    fails = False

    def __init__(self, action, **options):
        self.action, self.options, self.running = action, options, False
        FakeRecycler.made.append(self)

    def start(self):
        if FakeRecycler.fails:
            raise OSError("no thread")
        self.running = True
        return self

    def stop(self):
        self.running = False


@pytest.fixture
def recycled(signals, monkeypatch):
    """An application whose children are recycled, and the recyclers of its children."""
    monkeypatch.setattr(FakeRecycler, "made", [], raising=False)
    monkeypatch.setattr(ours, "Recycler", FakeRecycler)
    monkeypatch.setattr(billiard.pool, "mem_rss", lambda: 1234)

    def make(bound=None):
        app = SimpleNamespace(conf=SimpleNamespace(worker_max_memory_per_child=bound))
        ours.recycling(app, eta_seconds=600)
        return app.conf.worker_max_memory_per_child

    return make


def test_a_child_that_is_due_says_that_it_takes_more_than_any_bound(recycled):
    bound = recycled()
    assert bound > 1 << 60  # the pool looks at its children's memory only if there is a bound
    worker_process_init.send(None)
    child = FakeRecycler.made[-1]
    assert child.running
    assert child.options == {"eta_seconds": 600}
    assert billiard.pool.mem_rss() == 1234
    child.action()
    assert billiard.pool.mem_rss() == sys.maxsize > bound
    worker_process_shutdown.send(None)
    assert not child.running


def test_a_bound_of_the_application_stays(recycled):
    assert recycled(bound=200_000) == 200_000


def test_a_recycler_that_fails_is_a_fault_of_ours_and_the_child_works_on(recycled, monkeypatch):
    monkeypatch.setattr(FakeRecycler, "fails", True)
    recycled()
    worker_process_init.send(None)
    assert [entry["where"] for entry in faults()] == ["recycling celery children"]
    assert billiard.pool.mem_rss() == 1234
