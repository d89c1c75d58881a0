"""Weightings, surgeries, errors, poolings, bottoms, interactions and calibrations of a user's own."""

import json
import re

import pytest
import yaml
from command_line import DATASET_CONFIG, REPOSITORY, call

from fuxi_mtl.options import Family

# The weighting is the guide's own example.
GUIDE = (REPOSITORY / "docs" / "weighting.md").read_text(encoding="utf-8")
OWN = GUIDE.partition("```python\n")[2].partition("```")[0]
OWN += '''
from dataclasses import dataclass
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.evaluation.calibration import Map
from fuxi_mtl.options import BOTTOMS, CALIBRATIONS, ERRORS, INTERACTIONS, POOLINGS, SURGERIES, option
from fuxi_mtl.layers import Interaction
from fuxi_mtl.surgery import SurgeryMethod


@SURGERIES.register
class Shrunk(SurgeryMethod):
    """All of the sum, made shorter."""

    def __init__(self, names, seed=0, *, shrunk_by: Annotated[float, option("The factor.", least=0)] = 0.5):
        super().__init__(names, seed)
        if shrunk_by > 9:
            raise ValueError(f"shrunk_by is {shrunk_by}, and nobody wants more than 9.")
        self.factor = shrunk_by

    def __call__(self, gram, names, step):
        return np.full(len(names), self.factor)


@ERRORS["binary"].register
def smoothed(logits, labels, *, smoothing: Annotated[float, option("Share that is not.", least=0)] = 0.1):
    """Cross-entropy against labels that are less than sure."""
    soft = labels * (1 - smoothing) + (1 - labels) * smoothing
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=soft, logits=logits)


@POOLINGS.register
def first(vectors, weights, present):
    """The first member."""
    return vectors[..., 0, :] * weights[..., :1]


@BOTTOMS.register
class Scaled(keras.layers.Layer):
    """The embeddings times a number."""

    def __init__(self, names, mlp, *, scale: Annotated[float, option("The number.", above=0)] = 2.0):
        super().__init__()
        self.names, self.scale = tuple(names), scale

    def call(self, x, training=False):
        return dict.fromkeys(self.names, self.scale * x)

    def shared_variables(self):
        return []

    def own_variables(self, name):
        return []


@INTERACTIONS.register
class Squared(Interaction):
    """The embeddings and a multiple of their squares."""

    def __init__(self, columns, *, times: Annotated[float, option("The multiple.")] = 1.0, **kwargs):
        super().__init__(columns, **kwargs)
        self.times = times

    def call(self, x):
        return tf.concat([x, self.times * x * x], axis=1)

    @property
    def output_width(self):
        return 2 * self.input_width


@CALIBRATIONS.register
@dataclass(frozen=True)
class Shifted(Map):
    """A shift of the logit."""

    kind = "Shifted"
    shift: float = 0.0

    def __call__(self, z):
        return tf.sigmoid(z + self.shift)

    @classmethod
    def fit(cls, p, y):
        return cls(float(np.log(y.mean() / (1 - y.mean())) - np.log(p.mean() / (1 - p.mean()))))
'''
STANZA = """\
Own:
  dataset_id: bags
  model: ShareBottom
  metrics: [AUC, logloss]
  embedding_dim: 4
  bottom_hidden_units: [8]
  tower_hidden_units: []
  loss_weight: Inverse
  inverse_power: 0.5
  surgery: Shrunk
  loss: [smoothed, binary_crossentropy]
  smoothing: 0.2
  calibration: Shifted
  batch_size: 32
  epochs: 1
  export: False
"""


@pytest.fixture
def own_tables():
    """The tables as they were, afterwards."""
    before = [(family, dict(family._members)) for family in Family.known]
    yield
    for family, members in before:
        family._members = members


@pytest.fixture
def arguments(own_tables, tmp_path):
    """A folder of stanzas and a file of one's own."""
    config = tmp_path / "config"
    config.mkdir()
    (tmp_path / "own.py").write_text(OWN)
    bag = "    - {name: item, type: sequence, splitter: '^', max_len: 2, pooling: first}"
    dataset = DATASET_CONFIG.replace("toy:", "bags:", 1).replace("    - {name: item}", bag)
    (config / "dataset_config.yaml").write_text(dataset)
    own = yaml.safe_load(STANZA)["Own"]
    chosen = ["bottom_hidden_units", "loss_weight", "inverse_power", "surgery", "loss"]
    chosen += ["smoothing", "calibration"]
    plain = {key: value for key, value in own.items() if key not in chosen}
    tasks = {"ctr": "click", "cvr": "buy | click", "ctcvr": "click & buy"}
    plain |= {"model": "ESMM", "tasks": tasks, "bottom": {"type": "Scaled", "scale": 3}}
    plain["interaction"] = {"type": "Squared", "times": 2}
    chain = {"dataset_id": "bags", "model": "ESMM", "tasks": tasks, "loss": "smoothed"}
    stanzas = {"Own": own, "Plain": plain, "Chain": chain}
    (config / "model_config.yaml").write_text(yaml.safe_dump(stanzas, sort_keys=False))
    return ("--config", config, "--models", tmp_path / "own.py")


