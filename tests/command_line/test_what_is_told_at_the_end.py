"""What a person who ran a program for the first time wants told: what was left out, and where the report is."""

FACTORY = """

def make(n):
    def inner(x):
        return x + n
    return inner

plus = make(1)
exec("def made(x):\\n    return x")
Point = type("Point", (), {})

def step(x):
    return x

same = step
print(plus(1), made(2), step(3))
"""


def test_a_wildcard_lists_what_the_script_made_without_a_statement(shell):
    shell.write("app.py", FACTORY)
    ended = shell.meminstr("run", "--guard", "__main__:*", "--track", "__main__:*", "app.py")
    assert ended.out == "2 2 3\n"
    why = "is not made by a class or def statement of the script"
    assert set(ended.err_without_report.splitlines()) == {
        f"meminstr: --track __main__:*: __main__:Point {why}",
        f"meminstr: --guard __main__:*: __main__:plus {why}",
        f"meminstr: --guard __main__:*: __main__:made {why}",
    }


def test_a_script_is_never_said_not_to_have_been_imported(shell):
    shell.write("app.py", "x = 1\n")
    ended = shell.meminstr("run", "--guard", "__main__:*", "app.py")
    assert ended.err_without_report == "meminstr: --guard __main__:*: __main__ has nothing that matches\n"


def test_the_end_says_where_the_report_is_unless_asked_to_be_quiet(shell):
    shell.write("app.py", "pass\n")
    told = shell.real("run", "--report", "out-{pid}.json", "app.py")
    (written,) = shell.folder.glob("out-*.json")
    assert f"meminstr: the report is in {written.name} too\n" in told.err
    quiet = shell.real("run", "--quiet", "--report", "quiet.json", "app.py")
    assert (quiet.err, (shell.folder / "quiet.json").exists()) == ("", True)


def test_a_report_at_exit_says_in_the_log_where_it_is(shell):
    shell.write(
        "app.py", "import logging, meminstr\nlogging.basicConfig(level=20)\nmeminstr.report_at_exit('o.json')\n"
    )
    ended = shell.python("app.py")
    assert "INFO:meminstr:meminstr_report: written to " in ended.err
    assert ended.err.rstrip().endswith("o.json")


def test_a_name_that_a_script_with_exec_turns_out_not_to_have_is_told_with_the_nearest(shell):
    shell.write("app.py", FACTORY)
    ended = shell.meminstr("run", "--guard", "__main__:plsu", "app.py")
    assert (ended.code, ended.out) == (0, "2 2 3\n")
    assert ended.err_without_report == "meminstr: --guard __main__:plsu: __main__ has no plsu (did you mean plus?)\n"
