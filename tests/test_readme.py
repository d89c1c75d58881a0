"""The README and the guides say what is there."""

import inspect
import re
import shlex
from pathlib import Path

import pytest
import yaml

from fuxi_mtl import registry
from fuxi_mtl.cli.commands import _parser
from fuxi_mtl.config import available
from fuxi_mtl.registry import import_zoo

import_zoo()

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("model_zoo/guides/*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)


def _model_rows() -> dict[str, list[str]]:
    section = README.split("## Models")[1].split("##")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row for row in rows}


def test_the_table_of_models_is_the_registry():
    zoo = [name for name in registry.names() if registry.model(name).__module__.startswith(registry.ZOO)]
    assert sorted(_model_rows()) == sorted(zoo)


def test_each_row_names_an_expid_of_that_model():
    stanzas = {}
    for file in (ROOT / "config" / "model_config").glob("*.yaml"):
        stanzas |= yaml.safe_load(file.read_text())
    for model, row in _model_rows().items():
        assert stanzas[row[3].strip("`")]["model"] == model


def test_every_expid_in_a_command_exists():
    expids = available(ROOT / "config").expids
    own = {"CrossTalk_mine", "ESMM_mine", "MMoE_mine"}
    for command in re.findall(r"run_expid.py (?:--models \w+ )?--expid ((?:\w+ ?)+)", TEXT):
        assert set(command.split()) <= {*expids, *own}, command


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python -m fuxi_mtl (\w+ [^`#\n|]+)", TEXT))))
def test_every_command_of_the_pages_can_be_parsed(command):
    _parser().parse_args(shlex.split(command))


def test_the_readmes_own_model_is_a_model(tmp_path):
    code = next(block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "@register" in block)
    (tmp_path / "cross_talk.py").write_text(code)
    try:
        assert registry.import_models(str(tmp_path)) == ["CrossTalk"]
        assert "shared_variables" in vars(registry.model("CrossTalk"))
        assert inspect.getdoc(registry.model("CrossTalk"))
    finally:
        registry._MODELS.pop("CrossTalk", None)
