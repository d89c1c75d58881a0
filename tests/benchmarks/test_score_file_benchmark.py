"""Predictions for a file beside the network alone: what the report says of them."""

from benchmarks import score_file
from benchmarks.__main__ import main


def test_shares_are_those_of_the_same_round(tmp_path, monkeypatch):
    def cell(name: str, *rounds: float) -> dict:
        times = score_file.Summary.of(rounds).plain()
        return {"contestant": name, "seconds": times, "processor": times}

    network = cell(score_file.NETWORK, 1.0, 2.0, 4.0)
    content = {"rows": 600, "cells": [network, cell("parquet", 1.5, 2.5, 4.0), cell("csv", 2.0, 4.0, 8.0)]}
    text = "\n".join(score_file.section(content))
    assert "## Predicting 600 rows of a file" in text
    assert f"| {score_file.NETWORK} | 2 (1 to 4) | 2 (1 to 4) | 300 | – |" in text
    assert "| parquet | 2.5 (1.5 to 4) | 2.5 (1.5 to 4) | 240 | 1.25 (1.00 to 1.50) |" in text
    assert "| csv | 4 (2 to 8) | 4 (2 to 8) | 150 | 2.00 (2.00 to 2.00) |" in text
    asked = []
    monkeypatch.setattr(score_file, "measure_score_file", lambda *options: asked.append(options))
    options = ["--cache", str(tmp_path), "--results", str(tmp_path), "--rows", "5", "--rounds", "2"]
    assert main(["score_file", *options]) == 0
    assert asked == [(5, 2, tmp_path, tmp_path)]
