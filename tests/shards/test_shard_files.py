"""Shards read back: damage, strangers, versions, clocks, copies; and how a shard is written."""

import errno
import json
import os
import socket
import stat
from dataclasses import replace

import pytest

from meminstr.errors import UsageError
from meminstr.reports.model import ProcessFacts, Report
from meminstr.shards import ShardReader, merged, read_shards, status
from meminstr.shards.format import BlackBox, Shard, from_dict, to_dict
from meminstr.shards.reading import start_ticks
from meminstr.shards.tidying import tidy
from meminstr.shards.writing import make_folder, replace_file
from meminstr.verdict import Counts, Finding, Holder, Interval, Verdict


def finding(verdict=Verdict.LEAKING, calls=100):
    return Finding(
        "handle",
        "function",
        verdict,
        "grew",
        calls=calls,
        bytes_per_call=Interval(2000.0, 1900.0, 2100.0),
        counts=Counts(constructed=calls),
        holders=(Holder("app.kept[*]", "module", 7),),
    )


def shard(pid=1, host="web1", seq=3, **changes):
    report = Report(
        created_at="2026-01-01T00:00:00.000+00:00",
        process=ProcessFacts(pid=pid, host=host, started_at="2026-01-01T00:00:00+00:00", resident_bytes=1 << 20),
        findings=(finding(),),
    )
    box = BlackBox(90 << 20, 10 << 20, 100 << 20, "cgroup", 1e6, 10.5, 30.0)
    return replace(Shard(f"{host}-{pid}-1", seq, 1_800_000_000.0, 5.0, report, box), **changes)


def put(folder, one, name=None):
    path = folder / (name or f"{one.id}.shard.json")
    path.write_text(json.dumps(to_dict(one)), encoding="ascii")
    return path


def test_a_shard_comes_back_as_it_was():
    one = shard(ended="exit", parent_pid=7, start_ticks=99)
    assert from_dict(json.loads(json.dumps(to_dict(one))), "it") == one


