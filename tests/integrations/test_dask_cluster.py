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


@pytest.fixture(scope="module")
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


def work(client, rounds, kinds=(etl_tasks.load, etl_tasks.score, etl_tasks.store)):
    # not so many of each all the time: kinds that always come together cannot be told apart, and are not
    draw = random.Random(1)
    for turn in range(rounds):
        batch = [(kind, 80 * turn + n) for kind in kinds for n in range(draw.randrange(5, 76))]
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
    work(client, 22)

    # one kind of task of three leaks, and it alone is named
    merged = report(client)
    said = verdicts(merged)
    assert len(merged.processes) == 2
    assert said["score"] is Verdict.LEAKING, merged.to_text()
    assert {name for name, verdict in said.items() if verdict is Verdict.LEAKING} == {"score"}, merged.to_text()
    assert {f.subject_kind for f in merged.findings} == {"task", "function", "process"}

    # the scheduler sees each worker's verdict
    def told():
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        heard = [one["metrics"].get("meminstr") or {} for one in workers]
        named = [one for one in heard if (one.get("subject"), one.get("verdict")) == ("score", "leaking")]
        return named and all(one.get("verdict") for one in heard)

    until(told)

    # a worker that is killed leaves its last event; another one joins and is instrumented
    old = dict(client.run(os.getpid))
    victim = next(iter(old.values()))
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(now := pids(client)) == 2 and victim not in now)
    work(client, 1, (etl_tasks.load,))
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
