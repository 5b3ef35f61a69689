"""Real servers and engines: gunicorn, uvicorn, Celery, joblib, as child processes on a free loopback port."""

import os
import signal

import pytest

from meminstr.shards import merged, status

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def total(programs):
    return sum(programs.calls().values())


def test_gunicorn_with_preloaded_and_recycled_workers_loses_no_call(programs, port, ask):
    pytest.importorskip("gunicorn")
    words = ("-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", "--max-requests", "15", "--preload")
    server = programs.start(*words, "--no-control-socket", "shop:wsgi")
    assert set(ask(50)) == {b"ok"}
    server.send_signal(signal.SIGTERM)
    out, _ = server.communicate(timeout=60)
    assert server.returncode == 0, out
    assert total(programs) == 50 * 20
    assert len(programs.calls()) >= 4, "at least two of the workers were recycled"
    assert {one.ended for one in programs.shards()} == {"exit"}
    assert merged(programs.folder).finding("handle").calls == 50 * 20


def test_behind_gunicorn_every_worker_answers_a_scrape_for_all(programs, port, ask):
    pytest.importorskip("gunicorn")
    parser = pytest.importorskip("prometheus_client.parser")
    words = ("-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", "--max-requests", "15", "--no-control-socket")
    server = programs.start(*words, "shop:wsgi")
    ask(50)  # recycles workers

    def total_of_a_scrape():
        (page,) = ask(1, "/metrics")
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in parser.text_string_to_metric_families(page.decode())
            for sample in family.samples
        }

    key = ("meminstr_calls_total", "handle", "function")
    # whoever answers, the count is soon that of all workers that ever were, each of which reads the others' shards
    programs.wait_until(lambda: {total_of_a_scrape().get(key) for _ in range(6)} == {50 * 20}, server)
    assert total_of_a_scrape()["meminstr_processes", "ended"] >= 1
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)


def test_a_gunicorn_worker_that_is_killed_leaves_its_last_words(programs, port, ask):
    pytest.importorskip("gunicorn")
    server = programs.start("-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--no-control-socket", "shop:wsgi")
    ask(20)
    programs.wait_until(lambda: total(programs) == 20 * 20, server)
    (victim,) = programs.calls()
    os.kill(victim, signal.SIGKILL)
    ask(10)  # by the next worker
    programs.wait_until(lambda: total(programs) == 30 * 20, server)
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)
    states = {one.pid: status(one) for one in programs.shards()}
    assert states.pop(victim) == "killed"
    assert set(states.values()) == {"ended"}
    notes = merged(programs.folder).extra["notes"]
    assert [f"process {victim} on" in note for note in notes] == [True]


@pytest.mark.parametrize(("number", "ended"), [(signal.SIGTERM, "ended"), (signal.SIGKILL, "killed")])
def test_uvicorn_workers(programs, port, ask, number, ended):
    pytest.importorskip("uvicorn")
    words = ("-m", "uvicorn", "--workers", "2", "--port", str(port), "--log-level", "warning", "shop:asgi")
    server = programs.start(*words)
    assert set(ask(30)) == {b"ok"}
    programs.wait_until(lambda: total(programs) == 30 * 20, server)
    if number is signal.SIGKILL:
        for pid in programs.calls():
            os.kill(pid, number)
        os.killpg(server.pid, number)
    else:
        server.send_signal(number)
    server.wait(60)
    assert total(programs) == 30 * 20
    workers = set(programs.calls())
    programs.wait_until(lambda: {status(one) for one in programs.shards() if one.pid in workers} == {ended})


CELERY = """
import celery, shop
app = celery.Celery("shop", broker="filesystem://", backend="file://" + {folder!r} + "/results")
app.conf.update(
    broker_transport_options=dict.fromkeys(("data_folder_in", "data_folder_out"), {folder!r} + "/queue")
    | dict(polling_interval=0.02),
    worker_max_tasks_per_child=3,
)
app.task(name="square")(shop.square)
"""


def test_celery_workers_recycled_after_three_tasks(programs, tmp_path):
    pytest.importorskip("celery")
    for name in ("queue", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "tasks.py").write_text(CELERY.format(folder=str(tmp_path)))
    send = "import tasks\nfor n in range(7): tasks.app.send_task('square', [n])"
    programs.run("-c", send, MEMINSTR_DISABLED="1")
    worker = programs.start(
        "-m", "celery", "-A", "tasks", "worker", "-c", "1", "--without-heartbeat", "--without-mingle"
    )
    programs.wait_until(lambda: total(programs) == 7, worker)
    worker.send_signal(signal.SIGTERM)
    out, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0, out
    assert sorted(programs.calls().values()) == [1, 3, 3]


def test_joblib_workers(programs):
    pytest.importorskip("joblib")
    program = (
        "import joblib, shop\nprint(joblib.Parallel(n_jobs=2)(joblib.delayed(shop.square)(n) for n in range(20))[:3])\n"
    )
    assert "[0, 1, 4]" in programs.run("-c", program)
    assert total(programs) == 20
    assert {one.ended for one in programs.shards()} == {"exit"}
