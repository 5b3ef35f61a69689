"""The plugin in suites of others: pytest runs in processes of its own, plain, with asyncio, unittest and xdist."""

import os
import re
import subprocess
import sys

import pytest


class Outcome:
    """What a run of pytest printed, and how each test ended."""

    def __init__(self, done):
        self.code, self.text = done.returncode, done.stdout + done.stderr
        self.by_name = dict(re.findall(r"::(\S+) (PASSED|FAILED|ERROR|SKIPPED|XFAIL)", self.text))
        for word, name in re.findall(r"\b(PASSED|FAILED|ERROR|SKIPPED|XFAIL) \S+::(\S+)", self.text):
            self.by_name.setdefault(name, word)

    def failure(self, name):
        """The block of one failure, without its heading."""
        found = re.search(rf"^_+ (?:\S+\.)?{name} _+$\n(.*?)(?=^(?:_+ \S+ _+|=+ .* =+)$)", self.text, re.M | re.S)
        assert found, self.text
        return found[1]


@pytest.fixture
def run(tmp_path):
    """``run(source, *options)``: pytest on one file of tests."""

    def go(source, *options, ini="", **changes):
        (tmp_path / "test_it.py").write_text(source)
        (tmp_path / "pytest.ini").write_text(f"[pytest]\nasyncio_default_fixture_loop_scope = function\n{ini}\n")
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("MEMINSTR_", "PYTEST_"))} | changes
        words = [sys.executable, "-m", "pytest", "-v", "--strict-markers", "-W", "error", "-p", "no:cacheprovider"]
        words += ["-p", "no:rerunfailures"]  # it runs tests in a way of its own
        done = subprocess.run(
            [*words, *options], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=110
        )
        return Outcome(done)

    return go


MARKS = """
import asyncio, unittest, pytest

kept = []
class Thing: pass

def test_plain(): pass

@pytest.mark.memory_limited("30 MB")
def test_within(): bytearray(1 << 20)

@pytest.mark.memory_limited("30 MB")
def test_above():
    held = []
    while len(held) < 300:
        held.append(bytearray(b"x" * (1 << 20)))

@pytest.mark.memory_limited("30 MB")
@pytest.mark.asyncio
async def test_above_async():
    held = []
    while len(held) < 300:
        held.append(bytearray(b"x" * (1 << 20)))
        await asyncio.sleep(0)

@pytest.mark.memory_limited("lots")
def test_bad_limit(): pass

@pytest.mark.memory_limited
def test_no_limit(): pass

@pytest.mark.no_leaks
def test_clean(tmp_path, n=3): [tmp_path for _ in range(100)]

@pytest.mark.no_leaks(seconds=0.2)
def test_leaky(): kept.append(bytearray(500))

@pytest.mark.no_leaks(seconds=0.2, allocations=False)
@pytest.mark.asyncio
async def test_leaky_async():
    await asyncio.sleep(0)
    kept.append(object())

@pytest.mark.no_leaks(seconds=0.2)
@pytest.mark.asyncio
async def test_clean_async(): await asyncio.sleep(0)

@pytest.mark.no_leaks(secs=3)
def test_bad_option(): pass

@pytest.mark.no_leaks(seconds=-1)
def test_bad_seconds(): pass

@pytest.mark.no_leaks
def test_fails_anyhow(): assert 1 == 2

@pytest.mark.no_leaks
def test_skips(): pytest.skip("not today")

@pytest.mark.no_leaks
@pytest.mark.xfail(strict=True)
def test_expected(): raise ValueError

def test_fixture(no_leaks):
    assert no_leaks(lambda: None, seconds=0.2).verdict == "clean"
    with pytest.raises(AssertionError, match="LEAKING"):
        no_leaks(lambda: kept.append(object()), seconds=0.2)

class TestOld(unittest.TestCase):
    def setUp(self): self.made = [1]

    @pytest.mark.no_leaks(seconds=0.2)
    def test_clean_case(self): self.assertEqual(self.made, [1])

    @pytest.mark.memory_limited("30 MB")
    def test_above_case(self):
        held = []
        while len(held) < 300:
            held.append(bytearray(b"x" * (1 << 20)))

class TestOldAsync(unittest.IsolatedAsyncioTestCase):
    @pytest.mark.no_leaks(seconds=0.2, allocations=False)
    async def test_leaky_async_case(self): kept.extend(Thing() for _ in range(50))
"""


