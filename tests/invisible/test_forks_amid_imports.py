"""A child that was forked in the middle of somebody's import: it must never wait for what will not come."""

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from meminstr import forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

AMID_AN_IMPORT = """
    import builtins, os, signal, sys, threading, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    builtins.begun, builtins.gate = threading.Event(), threading.Event()
    import meminstr
    from meminstr import forks

    kept = []

    @meminstr.leak_guard(every=1)
    def step():
        kept.append(bytearray(50_000))

    thread = threading.Thread(target=__import__, args=("numpy",))
    thread.start()
    begun.wait()
    pid = os.fork()
    if not pid:
        code = 3
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            for _ in range(400):
                step()
            assert meminstr.tracker.functions["step"].samples >= 400
            assert forks.cannot_finish() == {"numpy"}
            try:
                meminstr.report()
            except meminstr.MeminstrError as error:
                assert "numpy" in str(error), error
                code = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    gate.set()
    thread.join()
    assert not forks.cannot_finish()
    print(status)
"""


def run(script, path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), environment.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, env=environment, timeout=100
    )
    return done.returncode, done.stdout.strip(), done.stderr


def test_a_child_forked_while_a_thread_imports_what_the_analysis_needs_neither_waits_nor_looks(tmp_path):
    package = tmp_path / "numpy"
    package.mkdir()
    (package / "__init__.py").write_text("import builtins\nbuiltins.begun.set()\nbuiltins.gate.wait()\n")
    assert run(AMID_AN_IMPORT, tmp_path) == (0, "0", "")


def test_a_fork_waits_for_a_thread_that_loads_and_takes_no_lock_along():
    loading, order = forks.Loading(), []
    holds, may_end = threading.Event(), threading.Event()

    def load():
        with loading:
            holds.set()
            may_end.wait()
            order.append("loaded")

    def fork():
        loading.before_fork()
        order.append("forked")
        loading.after_fork_in_parent()

    threads = [threading.Thread(target=load), threading.Thread(target=fork)]
    threads[0].start()
    holds.wait()
    threads[1].start()
    assert not loading.acquire(blocking=False)
    may_end.set()
    for thread in threads:
        thread.join()
    assert order == ["loaded", "forked"]
    assert loading.acquire(blocking=False)
    loading.release()


def test_a_fork_that_cannot_wait_longer_goes_on_and_the_child_gets_a_fresh_lock(monkeypatch):
    monkeypatch.setattr(forks, "_FORK_WAITS", 0.0)
    monkeypatch.setattr(forks, "_LOADING_WAITS", 0.0)
    loading = forks.Loading()
    holds, may_end = threading.Event(), threading.Event()

    def load():
        with loading:
            holds.set()
            may_end.wait()

    thread = threading.Thread(target=load)
    thread.start()
    holds.wait()
    loading.before_fork()
    loading.after_fork_in_parent()
    with loading:  # given up rather than waited for
        assert not loading.acquire(blocking=False)
    loading.before_fork()
    loading.after_fork_in_child()  # as if here were the child
    assert loading.acquire(blocking=False)
    loading.release()
    may_end.set()
    thread.join()


def test_the_thread_that_loads_may_fork_itself():
    loading = forks.Loading()
    with loading:
        loading.before_fork()
        loading.after_fork_in_child()
        with loading:
            pass
    assert loading.acquire(blocking=False)
    loading.release()


def test_what_is_loaded_is_imported_without_the_lock():
    loading = forks.Loading()
    with loading.of("sys"):
        assert not loading._lock._is_owned()
    with loading.of("no_such_module_as_this"):
        assert loading._lock._is_owned()
    assert not loading._lock._is_owned()
