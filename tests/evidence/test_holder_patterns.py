"""The table of ways to be held: for each the exact path that a report names."""

import asyncio
import atexit
import collections
import contextvars
import ctypes
import dataclasses
import functools
import gc
import logging
import queue
import signal
import sys
import threading
import types
import weakref

import pytest

from meminstr.evidence.holders import find_holders

NAME = "shop"  # the module that the patterns are built in


class Held:
    pass


class Box:
    def __init__(self, item=None):
        self.item = item

    def method(self, *args):
        return self.item


class Slotted:
    __slots__ = ("item", "other")


class Bus:
    def __init__(self):
        self._listeners = []


class Event:
    def __init__(self, callback):
        self.callback = callback


@dataclasses.dataclass
class Row:
    value: object


Point = collections.namedtuple("Point", "left right")


def module_dict(m):
    m.sessions = {1001: Held()}


def module_dict_word(m):
    m.handlers = {"controller": Held()}


def module_variable(m):
    m.last = Held()


def user_key(m):
    m.by_name = {"".join(["al", "ice", str(1)]): Held()}


def dict_key(m):
    m.seen = {Held(): 1}


def module_list(m):
    m.items = [Held() for _ in range(20)]


def nested_lists(m):
    m.rows = [[Held()], [Held()]]


def module_set(m):
    m.alive = {Held()}


def class_attribute(m):
    m.Registry = type("Registry", (), {"__module__": NAME, "entries": [Held()]})


def metaclass_registry(m):
    meta = type("Meta", (type,), {"__module__": NAME})
    meta.registry = {}
    m.Meta = meta
    meta.registry["plugin"] = Held()


def singleton(m):
    m.Single = type("Single", (), {"__module__": NAME})
    m.Single._instance = Box(Held())


def closure(m):
    def make(controller):
        return lambda: controller

    m.callback = make(Held())


def listener_closure(m):
    def make(controller):
        return lambda: controller

    m.bus = Bus()
    for _ in range(30):
        m.bus._listeners.append(Event(make(Held())))


def bound_method(m):
    m.on_event = Box(Held()).method


def bound_method_of_suspect(m):
    class Listener(Held):
        def hear(self):
            pass

    m.hooks = [Listener().hear]
    return m.hooks[0].__self__


def partial_function(m):
    m.task = functools.partial(print, 1, Held())


def partial_keyword(m):
    m.task = functools.partial(print, sep=Held())


def default_argument(m):
    def handler(item=Held()):
        return item

    handler.__qualname__ = "outer.<locals>.handler"
    m.handler = handler


def lru_cache_result(m):
    @functools.lru_cache(maxsize=100)
    def load(key):
        return Held()

    m.load = load
    load(1)


def lru_cache_unbounded(m):
    m.load = functools.lru_cache(maxsize=None)(lambda key: Held())
    m.load(3)


def lru_cache_on_method(m):
    class Model(Held):
        @functools.lru_cache(maxsize=100)
        def embed(self, text):
            return 1

    Model.__module__, Model.__qualname__ = NAME, "Model"
    m.Model = Model
    found = Model()
    found.embed("a")
    return found


def cached_property(m):
    class Page:
        @functools.cached_property
        def body(self):
            return Held()

    m.page = Page()
    m.page.body


def exception_traceback(m):
    def fail():
        big = Held()
        raise ValueError(str(type(big)))

    def call():
        fail()

    try:
        call()
    except ValueError as error:
        m.last_error = error


def exception_cause(m):
    error = ValueError()
    error.__cause__ = KeyError()
    error.__cause__.payload = Held()
    m.last_error = error


def generator(m):
    def stream():
        chunk = Held()
        yield 1
        del chunk

    m.streams = [stream()]
    next(m.streams[0])


def coroutine(m):
    async def worker():
        session = Held()
        await m.forever
        del session

    m.forever = types.coroutine(lambda: (yield))()
    m.job = worker()
    m.job.send(None)


def async_generator(m):
    async def events():
        session = Held()
        yield 1
        del session

    m.source = events()
    with pytest.raises(StopIteration):
        m.source.asend(None).send(None)


def thread_local(m):
    m.local = threading.local()
    m.local.session = Held()


def context_variable(m):
    m.request = contextvars.ContextVar("request")
    m.token_of = m.request.set(Held())


def stored_context(m):
    m.request = contextvars.ContextVar("request")
    m.context = contextvars.Context()
    m.context.run(m.request.set, Held())


def weak_callback_trap(m):
    m.owner = Box()
    m.reference = weakref.ref(m.owner, Box(Held()).method)


def resurrected_by_del(m):
    class Phoenix(Held):
        def __del__(self):
            m.graveyard.append(self)

    m.graveyard = []
    one, two = Phoenix(), Phoenix()
    one.other, two.other = two, one
    del one, two
    gc.collect()


def event_listener_method(m):
    m.bus = Bus()
    for _ in range(3):
        m.bus._listeners.append(Box(Held()).method)


def identity_map(m):
    m.Session = type("Session", (), {"__module__": NAME})
    m.session = m.Session()
    m.session.identity_map = {("user", number): Held() for number in range(5)}


def deque_of(m):
    m.recent = collections.deque([Held()], maxlen=10)


def queue_of(m):
    m.jobs = queue.Queue()
    m.jobs.put(Held())


def default_dict(m):
    m.groups = collections.defaultdict(list)
    m.groups[5].append(Held())


def ordered_dict(m):
    m.order = collections.OrderedDict()
    m.order[5] = Held()


def named_tuple(m):
    m.pairs = [Point(None, Held())]


def slots(m):
    m.cell = Slotted()
    m.cell.item = Held()


