"""One sentence, exit code 2, no traceback; and the program has not started."""

import pytest

from meminstr.__main__ import main


@pytest.fixture
def app(shell):
    shell.write("app.py", "print('ran')\ndef function(): pass\nclass Cart:\n    def add(self): pass\n")
    shell.write("other/__init__.py", "")
    shell.write("other/part.py", "def function(): pass\n")
    return shell


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run"], "which program?"),
        (["run", "-m"], "the name of the module is missing"),
        (["run", "nope.py"], "cannot open the script nope.py"),
        (["run", "-m", "othr"], "there is no module othr (did you mean other?)"),
        (["run", "-m", "other.prt"], "there is no module other.prt (did you mean other.part?)"),
        (["run", "-m", "other"], "other is a package without a __main__ module"),
        (["run", "-m", "math"], "math has no Python code to run"),
        (["run", "other"], "there is no __main__ module in it"),
        (["run", "--track"], "expected one argument"),
        (["run", "--bad", "app.py"], "there is no option --bad"),
        (["run", "--track", "app", "app.py"], "is not of the form MODULE:CLASS[=NAME]"),
        (["run", "--track", "app.Cart", "app.py"], "did you mean app:Cart?"),
        (["run", "--track", "app:Cart=", "app.py"], "nothing stands behind the ="),
        (["run", "--track", "a pp:Cart", "app.py"], "the wildcards"),
        (["run", "--track", "*:Cart", "app.py"], "must be a plain name"),
        (["run", "--track", "meminstr.series:Series", "app.py"], "does not instrument itself"),
        (["run", "--guard", "app:function=x", "app.py"], "nothing may follow the name"),
        (["run", "--guard", "app:functoin", "app.py"], "has no functoin (did you mean function?)"),
        (["run", "--guard", "__main__:FUNCTION", "app.py"], "(did you mean function?)"),
        (["run", "--guard", "app:Cart.ad", "app.py"], "has no Cart.ad (did you mean add?)"),
        (["run", "--guard", "othr:f", "app.py"], "there is no module othr (did you mean other?)"),
        (["run", "--guard", "other.prt:f", "app.py"], "there is no module other.prt (did you mean other.part?)"),
        (["run", "--guard", "other.prt.*:f", "app.py"], "there is no module other.prt"),
        (["run", "--guard", "other.part.deep:f", "app.py"], "is a module, not a package"),
        (["run", "--guard", "other.part:functin", "app.py"], "other.part has no functin (did you mean function?)"),
        (["run", "--limit", "app:function", "app.py"], "=SIZE is missing"),
        (["run", "--limit", "app:function=2XiB", "app.py"], "'2XiB' is not a size"),
        (["run", "--limit", "app:function=0", "app.py"], "is not a size"),
        (["run", "--limit", "app:function=-1GB", "app.py"], "is not a size"),
        (["run", "--limit", "app:function=nan", "app.py"], "is not a size"),
        (["run", "--every", "0", "app.py"], "--every 0 is not allowed"),
        (["run", "--every", "often", "app.py"], "--every often is not allowed"),
        (["report"], "required: FILE"),
        (["report", "a.json", "--json", "--html", "x"], "not allowed with"),
        (["whatever"], "invalid choice: 'whatever'"),
        (["--what"], "--what"),
    ],
)
def test_mistakes_are_one_sentence(app, words, says, monkeypatch, capsys):
    ended = app.meminstr(*words) if words[:1] == ["run"] else app.real(*words)
    assert ended.code == 2, ended.err
    assert says in ended.err
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("meminstr: ")


def test_bad_settings_are_refused_with_their_source(app):
    ended = app.meminstr("run", "app.py", env={"MEMINSTR_EVERY": "often"})
    assert ended.code == 2
    assert "MEMINSTR_EVERY='often' is not allowed: a whole number from 1" in ended.err
    app.write("pyproject.toml", "[tool.meminstr]\nhorizon = 'far'\n")
    ended = app.meminstr("run", "app.py")
    assert ended.code == 2
    assert "horizon in [tool.meminstr] of " in ended.err


def test_help_and_version(capsys):
    for words in (["--help"], ["run", "--help"], ["report", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "MODULE:CLASS[=NAME]" in shown
    assert "meminstr 0" in shown
    assert main([]) == 0
    assert "commands:" in capsys.readouterr().out
