"""The layer table as data: imports run downward only, optional libraries stay in their one file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import meminstr

PACKAGE = Path(meminstr.__file__).parent

# bottom to top; a module imports only from lower lines, and from siblings inside its own folder
LAYERS = [
    ["errors", "faults", "forks", "names", "nesting", "_version"],
    ["units", "brackets"],
    ["settings"],
    ["series", "spending", "probes", "trend"],
    ["verdict"],
    ["evidence"],
    ["sampling", "snapshot", "owned"],
    ["deltas", "attribution", "background"],
    ["instrument"],
    ["subjects"],
    ["class_subject", "tallied"],
    ["policy"],
    ["sentences"],
    ["judgement"],
    ["seed_counts", "reports", "limits", "calibration"],
    ["registry"],
    ["diagnosis"],
    ["decorators", "monitors", "test_mode", "at_exit", "switchboard"],
    ["shards", "asked"],
    ["integrations", "exporters", "commands"],
    ["__init__", "__main__", "_bootstrap"],
]

# third-party modules and the files that may import them
OPTIONAL = {
    "rich": {"commands/terminal.py"},
    "prometheus_client": {"exporters/prometheus.py"},
    "opentelemetry": {"exporters/opentelemetry.py"},
    "dask": {"integrations/dask.py"},
    "distributed": {"integrations/dask.py"},
    "tornado": {"integrations/dask.py"},
    "celery": {"integrations/celery.py"},
    "billiard": {"integrations/celery.py"},
    "torch": set(),
    "cupy": set(),
    "cachetools": set(),
    "pytest": {"integrations/pytest_plugin.py", "integrations/pytest_checks.py", "integrations/pytest_suite.py"},
}
REQUIRED = {"psutil", "numpy", "wrapt"}
# folders that are themselves imported on first use, so that numpy may stand at the top of their files
LATE = ("trend", "commands/pendulum")

FILES = sorted(PACKAGE.rglob("*.py"))
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def unit_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports_of(path):
    """(absolute module, line, at top level and not for type checking only) for every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["meminstr", *path.relative_to(PACKAGE).parent.parts]
    typing_only = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            typing_only |= {id(n) for n in ast.walk(node)}
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside |= {id(n) for n in ast.walk(node)}
    for node in ast.walk(tree):
        top = id(node) not in inside and id(node) not in typing_only
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, top
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            if node.level and not node.module:
                for alias in node.names:
                    yield f"{full}.{alias.name}", node.lineno, top
            else:
                yield full, node.lineno, top


def test_every_module_has_a_layer():
    units = {unit_of(p) for p in FILES}
    assert units <= set(RANK), sorted(units - set(RANK))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downward(path):
    here = unit_of(path)
    if here == "__init__" and path.parent == PACKAGE:
        return
    for module, line, _ in imports_of(path):
        parts = module.split(".")
        if parts[0] != "meminstr":
            continue
        assert len(parts) > 1, f"{path.name}:{line} imports meminstr from inside"
        there = parts[1]
        if there == here:
            continue
        assert there in RANK, f"{path.name}:{line} imports {module}, which has no layer"
        assert RANK[there] < RANK[here], f"{path.name}:{line} ({here}) imports {there}: an upward or sideways arrow"


def test_no_cycles_between_modules():
    # at top level; a lower layer cannot import a higher one, so cycles could only hide inside a folder
    graph = {}
    for path in FILES:
        name = ".".join(["meminstr", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
        graph[name] = {module for module, _, top in imports_of(path) if top and module.startswith("meminstr")}
    known = set(graph)
    state = {}

    def visit(name, trail):
        if state.get(name) == "done":
            return
        assert state.get(name) != "open", " -> ".join([*trail, name])
        state[name] = "open"
        for target in graph[name]:
            while target not in known and "." in target:
                target = target.rpartition(".")[0]
            if target != name and not name.startswith(target + "."):
                visit(target, [*trail, name])
        state[name] = "done"

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_stay_where_they_belong(path):
    relative = str(path.relative_to(PACKAGE))
    for module, line, top in imports_of(path):
        root = module.split(".")[0]
        if root == "meminstr" or root in sys.stdlib_module_names:
            continue
        if root in OPTIONAL:
            assert relative in OPTIONAL[root], f"{relative}:{line} imports optional {root}"
        else:
            assert root in REQUIRED, f"{relative}:{line} imports {root}, which nobody installs"
            heavy_at_top = top and root in ("psutil", "numpy") and not relative.startswith(LATE)
            assert not heavy_at_top, f"{relative}:{line} imports {root} at top level"


def test_no_submodule_bears_a_public_name():
    public = set(meminstr.__all__)
    assert not public & {unit_of(p) for p in FILES} - {"__init__"}


def test_public_names_resolve():
    for name in meminstr.__all__:
        assert getattr(meminstr, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = meminstr.nonsense


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_one_room(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def test_importing_and_decorating_loads_neither_psutil_nor_numpy_needlessly():
    code = (
        "import sys, meminstr\n"
        "meminstr.UsageError, meminstr.leak_guard, meminstr.track_instantiations, meminstr.memory_limited\n"
        "print([m for m in ('numpy', 'psutil') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
