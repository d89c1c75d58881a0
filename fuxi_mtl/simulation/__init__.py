"""Data whose truth is known: a click funnel with hidden causes, and two regressions of known relatedness.

    >>> settings = make_settings("funnel", given={"rows": 1000, "selection": 1.0})
    >>> frame = make_generator(settings).block(0)
    >>> frame.height
    1000

`python -m fuxi_mtl simulate` writes them as files, with the stanzas to train on them;
docs/simulation.md is the guide. Numpy and polars only.
"""

from fuxi_mtl.simulation.funnel import Funnel
from fuxi_mtl.simulation.regression import Regression
from fuxi_mtl.simulation.settings import (
    GENERATORS,
    PRESETS,
    FunnelSettings,
    RegressionSettings,
    make_settings,
    read_settings,
    split_rows,
)
from fuxi_mtl.simulation.stanzas import as_yaml, check_config, dataset_stanza, model_stanzas, write_config
from fuxi_mtl.simulation.writing import SETTINGS_FILE, make_generator, simulate

__all__ = [
    "GENERATORS",
    "PRESETS",
    "SETTINGS_FILE",
    "Funnel",
    "FunnelSettings",
    "Regression",
    "RegressionSettings",
    "as_yaml",
    "check_config",
    "dataset_stanza",
    "make_generator",
    "make_settings",
    "model_stanzas",
    "read_settings",
    "simulate",
    "split_rows",
    "write_config",
]
