"""Settings: which source wins, and what happens to what is not allowed."""

import dataclasses
import inspect
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminstr import settings
from meminstr.errors import UsageError
from meminstr.faults import clear_faults, faults
from meminstr.settings import Settings, configure, current, load


@pytest.fixture(autouse=True)
def fresh():
    settings.use(None)
    clear_faults()
    yield
    settings.use(None)
    clear_faults()


def project(folder, table):
    (folder / "pyproject.toml").write_text(f"[tool.meminstr]\n{table}\n", encoding="utf-8")
    return folder


def test_defaults():
    assert load(environ={}) == Settings()
    assert (Settings().every, Settings().horizon, Settings().enabled) == (100, 5_000, True)


def test_arguments_beat_environment_beats_file_beats_defaults(tmp_path):
    project(tmp_path, "every = 2\nhorizon = 20\nmax-subjects = 3\nbirth_sites = false")
    found = load(
        files=True,
        directory=tmp_path,
        environ={"MEMINSTR_EVERY": "5", "MEMINSTR_HORIZON": "50"},
        arguments={"every": 7, "report": None},
    )
    assert (found.every, found.horizon, found.max_subjects, found.birth_sites) == (7, 50, 3, False)
    assert found.report is None
    assert found.cap_seconds == Settings().cap_seconds


def test_files_are_read_only_when_asked(tmp_path):
    project(tmp_path, "every = 2")
    assert load(directory=tmp_path, environ={}).every == 100


def test_the_nearest_project_file_counts_even_without_a_table(tmp_path):
    project(tmp_path, "every = 2")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert load(files=True, directory=inner, environ={}).every == 2
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert load(files=True, directory=inner, environ={}).every == 100


@pytest.mark.parametrize("text", ["not toml [", "tool = 3", "[tool]\nmeminstr = 5"])
def test_a_broken_project_file_is_named_and_passed_over(tmp_path, caplog, text):
    (tmp_path / "pyproject.toml").write_text(text)
    assert load(files=True, strict=True, directory=tmp_path, environ={}) == Settings()
    assert "pyproject.toml" in caplog.text


@pytest.mark.parametrize(
    ("variable", "value", "key", "expected"),
    [
        ("MEMINSTR_ENABLED", "0", "enabled", False),
        ("MEMINSTR_ENABLED", " Yes ", "enabled", True),
        ("MEMINSTR_DISABLED", "1", "enabled", False),
        ("MEMINSTR_DISABLED", "true", "enabled", False),
        ("MEMINSTR_DISABLED", "0", "enabled", True),
        ("MEMINSTR_DISABLED", "", "enabled", True),
        ("MEMINSTR_EVERY", "1_000", "every", 1000),
        ("MEMINSTR_EVERY", "", "every", 100),
        ("MEMINSTR_CAP_SECONDS", "0.5", "cap_seconds", 0.5),
        ("MEMINSTR_REPORT", "out.json", "report", "out.json"),
        ("MEMINSTR_BIRTH_SITES", "off", "birth_sites", False),
    ],
)
def test_the_environment(variable, value, key, expected):
    assert getattr(load(environ={variable: value}, strict=True), key) == expected


def test_disabled_wins_over_enabled():
    assert not load(environ={"MEMINSTR_DISABLED": "1", "MEMINSTR_ENABLED": "1"}).enabled


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MEMINSTR_EVERY", "0"),
        ("MEMINSTR_EVERY", "often"),
        ("MEMINSTR_EVERY", "1.5"),
        ("MEMINSTR_ENABLED", "perhaps"),
        ("MEMINSTR_DISABLED", "perhaps"),
        ("MEMINSTR_CAP_SECONDS", "nan"),
        ("MEMINSTR_COST_BUDGET_SHARE", "2"),
        ("MEMINSTR_DIAGNOSE_SECONDS", "inf"),
    ],
)
def test_a_bad_variable_stops_the_command_line_and_no_import(variable, value):
    with pytest.raises(UsageError, match=f"{variable}='{value}' is not allowed: .* is"):
        load(environ={variable: value}, strict=True)
    assert load(environ={variable: value}) == Settings()
    assert variable in faults()[0]["where"]


def test_unknown_names_are_warned_about_with_the_nearest(tmp_path, caplog):
    project(tmp_path, "evry = 3")
    with caplog.at_level(logging.WARNING, "meminstr"):
        load(files=True, directory=tmp_path, environ={"MEMINSTR_HORIZN": "5", "MEMINSTR_XYZ": "1", "OTHER": "x"})
    assert "evry in [tool.meminstr] of" in caplog.text
    assert "(did you mean every?)" in caplog.text
    assert "MEMINSTR_HORIZN is ignored (did you mean MEMINSTR_HORIZON?)" in caplog.text
    assert "MEMINSTR_XYZ is ignored" in caplog.text
    assert "OTHER" not in caplog.text


def test_bad_values_of_the_file_are_refused_with_their_place(tmp_path):
    project(tmp_path, 'every = "5"')  # TOML has numbers of its own
    with pytest.raises(UsageError, match=r"every in \[tool.meminstr\] of .*every='5' is not allowed"):
        load(files=True, strict=True, directory=tmp_path, environ={})
    assert load(files=True, directory=tmp_path, environ={}).every == 100


@pytest.mark.parametrize("values", [{"every": 0}, {"every": True}, {"enabled": 1}, {"cap_seconds": "1"}, {"report": 5}])
def test_bad_arguments(values):
    with pytest.raises(UsageError, match="is not allowed"):
        Settings(**values)
    with pytest.raises(UsageError, match="is not allowed"):
        configure(**values)


def test_unknown_arguments_are_errors():
    with pytest.raises(UsageError, match=r"no setting 'evry' \(did you mean every\?\)"):
        configure(evry=3)
    with pytest.raises(UsageError, match="no setting 'zzz'; there are: enabled"):
        load(arguments={"zzz": 3})


def test_configure_changes_what_is_current(tmp_path):
    assert current() is current()
    changed = configure(every=9, report=tmp_path / "x.json")
    assert current() is changed
    assert (changed.every, changed.report, changed.horizon) == (9, str(tmp_path / "x.json"), 5_000)
    assert configure(horizon=50).every == 9


def test_current_reads_the_environment_once(monkeypatch):
    monkeypatch.setenv("MEMINSTR_EVERY", "12")
    assert current().every == 12
    monkeypatch.setenv("MEMINSTR_EVERY", "13")
    assert current().every == 12
    settings.use(None)
    assert current().every == 13


def test_every_field_has_a_rule_and_a_line_of_documentation():
    fields = [field.name for field in dataclasses.fields(Settings)]
    assert fields
    assert set(settings._RULES) == set(fields)
    for name in fields:
        assert f"\n    {name}: " in inspect.cleandoc(Settings.__doc__ or "")


@given(st.dictionaries(st.sampled_from(sorted(settings._RULES)), st.text(max_size=8)))
def test_no_environment_breaks_an_import(values):
    found = load(environ={"MEMINSTR_" + key.upper(): text for key, text in values.items()})
    assert isinstance(found, Settings)
    assert dataclasses.replace(found) == found
