"""More labelled workloads, written after the engine was frozen and run once: nothing can have been fitted to them.

The same rules as in `benchmarks.cases.workloads`: label, kind, onset, and sizes and periods that vary by seed.  They
keep to a registry of their own, so that the halves of the first collection stay as they are.
"""

from __future__ import annotations

import array
import collections
import ctypes
import functools
import json
import random
import re
import threading
import weakref

from .workloads import WORKLOADS, W, fresh

UNSEEN = {}


def make_any(name, seed=0):
    """A workload of either collection."""
    return (UNSEEN.get(name) or WORKLOADS[name])(seed)


def reg(label, kind="", rate=(0, 0), hard=False):
    def deco(cls):
        cls.label, cls.kind, cls.onset0, cls.rate, cls.hard = label, kind, 0, rate, hard
        cls.name = cls.__name__
        UNSEEN[cls.__name__] = cls
        return cls

    return deco


class Job:
    def __init__(self, number):
        self.number = number

    def done(self):
        return self.number


# ------------------------------------------------------------------ leaks
@reg(1, "python")
class unseen_leak_bound_methods(W):
    """Every third request leaves its handler registered."""

    def setup(self):
        self.handlers = []

    def step(self, i):
        job = Job(i)
        if i % 3 == 0:
            self.handlers.append(job.done)


@reg(1, "python")
class unseen_leak_pending(W):
    """One answer in twenty never comes, and its request stays in the table of those waited for."""

    def setup(self):
        self.pending = {}
        self.order = collections.deque()

    def step(self, i):
        self.pending[i] = [i, str(i)]
        if self.r.random() >= 0.05:
            self.order.append(i)
        if len(self.order) > 50:
            self.pending.pop(self.order.popleft())


@reg(1, "native")
class unseen_leak_strings_in_c(W):
    def setup(self):
        libc = ctypes.CDLL(None)
        self.copy = libc.strdup
        self.copy.restype = ctypes.c_void_p
        self.copy.argtypes = [ctypes.c_char_p]

    def step(self, i):
        if i % 4 == 1:
            self.copy(b"x" * self.r.randrange(20, 200))


@reg(1, "container")
class unseen_leak_byte_log(W):
    def setup(self):
        self.log = bytearray()

    def step(self, i):
        self.log += b"%010d: something happened here\n" % i


@reg(1, "container")
class unseen_leak_numbers(W):
    def setup(self):
        self.values = array.array("d")

    def step(self, i):
        self.values.append(i * 0.5)
        self.values.append(i * 0.25)


@reg(1, "python")
class unseen_leak_behind_lru(W):
    def setup(self):
        self.f = functools.lru_cache(maxsize=self.j(1500))(lambda k: [k])
        self.kept = []

    def step(self, i):
        self.f(i * 7919)
        if i % 5 == 2:
            self.kept.append((i, float(i)))


@reg(1, "python")
class unseen_leak_of_all_sizes(W):
    def setup(self):
        self.kept = []
        self.p = self.j(30) / 100

    def step(self, i):
        body = fresh(self.r.randrange(34, 3000), i)
        if self.r.random() < self.p:
            self.kept.append(body)


@reg(1, "python")
class unseen_leak_generators(W):
    def setup(self):
        self.running = []

    def step(self, i):
        def numbers():
            yield i
            yield i + 1

        one = numbers()
        next(one)
        if i % 10 == 3:
            self.running.append(one)


@reg(1, "python")
class unseen_leak_beside_loading(W):
    """A table is loaded once, and one call in twenty leaves a string behind."""

    def setup(self):
        self.at = self.j(1200)
        self.kept = []

    def step(self, i):
        if i == self.at:
            self.table = [fresh(80, k) for k in range(15_000)]
        if i % 20 == 11:
            self.kept.append("entry %d" % i)


@reg(1, "python")
class unseen_leak_with_churn(W):
    """A tenth of what is parsed is kept by mistake, while a pool of documents is replaced at random."""

    def setup(self):
        self.pool = [None] * self.j(200)
        self.kept = []

    def step(self, i):
        document = json.loads('{"id": %d, "tags": ["a", "b"], "value": %f}' % (i + 1000, self.r.random()))
        self.pool[self.r.randrange(len(self.pool))] = document
        if i % 10 == 0:
            self.kept.append(document["value"])


# ------------------------------------------------------------------ clean
@reg(0)
class unseen_clean_half_evicted(W):
    """A dict that is halved at random when it is full."""

    def setup(self):
        self.d = {}
        self.cap = self.j(2500)

    def step(self, i):
        self.d[i] = [i]
        if len(self.d) >= self.cap:
            for key in self.r.sample(sorted(self.d), self.cap // 2):
                del self.d[key]


@reg(0)
class unseen_clean_words(W):
    """The vocabulary of a text: new words become rare, about as a power of its length."""

    def setup(self):
        self.words = {}
        self.size = self.j(15_000)

    def step(self, i):
        for _ in range(3):
            word = int(self.size ** self.r.random())
            self.words.setdefault(word, "word %d" % word)


@reg(0)
class unseen_clean_ring(W):
    def setup(self):
        self.ring = array.array("d", bytes(8 * self.j(5000)))

    def step(self, i):
        self.ring[i % len(self.ring)] = i * 0.5


@reg(0)
class unseen_clean_bursts(W):
    """A queue that fills in bursts and is worked off."""

    def setup(self):
        self.queue = collections.deque()

    def step(self, i):
        if self.r.random() < 0.004:
            self.queue.extend([i, k] for k in range(self.j(300)))
        for _ in range(min(4, len(self.queue))):
            self.queue.popleft()


@reg(0)
class unseen_clean_weak(W):
    def setup(self):
        self.known = weakref.WeakValueDictionary()
        self.recent = collections.deque(maxlen=self.j(800))

    def step(self, i):
        job = Job(i)
        self.known[i] = job
        self.recent.append(job)


@reg(0)
class unseen_clean_json(W):
    def step(self, i):
        json.loads(json.dumps({"id": i, "tags": [str(k) for k in range(self.r.randrange(40))], "at": self.r.random()}))


@reg(0)
class unseen_clean_patterns(W):
    """More patterns than `re` caches."""

    def setup(self):
        self.n = self.j(700)

    def step(self, i):
        if i % 8 == 0:
            re.compile(r"a%d[bc]+" % self.r.randrange(self.n))


@reg(0)
class unseen_clean_threads(W):
    def step(self, i):
        if i % 50 == 0:
            thread = threading.Thread(target=str, args=(i,))
            thread.start()
            thread.join()


@reg(0)
class unseen_clean_sorting(W):
    def setup(self):
        self.values = [random.Random(1).random() for _ in range(self.j(400))]

    def step(self, i):
        self.values[i % len(self.values)] = self.r.random()
        sorted(self.values)


@reg(0)
class unseen_clean_memo_by_user(W):
    """Sessions of a fixed number of users: a dict each, filled as they come back, emptied when they leave."""

    def setup(self):
        self.users = [{} for _ in range(self.j(60))]

    def step(self, i):
        user = self.users[self.r.randrange(len(self.users))]
        user[i] = str(i)
        if len(user) > 30 and self.r.random() < 0.1:
            user.clear()
