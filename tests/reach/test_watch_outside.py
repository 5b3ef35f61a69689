"""`meminstr watch`: the judgement by a scripted clock and scripted memory, and real processes and shards."""

from __future__ import annotations

import os

import pytest
from reach_programs import LEAKY, started

from meminstr.commands import watch
from meminstr.commands.outside import Gone, Member, OutsideWatch, family_of, limit_of
from meminstr.commands.parser import dispatch
from meminstr.errors import UsageError
from meminstr.reports.model import Report
from meminstr.units import MIB
from meminstr.verdict import Verdict

LIMIT = 4 << 30


def watched(seconds: float, grows, step: float = 2.0, limit: int | None = LIMIT) -> OutsideWatch:
    """A process of 200 MiB that `grows(seconds)` bytes, read every `step` seconds."""
    now = [0.0]
    rough = [0]

    def look():
        rough[0] += 1
        noise = (rough[0] * 7919 % 13) * 4096
        return [Member(7, "worker", int(200 * MIB + grows(now[0])) + noise), Member(8, "child", 50 * MIB)]

    one = OutsideWatch(7, look, limit, clock=lambda: now[0])
    while now[0] < seconds:
        now[0] += step
        one.sample()
    return one


def test_a_process_that_grows_is_leaking_after_ten_minutes_with_its_time_left() -> None:
    one = watched(1200, lambda t: 100_000 * t)
    report = one.report()
    whole = report.findings[0]
    assert whole.verdict is Verdict.LEAKING
    assert whole.subject == "worker (pid 7) and 1 below it"
    hourly = whole.mb_per_hour
    assert hourly.low <= 100_000 * 3600 / MIB * 1.01
    assert hourly.high >= 100_000 * 3600 / MIB * 0.99
    left = (LIMIT - one.resident_bytes) / 100_000
    assert whole.eta_seconds.value == pytest.approx(left, rel=0.05)
    child = report.finding("child (pid 8)")
    assert child.verdict not in (Verdict.LEAKING, Verdict.GROWING)
    assert report.finding("worker (pid 7)").verdict is Verdict.LEAKING
    page = report.to_html()
    assert "Resident memory" in page
    assert "Nothing was instrumented" not in str(report)
    assert Report.from_dict(report.to_dict()).findings[0].subject == whole.subject


def test_it_is_growing_before_and_quiet_is_clean() -> None:
    assert watched(400, lambda t: 200_000 * t).report().findings[0].verdict is Verdict.GROWING
    assert watched(1200, lambda t: 0).report().leaks == ()
    assert watched(1200, lambda t: 80 * MIB if t > 100 else 0).report().leaks == ()


def test_members_come_and_go() -> None:
    here = [Member(1, "a", 10), Member(2, "b", 5)]
    ticks = iter(range(1000))
    one = OutsideWatch(1, lambda: here, None, clock=lambda: float(next(ticks)))
    one.sample()
    one.sample()
    del here[1]
    one.sample()
    assert one.resident_bytes == 10
    assert one.peak_bytes == 15
    assert [f.subject for f in one.report().findings] == ["a (pid 1)"]
    for round_ in range(100):  # recycled workers do not pile up
        here[1:] = [Member(1000 + round_, "w", 1)]
        one.sample()
    assert len(one._each) == 2


def test_following_ends_with_the_process_the_time_and_ctrl_c() -> None:
    class Source:
        def __init__(self, ends):
            self.looks = 0
            self.ends = ends

        def look(self):
            self.looks += 1
            if self.looks == 3 and self.ends is not None:
                raise self.ends

        def report(self):
            return None

        def headline(self, report):
            return str(self.looks)

    for ends in (Gone(), KeyboardInterrupt()):
        shown = []
        source = Source(ends)
        watch.follow(source, 2.0, None, lambda r, h: shown.append(h), clock=lambda: 0.0, wait=lambda s: None)
        assert shown == ["1", "2"]
    now = [0.0]

    def wait(seconds):
        now[0] += seconds

    source = Source(None)
    watch.follow(source, 2.0, 7.0, lambda r, h: None, clock=lambda: now[0], wait=wait)
    assert source.looks == 4  # at 0, 2, 4 and 6


def test_plain_lines_tell_changes_and_minutes(capsys) -> None:
    now = [0.0]
    show = watch._plain_lines(lambda: now[0])
    growing, clean = (watched(400, g).report() for g in (lambda t: 200_000 * t, lambda t: 0))
    for report, at in ((clean, 0), (clean, 10), (growing, 20), (growing, 30), (growing, 80)):
        now[0] = float(at)
        show(report, f"at {at}")
    assert capsys.readouterr().out.split("\n") == ["at 0", "at 20", "at 80", ""]


def test_a_real_process_with_a_child(tmp_path, capsys) -> None:
    code = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
sys.stdin.read()
"""
    with started(code) as process:
        words = ["watch", str(process.pid), "--interval", "0.01", "--for", "0.05", "--limit", "64GiB"]
        assert dispatch([*words, "--report", str(tmp_path / "seen.json"), "--fail-on-leak"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("python")
        assert "with 1 below it" in out
        report = Report.load(tmp_path / "seen.json")
        assert report.process.pid == process.pid
        assert report.process.limit_bytes == 64 << 30
        assert len(report.findings) == 3
        members = family_of(process.pid)()
        assert len(members) == 2
        assert all(member.resident_bytes > MIB for member in members)
        assert len(family_of(process.pid, children=False)()) == 1
        look = family_of(process.pid)
        process.kill()
        process.wait(60)
        with pytest.raises(Gone):
            look()


def test_watching_ends_when_the_process_does(capsys) -> None:
    with started("print('ready', flush=True); input()") as process:
        source = watch.ProcessSource(process.pid, None, True)

        def wait(seconds):
            process.stdin.write("\n")
            process.stdin.close()
            process.wait(60)

        watch.follow(source, 0.01, None, lambda r, h: None, wait=wait)
        assert source.report().process.resident_bytes


def test_the_limit_is_that_of_the_process() -> None:
    assert limit_of(os.getpid()) > 0


def test_a_folder_of_shards(tmp_path, capsys) -> None:
    shards = tmp_path / "shards"
    with started(LEAKY % "", {"MEMINSTR_SHARDS": str(shards), "MEMINSTR_SHARD_SECONDS": "0.05"}) as process:
        process.stdin.close()
        process.wait(60)
    assert dispatch(["watch", str(shards), "--for", "0.01", "--interval", "0.01", "--fail-on-leak"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{shards}: 1 ended; LEAKING")
    assert "LEAKING  session" in out


def test_a_folder_without_shards_is_waited_on(tmp_path, capsys) -> None:
    assert dispatch(["watch", str(tmp_path), "--for", "0.01", "--interval", "0.01"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: no shards yet\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["no/such/folder"], "cannot read the shards"),
        (["."], None),
        ([".", "--limit", "1GiB"], "are for a process"),
        (["1", "--interval", "0"], "above 0"),
        (["1", "--for", "-1"], "above 0"),
        (["1", "--limit", "much"], "is not a size"),
        (["99999999999"], "is not a process id"),
    ],
)
def test_bad_input(words, says, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    if says is None:
        assert dispatch(["watch", *words, "--for", "0.01", "--interval", "0.01"]) == 0
        return
    assert dispatch(["watch", *words]) == 2
    got = capsys.readouterr()
    assert says in got.err
    assert len(got.err.strip().splitlines()) == 1


def test_another_users_process(monkeypatch) -> None:
    import psutil

    def refuse(self):
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    with pytest.raises(UsageError, match="another user's"):
        family_of(os.getpid())
