"""Labelled functions as a test calls them: what test-mode checkers are asked about, beside the long-running workloads.

The same rules as in `benchmarks.cases.workloads`: a label, a kind, and sizes and rates that vary by seed.  The leaks
are of one object a call, one in ten, one in a hundred, of native memory, mappings, descriptors and threads; what does
not leak is what tests do all day: caches that fill, lazy imports, cycles, files, threads that end, large results.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import ctypes
import datetime
import decimal
import functools
import io
import json
import logging
import mmap
import os
import socket
import sqlite3
import string
import tempfile
import threading
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor

from .workloads import W, fresh

TESTED = {}


def reg(label, kind=""):
    def deco(cls):
        cls.label, cls.kind, cls.onset0, cls.rate, cls.hard = label, kind, 0, (0, 0), False
        cls.name = cls.__name__
        TESTED[cls.__name__] = cls
        return cls

    return deco


def _libc():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    return libc


class Thing:
    def __init__(self, of=None):
        self.of = of


class _Kept(W):
    def setup(self):
        self.kept = []


# ------------------------------------------------------------------ leaks
@reg(1, "python")
class tested_leak_object(_Kept):
    def step(self, i):
        self.kept.append(object())


@reg(1, "python")
class tested_leak_one_in_ten(_Kept):
    def step(self, i):
        if self.r.random() < 0.1:
            self.kept.append(Thing(i))


@reg(1, "python")
class tested_leak_one_in_hundred(_Kept):
    def step(self, i):
        if self.r.random() < 0.01:
            self.kept.append(Thing(i))


@reg(1, "python")
class tested_leak_every_hundredth(_Kept):
    def setup(self):
        super().setup()
        self.at = self.r.randrange(100)

    def step(self, i):
        if i % 100 == self.at:
            self.kept.append(object())


@reg(1, "python")
class tested_leak_one_in_thirty_with_churn(_Kept):
    def setup(self):
        super().setup()
        self.pool = [None] * self.j(100)

    def step(self, i):
        self.pool[self.r.randrange(len(self.pool))] = fresh(self.r.randrange(34, 900), i)
        if self.r.random() < 0.033:
            self.kept.append([i])


@reg(1, "native")
class tested_leak_native_16(W):
    def setup(self):
        self.malloc = _libc().malloc

    def step(self, i):
        self.malloc(16)


@reg(1, "native")
class tested_leak_native_one_in_ten(W):
    def setup(self):
        self.malloc, self.size = _libc().malloc, self.j(300)

    def step(self, i):
        if self.r.random() < 0.1:
            self.malloc(self.size)


@reg(1, "native")
class tested_leak_native_large(W):
    """Above the size from which malloc maps by itself."""

    def setup(self):
        self.malloc = _libc().malloc

    def step(self, i):
        if i % 5 == 0:
            self.malloc(200_000)


@reg(1, "mapping")
class tested_leak_mapping(W):
    def setup(self):
        self.mmap = _libc().mmap

    def step(self, i):
        address = self.mmap(None, 4096, 3, 0x22, -1, 0)
        ctypes.memset(address, 1, 64)


@reg(1, "mapping")
class tested_leak_mapping_one_in_ten(W):
    def setup(self):
        self.mmap = _libc().mmap

    def step(self, i):
        if self.r.random() < 0.1:
            ctypes.memset(self.mmap(None, 64 * 1024, 3, 0x22, -1, 0), 1, 64 * 1024)


@reg(1, "mapping")
class tested_leak_mapped_file(_Kept):
    def step(self, i):
        if i % 4 == 0:
            self.kept.append(mmap.mmap(-1, 8192))


@reg(1, "descriptors")
class tested_leak_descriptor(W):
    def setup(self):
        self.end = socket.socket()

    def step(self, i):
        os.dup(self.end.fileno())


@reg(1, "descriptors")
class tested_leak_descriptor_one_in_ten(W):
    def setup(self):
        self.at = self.r.randrange(10)

    def step(self, i):
        if i % 10 == self.at:
            os.open(os.devnull, os.O_RDONLY)


@reg(1, "threads")
class tested_leak_thread(W):
    def setup(self):
        self.stop = threading.Event()

    def step(self, i):
        threading.Thread(target=self.stop.wait, daemon=True).start()


@reg(1, "python")
class tested_leak_lru_on_method(W):
    def setup(self):
        class Service:
            @functools.cache  # noqa: B019 - the leak
            def answer(self, n):
                return n + 1

        self.cls = Service

    def step(self, i):
        self.cls().answer(i)


@reg(1, "python")
class tested_leak_behind_small_cache(_Kept):
    def setup(self):
        super().setup()
        self.cache, self.most = {}, self.j(300)

    def step(self, i):
        if len(self.cache) < self.most:
            self.cache[i] = [i, str(i)]
        if self.r.random() < 0.2:
            self.kept.append(str(i))


@reg(1, "python")
class tested_leak_exceptions(_Kept):
    def step(self, i):
        try:
            int("x" * (i % 5 + 1))
        except ValueError as error:
            self.kept.append(error)


@reg(1, "python")
class tested_leak_classes(_Kept):
    def step(self, i):
        if i % 7 == 0:
            self.kept.append(type("Made", (), {"n": i}))


@reg(1, "python")
class tested_leak_log_handlers(W):
    def setup(self):
        self.logger = logging.Logger("leaky")

    def step(self, i):
        self.logger.addHandler(logging.NullHandler())


@reg(1, "python")
class tested_leak_callbacks_of_references(_Kept):
    """The references are kept, what they refer to is not."""

    def step(self, i):
        self.kept.append(weakref.ref(Thing(i)))


@reg(1, "container")
class tested_leak_text_log(W):
    def setup(self):
        self.log = io.StringIO()

    def step(self, i):
        self.log.write(f"{i}: it happened again\n")


@reg(1, "python")
class tested_leak_event_loop(_Kept):
    """A slow function: a millisecond a call."""

    def step(self, i):
        async def main():
            await asyncio.sleep(0)
            self.kept.append(Thing(i))

        asyncio.run(main())


# ------------------------------------------------------------------ clean
@reg(0)
class tested_clean_lru(W):
    def setup(self):
        self.f = functools.lru_cache(maxsize=self.j(128))(lambda k: [k])

    def step(self, i):
        self.f(i)


@reg(0)
class tested_clean_lru_that_fills(W):
    def setup(self):
        self.f = functools.lru_cache(maxsize=self.j(5000))(lambda k: (k, [k]))

    def step(self, i):
        self.f(i)


@reg(0)
class tested_clean_plain_cache(W):
    """A dict that ends at a few hundred keys, by what it is asked."""

    def setup(self):
        self.cache, self.keys = {}, self.j(300)

    def step(self, i):
        key = self.r.randrange(self.keys)
        self.cache.setdefault(key, [key, str(key)])


@reg(0)
class tested_clean_cycles(W):
    def step(self, i):
        one = Thing()
        one.of = Thing(one)


@reg(0)
class tested_clean_exception_cycle(W):
    def step(self, i):
        try:
            raise KeyError(i)
        except KeyError as error:
            self_and_traceback = error
        _ = self_and_traceback


@reg(0)
class tested_clean_lazy_import(W):
    def setup(self):
        self.at = self.j(60)

    def step(self, i):
        if i == self.at:
            import csv
            import difflib
            import xml.dom.minidom


@reg(0)
class tested_clean_late_table(W):
    def setup(self):
        self.at, self.table = self.j(400), None

    def step(self, i):
        if i == self.at:
            self.table = {n: str(n) for n in range(5000)}


@reg(0)
class tested_clean_warm_up(W):
    def setup(self):
        self.known, self.first = [], self.j(200)

    def step(self, i):
        if i < self.first:
            self.known.append([i, str(i)])


@reg(0)
class tested_clean_thread(W):
    def step(self, i):
        thread = threading.Thread(target=str, args=(i,))
        thread.start()
        thread.join()


@reg(0)
class tested_clean_thread_pool(W):
    def step(self, i):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(str, range(4)))


@reg(0)
class tested_clean_file(W):
    def setup(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "file")

    def step(self, i):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(string.ascii_letters * (i % 7))
        with open(self.path, encoding="utf-8") as file:
            file.read()


@reg(0)
class tested_clean_sockets(W):
    def step(self, i):
        one, two = socket.socketpair()
        one.send(b"x")
        two.recv(1)
        one.close()
        two.close()


@reg(0)
class tested_clean_database(W):
    def step(self, i):
        connection = sqlite3.connect(":memory:")
        connection.execute("create table t (n int)")
        connection.execute("insert into t values (?)", (i,))
        connection.close()


@reg(0)
class tested_clean_json(W):
    def step(self, i):
        json.loads(json.dumps({"n": i, "of": [str(k) for k in range(i % 30)]}))


@reg(0)
class tested_clean_large_result(W):
    def step(self, i):
        return bytearray((3 << 20) + i % 5000)


@reg(0)
class tested_clean_event_loop(W):
    def step(self, i):
        asyncio.run(asyncio.sleep(0))


@reg(0)
class tested_clean_ring(W):
    def setup(self):
        self.recent = collections.deque(maxlen=self.j(50))

    def step(self, i):
        self.recent.append([i, str(i)])


@reg(0)
class tested_clean_last_ten(W):
    def setup(self):
        self.recent = []

    def step(self, i):
        self.recent.append(fresh(200, i))
        if len(self.recent) > 10:
            del self.recent[:]


@reg(0)
class tested_clean_pool_at_random(W):
    def setup(self):
        self.pool = [b""] * self.j(60)

    def step(self, i):
        self.pool[self.r.randrange(len(self.pool))] = fresh(self.r.randrange(34, 5000), i)


@reg(0)
class tested_clean_numpy(W):
    def setup(self):
        import numpy

        self.numpy = numpy

    def step(self, i):
        one = self.numpy.arange(1000 + i % 50, dtype=float)
        (one * 2).sum()


@reg(0)
class tested_clean_classes(W):
    def step(self, i):
        type("Made", (), {"n": i})()


@reg(0)
class tested_clean_weak(W):
    def setup(self):
        self.known = weakref.WeakValueDictionary()

    def step(self, i):
        thing = Thing(i)
        self.known[i] = thing


@reg(0)
class tested_clean_compression(W):
    def step(self, i):
        zlib.decompress(zlib.compress(b"%d" % i * 500))


@reg(0)
class tested_clean_logging(W):
    def setup(self):
        self.logger = logging.Logger("clean")
        self.logger.addHandler(logging.StreamHandler(io.StringIO()))

    def step(self, i):
        self.logger.warning("number %d", i % 10)
        stream = self.logger.handlers[0].stream
        stream.seek(0)
        stream.truncate()


@reg(0)
class tested_clean_dates(W):
    def step(self, i):
        moment = datetime.datetime(2026, 1, 1) + datetime.timedelta(seconds=i)
        datetime.datetime.fromisoformat(moment.isoformat())
        decimal.Decimal(i).sqrt()


@reg(0)
class tested_clean_contexts(W):
    def setup(self):
        self.variable = contextvars.ContextVar("number")

    def step(self, i):
        contextvars.copy_context().run(self.variable.set, [i])


@reg(0)
class tested_clean_unfinished_generator(W):
    def step(self, i):
        def numbers():
            with tempfile.SpooledTemporaryFile():
                yield i

        next(numbers())


@reg(0)
class tested_clean_batches(W):
    """What is gathered is written out when there is enough of it."""

    def setup(self):
        self.rows, self.most = [], self.j(150)

    def step(self, i):
        self.rows.append((i, str(i)))
        if len(self.rows) >= self.most:
            self.rows.clear()
