"""Ways to be held: each function puts a `Held` into a module in its way.  The table is in the test file."""

import collections
import contextvars
import ctypes
import functools
import gc
import logging
import queue
import threading
import types
import weakref

import pytest
from holder_shapes import Box, Bus, Event, Held, Point, Row, Slotted

NAME = "shop"  # the module that the patterns are built in


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
