"""Very many living instances: one in k is followed, what is counted stays exact, what is estimated says how well."""

import dataclasses
import gc
import random
import re
import threading

import pytest

from meminstr.instrument.classes import follow_class
from meminstr.instrument.ledger import Ledger
from meminstr.settings import current


@pytest.fixture
def few(monkeypatch):
    """Two hundred followed instead of a hundred thousand."""
    from meminstr.instrument import classes

    settings = dataclasses.replace(current(), max_followed=200)
    monkeypatch.setattr(classes, "current", lambda: settings)


def followed_class():
    class One:
        def __init__(self, fails=False):
            if fails:
                raise ValueError

        def close(self):
            pass

    return One, follow_class(One, ledger=Ledger())


def build(cls, follower, n, each=50):
    made = []
    for i in range(n):
        made.append(cls())
        if i % each == 0:
            follower.living()  # what each sample asks
    return made


def test_below_the_limit_every_instance_is_followed(few):
    One, follower = followed_class()
    kept = build(One, follower, 200)
    assert follower.counts().alive == 200 == follower.tally.base.followed()
    assert follower.note is None
    assert follower.tally.levels == []
    del kept


def test_constructions_cleanups_and_failures_stay_exact(few):
    One, follower = followed_class()
    kept = build(One, follower, 5_000)
    for one in kept[::2]:
        one.close()
    for _ in range(30):
        with pytest.raises(ValueError):
            One(fails=True)
    counts = follower.counts()
    assert (counts.constructed, counts.cleaned, counts.failed) == (5_000, 2_500, 30)
    kept[0].close()  # followed from the beginning: a second time is no second cleanup
    assert follower.counts().cleaned == 2_500


@pytest.mark.parametrize("seed", range(6))
def test_the_living_are_estimated_within_the_interval_that_is_told(few, seed):
    One, follower = followed_class()
    follower._thinning._draw = random.Random(seed).random
    kept = build(One, follower, 6_000)
    random.Random(seed + 100).shuffle(kept)
    for alive in (6_000, 4_000, 1_500):
        del kept[alive:]
        counts = follower.counts()
        one_in, about, low, high = (
            int(figure.replace(",", ""))
            for figure in re.search(
                r"one in (\S+) are followed: (\S+) are alive, (\S+) to (\S+) with", follower.note
            ).groups()
        )
        assert one_in >= 8
        assert min(about, 6_000) == counts.alive
        # six seeds with three looks each: twice the width of 95 % leaves one chance in a thousand for all of them
        middle = (low + high) / 2
        assert abs(alive - middle) <= (high - low)
        assert high - low < 0.8 * alive
        assert counts.died == 6_000 - counts.alive >= 0


def test_memory_is_that_of_the_followed_ones(few):
    One, follower = followed_class()
    kept = build(One, follower, 20_000)
    followed = sum(level.followed() for level in follower.tally.all_levels())
    assert followed < 3_000
    assert follower.size_bytes() < 256 * 20_000 / 4
    del kept
    assert follower.counts().alive == 0


def test_all_are_followed_again_when_few_are_left(few):
    One, follower = followed_class()
    kept = build(One, follower, 3_000)
    del kept
    gc.collect()
    follower.living()
    again = build(One, follower, 90)
    assert follower.counts().alive == 90
    assert follower.tally.base.followed() == 90
    del again


def test_samples_are_told_and_paired_while_thinned(few):
    One, follower = followed_class()
    told = []

    class Observer:
        def sampled(self, follower, constructed, phase):
            told.append((phase, constructed))
            follower.living()

        def born(self, follower, instance):
            pass

    follower.set_observer(Observer())
    kept = build(One, follower, 4_000)
    assert follower._thinning.one_in > 1
    late = [(phase, n) for phase, n in told if n > 2_000]
    assert len(late) > 20
    assert all(a[0] == "before" and b[0] == "after" for a, b in zip(late[::2], late[1::2], strict=True))
    assert follower._thinning._tokens == {}
    del kept


def test_paused_it_counts_nothing_and_resumed_it_goes_on(few):
    One, follower = followed_class()
    kept = build(One, follower, 2_000)
    follower.pause()
    kept += [One() for _ in range(100)]
    assert follower.counts().constructed == 2_000
    follower.resume()
    kept += [One() for _ in range(100)]
    assert follower.counts().constructed == 2_100
    assert follower._thinning.one_in > 1


def test_exact_under_threads_while_it_switches(few):
    One, follower = followed_class()
    kept = []

    def work():
        kept.extend(build(One, follower, 1_500, each=20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert follower.counts().constructed == 12_000
    kept.clear()
    gc.collect()
    assert follower.counts().alive == 0


def test_a_forked_child_follows_all_of_its_own(few):
    One, follower = followed_class()
    kept = build(One, follower, 1_000)
    follower.after_fork_in_child()  # what the child runs
    own = [One() for _ in range(50)]
    assert follower.counts().alive == 50 == follower.counts().constructed
    assert follower.note is None
    del kept, own
