"""Roots other than a module: threads, tasks, frames, handlers, tracebacks, C code."""

import asyncio
import atexit
import ctypes
import gc
import logging
import signal
import sys
import threading
import types
import weakref

import pytest
from holder_looks import find, find_one
from holder_patterns import class_attribute
from holder_shapes import Box, Held

from meminstr.evidence import holders
from meminstr.evidence.holders import find_holders


def test_module_globals_by_two_names_are_told_by_the_home_of_the_class(shop):
    other = types.ModuleType("aaa_importer")
    sys.modules["aaa_importer"] = other
    try:
        class_attribute(shop)
        other.Registry = shop.Registry
        assert [g.path for g in find().groups] == ["shop.Registry.entries[*]"]
        assert find().groups[0].root == "class"
    finally:
        del sys.modules["aaa_importer"]


def test_task_set(shop):
    async def worker():
        session = Held()
        await asyncio.Event().wait()
        del session

    async def main():
        shop.tasks = {asyncio.create_task(worker()) for _ in range(4)}
        await asyncio.sleep(0)
        found = find()
        for task in shop.tasks:
            task.cancel()
        await asyncio.gather(*shop.tasks, return_exceptions=True)
        return found

    (group,) = asyncio.run(main()).groups
    assert group.path == "shop.tasks{*}.<coroutine test_task_set.<locals>.worker>.session"
    assert group.count == 4
    assert group.suspect == "tasks{*}"


def test_a_task_that_only_the_loop_knows_is_named_by_its_coroutine():
    async def worker(gate):
        session = Held()
        await gate.wait()
        del session

    async def main():
        gate = asyncio.Event()
        task = asyncio.create_task(worker(gate))
        reference = weakref.ref(task)
        del task
        await asyncio.sleep(0)
        found = find()
        gate.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert reference() is None
        return found

    (group,) = asyncio.run(main()).groups
    assert group.path.endswith(
        "<coroutine test_a_task_that_only_the_loop_knows_is_named_by_its_coroutine.<locals>.worker>.session"
    )


def in_thread(target, *args):
    started, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=target, args=(started, stop, *args))
    thread.start()
    started.wait(10)
    return thread, stop


def test_thread_target_and_arguments():
    class Job(Held):
        def run_it(self, started, stop):
            del self
            started.set()
            stop.wait(10)

    thread, stop = in_thread(Job().run_it)
    try:
        group = find_one()
    finally:
        stop.set()
        thread.join()
    assert group.root == "thread"
    assert group.path == "<Thread run_it>._target.__self__"


def test_local_of_a_running_frame_in_another_thread():
    def work(started, stop):
        session = Held()
        started.set()
        stop.wait(10)
        del session

    thread, stop = in_thread(work)
    try:
        group = find_one()
    finally:
        stop.set()
        thread.join()
    assert group.root == "frame"
    assert group.path == "<frame test_local_of_a_running_frame_in_another_thread.<locals>.work>.session"


def test_thread_local_of_another_thread(shop):
    shop.local = threading.local()

    def work(started, stop):
        shop.local.session = Held()
        started.set()
        stop.wait(10)

    thread, stop = in_thread(work)
    try:
        group = find_one()
    finally:
        stop.set()
        thread.join()
    assert group.path == "shop.local.session"


def test_local_of_a_running_frame():
    session = Held()
    group = find_one()
    assert group.path == "<frame test_local_of_a_running_frame>.session"
    assert session


def test_atexit_handler():
    method = Box(Held()).method
    atexit.register(method)
    reference = weakref.ref(method.__self__)
    try:
        del method
        group = find_one()
    finally:
        atexit.unregister(reference().method)
    assert group.path == "atexit.<handlers>[*].__self__.item"


def test_all_that_atexit_holds_is_found_once_one_of_it_is(monkeypatch):
    owners = [Box(Held()) for _ in range(60)]
    methods = [owner.method for owner in owners]
    for method in methods:
        atexit.register(method)
    references = [weakref.ref(owner) for owner in owners]
    walks = []

    class Counted(holders.BackwardWalk):
        def run(self, suspects):
            walks.append(len(suspects))
            super().run(suspects)

    monkeypatch.setattr(holders, "BackwardWalk", Counted)
    try:
        owners.clear()
        methods.clear()
        del method
        group = find_one()
    finally:
        for reference in references:
            atexit.unregister(reference().method)
    assert (group.path, group.count) == ("atexit.<handlers>[*].__self__.item", 60)
    assert len(walks) == 1


def test_signal_handler():
    before = signal.signal(signal.SIGUSR1, Box(Held()).method)
    try:
        group = find_one()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert group.root == "signal"
    assert group.path == "signal.getsignal(SIGUSR1).__self__.item"


def test_import_hook():
    sys.meta_path.append(Box(Held()))
    try:
        group = find_one()
    finally:
        sys.meta_path.pop()
    assert group.path == "sys.meta_path[*].item"


def test_logging_handler():
    handler = logging.NullHandler()
    handler.sink = Held()
    logger = logging.getLogger("meminstr-test-holder")
    logger.addHandler(handler)
    del handler, logger
    try:
        group = find_one()
    finally:
        logging.getLogger("meminstr-test-holder").handlers.clear()
    assert group.path == "logging.Logger.manager.loggerDict[*].handlers[*].sink"
    assert "until removeHandler()" in group.library


def test_numpy_object_array(shop):
    numpy = pytest.importorskip("numpy")
    shop.frame = Box(numpy.array([Held(), Held(), None], dtype=object))
    group = find_one()
    assert (group.path, group.count) == ("shop.frame.item[*]", 2)


def test_held_from_outside_python():
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(box := Box(Held())))
    address = id(box)
    del box
    try:
        group = find_one()
    finally:
        box = ctypes.cast(address, ctypes.py_object).value
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(box))
    assert group.root == "outside"
    assert group.path == "<outside Python: holder_shapes.Box>.item"


def test_a_cycle_that_waits_for_the_collector_is_said_to_be_one():
    gc.disable()
    try:
        one, two = Held(), Held()
        one.other, two.other = two, one
        del one, two
        groups = find().groups
    finally:
        gc.enable()
        gc.collect()
    assert {group.root for group in groups} == {"cycle"}


def test_the_stored_traceback_of_an_exception_nobody_names():
    def fail():
        big = Held()
        raise ValueError(str(type(big)))

    try:
        fail()
    except ValueError:
        group = find_one()
    assert group.root == "traceback"
    assert group.path.endswith(".<frame test_the_stored_traceback_of_an_exception_nobody_names.<locals>.fail>.big")


def test_untracked_objects_are_found_through_their_owner(shop):
    text = "".join(["un", "tracked", " text"])
    shop.names = {7: text}
    shop.box = Box((1.5, text))
    holding = find_holders([text], exclude=[], budget_seconds=60)
    assert next(g.path for g in holding.groups) in (
        "shop.names[*]",
        "<frame test_untracked_objects_are_found_through_their_owner>.text",
    )
