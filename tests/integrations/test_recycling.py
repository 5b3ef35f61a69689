"""When a worker lets itself be replaced, and that one goes at a time."""

import os
import threading
from dataclasses import replace

import pytest

from meminstr import UsageError
from meminstr.integrations import recycling
from meminstr.integrations.recycling import Recycler, not_ready
from meminstr.probes.container import Headroom
from meminstr.registry import ControllerMemoryTracker
from meminstr.verdict import Finding, Interval, Verdict


class Scripted:
    def __init__(self, **finding):
        values = {"subject": "step", "subject_kind": "function", "verdict": Verdict.LEAKING, "reason": "scripted"}
        self.findings = (Finding(**values | finding),)


@pytest.fixture
def says(monkeypatch):
    """Sets what the report says."""
    said = []

    def set_to(**finding):
        said[:] = [Scripted(**finding)]

    monkeypatch.setattr(recycling, "report", lambda diagnose, tracker: said[-1])
    set_to()
    return set_to


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def made():
    """Makes recyclers whose start lies beyond the cooldown, and ends them."""
    done, all_of_them = [], []

    def make(**options):
        clock = options.pop("clock", Clock())
        one = Recycler(action=lambda: done.append(True), clock=clock, tracker=ControllerMemoryTracker(), **options)
        one.done = done
        clock.now += 1000
        all_of_them.append(one)
        return one

    yield make
    for one in all_of_them:
        one.stop()


def test_a_leak_is_reason_enough_only_where_that_was_asked_for(made, says):
    assert made(leaking=True).check()
    assert not made(eta_seconds=600).check()
    says(verdict=Verdict.GROWING)
    assert not made(leaking=True).check()


def test_time_to_the_limit(made, says):
    says(eta_seconds=Interval(601.0))
    one = made(eta_seconds=600)
    assert not one.check()
    says(eta_seconds=Interval(599.0), verdict=Verdict.GROWING)
    assert one.check()
    assert one.reason == "step reaches the memory limit in 9 min 59 s"
    says(eta_seconds=Interval(599.0), verdict=Verdict.WARMING_UP)
    assert not made(eta_seconds=600).check()


def test_share_of_the_limit_needs_no_verdict(made):
    left = [Headroom(101, 1000, "scripted")]
    one = made(above=0.9, room=lambda: left[0])
    assert not one.check()
    left[0] = replace(left[0], bytes=99)
    assert one.check()
    left[0] = Headroom(None, None, "unknown")
    assert not made(above=0.9, room=lambda: left[0]).check()


def test_one_of_many_workers_goes_at_a_time(made, says, tmp_path):
    clock = Clock()
    workers = [made(leaking=True, cooldown_seconds=300, directory=tmp_path, clock=clock) for _ in range(4)]
    assert [w.check() for w in workers] == [True, False, False, False]
    clock.now += 299
    assert not workers[1].check()
    clock.now += 2
    assert [w.check() for w in workers[1:]] == [True, False, False]
    assert (tmp_path / "recycled").stat().st_mode & 0o777 == 0o600


def test_a_clock_that_was_set_back_holds_nobody_up(made, says, tmp_path):
    (tmp_path / "recycled").write_text("99999999\n")
    assert made(leaking=True, directory=tmp_path).check()
    (tmp_path / "recycled").write_text("no number")
    assert made(leaking=True, directory=tmp_path).check()


def test_a_link_in_place_of_the_file_is_not_followed(made, says, tmp_path):
    (tmp_path / "recycled").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="recycled"):
        made(leaking=True, directory=tmp_path).check()
    assert not (tmp_path / "elsewhere").exists()


def test_a_young_process_stays(says):
    clock = Clock()
    one = Recycler(leaking=True, cooldown_seconds=300, clock=clock, action=lambda: None)
    assert not one.check()
    clock.now += 301
    assert one.check()


def test_it_is_not_ready_while_it_drains(made, says):
    told = threading.Event()
    one = made(leaking=True, check_seconds=0.001)
    one._action = told.set
    assert not_ready() is None
    one.start()
    assert told.wait(60)
    assert not_ready() == "step leaks"
    one.stop()
    assert not_ready() is None


def test_what_fails_is_a_fault_and_the_thread_goes_on(made, monkeypatch):
    from meminstr.faults import faults

    looked, enough = [], threading.Event()

    def broken(diagnose, tracker):
        looked.append(True)
        if len(looked) >= 3:
            enough.set()
        raise RuntimeError("no report")

    monkeypatch.setattr(recycling, "report", broken)
    one = made(leaking=True, check_seconds=0.001).start()
    assert enough.wait(60)
    one.stop()
    assert any(row["where"] == "recycling" for row in faults())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "eta_seconds, above or leaking"),
        ({"eta_seconds": 0}, "eta_seconds=0"),
        ({"eta_seconds": float("nan")}, "eta_seconds=nan"),
        ({"above": 80}, "above=80"),
        ({"leaking": True, "cooldown_seconds": -1}, "cooldown_seconds=-1"),
        ({"leaking": True, "check_seconds": 0}, "check_seconds=0"),
        ({"leaking": True, "action": "stop"}, "action='stop'"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(UsageError, match=words):
        Recycler(**options)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_starts_its_own(made, says):
    one = made(eta_seconds=600, check_seconds=1000).start()
    pid = os.fork()
    if pid == 0:  # the child has no such thread until it starts one
        own = one._thread is not None and one._pid != os.getpid()
        one.start()
        own = own and one._thread.is_alive() and one._pid == os.getpid()
        os._exit(0 if own else 1)
    assert os.waitpid(pid, 0)[1] == 0
