"""The examples in the docstrings of public names run."""

import doctest

import numpy as np
import pytest
import tensorflow as tf
from interface_world import ROOT, small_model

import fuxi_mtl as fm

MINE = [name for module, names in fm._MODULES.items() if "interface" in module for name in names]


@pytest.mark.parametrize("name", MINE)
def test_the_example_of_a_public_name_runs(name, data, fitted, frame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").symlink_to(ROOT / "config")
    (found,) = doctest.DocTestFinder(recurse=False).find(
        getattr(fm, name),
        name,
        module=False,
        globs={"fm": fm, "np": np, "tf": tf, "data": data, "run": fitted, "frame": frame},
    )
    assert found.examples, f"{name} has no example"
    found.globs["model"] = small_model(data)
    assert doctest.DocTestRunner().run(found).failed == 0
