"""Calls the command line in this process, because TensorFlow takes seconds to import."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from fuxi_mtl.cli.commands import main

REPOSITORY = Path(__file__).parent.parent.parent
# Experiments on data/tiny_mtl, one of each kind: shared experts, private networks, a funnel, steps in turns
# after a fit beforehand, weights that are generated.
TINY = ("MMoE_test", "SingleTask_test", "ESM2_test", "DRJL_test", "APG_MMOE_test")

MODEL_CONFIG = """\
Toy:
  dataset_id: toy
  model: ShareBottom
  metrics: [AUC, logloss]
  embedding_dim: 4
  bottom_hidden_units: [8]
  tower_hidden_units: []
  learning_rate: 1.e-2
  batch_size: 32
  epochs: 2
  seed: 1
  monitor: AUC
  early_stop_patience: 2
  steps_per_execution: 4
  export: False

ToyFunnel:
  dataset_id: toy
  model: ESMM
  tasks: {ctr: click, cvr: buy | click, ctcvr: click & buy}
  metrics: [AUC, logloss]
  embedding_dim: 4
  tower_hidden_units: [8]
  learning_rate: 1.e-2
  batch_size: 32
  epochs: 2
  seed: 1
  monitor: AUC
  steps_per_execution: 4
  export: False

ToyDomains:
  dataset_id: toy
  model: M3oE
  domain: item
  metrics_by: item
  metrics: [AUC, logloss, accuracy]
  embedding_dim: 4
  star_units: 8
  trunk_hidden_units: [6]
  num_experts: 2
  expert_hidden_units: [4]
  tower_hidden_units: []
  bilevel_learning_rate: 0.1
  optimizer: sgd
  learning_rate: 1.e-1
  batch_size: 32
  epochs: 1
  seed: 1
  monitor: AUC
  steps_per_execution: 4
  export: False
"""
DATASET_CONFIG = """\
toy:
  data_root: ./data/
  train_data: ./data/toy/train.csv
  valid_data: ./data/toy/valid.csv
  test_data: ./data/toy/test.csv
  feature_cols:
    - {name: item}
    - {name: price, type: numeric, dtype: float}
    - {name: user, type: meta}
  label_col:
    - {name: click}
    - {name: buy, given: click}
"""


class Outcome(NamedTuple):
    """What a command leaves on the terminal."""

    status: int
    out: str
    err: str


def call(*arguments) -> Outcome:
    """Runs one command; the log of the tests is as before afterwards."""
    root = logging.getLogger()
    handlers, level, root.handlers = root.handlers, root.level, []
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            status = main([str(each) for each in arguments])
    finally:
        root.handlers = handlers
        root.setLevel(level)
        logging.raiseExceptions = True
    return Outcome(status, out.getvalue(), err.getvalue())


def in_process(*arguments, **options) -> subprocess.CompletedProcess:
    """The same in a process of its own."""
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=120, **options
    )


def by_hand(file: Path, *changes: tuple[str, str]) -> None:
    """Changes a text of a run as its messages say that one may: without its checksum."""
    text = re.sub(r',\s*"crc32": "\w+"|# crc32: \w+\n', "", file.read_text())
    for old, new in changes:
        text = text.replace(old, new)
    file.write_text(text)


class Trained(NamedTuple):
    """A finished run, and what it printed."""

    folder: Path
    out: str

    def read(self, name: str) -> dict:
        """A JSON file of the run."""
        return json.loads((self.folder / name).read_text())

    @property
    def evaluations(self) -> list[dict]:
        """The history."""
        return self.read("history.json")["evaluations"]


def train(root: Path, *settings: str, expid: str = "Toy") -> Trained:
    """Trains an experiment on the toy data into a folder of its own."""
    done = call("run", "--expid", expid, "--set", f"model_root={root}", *settings)
    assert (done.status, done.err) == (0, ""), done.err
    return Trained(next(root.glob(f"*/{expid}/seed_*/metrics.json")).parent, done.out)


def toy_columns(rows: int, seed: int) -> dict[str, np.ndarray]:
    """A click depends on the item, a purchase on the price."""
    rng = np.random.default_rng(seed)
    item, price = rng.integers(0, 8, rows), rng.normal(size=rows)
    click = (rng.random(rows) < 0.2 + 0.1 * (item % 4)).astype(int)
    buy = click * (rng.random(rows) < 1 / (1 + np.exp(-2 * price)))
    user = rng.integers(0, 20, rows)
    return {"item": item, "price": price.round(3), "user": user, "click": click, "buy": buy.astype(int)}


def write_csv(path: Path, rows: int, seed: int, **columns) -> Path:
    """Writes toy data, with some columns exchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({**toy_columns(rows, seed), **columns}).write_csv(path)
    return path
