"""Functions that the tests run in worker processes: a worker finds them by this module's name."""

from __future__ import annotations

import os

import numpy as np

from meminstr.decorators.limiting import memory_limited

limited = memory_limited(mb=300, mode="process")


@limited
def add(a, b):
    return a + b


@limited
def pid():
    return os.getpid()


@limited
def increment(array):
    array += 1
    return array


@limited
def hog(megabytes):
    return len(np.ones(megabytes << 17))


@limited
def hog_shared(megabytes):
    import mmap

    block = mmap.mmap(-1, megabytes << 20)
    for at in range(0, megabytes << 20, 4096):
        block[at] = 1


@limited
def fail(kind):
    if kind == "unpicklable":

        class Local(Exception):
            pass

        raise Local("only here")
    raise KeyError("from the worker")


@limited
def die(how):
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), 9)


@limited
def answer_unpicklable():
    return lambda: None


@limited
async def double(a):
    return a * 2


@limited
def nested(a):
    return add(a, 1), os.getpid()


class Owner:
    @limited
    def method(self, a):
        return a + 1

    @classmethod
    @limited
    def of_class(cls, a):
        return cls.__name__, a
