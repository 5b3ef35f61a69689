"""`meminstr run` is the program: same output, same exit code, same traceback, same surroundings."""

import signal

import pytest

SURROUNDINGS = '''"""Doc of the script."""
from __future__ import annotations
import sys, json
def f(x: Unknown): ...
print(json.dumps([sys.argv, sys.path[0], __name__, __file__, __package__, repr(__spec__), __doc__,
    type(__loader__).__name__, sorted(globals()), f.__annotations__, sys.modules["__main__"].__dict__ is globals(),
    __builtins__.__name__]))
'''


def test_the_script_sees_the_surroundings_it_sees_under_python(shell):
    shell.write("work/app.py", SURROUNDINGS)
    words = ("work/app.py", "a", "--", "--report", "x", "-m", "y")
    plain, ours = shell.python(*words), shell.meminstr("run", *words)
    assert ours.out == plain.out != ""
    assert (ours.code, plain.code) == (0, 0)
    assert shell.meminstr("run", "--guard", "__main__:f", *words).out == plain.out


def test_double_dash_separates_our_words_from_the_program(shell):
    shell.write("app.py", "import sys; print(sys.argv)")
    assert shell.meminstr("run", "--quiet", "--", "app.py", "--", "-x").out == "['app.py', '--', '-x']\n"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit()", 0),
        ("sys.exit(7)", 7),
        ("sys.exit('bye')", 1),
        ("sys.exit((1, 2))", 1),
        ("raise SystemExit(None)", 0),
        ("raise ValueError('no')", 1),
        ("import os; os._exit(3)", 3),
        ("outer()", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import os; os.kill(os.getpid(), signal.SIGTERM); signal.pause()", -signal.SIGTERM),
        ("import os; os.kill(os.getpid(), signal.SIGINT); signal.pause()", -signal.SIGINT),
    ],
)
def test_it_ends_as_under_python(shell, end, code):
    shell.write(
        "app.py",
        f"import sys, signal, json\n"
        f"def outer():\n    try:\n        inner()\n"
        f"    except KeyError as e:\n        raise RuntimeError('x') from e\n"
        f"def inner():\n    {{}}['k']\n"
        f"print('works')\n{end}\n",
    )
    plain = shell.python("app.py")
    ours = shell.meminstr("run", "--guard", "__main__:inner", "app.py")
    assert (plain.code, plain.out) == (code, "works\n")
    assert (ours.code, ours.out) == (code, "works\n")
    if "outer" in end:  # the guard's own frame may show in a traceback that passes through it, ours may not
        ours_text = ours.err_without_report
        assert "meminstr/commands" not in ours_text
        assert "meminstr/__main__" not in ours_text
        assert [line for line in plain.err.splitlines() if line.strip(" ^")][-2:] == [
            line for line in ours_text.splitlines() if line.strip(" ^")
        ][-2:]
    else:
        assert ours.err_without_report == plain.err
    if "_exit" not in end:
        assert ours.report["guarded"] == [["inner", 100]]


@pytest.mark.parametrize(
    "script",
    [
        "x = 1\ny = (\n",
        "raise ExceptionGroup('many', [ValueError(1), KeyError(2)])",
        "import sys\nsys.excepthook = lambda *a: print('hooked', a[0].__name__, sys.exc_info())\n1/0",
        "import sys\ndef hook(*a):\n    raise TypeError('hook')\nsys.excepthook = hook\n1/0",
        "import sys\ndef hook(*a):\n    sys.exit(9)\nsys.excepthook = hook\n1/0",
        "import sys\nsys.stderr = None\n1/0",
        "import nothing_of_that_name",
        "print('a' is 'b', '\\d')",
    ],
)
def test_errors_read_as_under_python(shell, script):
    shell.write("app.py", script)
    plain, ours = shell.python("app.py"), shell.meminstr("run", "app.py")
    expected = plain.err
    assert ours.code == plain.code
    assert ours.out == plain.out
    assert ours.err_without_report == expected


def test_a_recursion_error_is_printed_without_our_frames(shell):
    shell.write("app.py", "def f(): f()\nf()")
    ours = shell.meminstr("run", "app.py")
    assert ours.code == 1
    assert "RecursionError" in ours.err
    assert "meminstr/" not in ours.err_without_report


PACKAGE = "import sys; print(sys.argv[1:], __name__, __package__, __spec__.name, sys.path[0]); from . import part"


@pytest.mark.parametrize("word", ["pkg", "pkg.tool"])
def test_modules_run_with_m(shell, word):
    shell.write("pkg/__init__.py", "")
    shell.write("pkg/__main__.py", PACKAGE)
    shell.write("pkg/tool.py", PACKAGE)
    shell.write("pkg/part.py", "print('part', __name__)")
    plain, ours = shell.python("-m", word, "-v", "x"), shell.meminstr("run", "-m", word, "-v", "x")
    assert ours.out == plain.out != ""
    assert ours.code == 0
    assert shell.meminstr("run", f"-m{word}", "-v", "x").out == plain.out


def test_a_folder_and_an_archive_run(shell):
    shell.write("folder/__main__.py", "import beside, sys; print(beside.x, sys.path[0], sys.argv, __package__)")
    shell.write("folder/beside.py", "x = 5")
    shell.python("-m", "zipapp", "folder", "-o", "app.pyz")
    for name in ("folder", "app.pyz"):
        plain, ours = shell.python(name, "a"), shell.meminstr("run", name, "a")
        assert (ours.out, ours.code) == (plain.out, 0)
        assert plain.out.startswith("5 ")


def test_compiled_code_runs(shell):
    shell.write("app.py", "print('compiled', __file__)")
    shell.python("-c", "import py_compile; py_compile.compile('app.py', 'app.pyc')")
    assert shell.meminstr("run", "app.pyc").out == shell.python("app.pyc").out != ""


def test_spawned_children_import_main(shell):
    shell.write(
        "app.py",
        "import multiprocessing as m\n"
        "def work(x):\n    return x * 2\n"
        "if __name__ == '__main__':\n"
        "    with m.get_context('spawn').Pool(1) as pool:\n        print(pool.map(work, [1, 2]))\n",
    )
    ours = shell.meminstr("run", "app.py")
    assert (ours.out, ours.code) == ("[2, 4]\n", 0)
    assert ours.report


def test_threads_and_atexit_of_the_program_are_over_before_the_report(shell):
    shell.write(
        "app.py",
        "import threading, atexit, sys\n"
        "go = threading.Event()\n"
        "class Late: pass\n"
        "def work():\n    go.wait()\n    Late()\n    print('thread')\n"
        "threading.Thread(target=work).start()\n"
        "atexit.register(lambda: (Late(), print('atexit')))\n"
        "go.set()\n",
    )
    ours = shell.meminstr("run", "--track", "__main__:Late", "app.py")
    assert ours.out == "thread\natexit\n"
    assert ours.report["born"] == {"Late": 2}


def test_switched_off_runs_the_bare_program(shell):
    shell.write("app.py", "class A: pass\nA(); print('ran')")
    ours = shell.meminstr("run", "--track", "__main__:A", "app.py", env={"MEMINSTR_DISABLED": "1"})
    assert (ours.out, ours.err, ours.code) == ("ran\n", "", 0)
