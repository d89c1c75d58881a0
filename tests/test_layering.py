"""Imports point down only: read from the source, not from what happens to be loaded."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The table of CONTRIBUTING: a row imports itself, if it is one folder, and what stands in lower rows.
TABLE = re.findall(r"^\| (\d+) \| (.+?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
LAYERS = [re.findall(r"`(\w+)`", names) for _, names in TABLE]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "fuxi_mtl" else parts[0]


@cache
def _nodes(path: Path) -> list[ast.AST]:
    """All nodes of a file, the module first."""
    return list(ast.walk(ast.parse(path.read_text())))


@cache
def _imported_modules(path: Path) -> frozenset[str]:
    modules = set()
    for node in _nodes(path):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "fuxi_mtl":
                names = [f"fuxi_mtl.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "model_zoo":
                modules.add("model_zoo")
            elif first == "fuxi_mtl" and rest:
                modules.add(rest.split(".")[0])
    return frozenset(module for module in modules if module in LEVEL)


FILES = sorted([*ROOT.glob("fuxi_mtl/**/*.py"), *ROOT.glob("model_zoo/*.py"), ROOT / "run_expid.py"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_lies_below_it(path):
    module = _module(path)
    if path.name == "__init__.py" and module == "__init__":
        return
    assert module in LEVEL, f"{module} has no row in CONTRIBUTING's table"
    for other in _imported_modules(path) - {module}:
        assert LEVEL[other] < LEVEL[module], f"{path.relative_to(ROOT)} imports {other}, which is not below"


def test_only_the_command_line_imports_the_zoo():
    importers = {_module(path) for path in FILES if "model_zoo" in _imported_modules(path)}
    assert importers <= {"cli", "run_expid", "model_zoo"}


def test_model_and_dataset_do_not_know_each_other():
    modules = {module: set() for module in ("model", "dataset")}
    for path in FILES:
        if _module(path) in modules:
            modules[_module(path)] |= _imported_modules(path)
    assert "dataset" not in modules["model"]
    assert "model" not in modules["dataset"]


def _code_lines(path: Path) -> int:
    """Lines of a file without those of its docstrings."""
    nodes = [node for node in _nodes(path) if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.Module))]
    docs = [node.body[0] for node in nodes if ast.get_docstring(node, clean=False) is not None]
    return len(path.read_text().splitlines()) - sum(doc.end_lineno - doc.lineno + 1 for doc in docs)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_enough_to_be_read(path):
    assert _code_lines(path) <= (150 if _module(path) == "model_zoo" else 400)


PAPERS = [path for path in FILES if _module(path) == "model_zoo" and path.name != "__init__.py"]


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.name)
def test_a_paper_uses_bricks_and_base_classes_and_nothing_else(path):
    assert all(LEVEL[other] <= LEVEL["model"] for other in _imported_modules(path))


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.name)
def test_a_paper_imports_no_other_paper(path):
    imports = [node for node in _nodes(path) if isinstance(node, ast.ImportFrom)]
    beside = [node.module or "" for node in imports if node.level]
    assert all(name.startswith("_") for name in beside)  # bodies and bricks


# Reading a stanza, looking at runs and asking for help must not wait for TensorFlow.
LIGHT = [
    "tasks.py",
    "features.py",
    "files",
    "registry.py",
    "runs.py",
    "options",
    "metrics",
    "config",
    "comparison",
    "report",
    "simulation",
    "evaluation/evaluate.py",
    "evaluation/monitor.py",
    "workflow/cleaning.py",
    "workflow/log_file.py",
    "cli",
]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES
}


@cache
def _imported_at_once(path: Path) -> set[str]:
    """Modules that a file imports when it is imported, with the packages that hold them."""
    # What a function imports, it imports when it is called.
    names = set()
    for node in _nodes(path)[0].body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {".".join(name.split(".")[:length]) for name in names for length in range(1, name.count(".") + 2)}


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_module_does_not_load_tensorflow(name):
    place = ROOT / "fuxi_mtl" / name
    start = [place] if place.is_file() else sorted(place.glob("**/*.py"))
    waiting, seen = [(path, path.name) for path in start], set()
    while waiting:
        path, way = waiting.pop()
        names = _imported_at_once(path)
        assert not names & {"tensorflow", "keras"}, f"{way} loads TensorFlow"
        new = {MODULES[each] for each in names if each in MODULES} - seen
        seen |= new
        waiting += [(each, f"{way} > {each.relative_to(ROOT)}") for each in sorted(new)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_evaluated_pickled_or_printed(path):
    banned = {"eval", "exec"} if _module(path) in ("cli", "run_expid") else {"eval", "exec", "print"}
    for node in _nodes(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in banned, f"line {node.lineno} calls {node.func.id}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno} is a bare except"
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & {"pickle", "dill", "joblib"}
