"""Advice, library matchers, groups and baselines."""

import json

import pytest

from meminstr.errors import UsageError
from meminstr.evidence import advice, baseline, library
from meminstr.evidence.grouping import merged
from meminstr.evidence.library import Matcher
from meminstr.verdict import Holder


def holder(path, root="module", count=1, **more):
    return Holder(path, root, count, **more)


@pytest.mark.parametrize(
    ("path", "root", "words"),
    [
        ("app.bus._listeners[*].callback.__closure__['controller']", "module", "unregister"),
        ("app.Model.embed.<lru_cache arguments>[*]", "class", "self"),
        ("app.load.<lru_cache>[*]", "module", "maxsize"),
        ("app.load.<unbounded lru_cache>[*]", "module", "no bound"),
        ("app.last_error.__traceback__.<frame f>.big", "module", "with_traceback"),
        ("app.tasks{*}.<coroutine worker>.session", "module", "add_done_callback"),
        ("app.job.<coroutine worker>.session", "module", "await"),
        ("app.streams[*].<generator f>.x", "module", "close()"),
        ("app.local.session", "module", "thread"),
        ("<context>['request']", "context", "reset"),
        ("app.registry[*]", "module", "remove the entry"),
        ("app.seen.keys()[*]", "module", "WeakKeyDictionary"),
        ("app.last", "module", "None"),
        ("app.f.__closure__['x']", "module", "closure"),
        ("app.task.args[*]", "module", "partial"),
        ("<outside Python: app.Box>.item", "outside", "extension"),
        ("<Thread work>._args[*]", "thread", "thread"),
        ("atexit.<handlers>[*].__self__", "atexit", "atexit.unregister"),
        ("signal.getsignal(SIGUSR1).__self__", "signal", "signal handler"),
        ("<unreachable cycle: app.Node>.other", "cycle", "collector"),
        ("<frame main>.app", "frame", "running function"),
    ],
)
def test_each_pattern_has_its_advice(path, root, words):
    assert words in advice.advise(holder(path, root), "python_objects")


def test_native_memory_names_the_memray_command():
    said = advice.advise(None, "native_heap")
    assert "python -m memray run --native" in said
    assert "--leaks" in said
    assert "-o leak.bin -m app`" in advice.advise(None, "native_heap", program="-m app")


def test_there_is_always_something_to_say():
    kinds = (None, "python_objects", "native_heap", "mapping", "container_buffer", "fragmentation", "descriptors")
    assert all(advice.advise(None, kind) for kind in (*kinds, "threads", "tasks", "device", "of another kind"))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("re._cache[*]", "512"),
        ("linecache.cache[*]", "clearcache"),
        ("logging.Logger.manager.loggerDict[*].handlers[*].sink", "removeHandler"),
        ("logging.Logger.manager.loggerDict[*]", "never forgets"),
        ("sys.last_exc.__traceback__.<frame f>.x", "interactive"),
        ("app.__warningregistry__[*]", "warnings"),
        ("_pytest.x[*]", "pytest"),
    ],
)
def test_known_habits(path, words):
    assert words in library.explain(path)


def test_paths_of_the_application_are_no_habit():
    assert library.explain("app.bus._listeners[*]") is None
    assert library.explain("app.re._cache2") is None


def test_brackets_in_a_pattern_stand_for_themselves():
    assert library.matches(Matcher("a.b[*]", "x"), "a.b[*]")
    assert not library.matches(Matcher("a.[bc]", "x"), "a.b")


def test_versions_bound_a_matcher(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda package: "2.10.1")
    for matcher, applies in (
        (Matcher("*", "x", "thing"), True),
        (Matcher("*", "x", "thing", below="2.9"), False),
        (Matcher("*", "x", "thing", below="2.11"), True),
        (Matcher("*", "x", "thing", since="2.10.1"), True),
        (Matcher("*", "x", "thing", since="2.10.2"), False),
    ):
        assert library.matches(matcher, "a") is applies


def test_a_matcher_for_a_package_that_is_missing_does_not_apply():
    assert not library.matches(Matcher("*", "x", "no-such-package-here", below="2"), "a")


def test_matchers_can_be_added():
    mine = Matcher("app.pool*", "the pool is bounded by its size")
    library.register(mine)
    library.register(mine)
    try:
        assert library.explain("app.pool[*]") == "the pool is bounded by its size"
    finally:
        library.unregister(mine)
    library.unregister(mine)
    assert library.explain("app.pool[*]") is None


def test_equal_fingerprints_are_added_up():
    one = holder("a.b[*]", count=2, retained_bytes=10, fingerprint="f")
    two = holder("a.b[*]", count=5, retained_bytes=None, fingerprint="f", known=True)
    other = holder("c", count=3, fingerprint="g")
    first, second = merged([one, other, two])
    assert (first.path, first.count, first.retained_bytes, first.known) == ("a.b[*]", 7, 10, True)
    assert second == other


def test_a_baseline_marks_what_is_known(tmp_path):
    file = tmp_path / "baseline.json"
    known, new = holder("a", fingerprint="f1"), holder("b", fingerprint="f2")
    assert baseline.load(file) == frozenset()
    assert baseline.save(file, [known, known, holder("x")]) == 1
    marked = baseline.mark([known, new], baseline.load(file))
    assert [h.known for h in marked] == [True, False]
    assert baseline.new_only(marked) == (new,)
    assert [p.name for p in tmp_path.iterdir()] == ["baseline.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": "other", "version": 1, "accepted": []}',
        json.dumps({"format": "meminstr-baseline", "version": 2, "accepted": []}),
        json.dumps({"format": "meminstr-baseline", "version": 1, "accepted": [{}]}),
        json.dumps({"format": "meminstr-baseline", "version": 1, "accepted": [{"fingerprint": 5}]}),
    ],
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path, text):
    file = tmp_path / "baseline.json"
    file.write_text(text)
    with pytest.raises(UsageError):
        baseline.load(file)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "baseline.json"
    baseline.save(file, [holder("a", fingerprint="f1")])

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UsageError, match="disk full"):
        baseline.save(file, [holder("b", fingerprint="f2")])
    assert baseline.load(file) == {"f1"}
    assert [p.name for p in tmp_path.iterdir()] == ["baseline.json"]
