"""The pages of the documentation are true: their programs run, their commands parse, their names and links exist.

What is done with a block is said in a comment over it that readers do not see:

    % file: NAME       the block becomes this file of the page's working folder (the examples lie there too)
    % both: NAME       and is run with the page's Python as well
    % run, % run: 1    the commands of the block are run, the last one ends with this code (0)
    % shows: TEXT      the output of the commands before holds this
    % parse            the commands are only parsed (as are those of unmarked blocks)
    % not run: WHY     the block is left alone

All other Python blocks of a page are one program, which must end well.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

import meminstr
from meminstr.commands import parser as command_line
from meminstr.exporters.families import ALL as FAMILIES
from meminstr.settings import _OTHER_VARIABLES, _RULES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if not {"_build", "outputs"} & set(p.relative_to(DOCS).parts))
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]
FENCE = re.compile(r"^( *)(`{3,}|:{3,})(\S*) *(.*)$")
MARK = re.compile(r"^% (file|both|run|shows|parse|not run)(?:: (.*))?$")
OTHER_OPTIONS = {"--fixed", "--leaky", "--max-tasks-per-child"}  # of the programs of the pages, and of Celery


def blocks(page):
    """(marks, language, text, number of the first line) of each fenced block."""
    marks, inside = [], None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if inside is not None:
            if fence and fence[2].startswith(inside[0]) and not fence[3]:
                yield marks, inside[1], textwrap.dedent("\n".join(inside[2])), inside[3]
                marks, inside = [], None
            else:
                inside[2].append(line)
        elif fence:
            inside = (fence[2], fence[3], [], number + 1)
        elif mark := MARK.match(line.strip()):
            marks.append((mark[1], mark[2]))
        elif line.strip():
            marks = []


def words_of(text):
    """The commands of a block, without their environment and comments."""
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words.pop(0)
        if words:
            yield words


def parse(words):
    """Have the command line parse the words of a command."""
    from meminstr.commands.run import split_program

    own, program = split_program(words)
    options, unknown = command_line.build_parser().parse_known_args(own)
    assert not unknown, f"{words}: there is no {unknown}"
    assert options.main is not None
    assert own[0] != "run" or program, f"{words}: which program?"


def execute(words, folder, capsys):
    """Run a command: (exit code, output)."""
    if words[0] == "meminstr" and words[1] not in ("run", "demo"):
        code = command_line.dispatch(words[1:])
        return code, "".join(capsys.readouterr())
    program = {
        "meminstr": ["-m", "meminstr"],
        "pytest": ["-m", "pytest", "-p", "no:cacheprovider", "-o", "meminstr_seconds=0.3"],
        "python": [],
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MEMINSTR_", "COVERAGE", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, *program[words[0]], *words[1:]],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def acted(page):
    return any(m[0] in ("run", "file", "both") for marks, *_ in blocks(page) for m in marks) or any(
        language == "python" and "not run" not in dict(marks) for marks, language, *_ in blocks(page)
    )


@pytest.mark.parametrize("name", [n for n, p in zip(NAMES, PAGES, strict=True) if acted(p)])
def test_what_a_page_does_can_be_done(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for example in (DOCS / "examples").glob("*.py"):
        shutil.copy(example, tmp_path)
    source, output, ran = [], "", False
    for marks, language, text, first in blocks(DOCS / name):
        wanted = dict(marks)
        for shown in (value for mark, value in marks if mark == "shows"):
            assert ran, f"{name}:{first}: nothing was run before"
            assert " ".join(shown.split()) in " ".join(output.split()), f"{name}:{first}: {shown!r} is not in\n{output}"
        if file := wanted.get("file") or wanted.get("both"):
            Path(file).write_text(text + "\n", encoding="utf-8")
        if "run" in wanted:
            ran, output = True, ""
            commands = list(words_of(text))
            for number, words in enumerate(commands, 1):
                code, said = execute(words, tmp_path, capsys)
                expected = int(wanted["run"] or 0) if number == len(commands) else 0
                assert code == expected, f"{name}:{first}: {words} ended with {code}\n{said}"
                output += said
        elif language == "python" and "file" not in wanted and "not run" not in wanted:
            source += [""] * (first - 1 - len(source)) + text.splitlines()  # as far down as on the page
    if source:
        Path("page.py").write_text("\n".join(source) + "\n", encoding="utf-8")
        code, said = execute(["python", "page.py"], tmp_path, capsys)
        assert code == 0, f"{name}: {said}"


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_options_exist(name):
    page = DOCS / name
    text = page.read_text(encoding="utf-8")
    for _, language, block, _ in blocks(page):
        if language in ("sh", "yaml"):
            lines = re.sub(r"^- run: ", "", block, flags=re.M)
            for words in words_of(lines if language == "sh" or "run:" in block else ""):
                if words[0] == "meminstr":
                    parse(words[1:])
    known = {word for action in all_actions() for word in action.option_strings} | OTHER_OPTIONS
    known |= set(re.findall(r'addoption\("(--[\w-]+)"', source_of("integrations/pytest_plugin.py")))
    for code in re.findall(r"`([^`\n]+)`", text):
        assert set(re.findall(r"(?<!\S)--[a-z][\w-]*", code)) <= known, f"{name}: {code}"
        if used := re.match(r"(?:MEMINSTR_\w+=\S+ )?meminstr ([a-z]\w*)\b", code):
            assert used[1] in command_line._COMMANDS, f"{name}: {code}"


def all_actions():
    commands = command_line.build_parser()._subparsers._group_actions[0].choices.values()
    return [action for command in commands for action in command._actions]


def source_of(path):
    return (Path(meminstr.__file__).parent / path).read_text(encoding="utf-8")


def resolve(dotted):
    """The object of a dotted name below meminstr."""
    found = meminstr
    for number, part in enumerate(parts := dotted.split("."), 1):
        if not hasattr(found, part):
            import_module(".".join(["meminstr", *parts[:number]]))
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_names_exist(name, pytestconfig):
    text = (DOCS / name).read_text(encoding="utf-8")
    dotted = {family[1] for family in FAMILIES.values()}
    for found in sorted(set(re.findall(r"(?<![\w/.\"])meminstr((?:\.[A-Za-z_]\w*)+)", text))):
        if f"meminstr{found}" not in dotted:
            resolve(found[1:])
    variables = {key.upper() for key in _RULES} | _OTHER_VARIABLES
    assert set(re.findall(r"\bMEMINSTR_([A-Z_]+)", text)) <= variables
    metrics = {f"{family[0]}_total" if family[3] == "counter" else family[0] for family in FAMILIES.values()}
    for found in set(re.findall(r"`(meminstr_\w+)", text)) - metrics:
        pytestconfig.getini(found)  # a setting of the plugin, or it is nothing


@pytest.mark.parametrize("name", NAMES)
def test_links_and_includes_resolve(name):
    page = DOCS / name
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        assert other.is_file(), f"{name}: {target}"
        headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.M) if anchor else []
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, f"{name}: {target}"
    for file in re.findall(r"\{(?:literal)?include\} (\S+)", text):
        assert (page.parent / file).is_file(), f"{name}: {file}"


def test_the_reference_has_every_public_name():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\.\. (?:auto\w+|data):: meminstr\.(\S+)", text, re.M))
    assert {name for name in meminstr.__all__ if name != "__version__"} <= listed
    for dotted in listed:
        assert resolve(dotted) is not None


def test_the_table_of_settings_is_that_of_the_code():
    spec = importlib.util.spec_from_file_location("make_outputs", DOCS / "make_outputs.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert (DOCS / "outputs" / "settings.md").read_text(encoding="utf-8") == made.settings_table(), (
        "run `python docs/make_outputs.py settings`"
    )
    assert all(f"`{key}`" in made.settings_table() for key in _RULES)
