"""The examples in the docstrings of public names run."""

import doctest
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from interface_world import ROOT, small_model

import fuxi_mtl as fm
from fuxi_mtl import registry
from fuxi_mtl.metrics import METRICS
from fuxi_mtl.options import Family

# Examples of layers, losses, optimizers and weightings are those of plain Keras: tests/layers runs them.
ELSEWHERE = ("layers", "objectives", "optimizers", "weighting")
OWN = [
    name
    for name in fm.__all__
    if name == "Objective" or fm._MODULE_OF.get(name, "").rpartition(".")[2] not in ELSEWHERE
]
OWN.remove("__version__")


@pytest.fixture(autouse=True)
def forgotten():
    """What an example registers is unknown to the tests behind it."""
    tables = [registry._MODELS, METRICS, *(family._members for family in Family.known)]
    before = [dict(table) for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)


@pytest.mark.parametrize("name", OWN)
def test_the_example_of_a_public_name_runs(name, data, fitted, frame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").symlink_to(ROOT / "config")
    # Beside what a user has, examples of other folders use what stands in their module.
    names = {
        **vars(sys.modules[getattr(fm, name).__module__]),
        "fm": fm,
        "keras": keras,
        "np": np,
        "tf": tf,
        "data": data,
        "run": fitted,
        "frame": frame,
    }
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(fm, name), name, module=False, globs=names)
    assert found.examples, f"{name} has no example"
    found.globs["model"] = small_model(data)
    assert doctest.DocTestRunner().run(found).failed == 0


@pytest.mark.parametrize("name", sorted(set(fm.__all__) - {*OWN, "__version__"}))
def test_every_other_public_name_has_an_example(name):
    assert ">>> " in (getattr(fm, name).__doc__ or "")
