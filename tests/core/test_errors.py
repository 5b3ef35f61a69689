from __future__ import annotations

import copy
import pickle

import pytest

from meminstr.errors import LeakDetected, MeminstrError, MemoryLimitExceeded, UsageError
from meminstr.verdict import Finding, Verdict


class MyLimit(MemoryLimitExceeded):
    """A subclass of a user's."""


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(UsageError, ValueError), (MemoryLimitExceeded, MemoryError), (LeakDetected, AssertionError)],
)
def test_the_tree(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, MeminstrError)
    assert issubclass(error, builtin)


@pytest.mark.parametrize("kind", [MemoryLimitExceeded, MyLimit])
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_a_broken_limit_travels_with_its_figures(kind, again) -> None:  # type: ignore[no-untyped-def]
    error = kind("too much", subject="f", limit_bytes=1, observed_bytes=3, peak_bytes=4, breach={"a": 1})
    error.add_note("in worker 3")
    back = again(error)
    assert type(back) is kind
    assert str(back) == "too much"
    assert vars(back) == vars(error)
    assert (back.subject, back.limit_bytes, back.observed_bytes, back.peak_bytes) == ("f", 1, 3, 4)
    assert back.__notes__ == ["in worker 3"]


def test_defaults() -> None:
    error = MemoryLimitExceeded("m")
    assert (error.subject, error.limit_bytes, error.observed_bytes) == ("", 0, 0)
    assert error.peak_bytes is None
    assert error.breach is None
    assert LeakDetected("m").finding is None


def test_a_leak_travels_with_its_finding() -> None:
    finding = Finding("f", "function", Verdict.LEAKING, "r", extra={"a": [1]})
    error = LeakDetected("leak", finding)
    error.add_note("seen twice")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is LeakDetected
    assert str(back) == "leak"
    assert back.finding == finding
    assert back.__notes__ == ["seen twice"]
