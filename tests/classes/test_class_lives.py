"""Cleanups, failures, threads, forks, pickling by value, and the tracker's own size."""

import asyncio
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import weakref

import pytest

from meminstr.errors import UsageError
from meminstr.instrument import deaths
from meminstr.instrument.classes import follow_class
from meminstr.instrument.ledger import Ledger


@pytest.fixture
def ledger():
    made = Ledger()
    yield made
    made.undo()


def closing(name="close", base=object):
    def method(self, *args, fail=False):
        if fail:
            raise OSError("busy")
        return args

    method.__name__ = name
    return type("Closing", (base,), {"__init__": lambda self: None, name: method})


# -- cleanup ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cleanup", "close", "aclose", "shutdown", "dispose"])
def test_cleanup_is_found_and_counts_once_per_object(name, ledger):
    cls = closing(name)
    follower = follow_class(cls, ledger=ledger)
    assert follower.cleanup_names == (name,)
    a, b, c = cls(), cls(), cls()
    assert getattr(a, name)(1, 2) == (1, 2)
    getattr(a, name)()
    getattr(b, name)()
    with pytest.raises(OSError, match="busy"):
        getattr(c, name)(fail=True)
    counts = follower.counts()
    assert (counts.cleaned, counts.retained, counts.alive) == (2, 2, 3)
    assert follower.retained_objects() == [a, b]
    del a, c
    counts = follower.counts()
    assert (counts.cleaned, counts.retained, counts.alive, counts.died) == (2, 1, 1, 2)
    assert counts.died_without_cleanup == 1
    assert follower.live_objects() == [b]


def test_first_name_is_the_cleanup_and_leaving_a_with_block_counts(ledger):
    class Session:
        def cleanup(self): ...

        def close(self): ...

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            self.cleanup()
            return True

    follower = follow_class(Session, ledger=ledger)
    assert follower.cleanup_names == ("cleanup", "__exit__")
    with Session():
        raise KeyError("swallowed by __exit__")
    session = Session()
    session.close()
    assert follower.counts().cleaned == 1
    session.__exit__(None, None, None)
    assert (follower.counts().cleaned, follower.counts().retained) == (2, 1)


def test_close_and_aclose_go_together(ledger):
    class Client:
        def close(self): ...

        async def aclose(self): ...

    assert follow_class(Client, ledger=ledger).cleanup_names == ("close", "aclose")


