"""`interrupt_threads=True` on calls that stay within their limit: results, errors and signature are the function's."""

import inspect
import threading

import pytest

from meminstr import UsageError, memory_limited


def divided(a, /, b=2, *, c=0):
    """Doc."""
    return a / b + c


try:
    divided = memory_limited(fraction=1.0, interrupt_threads=True)(divided)
except UsageError as refused:
    pytest.skip(str(refused), allow_module_level=True)


def in_thread(function):
    out = []

    def run():
        try:
            out.append(function())
        except BaseException as error:
            out.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return out[0]


@pytest.mark.parametrize("place", [lambda f: f(), in_thread], ids=["here", "in a thread"])
def test_it_returns_and_raises_as_without(place):
    assert place(lambda: divided(6)) == 3
    assert place(lambda: divided(6, 3, c=1)) == 3
    nested = memory_limited(fraction=1.0, interrupt_threads=True)(lambda: divided(divided(8)))
    assert place(nested) == 2
    if place is in_thread:
        assert isinstance(place(lambda: divided(1, 0)), ZeroDivisionError)
    else:
        with pytest.raises(ZeroDivisionError):
            divided(1, 0)


def test_it_looks_like_the_function():
    assert str(inspect.signature(divided)) == "(a, /, b=2, *, c=0)"
    assert (divided.__name__, divided.__doc__) == ("divided", "Doc.")
    with pytest.raises(TypeError):
        divided(b=1)
