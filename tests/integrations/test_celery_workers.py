"""A real celery worker with a prefork pool: a child that leaks is replaced between two tasks, and no task is lost."""

import subprocess
import sys

import pytest

pytest.importorskip("celery")

TASKS = 250

APPLICATION = """
import os
from celery import Celery
from meminstr.integrations.celery import count_tasks, recycling

here = os.path.dirname(os.path.abspath(__file__))
app = Celery("jobs", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": here + "/queue", "data_folder_out": here + "/queue", "polling_interval": 0.02,
        "control_folder": here + "/control",
    },
    broker_connection_retry_on_startup=False,
    worker_prefetch_multiplier=16,
    task_ignore_result=True,
)
count_tasks(every=1, horizon=60)
recycling(app, leaking=True, check_seconds=0.2, cooldown_seconds=0)
kept = []

@app.task
def keep(n):
    kept.append([f"row {n} {i}" for i in range(50)])
    with open(here + "/done", "a") as file:
        file.write(f"{n} {os.getpid()}\\n")
"""

SEND = f"""
import jobs
for n in range({TASKS}):
    jobs.keep.delay(n)
"""


def test_a_leaking_child_is_replaced_and_no_task_is_lost(service):
    (service.folder / "jobs.py").write_text(APPLICATION)
    for folder in ("queue", "control"):
        (service.folder / folder).mkdir()
    sent = subprocess.run(
        [sys.executable, "-c", SEND], cwd=service.folder, env=service.environment, timeout=100, check=False
    )
    assert sent.returncode == 0
    done = service.folder / "done"
    options = ("-P", "prefork", "-c", "1", "-l", "warning")
    alone = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    service.start("celery", "-A", "jobs", "worker", *options, *alone)
    service.wait_until(lambda: done.exists() and done.read_text().count("\n") >= TASKS)
    service.close()
    text = service.log
    lines = [line.split() for line in done.read_text().splitlines()]
    assert sorted(int(number) for number, _ in lines) == list(range(TASKS)), text
    assert len({pid for _, pid in lines}) >= 2, text
    assert "jobs.keep leaks" in text
