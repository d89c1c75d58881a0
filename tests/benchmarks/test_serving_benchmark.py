"""What exported models cost: the rows that they are asked, and the tables of the report."""

import numpy as np
import polars as pl

from benchmarks import served_tables, serving
from benchmarks.workload import Workload

SMALL = Workload(vocabulary=3000, fields=5, numbers=2)


def test_the_rows_have_known_and_unknown_ids_of_the_network():
    _, encoder = serving.served_model(SMALL)
    rows = serving.rows_of(SMALL, 200)
    ids, numeric = encoder.encode(pl.DataFrame({name: x.tolist() for name, x in rows.items()}))
    assert numeric.shape == (200, 2)
    unknown = ids == [feature.vocab_size - 1 for feature in encoder.feature_map if feature.has_ids]
    assert unknown.any()
    assert not unknown.all(axis=0).any()


def test_the_difference_is_that_of_the_worst_output():
    expected = {"a": np.array([0.1, 0.2]), "b": np.array([0.5, 0.5])}
    found = {"a": np.array([[0.1], [0.2]]), "b": np.array([0.5, 0.75])}
    assert serving._difference(found, expected) == 0.25
    assert serving._difference({"ids": np.zeros(2)}, expected) is None


def test_each_form_has_a_row():
    time = {"median": 7.0, "low": 6.0, "high": 8.0, "rounds": [7.0]}
    rows = {"1": dict.fromkeys(("median", "p99", "cpu"), time)}
    content = {
        "rounds": 1,
        "vocabulary": 300,
        "versions": {"onnxruntime": "1.32"},
        "machine": {"load_before": 0.5},
        "cells": [{"form": form, "difference": 1.2e-7, "rows": rows} for form in serving.FORMS],
    }
    lines = serving.section(content)
    assert sum("| 1.2e-07 | 7 (7) |" in line for line in lines) == len(serving.FORMS)


def test_a_type_of_tables_has_what_it_costs():
    kinds = {
        "float32": {"bytes": 4e6, "auc": {"ctr": 0.75}, "difference": 0.0},
        "float16": {"bytes": 2e6, "auc": {"ctr": 0.7499}, "difference": 1e-4},
    }
    load = {"ids": 1000, "dtype": "float16", "bytes": {"assets": 1e6, "variables": 2e6, "graph": 3e6}}
    load |= dict.fromkeys(("seconds", "cpu", "answer", "before", "peak", "after", "load"), 1.0)
    content = {
        "machine": {"load_before": 1.0},
        "auc": [{"expid": "MMoE", "seed": 1, "types": kinds}],
        "loads": [load],
    }
    lines = served_tables.section(content)
    assert "| float16 | 2 | 1.0e-04 | 0.749900 (-1.0e-04) |" in lines
    assert any(line.startswith("| 1,000 | float16 | 1 | 2 | 3 | 1 |") for line in lines)
