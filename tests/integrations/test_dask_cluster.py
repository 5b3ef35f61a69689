"""A real Dask cluster of two processes: verdicts by kind of task, workers that join, are killed, and are recycled."""

import logging
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

distributed = pytest.importorskip("distributed")

import etl_tasks  # noqa: E402

from meminstr import UsageError  # noqa: E402
from meminstr.integrations.dask import MemoryPlugin, install, report  # noqa: E402
from meminstr.verdict import Verdict  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
WAIT = 60


@pytest.fixture
def client():
    before = os.environ.get("PYTHONPATH")
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = here if not before else os.pathsep.join((here, before))
    try:
        options = {"n_workers": 2, "processes": True, "threads_per_worker": 2, "dashboard_address": None}
        with distributed.LocalCluster(silence_logs=logging.CRITICAL, **options) as cluster:
            with distributed.Client(cluster) as one:
                yield one
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def until(what):
    """Wait until something holds; the answer."""
    end = time.monotonic() + WAIT
    pause = threading.Event()
    while time.monotonic() < end:
        answer = what()
        if answer:
            return answer
        pause.wait(0.05)
    raise AssertionError("it never came to hold")


def work(client, draw, kinds=(etl_tasks.load, etl_tasks.score, etl_tasks.store)):
    """One round of tasks: some hundred."""
    # not so many of each all the time: kinds that always come together cannot be told apart, and are not
    batch = [(kind, n) for kind in kinds for n in range(draw.randrange(5, 76))]
    draw.shuffle(batch)
    client.gather([client.submit(kind, number, pure=False) for kind, number in batch])


def pids(client):
    """Of the workers that answer."""
    return {pid for pid in client.run(os.getpid, on_error="return").values() if isinstance(pid, int)}


def verdicts(one):
    return {f.subject: f.verdict for f in one.findings}


def test_the_life_of_a_cluster(client):
    # before anything is installed there is nothing to report
    with pytest.raises(UsageError, match="install"):
        report(client)

    install(client, guard=["etl_tasks:helper"], horizon=200, interval=0.5)
    draw = random.Random(1)
    for _ in range(12):
        work(client, draw)

    # one kind of task of three leaks, and it alone is named, with what holds what it left
    def found():
        one = report(client)
        named = verdicts(one)["score"] is Verdict.LEAKING and "etl_tasks.seen" in one.to_text()
        return one if named else work(client, draw)

    merged = until(found)
    said = verdicts(merged)
    assert {name for name, verdict in said.items() if verdict is Verdict.LEAKING} == {"score"}, merged.to_text()
    assert len(merged.processes) == 2
    assert {f.subject_kind for f in merged.findings} == {"task", "function", "process"}

    # the scheduler hears each worker's verdict
    heard = set()

    def told():
        workers = client.scheduler_info(n_workers=-1)["workers"]
        for address, one in workers.items():
            latest = one["metrics"].get("meminstr") or {}
            if (latest.get("subject"), latest.get("verdict")) == ("score", "leaking"):
                heard.add(address)
        return heard == set(workers) or work(client, draw)

    until(told)

    # a worker that is killed leaves its last event; another one joins and is instrumented
    old = dict(client.run(os.getpid))
    victim = next(iter(old.values()))
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(now := pids(client)) == 2 and victim not in now)
    work(client, draw, (etl_tasks.load,))
    merged = report(client, diagnose=False)
    assert {one["process"]["pid"] for one in merged.processes} == {*old.values(), *pids(client)}
    assert "helper" in merged.to_text()

    # a leaking worker hands over what it holds and is started anew; the newcomer has not leaked yet, and stays
    kept = client.submit(etl_tasks.store, 7, workers=[a for a, p in old.items() if p != victim], pure=False)
    assert kept.result() == "7"
    before = pids(client)
    assert len(before) == 2
    leaker = next(pid for pid in old.values() if pid != victim)
    client.run(_recycle_if, leaker)
    until(lambda: len(now := pids(client)) == 2 and leaker not in now)
    assert len(before & pids(client)) == 1
    assert kept.result() == "7"


def _recycle_if(pid, dask_worker):
    # a cluster whose workers are recycled from the start would lose them before the test has looked
    if os.getpid() == pid:
        plugin = dask_worker.plugins["meminstr"]
        plugin._recycle = {"leaking": True, "cooldown_seconds": 0, "check_seconds": 0.1}
        plugin._recycler = plugin._recycling(dask_worker)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"guard": ["nothing"]}, "nothing"), ({"recycle": {}}, "eta_seconds"), ({"recycle": {"above": 2}}, "above=2")],
)
def test_bad_options(options, words):
    with pytest.raises(UsageError, match=words):
        MemoryPlugin(**options)


@pytest.mark.parametrize("ask", [install, report])
def test_something_that_is_no_client(ask):
    with pytest.raises(UsageError, match="client="):
        ask(3)
