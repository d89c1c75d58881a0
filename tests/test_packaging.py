"""The wheel has what it needs, and the README's commands are where they are looked for."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from fuxi_mtl import registry

ROOT = Path(__file__).parents[1]
TOP_LEVEL = {
    *("fuxi_mtl", "model_zoo", "config", "data", "tests", "docs", "benchmarks", "run_expid.py", "setup.py"),
    *("pyproject.toml", "LICENSE", "CITATION.cff", ".ci", ".gitignore"),
    *("README.md", "README.zh-CN.md", "CHANGELOG.md", "UPGRADING.md", "CONTRIBUTING.md"),
}
registry.import_zoo()


def run(command: list, **options) -> str:
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        **options,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


def files_of(*patterns: str) -> list[str]:
    found = run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns], cwd=ROOT
    )
    return [name for name in found.split("\0") if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The files that git does not ignore: leftovers of the working folder must not help."""
    folder = tmp_path_factory.mktemp("source")
    for name in files_of("*.py", "*.md", "*.toml", "LICENSE", "*.typed"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def test_the_top_level_is_that_of_the_project():
    tracked = run(["git", "ls-files", "-z", "--cached"], cwd=ROOT).split("\0")
    assert {name.split("/")[0] for name in tracked if name} <= TOP_LEVEL


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["-q", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    run([sys.executable, "-m", "pip", "wheel", *options, source])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """The wheel, installed."""
    target = tmp_path_factory.mktemp("site")
    run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", target, wheel])
    return target


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def read_metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return archive.read(name).decode()


def test_the_wheel_holds_both_packages_the_licence_and_nothing_else(wheel):
    names = names_in(wheel)
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"fuxi_mtl", registry.ZOO}
    assert any(name.endswith("LICENSE") for name in names)


def test_every_file_of_both_packages_is_in_the_wheel(wheel):
    expected = {re.sub("^model_zoo/", f"{registry.ZOO}/", name) for name in files_of("fuxi_mtl", "model_zoo")}
    assert expected <= set(names_in(wheel))


IMPORTED = """
import sys, fuxi_mtl as fm
from fuxi_mtl import registry
print(fm.__file__, sys.modules[fm.MMoE.__module__].__file__, *registry.names(), sep="\\n")
"""
DECLARED = """
import fuxi_mtl as fm
from fuxi_mtl import registry
with registry.declared(folder := registry.zoo_folder()):
    print(fm.__file__, folder / "mmoe.py", *registry.names(), sep="\\n")
"""


def seen(python: Path | str, folder: Path, *path: Path, code: str = DECLARED) -> tuple[Path, Path, list[str]]:
    """The package, its file of MMoE and the models, as a program in a folder sees them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    package, zoo, *models = run([python, "-c", code], cwd=folder, env=environment).splitlines()
    return Path(package), Path(zoo), models


@pytest.fixture
def clone_of_fuxictr(tmp_path) -> Path:
    """A folder with a package of the bare name, which needs what is not there."""
    clone = tmp_path / "FuxiCTR"
    for name in ("model_zoo", "model_zoo/MMoE", "model_zoo/multitask"):
        (clone / name).mkdir(parents=True)
        (clone / name / "__init__.py").write_text("import torch_that_is_not_installed\n")
    return clone


def test_an_installed_wheel_runs_inside_a_clone_of_fuxictr(site, clone_of_fuxictr):
    package, zoo, models = seen(sys.executable, clone_of_fuxictr, site, code=IMPORTED)
    assert package.is_relative_to(site)
    assert zoo.is_relative_to(site)
    assert set(models) == set(registry.names())


def test_the_wheel_and_fuxictrs_can_be_installed_beside_each_other(site, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "theirs"]
    try:
        run([*pip, "--timeout", "5", "--retries", "0", "fuxictr==2.3.10"])
    except AssertionError:  # no registry answers: what it holds of that name
        folder = tmp_path / "theirs" / "model_zoo" / "LongCTR"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("import torch_that_is_not_installed\n")
    theirs = tmp_path / "theirs"
    assert (theirs / "model_zoo").is_dir()
    assert not {name.name for name in theirs.iterdir()} & {"fuxi_mtl", registry.ZOO}
    shutil.copytree(site, theirs, dirs_exist_ok=True)
    _, zoo, models = seen(sys.executable, tmp_path, theirs)
    assert zoo.is_relative_to(theirs / registry.ZOO)
    assert set(models) == set(registry.names())


SNIPPET = """
import fuxi_mtl as fm
data = fm.Dataset({"x": [1.0]}, valid_size=0.5, features=[fm.Numeric("x")], tasks={"t": "y"})
fm.MMoE(data.features, data.tasks, num_experts=4, embedding_dim=8, gate_stabilize=fm.GateStabilize())
fm.MMoE(data.features, data.tasks, num_expert=4)
fm.MMoE(data.features, data.tasks, embeding_dim=8)
fm.PLE(data.features, data.tasks, num_layers="two")
fm.fit(fm.MMoE(data.features, data.tasks), data, lerning_rate=1.0)
fm.Categorical("user", min_cuont=2)
"""
SEEN_BY_MYPY = {
    5: 'Unexpected keyword argument "num_expert" for "MMoE"; did you mean "num_experts"?',
    6: 'Unexpected keyword argument "embeding_dim" for "MMoE"; did you mean "embedding_dim"?',
    7: 'Argument "num_layers" to "PLE" has incompatible type "str"; expected "int"',
    8: 'Unexpected keyword argument "lerning_rate" for overloaded function "fit"',
    9: 'Unexpected keyword argument "min_cuont" for "Categorical"',
}


def test_the_mypy_of_a_user_sees_the_types_of_an_installed_wheel(site, tmp_path):
    (tmp_path / "snippet.py").write_text(SNIPPET)
    mypy = [
        sys.executable,
        "-m",
        "mypy",
        "--cache-dir",
        tmp_path / "cache",
        "--hide-error-codes",
        "snippet.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    result = subprocess.run(mypy, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    errors = re.findall(r"^snippet.py:(\d+): error: (.*)$", result.stdout, re.MULTILINE)
    assert {int(line) for line, _ in errors} == set(SEEN_BY_MYPY), result.stdout + result.stderr
    for line, message in SEEN_BY_MYPY.items():
        assert any(int(at) == line and said.startswith(message) for at, said in errors), errors


def test_an_editable_install_runs_inside_a_clone_of_fuxictr(source, clone_of_fuxictr, tmp_path):
    venv = tmp_path / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", venv])
    python, (packages,) = venv / "bin" / "python", venv.glob("lib/python*/site-packages")
    # What it requires, without the editable install that this process itself may run from.
    shared = Path(yaml.__file__).parents[1]
    (packages / "shared.pth").write_text(f"{shared}\n")
    options = ["-q", "--no-deps", "--no-build-isolation", "-e", source]
    run([sys.executable, "-m", "pip", "--python", python, "install", *options])
    package, zoo, models = seen(python, clone_of_fuxictr)
    assert package.is_relative_to(source)
    assert zoo.is_relative_to(source / "model_zoo")
    assert set(models) == set(registry.names())


ORDERS = {
    "ours_first": "import fuxi_mtl as fm; fm.MMoE; from model_zoo import MMoE; from model_zoo.ple import PLE",
    "theirs_first": "from model_zoo import MMoE; from model_zoo.ple import PLE; import fuxi_mtl as fm",
}
# One process for all that is asked of a first use, since importing TensorFlow takes seconds: our modules are
# forgotten between the orders, and TensorFlow stays.
FIRST_USES = """
import json, random, sys

def is_ours(name):
    return name.partition(".")[0] in ("fuxi_mtl", "fuxi_mtl_zoo", "model_zoo")

found = {}
random.seed(1)
expected = random.random()
for order, code in json.loads(sys.argv[1]).items():
    for name in list(filter(is_ours, sys.modules)):
        del sys.modules[name]
    names = {}
    random.seed(1)
    exec(code, names)
    names["fm"].fit
    drawn = random.random() != expected
    zoo, fm, MMoE = __import__("fuxi_mtl_zoo"), names["fm"], names["MMoE"]
    same = MMoE is fm.MMoE is zoo.mmoe.MMoE and names["PLE"] is fm.PLE
    files = [(module.__file__, id(module)) for name, module in list(sys.modules.items()) if "_zoo" in name]
    found[order] = {"same": same, "drawn": drawn, "files": len(dict(files)), "modules": len(set(files))}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def first_uses() -> dict[str, dict]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return json.loads(run([sys.executable, "-c", FIRST_USES, json.dumps(ORDERS)], cwd=ROOT, env=environment))


@pytest.mark.parametrize("order", ORDERS)
def test_in_a_checkout_both_names_of_the_zoo_give_the_same_classes(order, first_uses):
    found = first_uses[order]
    assert found["same"]
    assert found["files"] > 30
    assert found["files"] == found["modules"], "a file is held twice"


@pytest.mark.parametrize("order", ORDERS)
def test_the_first_use_of_a_name_leaves_the_programs_generator_as_it_was(order, first_uses):
    assert not first_uses[order]["drawn"]


def test_no_file_of_ours_imports_the_zoo_by_its_bare_name():
    files = [
        ROOT / name for name in files_of("fuxi_mtl/*.py", "model_zoo/*.py", "tests/*.py", "benchmarks/*.py")
    ]
    bare = re.compile(r"^\s*(from|import) model_zoo\b", re.MULTILINE)
    assert [file.name for file in files if bare.search(file.read_text(encoding="utf-8"))] == []


def test_the_wheel_brings_the_command_fuxi_mtl(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith("entry_points.txt")]
        assert "fuxi-mtl = fuxi_mtl.cli.commands:main" in archive.read(name).decode()


def test_every_requirement_has_a_lower_and_an_upper_bound(wheel):
    requirements = re.findall(r"^Requires-Dist: ([^;\n]+)", read_metadata(wheel), re.MULTILINE)
    assert len(requirements) > 10
    unbounded = [each for each in requirements if ">=" not in each or "<" not in each]
    assert unbounded == []


def test_the_wheel_asks_for_python_3_10_and_offers_the_extras(wheel):
    metadata = read_metadata(wheel)
    assert "Requires-Python: >=3.10" in metadata
    assert {"gpu", "test"} <= set(re.findall(r"^Provides-Extra: (\S+)", metadata, re.MULTILINE))


def test_the_lowest_versions_that_are_tested_are_the_lower_bounds_of_the_package(wheel):
    entries = re.findall(r"^Requires-Dist: ([^;\n]+)(?:; (.+))?$", read_metadata(wheel), re.MULTILINE)
    wanted = [requirement for requirement, condition in entries if condition in ("", 'extra == "test"')]
    bounds = {re.sub(r"^([\w-]+).*>=([\w.]+).*$", r"\1==\2", requirement) for requirement in wanted}
    assert set(run([sys.executable, ".ci/lower_bounds.py"], cwd=ROOT).split()) == bounds
    assert {"numpy==2.0", "pytest==8.3", "optuna==4.3"} <= bounds


def test_where_the_lowest_python_is_missing_it_is_said_and_nothing_is_tested(tmp_path):
    for tool in ("bash", "env", "dirname", "sed"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    without = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    said = run([ROOT / ".ci" / "lowest"], env=without)
    assert said == "The lowest versions are not tested: there is no Python 3.10 here.\n"


@pytest.mark.parametrize("marker", ["main-command", "test-command"])
def test_the_readme_has_each_command_behind_its_marker(marker):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^<!-- {marker} -->\n```bash\n(.+?)\n```$", readme, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    assert blocks[0].startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_the_main_command_names_experiments_that_exist():
    from fuxi_mtl.config import available

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^<!-- main-command -->\n```bash\n(.+)$", readme, re.MULTILINE)
    expids = line.split("--expid ")[1].split()
    assert set(expids) <= set(available(ROOT / "config").expids)


def test_the_test_command_is_what_continuous_integration_runs():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- test-command -->" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
