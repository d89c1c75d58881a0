"""The notebook and the guide run, and the notebook's numbers are those of a stanza."""

import json
import re

import pytest
import yaml
from interface_world import ROOT

from fuxi_mtl.config import load_experiment
from fuxi_mtl.workflow.experiment import run_experiment


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A working directory with the data and the stanzas of the repository."""
    for name in ("data", "config"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "tiny_mtl").symlink_to(ROOT / "data" / "tiny_mtl")
    for path in (ROOT / "config").iterdir():
        (tmp_path / "config" / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_cells(cells: list[str], name: str) -> dict:
    """Names that are left when the cells have run one after another."""
    names: dict = {}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"{name}, cell {number + 1}", "exec"), names)
    return names


MODEL = {
    "model": "MMoE",
    "dataset_id": "shop",
    "tasks": {"ctr": "click", "cvr": "conversion | click"},
    "num_experts": 4,
    "loss_weight": "GN",
    "epochs": 2,
    "batch_size": 256,
    "learning_rate": 5e-3,
    "monitor": "cvr_AUC",
    "group_id": "request_id",
    "export": False,
}
DATA = {
    "train_data": "data/tiny_mtl/train.csv",
    "valid_size": 0.1,
    "test_data": "data/tiny_mtl/test.csv",
    "feature_cols": [
        {"name": "user_id", "type": "categorical"},
        {"name": "item_id", "type": "categorical"},
        {"name": "price", "type": "numeric", "normalizer": "StandardScaler"},
        {"name": "recent_items", "type": "sequence", "share_embedding": "item_id", "max_len": 20},
        {"name": "request_id", "type": "meta"},
    ],
    "label_col": [{"name": "click"}, {"name": "conversion"}],
}


def test_the_notebook_runs_and_has_the_metrics_of_the_stanza_to_the_last_digit(checkout):
    notebook = json.loads((ROOT / "docs" / "notebooks" / "quickstart.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names = run_cells(cells, "quickstart.ipynb")
    config = checkout / "mine"
    config.mkdir()
    (config / "model_config.yaml").write_text(yaml.safe_dump({"MMoE_mine": MODEL}, sort_keys=False))
    (config / "dataset_config.yaml").write_text(yaml.safe_dump({"shop": DATA}, sort_keys=False))
    run = run_experiment(load_experiment(config, "MMoE_mine"))
    stored = run.read_json(run.metrics)
    assert names["run"].metrics == {split: stored[split] for split in ("valid", "test")}


def test_every_block_of_the_guide_runs_in_order(checkout):
    guide = (ROOT / "docs" / "python.md").read_text()
    names = run_cells(re.findall(r"```python\n(.*?)```", guide, re.S), "python.md")
    assert list(names["predicted"]) == ["ctr", "cvr"]
    assert names["table"].to_pandas()["baseline"].tolist() == ["SingleTask"] * 2