def data_class(m):
    m.row = Row(Held())


def set_from_outside(m):
    m.box = Box()
    m.box.attached = Held()


def proxy(m):
    import wrapt

    m.proxied = wrapt.ObjectProxy(Box(Held()))


def ctypes_callback(m):
    m.native = ctypes.CFUNCTYPE(None)(Box(Held()).method)


def property_object(m):
    def make(item):
        return lambda self: item

    m.Shop = type("Shop", (), {"__module__": NAME, "size": property(make(Held()))})


def weak_key_dictionary(m):
    m.owner = Box()
    m.notes = weakref.WeakKeyDictionary({m.owner: Held()})


def linked_list(m):
    class Node:
        def __init__(self, following):
            self.following = following

    node = Node(Held())
    for _ in range(9):
        node = Node(node)
    m.head = node


def inline_dict_attribute(m):
    m.box = Box({1: Held()})


def static_method_closure(m):
    def make(item):
        return staticmethod(lambda: item)

    m.Tool = type("Tool", (), {"__module__": NAME, "run": make(Held())})


def subclassed_list(m):
    class Basket(list):
        pass

    m.basket = Basket([Held()])
    m.basket.owner = 1


def memory_handler(m):
    from logging.handlers import MemoryHandler

    m.handler = MemoryHandler(10)
    m.handler.buffer.append(logging.LogRecord("a", 10, "f", 1, "m", (Held(),), None))


def iterator_of(m):
    m.cursor = iter([Held(), 2])


PATTERNS = {
    module_dict: "shop.sessions[*]",
    module_dict_word: "shop.handlers['controller']",
    module_variable: "shop.last",
    user_key: "shop.by_name[*]",
    dict_key: "shop.seen.keys()[*]",
    module_list: "shop.items[*]",
    nested_lists: "shop.rows[*][*]",
    module_set: "shop.alive{*}",
    class_attribute: "shop.Registry.entries[*]",
    metaclass_registry: "shop.Meta.registry['plugin']",
    singleton: "shop.Single._instance.item",
    closure: "shop.callback.__closure__['controller']",
    listener_closure: "shop.bus._listeners[*].callback.__closure__['controller']",
    bound_method: "shop.on_event.__self__.item",
    bound_method_of_suspect: "shop.hooks[*].__self__",
    partial_function: "shop.task.args[*]",
    partial_keyword: "shop.task.keywords['sep']",
    default_argument: "shop.handler.__defaults__[*]",
    lru_cache_result: "shop.load.<lru_cache>[*]",
    lru_cache_unbounded: "shop.load.<lru_cache>[*]",
    lru_cache_on_method: "shop.Model.embed.<lru_cache arguments>[*]",
    cached_property: "shop.page.body",
    exception_traceback: "shop.last_error.__traceback__.<frame exception_traceback.<locals>.fail>.big",
    exception_cause: "shop.last_error.__cause__.payload",
    generator: "shop.streams[*].<generator generator.<locals>.stream>.chunk",
    coroutine: "shop.job.<coroutine coroutine.<locals>.worker>.session",
    async_generator: "shop.source.<async_generator async_generator.<locals>.events>.session",
    thread_local: "shop.local.session",
    context_variable: "<context>['request']",
    stored_context: "shop.context.<context>['request']",
    weak_callback_trap: "shop.reference.__callback__.__self__.item",
    resurrected_by_del: "shop.graveyard[*]",
    event_listener_method: "shop.bus._listeners[*].__self__.item",
    identity_map: "shop.session.identity_map[*]",
    deque_of: "shop.recent[*]",
    queue_of: "shop.jobs.queue[*]",
    default_dict: "shop.groups[*][*]",
    ordered_dict: "shop.order[*]",
    named_tuple: "shop.pairs[*].right",
    slots: "shop.cell.item",
    data_class: "shop.row.value",
    set_from_outside: "shop.box.attached",
    proxy: "shop.proxied.__wrapped__.item",
    ctypes_callback: "shop.native.<internal>.__self__.item",
    property_object: "shop.Shop.size.fget.__closure__['item']",
    weak_key_dictionary: "shop.notes.data[*]",
    linked_list: "shop.head.following…",
    inline_dict_attribute: "shop.box.item[*]",
    static_method_closure: "shop.Tool.run.__func__.__closure__['item']",
    subclassed_list: "shop.basket[*]",
    memory_handler: "shop.handler.buffer[*].args[*]",
    iterator_of: "shop.cursor.<internal>[*]",
}


@pytest.fixture
def shop():
    module = types.ModuleType(NAME)
    sys.modules[NAME] = module
    yield module
    del sys.modules[NAME]
    job = vars(module).pop("job", None)
    if job is not None:
        job.close()
        module.forever.close()
    if "token_of" in vars(module):
        module.request.reset(module.token_of)
    vars(module).clear()
    del module
    gc.collect()


def find(cls=Held):
    return find_holders([o for o in gc.get_objects() if issubclass(type(o), cls)], budget_seconds=60)


def find_one():
    holding = find()
    assert len(holding.groups) == 1, [g.path for g in holding.groups]
    return holding.groups[0]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda f: f.__name__)
def test_the_exact_path_is_named(pattern, shop):
    gc.collect()
    pattern(shop)
    holding = find()
    assert [group.path for group in holding.groups] == [PATTERNS[pattern]]
    assert holding.complete
    assert holding.note is None
    assert holding.groups[0].fingerprint
    assert holding.groups[0].suspect in holding.groups[0].path


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
    assert "never forgets a logger" in group.library


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
    assert group.path == "<outside Python: test_holder_patterns.Box>.item"


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
