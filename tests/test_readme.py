"""The README and the guides say what is there."""

import inspect
import re
import shlex
from pathlib import Path

import pytest
import yaml

from fuxi_mtl import registry
from fuxi_mtl.cli.commands import COMMANDS
from fuxi_mtl.cli.parser import make_parser
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
    make_parser(COMMANDS).parse_args(shlex.split(command))


def test_the_readmes_own_model_is_a_model(tmp_path):
    code = next(block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "@register" in block)
    (tmp_path / "cross_talk.py").write_text(code)
    try:
        assert registry.import_models(str(tmp_path)) == ["CrossTalk"]
        assert "shared_variables" in vars(registry.model("CrossTalk"))
        assert inspect.getdoc(registry.model("CrossTalk"))
    finally:
        registry._MODELS.pop("CrossTalk", None)


def test_the_guides_own_metric_is_a_metric():
    code = next(block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if '"Brier"' in block)
    from fuxi_mtl.metrics import METRICS

    before = set(METRICS)
    try:
        exec(compile(code, "own_model.md", "exec"), {})
        assert set(METRICS) - before == {"Brier"}
    finally:
        METRICS.pop("Brier", None)


CHINESE = (ROOT / "README.zh-CN.md").read_text()


def test_the_readme_is_a_page():
    assert len(README.splitlines()) <= 150


def test_both_readmes_have_the_same_blocks_links_and_tables():
    for pattern in (r"```\w+\n.*?\n```", r"<!-- [\w-]+ -->", r"^\| `(\w+)` \|.*\| (`\w+`) \|$"):
        found = [
            re.findall(pattern, text, re.DOTALL if "```" in pattern else re.MULTILINE)
            for text in (README, CHINESE)
        ]
        assert found[0] == found[1]
    links = [sorted(re.findall(r"\]\(([^)]+)\)", text)) for text in (README, CHINESE)]
    assert [each for each in links[0] if each != "README.zh-CN.md"] == [
        each for each in links[1] if each != "README.md"
    ]
    rows = [sum(line.startswith("|") for line in text.splitlines()) for text in (README, CHINESE)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    "page", [*PAGES, *ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md")], ids=lambda page: page.name
)
def test_every_link_of_a_page_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [each for each in targets if each and "://" not in each and not (page.parent / each).exists()]
    assert missing == []
