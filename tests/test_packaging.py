"""The wheel has what it needs, and the README's commands are where they are looked for."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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
def wheel(tmp_path_factory) -> Path:
    """Built from the files that git does not ignore: leftovers of the working folder must not help."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in files_of("*.py", "*.md", "*.toml", "LICENSE"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    options = ["-q", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    run([sys.executable, "-m", "pip", "wheel", *options, source])
    (built,) = folder.glob("*.whl")
    return built


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def read_metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return archive.read(name).decode()


def test_the_wheel_holds_both_packages_the_licence_and_nothing_else(wheel):
    names = names_in(wheel)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"fuxi_mtl", "model_zoo"}
    assert any(name.endswith("LICENSE") for name in names)


def test_every_file_of_both_packages_is_in_the_wheel(wheel):
    assert set(files_of("fuxi_mtl", "model_zoo")) <= set(names_in(wheel))


def test_an_installed_wheel_runs_far_from_the_repository(wheel, tmp_path):
    target = tmp_path / "site"
    run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", target, wheel])
    code = (
        "import fuxi_mtl, model_zoo, fuxi_mtl.registry as registry\n"
        "print(fuxi_mtl.__file__, model_zoo.__file__, *registry.names(), sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(target), "TF_CPP_MIN_LOG_LEVEL": "3"}
    package, zoo, *models = run([sys.executable, "-c", code], cwd=tmp_path, env=environment).splitlines()
    assert Path(package).is_relative_to(target)
    assert Path(zoo).is_relative_to(target)
    assert {"SingleTask", "ShareBottom", "MMoE", "PLE", "ESMM", "ESM2"} <= set(models)


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