def test_async_cleanup_counts_when_it_has_finished(ledger):
    class Pool:
        async def close(self, gate):
            await gate.wait()
            return "closed"

        async def __aenter__(self):
            return self

        async def __aexit__(self, *exc):
            return None

    follower = follow_class(Pool, ledger=ledger)
    assert asyncio.iscoroutinefunction(Pool.close)

    async def main():
        pool = Pool()
        gate = asyncio.Event()
        task = asyncio.ensure_future(pool.close(gate))
        await asyncio.sleep(0)
        seen = [follower.counts().cleaned]
        gate.set()
        assert await task == "closed"
        seen.append(follower.counts().cleaned)
        other = Pool()
        task = asyncio.ensure_future(other.close(asyncio.Event()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        seen.append(follower.counts().cleaned)
        async with other:
            pass
        seen.append(follower.counts().cleaned)
        return seen

    assert asyncio.run(main()) == [0, 1, 1, 2]


def test_inherited_cleanup_and_overriding_ones_count_once(ledger):
    class Base:
        def close(self):
            return "base"

    class Mid(Base):
        def __init__(self): ...

    class Leaf(Mid):
        def close(self):
            return "leaf " + super().close()

    class Side(Base):
        def close(self):
            return "side " + super().close()

    class Diamond(Mid, Side): ...

    before = dict(vars(Mid))
    follower = follow_class(Mid, ledger=ledger)
    leaf, diamond = Leaf(), Diamond()
    assert leaf.close() == "leaf base"
    assert diamond.close() == "side base"
    assert Base().close() == "base"
    assert follower.counts().cleaned == 2
    ledger.undo()
    assert dict(vars(Mid)) == before
    assert leaf.close() == "leaf base"
    assert follower.counts().cleaned == 2


def test_static_class_property_and_generator_cleanups_are_left_alone(ledger):
    class Odd:
        @staticmethod
        def cleanup(): ...

        @classmethod
        def close(cls): ...

        @property
        def shutdown(self): ...

        def dispose(self):
            yield 1

    before = dict(vars(Odd))
    follower = follow_class(Odd, ledger=ledger)
    assert follower.cleanup_names == ()
    assert {k: v for k, v in vars(Odd).items() if k in before} == before
    Odd()
    assert follower.counts().died_without_cleanup == 0


def test_cleanup_by_name_and_its_mistakes(ledger):
    class Server:
        limit = 3

        def stop_serving(self): ...

        def close(self): ...

    with pytest.raises(UsageError, match="did you mean 'stop_serving'"):
        follow_class(Server, cleanup="stop_servin", ledger=ledger)
    with pytest.raises(UsageError, match="its methods are: close, stop_serving"):
        follow_class(Server, cleanup="zzz", ledger=ledger)
    with pytest.raises(UsageError, match="no instance method"):
        follow_class(Server, cleanup="limit", ledger=ledger)
    with pytest.raises(UsageError, match="name of a method"):
        follow_class(Server, cleanup=3, ledger=ledger)
    assert len(ledger) == 0
    assert follow_class(Server, cleanup="stop_serving", ledger=ledger).cleanup_names == ("stop_serving",)


@pytest.mark.parametrize("options", [{"name": 3}, {"name": " "}, {"sample_every": 0}, {"sample_every": True}])
def test_bad_arguments(options, ledger):
    with pytest.raises(UsageError):
        follow_class(closing(), ledger=ledger, **options)


def test_cleanup_of_an_object_from_before_is_not_counted(ledger):
    cls = closing()
    old = cls()
    follower = follow_class(cls, ledger=ledger)
    old.close()
    assert follower.counts().cleaned == 0
    assert not follower.is_alive_here(old)
    assert follower.is_alive_here(new := cls())
    assert new is not old


# -- following twice, stopping -------------------------------------------------------------------------


def test_same_class_same_ledger_same_follower(ledger):
    cls = closing()
    follower = follow_class(cls, name="first", ledger=ledger)
    assert follow_class(cls, name="second", ledger=ledger) is follower
    sub = type("Sub", (cls,), {})
    assert follow_class(sub, ledger=ledger) is not follower
    other = Ledger()
    second = follow_class(cls, ledger=other)
    thing = cls()
    thing.close()
    assert follower.counts() == second.counts()
    assert second.counts().retained == 1
    other.undo()
    cls()
    assert (follower.counts().constructed, second.counts().constructed) == (2, 1)


def test_release_and_follow_again_many_times(ledger):
    class Bare: ...

    for round_number in range(5):
        follower = follow_class(Bare, ledger=ledger)
        kept = [Bare(), Bare()]
        assert follower.counts().constructed == 2, round_number
        assert follower.release() == []
        Bare()
        assert follower.counts().constructed == 2
        assert len(kept) == 2
    depth = sum("__new__" in str(frame.name) for frame in _frames_of_a_failing_call(Bare))
    assert depth == 1  # the pass-through that stays is replaced, never stacked


def _frames_of_a_failing_call(cls):
    import traceback

    try:
        cls(1)
    except TypeError as error:
        return traceback.extract_tb(error.__traceback__)
    raise AssertionError("did not fail")


def test_a_wrapper_taken_before_the_release_falls_silent(ledger):
    cls = closing()
    follower = follow_class(cls, ledger=ledger)
    taken, closer = cls.__init__, cls.close
    ledger.undo()
    thing = cls()
    taken(thing)
    closer(thing)
    assert follower.counts().constructed == follower.counts().cleaned == 0


def test_somebody_patched_on_top(ledger):
    cls = closing()
    follower = follow_class(cls, ledger=ledger)
    ours = cls.__init__
    calls = []

    def theirs(self):
        calls.append(1)
        ours(self)

    cls.__init__ = theirs
    left = follower.release()
    assert len(left) == 1
    assert "__init__ was replaced by someone else" in left[0]
    assert vars(cls)["__init__"] is theirs
    cls()
    assert (calls, follower.counts().constructed) == ([1], 0)


def test_pause_and_resume(ledger):
    cls = closing()
    follower = follow_class(cls, ledger=ledger)
    first = cls()
    follower.pause()
    cls()
    first.close()
    follower.resume()
    kept = cls()
    counts = follower.counts()
    assert (counts.constructed, counts.alive, counts.cleaned) == (2, 2, 0)
    assert kept is not first


# -- exactness -----------------------------------------------------------------------------------------


@pytest.fixture
def eager_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("gil", [True, False])
def test_exact_under_sixteen_threads(gil, ledger, eager_switches, monkeypatch):
    if not gil:  # the path of free-threaded builds, as far as this interpreter can show it
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)

    class Job:
        def __init__(self, fail):
            if fail:
                raise ValueError

        def close(self): ...

    follower = follow_class(Job, ledger=ledger)
    shared = Job(False)
    start = threading.Barrier(16)
    kept = []

    def work():
        start.wait()
        for i in range(400):
            try:
                job = Job(i % 4 == 3)
            except ValueError:
                continue
            if i % 2:
                job.close()
                job.close()
            if i % 40 == 0:
                kept.append(job)
            shared.close()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = follower.counts()
    assert counts.constructed == 16 * 300 + 1
    assert counts.failed == 16 * 100
    assert counts.cleaned == 16 * 100 + 1
    assert counts.alive == len(kept) + 1
    assert counts.retained == 1
    assert counts.died == counts.constructed - counts.alive
    assert counts.died_without_cleanup == counts.died - 16 * 100


def test_cycles_die_with_the_collector(ledger):
    cls = closing()
    follower = follow_class(cls, ledger=ledger)
    gc.disable()
    try:
        for _ in range(10):
            thing = cls()
            thing.me = thing
        del thing
        assert follower.counts().alive == 10
        gc.collect()
        assert follower.counts().alive == 0
    finally:
        gc.enable()


def test_oldest_first(ledger):
    cls = closing()
    follower = follow_class(cls, ledger=ledger)
    things = [cls() for _ in range(30)]
    for thing in things[::3]:
        thing.close()
    assert follower.live_objects(7) == things[:7]
    assert follower.live_objects() == things
    assert follower.retained_objects(3) == things[:9:3]
    del things[:5], thing
    assert follower.live_objects(2) == things[:2]


def test_memory_is_constant_over_a_million_constructions(ledger):
    cls = closing()
    follower = follow_class(cls, ledger=ledger)
    for _ in range(1000):
        cls()
    size, tables = follower.size_bytes(), sys.getsizeof(follower.tally.live)
    gc.collect()
    blocks = sys.getallocatedblocks()
    for _ in range(10**6):
        cls()
    assert follower.size_bytes() == size
    assert sys.getsizeof(follower.tally.live) == tables
    assert abs(sys.getallocatedblocks() - blocks) < 200
    assert follower.counts().died == 1_001_000


@pytest.mark.parametrize("count", [100, 3000, 40_000])
@pytest.mark.parametrize("cleaned", [False, True])
def test_at_most_256_bytes_a_living_instance_and_none_a_dead_one(count, cleaned, ledger):
    cls = closing()
    follower = follow_class(cls, ledger=ledger)
    empty = follower.size_bytes()
    things = []
    for _ in range(count):
        things.append(cls())
        if cleaned:
            things[-1].close()
    assert 0 < (follower.size_bytes() - empty) / count <= 256
    del things
    follower.sweep()
    assert follower.size_bytes() - empty <= 4096
    assert follower.counts().died == count


def test_ref_never_compares_by_its_referent():
    thing = {1, 2, 3}
    assert deaths.Ref(thing) != deaths.Ref(thing)
    assert len({deaths.Ref(thing), deaths.Ref(thing)}) == 2


# -- our faults ----------------------------------------------------------------------------------------


def test_no_memory_in_our_code_does_not_reach_the_constructor(ledger):
    cls = closing()
    follower = follow_class(cls, ledger=ledger)

    def broken(*_):
        raise MemoryError

    for name in ("_mi_Ref", "_mi_cleaned", "_mi_failed"):
        follower._shared[name] = broken
    cls().close()
    with pytest.raises(OSError, match="busy"):
        cls().close(fail=True)


def test_an_exception_from_a_signal_handler_is_not_swallowed(ledger):
    class Timeout(Exception): ...

    cls = closing()
    follower = follow_class(cls, ledger=ledger)

    def interrupted(*_):
        raise Timeout

    follower._shared["_mi_add"] = interrupted
    with pytest.raises(Timeout):
        cls()


def test_recursion_limit_is_the_programs_own(ledger):
    class Deep:
        def __init__(self, n):
            self.inner = Deep(n - 1) if n else None

    follower = follow_class(Deep, ledger=ledger)
    with pytest.raises(RecursionError):
        Deep(10**6)
    kept = Deep(20)
    assert follower.counts().alive == 21
    assert kept.inner is not None


# -- other processes -----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_clean(ledger):
    cls = closing()
    follower = follow_class(cls, ledger=ledger)
    inherited = [cls() for _ in range(5)]
    inherited[0].close()
    with pytest.raises(OSError, match="busy"):
        inherited[1].close(fail=True)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            follower.after_fork_in_child()
            ledger.after_fork_in_child()
            inherited[2].close()
            mine = [cls() for _ in range(3)]
            mine[0].close()
            inherited.clear()
            c = follower.counts()
            os.write(write, repr((c.constructed, c.cleaned, c.alive, c.retained, c.died)).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 200).decode() == "(3, 1, 3, 1, 0)"
    os.close(read)
    assert follower.counts().constructed == 5


_BY_VALUE = """
import sys, cloudpickle
from meminstr.instrument import classes
from meminstr.instrument.ledger import Ledger
class Shipped:
    def __init__(self, x):
        self.x = x
    def close(self):
        return self.x
class Bare: ...
ledger = Ledger()
for cls in (Shipped, Bare):
    classes.follow_class(cls, ledger=ledger)
kept = Shipped(1), Bare()
sys.stdout.buffer.write(cloudpickle.dumps((Shipped, Bare)))
"""

_RECEIVE = """
import sys, pickle
from meminstr.instrument import classes
arrived = []
classes.on_arrival.append(arrived.append)
Shipped, Bare = pickle.loads(sys.stdin.buffer.read())
a, b = Shipped(5), Bare()
assert a.close() == 5
by_name = {f.name: f.counts() for f in arrived}
assert sorted(by_name) == ["Bare", "Shipped"], by_name
assert (by_name["Shipped"].constructed, by_name["Shipped"].retained) == (1, 1), by_name
assert by_name["Bare"].constructed == 1, by_name
print("good")
"""


def test_a_class_shipped_by_value_is_followed_on_the_other_side():
    strict = [sys.executable, "-W", "error", "-c"]
    sent = subprocess.run([*strict, _BY_VALUE], capture_output=True, check=True)
    got = subprocess.run([*strict, _RECEIVE], input=sent.stdout, capture_output=True, check=False)
    assert got.stdout.strip() == b"good", got.stderr.decode()


class Spawned:
    def __init__(self, x):
        self.x = x


def test_instances_cross_to_a_spawned_process(ledger):
    follow_class(Spawned, ledger=ledger)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_x_of, [Spawned(1), Spawned(2)]) == [1, 2]


def _x_of(thing):
    return thing.x


def test_followers_keep_no_instance_alive(ledger):
    cls = closing()
    follow_class(cls, ledger=ledger)
    watch = weakref.ref(thing := cls())
    thing.close()
    del thing
    assert watch() is None
