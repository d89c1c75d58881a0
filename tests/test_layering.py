"""Imports point down only: read from the source, not from what happens to be loaded."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the words up to the front doors. A module may import what stands in lower rows, and its own package.
LAYERS = [
    ["__init__", "tasks", "features", "files", "losses", "metrics", "devices", "log_file"],
    ["runs"],
    ["options"],
    ["layers", "objectives", "weighting", "backward", "funnel", "optimizers", "registry", "monitor"],
    ["step_means", "imbalance", "surgery", "causal", "priors", "network"],
    ["model", "dataset", "evaluate", "compare", "conversion", "calibration"],
    ["conversion_model", "fusion", "pareto"],
    ["config", "checkpoint", "callbacks", "diagnostics", "serving", "report", "model_zoo"],
    ["training_errors", "step_plan", "architecture"],
    ["train", "export", "predict", "simulation"],
    ["breakdown"],
    ["calibrate", "results", "fuse"],
    ["experiment"],
    ["logged"],
    ["pareto_search"],
    ["cli"],
    ["__main__"],
    ["run_expid"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def _room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "fuxi_mtl" else parts[0]


def _imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
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
                rooms.add("model_zoo")
            elif first == "fuxi_mtl" and rest:
                rooms.add(rest.split(".")[0])
    return {room for room in rooms if room in LEVEL}


FILES = sorted([*ROOT.glob("fuxi_mtl/**/*.py"), *ROOT.glob("model_zoo/*.py"), ROOT / "run_expid.py"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_lies_below_it(path):
    room = _room(path)
    assert room in LEVEL, f"{room} has no place in LAYERS"
    for other in _imported_rooms(path) - {room}:
        assert LEVEL[other] < LEVEL[room], f"{path.relative_to(ROOT)} imports {other}, which is not below"


def test_only_the_front_doors_import_the_zoo():
    importers = {_room(path) for path in FILES if "model_zoo" in _imported_rooms(path)}
    assert importers <= {"cli", "run_expid", "model_zoo"}


def test_model_and_dataset_do_not_know_each_other():
    rooms = {room: set() for room in ("model", "dataset")}
    for path in FILES:
        if _room(path) in rooms:
            rooms[_room(path)] |= _imported_rooms(path)
    assert "dataset" not in rooms["model"]
    assert "model" not in rooms["dataset"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_enough_to_be_read(path):
    limit = 150 if _room(path) == "model_zoo" else 300
    assert len(path.read_text().splitlines()) <= limit


PAPERS = [path for path in FILES if _room(path) == "model_zoo" and path.name != "__init__.py"]


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.name)
def test_a_paper_uses_bricks_and_base_classes_and_no_other_paper(path):
    assert all(LEVEL[other] <= LEVEL["conversion_model"] for other in _imported_rooms(path))


# Reading a stanza, looking at runs and asking for help must not wait for TensorFlow.
LIGHT = [
    "tasks",
    "options",
    "pareto",
    "log_file",
    "features",
    "metrics",
    "registry",
    "config",
    "runs",
    "evaluate",
    "monitor",
    "compare",
]


@pytest.mark.parametrize("name", [*LIGHT, "report", "simulation", "cli"])
def test_a_light_module_does_not_load_tensorflow(name):
    waiting, seen = [name], set()
    while waiting:
        seen.add(current := waiting.pop())
        for path in (path for path in FILES if _room(path) == current):
            # What a function imports, it imports when it is called.
            body = ast.parse(path.read_text()).body
            nodes = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
            names = {getattr(node, "module", None) or node.names[0].name for node in nodes}
            assert not {name.split(".")[0] for name in names} & {"tensorflow", "keras"}, (
                f"{path.name} is heavy"
            )
            rooms = {name.split(".")[1] for name in names if name.startswith("fuxi_mtl.")}
            waiting += sorted(rooms - seen)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_evaluated_pickled_or_printed(path):
    banned = {"eval", "exec"} if _room(path) in ("cli", "run_expid") else {"eval", "exec", "print"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in banned, f"line {node.lineno} calls {node.func.id}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno} is a bare except"
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & {"pickle", "dill", "joblib"}
