"""What happens at the edges: files that are missing, workers that do not start, handlers that fail."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import types

import limited_in_workers
import pytest

from meminstr.decorators.limiting import MemoryLimited, memory_limited
from meminstr.errors import MeminstrError, MemoryLimitExceeded, UsageError
from meminstr.faults import clear_faults, faults
from meminstr.limits import breach, interrupt, services, threads, transport, worker, workers
from meminstr.limits.admission import Admission
from meminstr.limits.call import Call
from meminstr.limits.guard import Guard
from meminstr.limits.isolated import Run
from meminstr.limits.relief import Relief
from meminstr.registry import ControllerMemoryTracker

MB = 1 << 20


# ------------------------------------------------------------ the record, with the real tracker


class Session:
    pass


def test_the_record_is_complete_and_travels_with_its_exception(world):
    tracker = ControllerMemoryTracker()
    tracker.follow(Session)
    kept = []
    try:

        @world.limited(tracker=tracker)
        def handle():
            kept.extend(Session() for _ in range(7))
            world.use(150)
            world.look()
            world.use(300)
            world.look()

        with pytest.raises(MemoryLimitExceeded) as caught:
            handle()
    finally:
        tracker.uninstall()
    record = caught.value.breach
    assert tracker.breaches == [record]
    assert record["grown_classes"] == {"Session": 7}
    assert record["grown_by_kind"] == {"anonymous": 200 * MB}
    missing = [key for key, value in record.items() if value is None and key != "note"]
    assert missing == []
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.breach == record
    assert str(again) == str(caught.value)

    from meminstr.reports.text import breach_line

    line = breach_line(record).replace("\xa0", " ")
    assert line.startswith("handle broke its memory limit: 300 MiB held, limit 200 MiB, passed by 100 MiB; noticed by")
    assert "; grown by 200 MiB anonymous; 7 Session more than before it; in " in line
    assert "the call was stopped" in line


def test_a_refused_allocation_is_told_with_its_line(world):
    @world.limited(mode="kernel")
    def call():
        raise MemoryError

    with pytest.raises(MemoryLimitExceeded) as caught:
        call()  # shorter than a reading is old, and complete nevertheless
    record = caught.value.breach
    assert "call (" in record["stack"][0]
    assert record["peak_bytes"] == 100 * MB
    assert record["action"] == "raised"
    assert breach.stack_of_error(None) == []


def test_what_is_not_known_of_memory_is_left_out(monkeypatch):
    monkeypatch.setattr("builtins.open", lambda *_: (_ for _ in ()).throw(OSError("no /proc")))
    assert breach.memory_kinds() == {}
    assert breach.grown({}, {"anonymous": 1}) is None


def test_the_stack_of_a_thread_that_is_gone_is_empty():
    assert breach.stack_of(0) == []


def test_notices_are_bounded_and_survive_a_broken_handler():
    clear_faults()
    now = [0.0]
    notices = breach.Notices(lambda: now[0])

    class Broken(logging.Handler):
        def emit(self, record):
            raise RuntimeError("broken handler")

    logger, handler = logging.getLogger("meminstr"), Broken()
    logger.addHandler(handler)
    try:
        for number in range(1005):
            notices.warn("event", f"subject {number}", "text", {})
    finally:
        logger.removeHandler(handler)
    assert len(notices._last) < 1002
    assert [f["where"] for f in faults()] == ["limit notice"]
    clear_faults()


# ------------------------------------------------------------ admission


def test_subjects_with_a_usual_peak_are_bounded():
    admission = Admission()
    for number in range(1005):
        admission.learn(str(number), 1)
    assert admission.usual_peak("0") is None
    assert admission.usual_peak("1004") == 1
    admission.release("never admitted")


def test_a_release_wakes_who_waits():
    admission = Admission()
    admission.learn("f", 60)
    assert admission.try_acquire("f", lambda: 100) is None
    waits = threading.Event()
    admitted = []

    def room():
        waits.set()
        return 100

    thread = threading.Thread(target=lambda: admitted.append(admission.acquire("f", room, 60.0)))
    thread.start()
    assert waits.wait(30)
    admission.release("f")
    thread.join()
    assert admitted == [None]


# ------------------------------------------------------------ steps, blocks, switches


def test_switched_off_hooks_do_nothing(world):
    guard = Guard(world.limited().limit, "call", world.services)
    assert guard.step(None) is None
    assert guard.leave(None) is None


def test_a_grant_that_still_holds_is_not_judged(world):
    world.watcher.running = lambda: True
    call = world.limited()(lambda: None)
    for _ in range(3):
        call()
    guard = call.__closure__[call.__code__.co_freevars.index("guard")].cell_contents
    before = guard.granted
    guard.promoted[sys._getframe()] = None
    guard.late(before)
    assert guard.granted is before
    guard.promoted.clear()


def test_a_record_that_cannot_be_written_in_full_is_raised_nevertheless(world):
    clear_faults()
    world.services.kinds = lambda: {"anonymous": 1}

    @world.limited(mode="check")
    def call():
        world.services.kinds = lambda: 1 / 0
        world.use(300)

    with pytest.raises(MemoryLimitExceeded):
        call()
    assert [f["where"] for f in faults()] == ["breach record"]
    clear_faults()


def test_room_that_was_taken_comes_back_when_the_start_fails(world):
    world.services.admission.learn("<lambda>", 10 * MB)
    call = world.limited(mode="check", wait=0)(lambda: None)
    world.use(300)
    world.services.admission._peaks.clear()
    with pytest.raises(MemoryLimitExceeded):
        call()
    assert world.services.admission.reserved_bytes() == 0


def test_a_property_without_a_getter_and_a_class_are_refused():
    with pytest.raises(UsageError):
        memory_limited(mb=1)(property())


def test_copies_by_value_rebuild_their_guard(world):
    guard = Guard(world.limited().limit, "call", world.services)
    again = pickle.loads(pickle.dumps(guard))
    assert (again.subject, again.limit) == ("call", guard.limit)
    assert isinstance(pickle.loads(pickle.dumps(world.limited())), MemoryLimited)


# ------------------------------------------------------------ the way into the main thread


def test_the_main_thread_does_what_another_asks_of_it():
    done = []
    thread = threading.Thread(target=lambda: interrupt.in_main_thread(lambda: done.append(threading.current_thread())))
    thread.start()
    thread.join()
    for _ in range(1000):
        if done:
            break
    assert done == [threading.main_thread()]


def test_what_fails_there_is_a_fault_of_ours():
    clear_faults()
    assert interrupt.in_main_thread(lambda: 1 / 0)
    for _ in range(1000):
        if faults():
            break
    assert [f["where"] for f in faults()] == ["in the main thread"]
    clear_faults()


def test_without_ctypes_there_is_no_such_way(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert not interrupt.in_main_thread(lambda: None)


def test_a_system_without_thread_signals_has_no_interruption(world, monkeypatch):
    monkeypatch.delattr(signal, "pthread_kill")
    assert not world.services.main_thread.acquire()

    @world.limited()
    def call():
        world.use(300)
        world.look()

    with pytest.raises(MemoryLimitExceeded) as caught:
        call()
    assert caught.value.breach["note"] == "could not be interrupted: no signal is free for it"


def test_a_system_without_real_time_signals_has_fewer_candidates(monkeypatch):
    for name in ("SIGRTMIN", "SIGRTMAX", "SIGURG"):
        monkeypatch.delattr(signal, name)
    assert interrupt.candidates() == []


def test_a_status_that_cannot_be_read_and_masks_that_cannot_be_asked(monkeypatch):
    monkeypatch.delattr(signal, "pthread_sigmask")
    assert interrupt.foreign_signals("/does/not/exist") == set()


def test_outside_the_main_thread_no_handler_can_be_set(world):
    got = []

    def acquire():
        got.append(world.services.main_thread.acquire())
        world.services.main_thread.release()

    thread = threading.Thread(target=acquire)
    thread.start()
    thread.join()
    assert got == [False]
    world.services.main_thread.release()  # one too many


def test_sending_fails_quietly(world, monkeypatch):
    main = world.services.main_thread
    assert not main.send()
    assert main.acquire()
    try:
        monkeypatch.setattr(signal, "pthread_kill", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        assert not main.send()
    finally:
        monkeypatch.undo()
        main.release()


def test_a_forked_thread_starts_without_the_parents_handler(world):
    main = world.services.main_thread
    assert main.acquire()
    main.after_fork(in_main=False)
    assert not main.acquire() or main.release() is None
    assert main.installed_signal is None or signal.getsignal(main.installed_signal) == main.handle
    signal.signal(signal.SIGURG, signal.SIG_DFL)


def test_a_loop_that_is_closed_cannot_cancel(world):
    loop = asyncio.new_event_loop()
    loop.close()
    fake = types.SimpleNamespace(loop=loop)
    assert not interrupt.cancel_task(fake)


def test_outside_a_loop_there_is_no_task():
    assert interrupt.running_task() == (None, None)


# ------------------------------------------------------------ asynchronous exceptions, without sending any


def test_a_thread_is_sent_one_at_most_and_takes_it_back(world, monkeypatch):
    sent = []
    monkeypatch.setattr(threads, "_set", lambda ident, raised: sent.append((ident, raised)) or True)
    guard = Guard(world.limited().limit, "call", world.services)
    call = Call(guard, world.services.readings.fresh(), 1, world.now, True)
    call.thread_id = threading.get_ident()
    assert not threads.raise_in_thread(call)  # neither armed nor in its own wrapper
    call.armed = call.in_own_wrapper = True
    assert guard.raise_in_thread(call)
    assert not threads.raise_in_thread(call)
    stopped = threads.ThreadStopped()
    assert stopped.call is call
    assert call.landed_at == world.now
    threads.disarm(call)
    threads.forget(call)
    threads.forget(call)
    assert sent == [(call.thread_id, True), (call.thread_id, False)]


def test_setting_one_for_a_thread_that_does_not_exist_says_so():
    assert not threads._set(0, True)
    assert not threads._set(0, False)


# ------------------------------------------------------------ relief, services


def test_relief_that_is_under_way_is_not_begun_again():
    relief = Relief(lambda: 0.0, collect=lambda: inner.append(relief.attempt()), trim=lambda: None)
    inner = []
    assert relief.attempt()
    assert inner == [False]
    relief.after_fork()


def test_a_forked_child_makes_its_services_usable(monkeypatch):
    clear_faults()
    services.process_services()
    services._after_fork_in_child()
    assert services.process_services().watcher.active == {}

    class Broken:
        def after_fork(self):
            raise RuntimeError("broken")

    monkeypatch.setattr(services, "_services", Broken())
    services._after_fork_in_child()
    assert [f["where"] for f in faults()] == ["limits after fork"]
    clear_faults()


# ------------------------------------------------------------ workers


def test_the_resident_set_of_another_process_without_proc(monkeypatch):
    import psutil

    expected = psutil.Process().memory_info().rss

    class Process:
        def __init__(self, pid):
            if pid != os.getpid():
                raise psutil.NoSuchProcess(pid)

        def memory_info(self):
            return types.SimpleNamespace(rss=expected)

    monkeypatch.setattr(psutil, "Process", Process)
    monkeypatch.setattr("builtins.open", lambda *_: (_ for _ in ()).throw(FileNotFoundError()))
    assert workers.resident_of(os.getpid()) is None  # with /proc there, it is gone
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert workers.resident_of(os.getpid()) == expected
    assert workers.resident_of(os.getpid() + 1) is None


def test_a_worker_that_answers_something_else_did_not_start(monkeypatch):
    ended = []

    def answer(channel):
        return ("error", "not today", "its traceback")

    monkeypatch.setattr(transport, "receive", answer)
    monkeypatch.setattr(workers.Worker, "kill", lambda self: (ended.append(self), workers.Worker.close(self)))
    with pytest.raises(MeminstrError, match="not today") as caught:
        workers.Worker()
    assert "its traceback" in str(caught.value.__cause__)
    assert len(ended) == 1


@pytest.mark.parametrize("error", [transport.Closed("gone"), TimeoutError("late"), KeyboardInterrupt()])
def test_a_worker_that_does_not_answer_is_ended(monkeypatch, error):
    def answer(channel):
        raise error

    monkeypatch.setattr(transport, "receive", answer)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else MeminstrError):
        workers.Worker()


def test_an_interpreter_that_cannot_start_leaves_no_socket(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: (_ for _ in ()).throw(OSError("no processes")))
    with pytest.raises(OSError, match="no processes"):
        workers.Worker()


class FakeWorker:
    def __init__(self, alive=True, ends=True):
        self.alive, self.closed, self.group = alive, 0, None
        self.channel = socket.socket()
        self.process = types.SimpleNamespace(pid=os.getpid(), returncode=None)

    def close(self):
        self.closed += 1
        self.channel.close()


def test_idle_workers_that_died_are_passed_over_and_surplus_ones_ended(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    pool = workers.Workers()
    good, dead, surplus = FakeWorker(), FakeWorker(alive=False), FakeWorker()
    for one in (good, dead, surplus):
        pool.give(one)
    assert surplus.closed == 1
    assert pool.take(lambda resident: True) is good
    assert dead.closed == 1
    pool.give(good)
    pool.after_fork()
    assert pool._idle == []
    assert good.process.returncode == 0


def test_a_forked_childs_pools_are_emptied():
    clear_faults()
    pool = workers.Workers()
    pool.give(FakeWorker())
    workers._after_fork()
    assert pool._idle == []
    pool._idle = None
    workers._after_fork()
    assert [f["where"] for f in faults()] == ["workers after fork"]
    pool._idle = []
    clear_faults()


def test_a_worker_that_does_not_end_is_killed():
    one = object.__new__(workers.Worker)
    log = []

    def wait(timeout=None):
        if timeout:
            raise subprocess.TimeoutExpired("worker", timeout)
        log.append("waited")

    one.process = types.SimpleNamespace(wait=wait, kill=lambda: log.append("killed"))
    one.channel = socket.socket()
    one.group = None
    one.close()
    assert log == ["killed", "waited"]


def test_cancelling_a_call_that_has_no_worker_yet(world):
    run = Run(Guard(world.limited().limit, "call", world.services), ("a", "b"), workers.Workers())
    run.cancel()
    assert run.cancelled


def test_inside_a_worker_calls_run_in_place(monkeypatch):
    monkeypatch.setattr(worker, "IN_WORKER", True)
    assert limited_in_workers.pid() == os.getpid()
    assert asyncio.run(limited_in_workers.double(4)) == 8


# the worker's own side, in this process: workers that are killed leave no measurement of coverage


def served(request):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport.send(ours, request)
        worker._serve(theirs)
        done = transport.receive(ours)
        return done, transport.receive(ours)


def test_a_worker_answers_with_result_and_peak():
    done, answer = served(transport.packed(("limited_in_workers", "Owner.of_class.__wrapped__", (int, 1), {}, 1 << 40)))
    assert done[0] == "done"
    assert done[1] > MB
    assert answer == ("result", ("int", 1))
    _, answer = served(transport.packed(("limited_in_workers", "double.__wrapped__", (21,), {}, 1 << 40)))
    assert answer == ("result", 42)


def test_a_worker_answers_with_the_error_or_what_stands_in_for_it():
    _, (kind, error, text) = served(transport.packed(("limited_in_workers", "fail.__wrapped__", ("k",), {}, 1 << 40)))
    assert (kind, type(error)) == ("error", KeyError)
    assert "from the worker" in text
    request = ("limited_in_workers", "fail.__wrapped__", ("unpicklable",), {}, 1 << 40)
    _, (kind, error, _) = served(transport.packed(request))
    assert type(error) is MeminstrError
    assert str(error).endswith("Local: only here")


def test_a_worker_says_when_it_cannot_read_its_call():
    _, (kind, error, _) = served((b"not a pickle", []))
    assert (kind, type(error)) == ("error", pickle.UnpicklingError)


def test_a_worker_without_the_kernels_limit_runs_without(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert worker._kernel_limits() is None
    _, answer = served(transport.packed(("limited_in_workers", "double.__wrapped__", (1,), {}, 1)))
    assert answer == ("result", 2)


def test_the_main_loop_of_a_worker(monkeypatch):
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(worker, "IN_WORKER", False)
    monkeypatch.setattr(worker, "_prepare", lambda preparation: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for message in ({}, ("limited_in_workers", "double.__wrapped__", (3,), {}, 1 << 40)):
        transport.send(ours, transport.packed(message))
    ours.shutdown(socket.SHUT_WR)
    worker.main(theirs.detach())
    assert transport.receive(ours)[0] == "ready"
    assert transport.receive(ours)[0] == "done"
    assert transport.receive(ours) == ("result", 6)
    ours.close()

    ours, theirs = socket.socketpair()
    monkeypatch.setattr(worker, "_prepare", lambda preparation: 1 / 0)
    transport.send(ours, transport.packed({}))
    worker.main(theirs.detach())
    assert transport.receive(ours)[0] == "error"
    ours.close()


# ------------------------------------------------------------ transport


def test_small_buffers_and_those_that_are_not_contiguous_travel_in_band():
    import numpy as np

    ours, theirs = socket.socketpair()
    with ours, theirs:
        for array in (np.arange(10), np.arange(1 << 12)[::2], np.ones((300, 300)).T):
            transport.send(ours, transport.packed(array))
            assert (transport.receive(theirs) == array).all()


def test_a_memory_file_that_cannot_be_made_or_does_not_come(monkeypatch):
    ours, theirs = socket.socketpair()
    message = (b"x", [memoryview(bytearray(1 << 17))])
    with ours, theirs:
        monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError("full")))
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="full"):
            transport.send(ours, message)
        assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.undo()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(transport._HEADER.pack(1, 1) + transport._SIZE.pack(1 << 17) + b"f")
        with pytest.raises(transport.Closed, match="no descriptor"):
            transport.receive(theirs)


def test_a_connection_that_is_reset_is_closed(monkeypatch):
    class Reset:
        def recv_into(self, view):
            raise ConnectionResetError("reset")

    with pytest.raises(transport.Closed, match="reset"):
        transport._exactly(Reset(), 4)


# ------------------------------------------------------------ the process after many breaches


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_after_many_breaches_another_packages_tests_pass_in_the_same_process():
    code = textwrap.dedent(
        """
        import os, sys, unittest
        from meminstr.decorators.limiting import memory_limited
        from meminstr.errors import MemoryLimitExceeded
        MB = 1 << 20
        @memory_limited(mb=2, of="call")
        def call():
            keep = []
            while len(keep) < 500:
                keep.append(os.urandom(MB))
        for _ in range(40):
            try:
                call()
            except MemoryLimitExceeded:
                continue
            sys.exit("returned normally")
        import json
        import email.message, queue, threading, signal
        class Usable(unittest.TestCase):
            def test_json(self):
                self.assertEqual(json.loads(json.dumps({"a": [1, 2.5, None]})), {"a": [1, 2.5, None]})
        names = []
        for name in ("test.test_textwrap", "test.test_heapq", "test.test_base64"):
            try:
                __import__(name)
                names.append(name)
            except ImportError:  # a Python without its own tests
                pass
        loader = unittest.defaultTestLoader
        suite = unittest.TestSuite([loader.loadTestsFromTestCase(Usable), loader.loadTestsFromNames(names)])
        result = unittest.TextTestRunner(stream=open(os.devnull, "w"), verbosity=0).run(suite)
        print(result.testsRun, result.wasSuccessful(), [str(f[0]) + f[1] for f in result.failures + result.errors])
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    ran, passed, failed = done.stdout.split(maxsplit=2)
    assert passed == "True", failed
    assert int(ran) >= 1