def test_marks_and_fixture_on_every_kind_of_test(run):
    outcome = run(MARKS, ini="meminstr_seconds = 0.2")
    leaky = {"test_leaky", "test_leaky_async", "test_leaky_async_case"}
    above = {"test_above", "test_above_async", "test_above_case"}
    wrong = {"test_bad_limit", "test_no_limit", "test_bad_option", "test_bad_seconds"}
    failed = {name.split("::")[-1] for name, word in outcome.by_name.items() if word == "FAILED"}
    assert failed == leaky | above | wrong | {"test_fails_anyhow"}, outcome.text
    assert outcome.code == 1
    for name in leaky:
        text = outcome.failure(re.escape(name))
        assert "leaves something behind each time it runs:" in text
        assert "LEAKING" in text
        assert "test_it.kept[*]" in text, "the holder path"
        assert "Traceback" not in text
        assert "During handling" not in text
        assert "pluggy" not in text
    for name in above:
        text = outcome.failure(name)
        assert "30 MiB" in text
        assert len(text.splitlines()) <= 12, text
    assert "limit='lots' is not a size" in outcome.failure("test_bad_limit")
    assert "memory_limited of test_it.py::test_no_limit" in outcome.failure("test_no_limit")
    assert "there is no option secs; there are: seconds, allocations" in outcome.failure("test_bad_option")
    assert "seconds=-1 is not allowed" in outcome.failure("test_bad_seconds")
    assert "assert 1 == 2" in outcome.failure("test_fails_anyhow")


def test_nothing_heavy_is_imported_when_nothing_is_used(run):
    source = (
        "import sys\n"
        "def test_it():\n"
        "    heavy = {'numpy', 'psutil', 'wrapt', 'prometheus_client', 'meminstr.registry', 'meminstr.errors'}\n"
        "    assert 'meminstr.integrations.pytest_plugin' in sys.modules\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    outcome = run(source)
    assert outcome.code == 0, outcome.text
    assert "memory (meminstr)" not in outcome.text


SUITE = """
import pytest
kept = []
def test_small(): pass
def test_big(): kept.append(bytearray(3 << 20))
def test_objects(): kept.extend([[] for _ in range(20_000)])
@pytest.mark.parametrize("n", range(4))
def test_more(n): pass
"""


def test_a_whole_suite_is_summed_up(run):
    outcome = run(SUITE, "--meminstr")
    assert outcome.code == 0, outcome.text
    _, _, summary = outcome.text.partition(" memory (meminstr) ")
    assert "resident before the first test" in summary
    assert "7 tests; 2 of them left behind" in summary
    heap, big = summary.index("C heap"), summary.index("test_it.py::test_big")
    assert heap < big < summary.index("test_it.py::test_objects")
    assert re.search(r"3 MiB +\S+ +\S+ \S+  test_it.py::test_big", summary)


def test_xdist_workers_measure_and_check_and_the_controller_sums_up(run):
    pytest.importorskip("xdist")
    source = "kept = []\ndef test_leaky(): kept.append(bytearray(99))\ndef test_fine(): pass\n"
    ini = "meminstr = true\nmeminstr_top = 1\nmeminstr_no_leaks = true\nmeminstr_seconds = 0.2"
    outcome = run(source, "-n", "2", ini=ini)
    assert (outcome.by_name["test_leaky"], outcome.by_name["test_fine"]) == ("FAILED", "PASSED"), outcome.text
    assert "test_it.kept[*]" in outcome.text
    _, _, summary = outcome.text.partition(" memory (meminstr) ")
    assert re.search(r"^gw[01]: \S+ \S+ resident before the first test", summary, re.M)
    assert "2 tests; 1 of them left behind" in summary
    assert "test_it.py::test_leaky" in summary


def test_a_limit_for_every_test_by_the_settings(run):
    source = (
        "import pytest\ndef test_it():\n    a = []\n    while len(a) < 200: a.append(bytearray(b'x' * (1 << 20)))\n"
    )
    outcome = run(source, ini="meminstr_memory_limit = 20 MB")
    assert outcome.code == 1
    assert "20 MiB" in outcome.failure("test_it")
    assert run(source, ini="meminstr_memory_limit = 20 MB", MEMINSTR_DISABLED="1").code == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("meminstr_seconds = soon", "meminstr_seconds='soon' is not allowed: a number from 0.001 is"),
        ("meminstr_top = -1", "meminstr_top='-1' is not allowed"),
        ("meminstr_memory_limit = much", "meminstr_memory_limit='much' is not a size"),
    ],
)
def test_bad_settings_are_one_sentence(run, line, words):
    outcome = run("def test_it(): pass\n", ini=line)
    assert outcome.code == 4
    assert words in outcome.text
    assert "Traceback" not in outcome.text
