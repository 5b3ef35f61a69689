"""What stood there before comes back exactly."""

import threading
import types

import pytest

from meminstr.instrument.ledger import Ledger


class Base:
    def f(self): ...


class Heir(Base):
    x = 1


def test_own_values_return_and_added_ones_go():
    ledger, before = Ledger(), dict(vars(Heir))
    ledger.set_attribute(Heir, "x", 2)
    ledger.set_attribute(Heir, "x", 3)
    ledger.set_attribute(Heir, "f", lambda self: 4)
    module = types.ModuleType("made")
    module.g = 5
    ledger.set_attribute(module, "g", 6)
    ledger.set_attribute(module, "h", 7)
    assert (Heir.x, Heir().f(), module.g, module.h, len(ledger)) == (3, 4, 6, 7, 5)
    assert ledger.undo() == []
    assert list(vars(Heir).items()) == list(before.items())
    assert module.g == 5
    assert not hasattr(module, "h")
    assert ledger.undo() == []


def test_undo_one_takes_the_newest():
    ledger = Ledger()
    ledger.set_attribute(Heir, "x", 2)
    ledger.set_attribute(Heir, "x", 3)
    assert ledger.undo_one(Heir, "x") == []
    assert Heir.x == 2
    assert ledger.undo_one(Heir, "y") == []
    ledger.undo()
    assert Heir.x == 1


def test_what_somebody_else_put_there_stays_and_ours_falls_silent():
    ledger, silenced = Ledger(), []
    ledger.set_attribute(Heir, "x", 2, silence=lambda: silenced.append("x"))
    ledger.set_attribute(Heir, "kept", 3, silence=lambda: silenced.append("kept"), stays=True)
    Heir.x = "theirs"
    (left,) = ledger.undo()
    assert left.startswith("Heir.x was replaced by someone else")
    assert (Heir.x, Heir.kept) == ("theirs", 3)
    assert silenced == ["kept", "x"]
    Heir.x = 1
    del Heir.kept


def test_an_owner_that_refuses_is_not_remembered():
    ledger = Ledger()
    with pytest.raises((TypeError, AttributeError)):
        ledger.set_attribute(int, "x", 1)
    assert len(ledger) == 0


def test_an_owner_that_refuses_later_is_reported():
    class Closing:
        shut = False

        def __setattr__(self, name, value):
            if self.shut:
                raise AttributeError("shut")
            object.__setattr__(self, name, value)

    thing, ledger = Closing(), Ledger()
    thing.a = 1
    ledger.set_attribute(thing, "a", 2)
    object.__setattr__(thing, "shut", True)
    (left,) = ledger.undo()
    assert "refuses to be restored (shut)" in left


def test_metaclass_side_effects_do_not_run():
    class Meta(type):
        def __setattr__(cls, name, value):
            raise AssertionError("side effect")

        __delattr__ = __setattr__

    cls, ledger = Meta("Mapped", (), {}), Ledger()
    ledger.set_attribute(cls, "x", 1)
    assert cls.x == 1
    ledger.undo()
    assert not hasattr(cls, "x")


def test_many_threads_write_and_all_is_undone():
    classes, ledger = [type(f"C{i}", (), {}) for i in range(50)], Ledger()

    def write(offset):
        for cls in classes:
            ledger.set_attribute(cls, f"a{offset}", offset)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.after_fork_in_child()
    assert len(ledger) == 400
    assert ledger.undo() == []
    assert not any(name.startswith("a") for cls in classes for name in vars(cls))
