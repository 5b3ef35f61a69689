"""The writer without its thread: what is written when, on a scripted clock and scripted reports."""

import json
import os

import pytest

from meminstr import faults, settings
from meminstr.errors import UsageError
from meminstr.registry import ControllerMemoryTracker
from meminstr.reports.model import Report
from meminstr.shards import lifecycle, write_shards
from meminstr.shards.writing import ShardWriter
from meminstr.verdict import Finding, Verdict


class Script:
    """Reports whose making takes a scripted time."""

    def __init__(self):
        self.now, self.cost, self.asked, self.verdict = 100.0, 0.5, [], Verdict.CLEAN

    def clock(self):
        return self.now

    def report(self, diagnose):
        self.asked.append(diagnose)
        self.now += self.cost
        return Report(created_at="t", findings=(Finding("f", "function", self.verdict, "because"),))


@pytest.fixture
def script():
    return Script()


def writer_of(folder, script, tracker):
    clock = script.clock
    return ShardWriter(str(folder), 5.0, tracker=tracker, clock=clock, cpu=clock, reporter=script.report)


@pytest.fixture
def writer(tmp_path, script):
    return writer_of(tmp_path / "s", script, ControllerMemoryTracker())


def written(writer):
    with open(writer.path, encoding="ascii") as stream:
        return json.load(stream)


def test_a_shard_counts_its_writes_and_says_how_often_it_comes(writer, script):
    writer.look(script.now)
    for _ in range(3):  # the first one loads what judging needs; what the second one took, the third one says
        writer.write()
    data = written(writer)
    assert (data["seq"], data["ended"], data["report"]["findings"][0]["subject"]) == (3, None, "f")
    assert data["interval_seconds"] == pytest.approx(50.0)  # half a second a report, at one hundredth of the time
    assert data["box"]["resident_bytes"] > 0
    assert data["box"]["left_bytes"] > 0


def test_writing_at_once_judges_nothing_but_has_fresh_memory(writer, script):
    writer.look(script.now)
    writer.write()
    first = written(writer)["box"]["over_seconds"]
    writer.look(script.now + 3)
    writer.write_at_once()
    assert script.asked == [False]
    data = written(writer)
    assert data["seq"] == 2
    assert data["box"]["over_seconds"] > first
    assert data["report"]["findings"][0]["subject"] == "f"


@pytest.mark.parametrize(("verdict", "diagnosed"), [(Verdict.CLEAN, False), (Verdict.GROWING, True)])
def test_holders_are_looked_for_at_the_end_and_only_of_what_grows(writer, script, verdict, diagnosed):
    script.verdict = verdict
    writer.write()
    writer.write("exit")
    assert script.asked == [False, diagnosed]
    assert written(writer)["ended"] == "exit"


def test_nothing_is_written_behind_the_last_word(writer):
    writer.write("exit")
    writer.write()
    writer.write_at_once()
    assert (written(writer)["seq"], written(writer)["ended"]) == (1, "exit")


def test_a_folder_that_was_cleared_away_is_made_again(writer):
    writer.write()
    os.unlink(writer.path)
    os.rmdir(writer.directory)
    writer.write()
    assert written(writer)["seq"] == 2


def test_a_process_that_met_nothing_has_nothing_to_say(tmp_path, script):
    tracker = ControllerMemoryTracker()
    writer = writer_of(tmp_path, script, tracker)
    guarded = tracker.guard(lambda: None)
    assert not writer.has_something_to_say()
    guarded()
    assert writer.has_something_to_say()
    tracker.uninstall()


def test_a_failing_report_is_a_fault_of_ours_and_the_thread_goes_on(tmp_path, script):
    failing = [OSError("no memory"), None]

    def report(diagnose):
        error = failing.pop(0) if failing else None
        if error is not None:
            raise error
        stop()
        return Report(created_at="t")

    writer = ShardWriter(str(tmp_path), 0.05, tracker=ControllerMemoryTracker(), reporter=report)
    stop = writer._stop.set
    writer.start()
    stop = writer._stop.set
    writer._thread.join(60)
    assert written(writer)["seq"] == 1
    assert [fault["where"] for fault in faults.faults()] == ["writing the shard"]
    assert writer.pause()
    assert not writer.pause()


# ------------------------------------------------------------ asking for shards


@pytest.fixture
def own_settings(monkeypatch):
    monkeypatch.delenv("MEMINSTR_SHARDS", raising=False)
    monkeypatch.setenv("MEMINSTR_SHARD_SECONDS", "5")
    yield
    lifecycle.stop_writing()
    settings.use(None)


@pytest.mark.parametrize("directory", ["", "  ", "a\0b", None, 3])
def test_what_is_no_folder_is_refused(directory, own_settings):
    with pytest.raises(UsageError, match="name of a folder"):
        write_shards(directory)


def test_a_file_is_no_folder(tmp_path, own_settings):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write shards to .*file"):
        write_shards(tmp_path / "file")


@pytest.mark.parametrize("interval", [0, -1, float("nan"), "often", True])
def test_an_interval_must_be_a_time(tmp_path, interval, own_settings):
    with pytest.raises(UsageError, match="shard_seconds"):
        write_shards(tmp_path / "s", interval)


def test_children_are_told_and_told_no_more(tmp_path, own_settings):
    write_shards(tmp_path / "s", 900)
    assert os.environ["MEMINSTR_SHARDS"] == str(tmp_path / "s")
    assert os.environ["MEMINSTR_SHARD_SECONDS"] == "900.0"
    assert lifecycle.writer().interval == 900
    lifecycle.stop_writing()
    assert "MEMINSTR_SHARDS" not in os.environ
    assert lifecycle.writer() is None


def test_a_bad_folder_in_the_environment_does_not_stop_the_program(tmp_path, monkeypatch, own_settings):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEMINSTR_SHARDS", str(tmp_path / "file"))
    lifecycle.register_from_environment()
    assert [fault["where"] for fault in faults.faults()] == ["MEMINSTR_SHARDS"]
