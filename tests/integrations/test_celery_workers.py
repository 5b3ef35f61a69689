"""A real celery worker with a prefork pool: a child that leaks is replaced between two tasks, and no task is lost."""

import os
import signal
import subprocess
import sys
import threading
import time

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


def test_a_leaking_child_is_replaced_and_no_task_is_lost(tmp_path):
    (tmp_path / "jobs.py").write_text(APPLICATION)
    for folder in ("queue", "control"):
        (tmp_path / folder).mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MEMINSTR_")}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in (str(tmp_path), environment.get("PYTHONPATH")) if p)
    subprocess.run([sys.executable, "-c", SEND], cwd=tmp_path, env=environment, check=True, timeout=100)
    log, done = tmp_path / "log", tmp_path / "done"
    command = [sys.executable, "-m", "celery", "-A", "jobs", "worker", "-P", "prefork", "-c", "1", "-l", "warning",
               "--without-gossip", "--without-mingle", "--without-heartbeat"]  # fmt: skip
    with log.open("w") as out:
        worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=out)
        try:
            end, pause = time.monotonic() + 90, threading.Event()
            while worker.poll() is None and time.monotonic() < end:
                if done.exists() and done.read_text().count("\n") >= TASKS:
                    break
                pause.wait(0.05)
        finally:
            worker.send_signal(signal.SIGTERM)
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
    text = log.read_text()
    assert done.exists(), text
    lines = [line.split() for line in done.read_text().splitlines()]
    assert sorted(int(number) for number, _ in lines) == list(range(TASKS)), text
    assert len({pid for _, pid in lines}) >= 2, text
    assert "jobs.keep leaks" in text