def test_keys_that_were_added_are_passed_over():
    data = to_dict(shard())
    data["colour"] = "red"
    data["box"]["mood"] = 3
    assert from_dict(data, "it").box == shard().box


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is empty"),
        ('{"format": "meminstr-shard", "version": 1, "id"', "is cut off"),
        ("[" * 100_000, "nested too deeply"),
        ('{"some": "thing"}', "is not a meminstr shard"),
        ("[1, 2]", "is not a meminstr shard"),
        ('{"format": "meminstr-shard", "version": 2}', "newer meminstr (shard version 2)"),
        ('{"format": "meminstr-shard"}', "no valid format version"),
        ('{"format": "meminstr-shard", "version": 1, "id": 5}', "is damaged: id must not be int"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_what_is_no_shard_is_named_and_the_others_are_read(tmp_path, content, why):
    put(tmp_path, shard())
    bad = tmp_path / "bad.json"
    bad.write_bytes(content.encode("utf-8", "surrogateescape"))
    found = read_shards(tmp_path)
    assert [one.pid for one in found.shards] == [1]
    assert [skipped.path for skipped in found.skipped] == [str(bad)]
    assert why in found.skipped[0].why
    assert str(bad) in found.skipped[0].why
    assert any(why in note for note in merged(tmp_path).extra["notes"])
    assert bad.read_bytes() == content.encode("utf-8", "surrogateescape")


def test_a_newer_report_inside_a_shard_is_named(tmp_path):
    data = to_dict(shard())
    data["report"]["version"] = 9
    (tmp_path / "a.json").write_text(json.dumps(data))
    put(tmp_path, shard(2))
    assert "format version 9" in read_shards(tmp_path).skipped[0].why


def test_other_files_and_half_written_ones_of_our_own_are_not_looked_at(tmp_path):
    put(tmp_path, shard())
    (tmp_path / ".web1-2-1.shard.json.tmp").write_text("{")
    (tmp_path / ".hidden.json").write_text("{")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder.json").mkdir()
    found = read_shards(tmp_path)
    assert len(found.shards) == 1
    assert [os.path.basename(skipped.path) for skipped in found.skipped] == ["folder.json"]


def test_plain_reports_in_the_folder_count(tmp_path):
    put(tmp_path, shard(1))
    shard(2).report.to_json(tmp_path / "report-2.json")
    assert {entry["process"]["pid"] for entry in merged(tmp_path).processes} == {1, 2}


def test_of_two_copies_the_higher_sequence_stands_whatever_the_clocks_say(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    put(tmp_path / "a", shard(seq=9, written_at=1.0))
    put(tmp_path / "b", shard(seq=8, written_at=2e9))
    assert [one.seq for one in read_shards([tmp_path / "b", tmp_path / "a"]).shards] == [9]
    assert [one.seq for one in read_shards([tmp_path / "a", tmp_path / "b"]).shards] == [9]


def test_an_unchanged_file_is_not_parsed_again(tmp_path, monkeypatch):
    path = put(tmp_path, shard())
    reader = ShardReader(tmp_path)
    first = reader.read().shards[0]
    put(tmp_path, shard(2))
    assert first is reader.read().shards[0]
    put(tmp_path, shard(seq=44))
    assert reader.read().shards[0].seq == 44
    path.unlink()
    assert [one.pid for one in reader.read().shards] == [2]


@pytest.mark.parametrize("folder", ["missing", "a-file", "nul\0byte"])
def test_a_folder_that_cannot_be_read_is_one_sentence(tmp_path, folder):
    (tmp_path / "a-file").write_text("")
    with pytest.raises(UsageError, match="cannot read the shards in"):
        read_shards(tmp_path / folder)


def test_an_empty_folder_says_how_shards_come_about(tmp_path):
    with pytest.raises(UsageError, match="MEMINSTR_SHARDS"):
        merged(tmp_path)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UsageError, match=r"1 files were skipped, the first: .*cut off"):
        merged(tmp_path)


# ------------------------------------------------------------ what became of the process


def test_a_process_of_this_host_is_asked_of_the_kernel(tmp_path):
    here = socket.gethostname()
    mine = shard(os.getpid(), here, start_ticks=start_ticks())
    assert status(mine) == "running"
    assert status(replace(mine, ended="exit")) == "ended"
    if start_ticks() is not None:
        assert status(replace(mine, start_ticks=1)) == "killed"  # the number was given to another process since
    assert status(shard(2**22 + 1, here)) == "killed"


@pytest.mark.parametrize(("age", "expected"), [(0, "running"), (40, "running"), (50, "silent"), (-3600, "running")])
def test_a_process_elsewhere_is_silent_when_it_is_overdue_by_the_files_clock(age, expected):
    one = shard(modified_at=1000.0, written_at=1e9)  # its own clock is decades off
    assert status(one, now=1000.0 + age) == expected


def test_the_merged_report_tells_what_the_killed_said_last(tmp_path):
    put(tmp_path, shard(2**22 + 1, socket.gethostname()))
    put(tmp_path, shard(3, "web2", ended="exit"))
    report = merged(tmp_path)
    (note,) = [n for n in report.extra["notes"] if "was killed" in n]
    for part in (
        "process 4194305",
        "90 MiB resident",
        "10 MiB left of 100 MiB (cgroup)",
        "enough for",
        "LEAKING handle",
        "held by app.kept[*]",
    ):
        assert part in note
    assert "was killed" in str(report)
    boxes = {entry["process"]["pid"]: entry["black_box"] for entry in report.processes}
    assert boxes[3]["state"] == "ended"
    assert boxes[2**22 + 1]["seconds_left"] == 10.5
    assert report.finding("handle").calls == 200


def test_clocks_that_differ_are_said_once_a_host(tmp_path):
    path = put(tmp_path, shard(1, written_at=5000.0, ended="exit"))
    put(tmp_path, shard(2, written_at=5000.0, ended="exit"))
    for one in tmp_path.iterdir():
        os.utime(one, (1400.0, 1400.0))
    notes = merged(tmp_path).extra["notes"]
    assert len(notes) == 1
    assert "clock of web1 is 1\u00a0h ahead of the file system's" in notes[0].replace(
        "1\u00a0h\u00a00\u00a0min", "1\u00a0h"
    )
    assert path.exists()


def test_merging_many_recycled_workers_keeps_every_count(tmp_path):
    for pid in range(1, 30):
        put(tmp_path, shard(pid, ended="exit"))
    report = merged(tmp_path)
    assert report.finding("handle").calls == 29 * 100
    assert "leaking in 29 of 29 processes" in report.finding("handle").reason


# ------------------------------------------------------------ tidying


def test_the_oldest_that_ended_well_make_room_and_last_words_stay(tmp_path):
    for pid in range(1, 9):
        path = put(tmp_path, shard(pid, ended=None if pid == 2 else "exit"))
        os.utime(path, (pid, pid))
    (tmp_path / "broken.shard.json").write_text("{")
    os.utime(tmp_path / "broken.shard.json", (0, 0))
    assert tidy(str(tmp_path), 100) == 0
    assert tidy(str(tmp_path), 5) == 2
    assert [one.pid for one in read_shards(tmp_path).shards] == [2, 4, 5, 6, 7, 8]
    assert (tmp_path / "broken.shard.json").exists()
    assert tidy(str(tmp_path / "nowhere"), 1) == 0


# ------------------------------------------------------------ writing


def test_the_folder_and_the_file_are_the_owners_alone(tmp_path):
    folder = tmp_path / "a" / "b"
    make_folder(str(folder))
    replace_file(str(folder / "x.json"), "{}")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "x.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("planted", ["x.json", ".x.json.tmp"])
def test_a_planted_link_leads_nowhere(tmp_path, planted):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / planted).symlink_to(victim)
    replace_file(str(tmp_path / "x.json"), "{}")
    assert victim.read_text() == "precious"
    assert (tmp_path / "x.json").read_text() == "{}"
    assert not (tmp_path / "x.json").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["victim", "x.json"]


def test_a_failed_write_leaves_the_old_shard(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    replace_file(str(path), "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as broken:
        broken.setattr("os.replace", full)
        with pytest.raises(OSError, match="no space"):
            replace_file(str(path), "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