def test_what_is_ones_own_trains_is_stored_compared_predicted_with_and_exported(arguments, tmp_path):
    root = tmp_path / "runs"
    stored = ("--expid", "Own", "--set", f"model_root={root}")
    done = call("run", *arguments, "--expid", "Own", "Plain", "--set", f"model_root={root}")
    assert (done.status, done.err) == (0, "")
    folder = root / "bags/Own/seed_2026"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    expected = {"loss_weight": "Inverse", "inverse_power": 0.5, "surgery": "Shrunk", "shrunk_by": 0.5}
    expected |= {"loss": ["smoothed", "binary_crossentropy"], "smoothing": 0.2, "calibration": "Shifted"}
    assert expected.items() <= config.items()
    plain = yaml.safe_load((root / "bags/Plain/seed_2026/config.yaml").read_text())
    assert not {"inverse_power", "shrunk_by", "smoothing"} & plain.keys()
    assert plain["bottom"] == {"type": "Scaled", "scale": 3}
    assert plain["interaction"] == {"type": "Squared", "times": 2}
    step = json.loads((folder / "history.json").read_text())["evaluations"][-1]
    assert step["weights"]["click"] != 1
    assert step["watched"]["coefficient_click"] == 0.5
    assert json.loads((folder / "calibration.json").read_text())["maps"]["click"]["kind"] == "Shifted"
    table = call("compare", "--model_root", root, "--format", "markdown")
    assert (table.status, table.err) == (0, "")
    assert "Own" in table.out
    prediction = ("--input", "data/toy/test.csv", "--output", tmp_path / "scores.csv")
    assert call("predict", *arguments, *stored, *prediction).status == 0
    assert call("export", *arguments, *stored, "--output", tmp_path / "served").status == 0
    again = call("run", *arguments, *stored, "--resume")
    assert (again.status, again.err) == (0, "")
    assert "Epoch" not in again.out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["loss=smoothed"], "loss is 'smoothed'. Choices: binary_crossentropy, "),
        (["loss_weight=Inverse"], "no weighting is called 'Inverse'. Use EQ, "),
        (["surgery=Shrunk"], "surgery is 'Shrunk'. Choices: none, "),
        (["calibration=Shifted"], "calibration is 'Shifted'. Choices: none, "),
        (["interaction=Squared"], "interaction is 'Squared'. Choices: dcnv2, "),
        (["seed=1"], "pooling is 'first'. Choices: mean, "),
    ],
)
def test_without_its_file_a_command_says_what_is_missing(arguments, changes, message):
    files = ("--input", "x.csv", "--output", "y.csv")
    done = call("predict", *arguments[:2], "--expid", "Plain", *files, "--set", *changes)
    assert done.status == 1
    assert message in done.err
    assert "One of your own comes with --models and its file." in done.err


def test_what_is_ones_own_is_listed_with_its_options(arguments):
    shown = call("list", *arguments).out
    assert "Inverse  Each loss by a power of its running mean. (inverse_power)" in shown
    assert re.search(r"Shrunk +All of the sum, made shorter\. \(shrunk_by\)", shown)
    assert "Cross-entropy against labels that are less than sure. (smoothing)" in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["inverse_power=two"], "inverse_power expects a number, not 'two'."),
        (["inverse_power=0"], "inverse_power is 0; it must be above 0."),
        (["shrunk_by=10"], "shrunk_by is 10.0, and nobody wants more than 9."),
        (["model=ESMM", "bottom={type: Scaled, scale: 0}"], "bottom.scale is 0; it must be above 0."),
        (["interaction={type: Squared, times: x}"], "interaction.times expects a number, not 'x'."),
        (["shrunk_by=-1"], "shrunk_by is -1; the least is 0."),
        (["loss_weight=Invers"], "no weighting is called 'Invers'. Did you mean 'Inverse'?"),
        (
            ["surgery=none", "shrunk_by=1"],
            "shrunk_by has an effect only with surgery: Shrunk, but surgery is 'none'",
        ),
        (["loss=mse"], "Losses of a binary task: binary_crossentropy, "),
        (
            ["static_pos_weight={click: 2}"],
            "static_pos_weight is for a cross-entropy, but the loss of",
        ),
        (
            ["pos_weight_dynamic=true"],
            "pos_weight_dynamic is for a cross-entropy, but",
        ),
        (["calibration=closed_form"], "loss smoothed has no weight that could be undone. Use platt"),
    ],
)
def test_a_mistake_with_what_is_ones_own_is_told_at_its_place(arguments, changes, message):
    done = call("run", *arguments, "--expid", "Own", "--set", *changes)
    assert done.status == 1
    assert message in done.err


def test_an_error_of_ones_own_is_refused_where_a_model_would_not_use_it(arguments):
    done = call("run", *arguments, "--expid", "Chain")
    assert done.status == 1
    assert "loss 'smoothed' of 'cvr' has no effect: ESMM does not train it on its own label." in done.err


def test_an_option_with_the_name_of_a_key_is_refused(arguments, tmp_path):
    (tmp_path / "own.py").write_text(OWN.replace("inverse_power", "epochs"))
    done = call("run", *arguments, "--expid", "Own")
    assert "Inverse has an option 'epochs', which is a key of training already. Rename it" in done.err


def test_an_option_without_a_default_must_be_given(arguments, tmp_path):
    (tmp_path / "own.py").write_text(OWN.replace("least=0)] = 0.5", "least=0)]"))
    done = call("run", *arguments, "--expid", "Own")
    assert "Shrunk needs the option 'shrunk_by' (a number)." in done.err


def test_what_a_constructor_refuses_without_an_option_is_told_at_the_choice(arguments, tmp_path):
    refusing = (
        "class Picky(Weighting):\n    def __init__(self, objectives):\n        raise ValueError('never')"
    )
    (tmp_path / "own.py").write_text(f"{OWN}\n\n@WEIGHTINGS.register\n{refusing}\n")
    done = call("run", *arguments, "--expid", "Plain", "--set", "loss_weight=Picky")
    assert done.status == 1
    assert "ConfigError: --set loss_weight=Picky: never" in done.err
