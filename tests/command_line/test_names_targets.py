"""Which objects `meminstr run` finds by name, and what it says about those it does not."""

import pytest

SHOP = """
import functools, typing
class Cart:
    def __init__(self): self.items = []
    def add(self, x): return helper(x)
    put = add
    @staticmethod
    def fixed(): return 1
    @classmethod
    def made(cls): return cls()
    anonymous = lambda self: 2
    class Line: pass
class CartError(Exception): pass
class Other(Cart): pass
Basket = Cart
def helper(x): return x
alias = helper
pick = lambda: 3
from collections import OrderedDict
from functools import reduce
LIMIT = 5
async def coming(): return 4
"""

USE = """
import shop.cart as c
cart = c.Cart(); cart.add(1); cart.put(2); c.Cart.fixed(); c.Cart.made(); c.Cart.Line(); c.Other()
c.alias(1); c.pick(); cart.anonymous(); c.CartError()
assert c.alias is c.helper and c.Cart.add is c.Cart.put
print("done")
"""


@pytest.fixture
def shop(shell):
    shell.write("shop/__init__.py", "")
    shell.write("shop/cart.py", SHOP)
    shell.write("shop/deep/__init__.py", "")
    shell.write("shop/deep/cart.py", "class CartDeep: pass\n")
    shell.write("app.py", USE)
    return shell


def run(shell, *options, program=("app.py",)):
    ended = shell.meminstr("run", *options, *program)
    assert ended.code == 0, ended.err
    assert ended.out == "done\n"
    return ended


def test_a_class_by_its_name(shop):
    ended = run(shop, "--track", "shop.cart:Cart")
    assert ended.report["born"] == {"Cart": 3}
    assert ended.err_without_report.strip() == ""


def test_a_class_with_a_name_for_the_report(shop):
    assert run(shop, "--track", "shop.cart:Cart=the cart").report["born"] == {"the cart": 3}


def test_an_inner_class_and_methods_of_all_kinds(shop):
    words = ["--track", "shop.cart:Cart.Line"]
    for name in ("add", "fixed", "made"):
        words += ["--guard", f"shop.cart:Cart.{name}"]
    report = run(shop, *words).report
    assert report["born"] == {"Cart.Line": 1}
    assert report["calls"] == {"Cart.add": 2, "Cart.fixed": 1, "Cart.made": 1}


def test_aliases_are_replaced_together_and_once(shop):
    report = run(shop, "--guard", "shop.cart:helper", "--guard", "shop.cart:*").report
    assert report["calls"]["helper"] == 3
    assert sorted(name for name, _ in report["guarded"]) == ["coming", "helper"]


def test_one_function_may_be_guarded_and_limited(shop):
    report = run(shop, "--guard", "shop.cart:*", "--limit", "shop.cart:helper=2GiB").report
    assert report["limited"] == [["helper", "2GiB"]]
    assert report["calls"]["helper"] == 6  # three calls, each seen by both


def test_wildcards_take_what_the_module_made_and_leave_lambdas_alone(shop):
    ended = run(shop, "--track", "shop.cart:*", "--guard", "shop.cart:Cart.*")
    assert sorted(ended.report["tracked"]) == ["Cart", "CartError", "Other"]
    assert sorted(name for name, _ in ended.report["guarded"]) == ["Cart.add", "Cart.fixed", "Cart.made"]
    assert "shop.cart:Cart.anonymous is a lambda, which is left alone" in ended.err


def test_wildcards_over_modules_see_later_imports(shop):
    shop.write("app.py", "import shop.deep.cart\nshop.deep.cart.CartDeep()\n" + USE)
    ended = run(shop, "--track", "shop.*:Cart*")
    assert ended.report["born"] == {"CartDeep": 1, "Cart": 3, "CartError": 1}


def test_every_reaches_the_guards(shop):
    assert run(shop, "--every", "7", "--guard", "shop.cart:helper").report["guarded"] == [["helper", 7]]


def test_what_cannot_be_done_is_listed_and_harms_nothing(shop):
    ended = run(
        shop,
        *("--track", "shop.cart:helper"),
        *("--guard", "shop.cart:Cart"),
        *("--guard", "shop.cart:LIMIT"),
        *("--guard", "shop.cart:Other.add"),
        *("--guard", "shop.cart:pick"),
        *("--track", "shop.cart:OrderedDict"),
        *("--track", "shop.deep.cart:CartDeep"),
        *("--track", "shop.cart:Nothing*"),
        *("--guard", "shop.cart:helper.inner"),
    )
    for sentence in (
        "--track shop.cart:helper: shop.cart:helper is no class but a function",
        "shop.cart:Cart is a class: name one of its methods, as shop.cart:Cart.method",
        "shop.cart:LIMIT is no function but a int",
        "shop.cart:Other inherits add: name it where it is defined, as shop.cart:Cart.add",
        "shop.cart:pick is a lambda, which is left alone",
        "OrderedDict is a builtin, which cannot be followed",
        "shop.deep.cart was never imported by the program",
        "--track shop.cart:Nothing*: shop.cart has nothing that matches",
        "shop.cart:helper is no class, so it has no members to name",
    ):
        assert sentence in ended.err, sentence


def test_a_name_missing_only_at_run_time_is_told_at_the_end(shop):
    shop.write("app.py", "import shop.dyn\nprint('done')")
    shop.write("shop/dyn.py", "globals().update(made=lambda: 1)\ndef function(): pass")
    ended = run(shop, "--guard", "shop.dyn:functoin")
    assert "meminstr: --guard shop.dyn:functoin: shop.dyn has no functoin (did you mean function?)" in ended.err


MAIN = '''"""Doc."""
from __future__ import annotations
import contextlib, collections, inspect
class Thing:
    """Thing's."""
    @contextlib.contextmanager
    def __enter(self): yield
    def step(self): return 1
    @staticmethod
    def fixed(): return 2
    @property
    def prop(self): return 3
    class Inner: pass
if True:
    def step(n): return n
else:
    def never(): pass
Point = collections.namedtuple("Point", "x")
if __name__ == "__main__":
    Thing().step(); Thing.Inner(); step(1); step(2); Point(1); Thing.fixed()
    assert inspect.getsource(step).strip() == "def step(n): return n", inspect.getsource(step)
    assert __doc__ == "Doc." and Thing.__doc__ == "Thing's." and not any("meminstr" in name for name in globals())
    print("done")
'''


@pytest.mark.parametrize("module", ["__main__", "script"])
def test_targets_in_the_script_itself(shell, module):
    shell.write("script.py", MAIN)
    words = ["--track", f"{module}:Thing=thing", "--track", f"{module}:Thing.Inner", "--guard", f"{module}:step"]
    words += ["--guard", f"{module}:Thing.step", "--guard", f"{module}:Thing.fixed", "--track", f"{module}:Point"]
    ended = run(shell, *words, program=("script.py",))
    assert ended.report["born"] == {"thing": 1, "Thing.Inner": 1}
    assert ended.report["calls"] == {"step": 2, "Thing.step": 1, "Thing.fixed": 1}
    assert "__main__:Point is not made by a class or def statement of the script" in ended.err


def test_wildcards_in_the_script_itself(shell):
    shell.write("script.py", MAIN)
    words = ("--track", "__main__:*", "--guard", "__main__:*", "--limit", "__main__:Thing.*=1GiB")
    ended = run(shell, *words, program=("script.py",))
    assert ended.report["tracked"] == ["Thing"]
    assert [name for name, _ in ended.report["guarded"]] == ["step"]
    assert "Thing.step" in [name for name, _ in ended.report["limited"]]


def test_targets_in_a_module_that_is_run(shell):
    shell.write("pkg/__init__.py", "")
    shell.write("pkg/tool.py", "class Tool: pass\nTool(); print('done')")
    for module in ("__main__", "pkg.tool", "pkg.*"):
        ended = run(shell, "--track", f"{module}:Tool", program=("-m", "pkg.tool"))
        assert ended.report["born"] == {"Tool": 1}, module
        assert ended.err_without_report.strip() == ""


def test_line_numbers_of_the_script_stay(shell):
    script = "import sys\ndef deco(f):\n    return f\n\n@deco\n@deco\ndef f():\n    print(sys._getframe().f_lineno)\n"
    shell.write("app.py", script + "print(f.__code__.co_firstlineno)\nf()\n")
    # staying out of the counted wrapper: functools.wraps shows the function itself as __wrapped__
    shell.write("app2.py", script + "print(f.__wrapped__.__code__.co_firstlineno)\nf()\n")
    plain, ours = shell.python("app.py"), shell.meminstr("run", "--guard", "__main__:f", "app2.py")
    assert plain.out == ours.out == "5\n8\n"


def test_packages_above_a_module_that_is_run_are_instrumented_before_names_are_taken(shell):
    shell.write("pkg/__init__.py", "from .work import job")
    shell.write("pkg/work.py", "def job(): return 1")
    shell.write("pkg/tool.py", "from pkg import job; job(); print('done')")
    for module in ("pkg.work", "pkg.*"):
        ended = run(shell, "--guard", f"{module}:job", program=("-m", "pkg.tool"))
        assert ended.report["calls"] == {"job": 1}, module
