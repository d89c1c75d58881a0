"""Watch time on KuaiRand: the stanzas, what asks no network, and the command on a few rows."""

import json

import polars as pl
import pytest
from kuairand_rows import write_kuairand

from benchmarks import watch_time
from benchmarks.__main__ import main


def test_the_median_of_videos_of_like_length_is_that_of_training_rows():
    rows = pl.DataFrame(
        {
            "duration": [1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 1.0, 9.0],
            "play_time_ms": [1, 2, 9, 20, 30, 70, 4, 20],
            "split": ["train"] * 6 + ["test"] * 2,
        }
    )
    found = watch_time.median_by_duration(rows)  # 2 and 30
    assert found["XAUC"] == 1
    assert found["MAE"] == pytest.approx((2 + 10) / 2)
    assert found["value_PCOC"] == pytest.approx(32 / 24)


def test_decoders_are_trained_and_compared_on_the_same_impressions(tmp_path, monkeypatch):
    write_kuairand(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    few = {name: watch_time.ROWS[name] for name in ("without", "d2q")}
    monkeypatch.setattr(watch_time, "ROWS", few)
    monkeypatch.setattr(watch_time, "SQUARED", "d2q")
    monkeypatch.setattr(watch_time, "MODEL", {"model": "MMoE", "num_experts": 2, "expert_hidden_units": [4]})
    monkeypatch.setattr(watch_time, "EPOCHS", 1)
    places = ["--cache", str(tmp_path), "--results", str(tmp_path)]
    assert main(["watch_time", "--seeds", "1", "--turns", "0", *places]) == 0
    lines = watch_time.section(json.loads((tmp_path / "watch_time.json").read_text()))
    value, median, without, beside = (line for line in lines if line.startswith(("| d2q", "| median", "| w")))
    assert value.startswith("| d2q | 1 | 0.")
    assert median.startswith("| median by duration |  | 0.")
    assert without.startswith("| without | 0.")
    assert beside.count("[") == 3  # two tasks and their mean


def test_without_a_value_is_the_same_network_with_a_weight_of_zero(tmp_path, monkeypatch):
    write_kuairand(tmp_path, monkeypatch)
    chosen = watch_time.experiments(watch_time.timed(tmp_path / "rows"), tmp_path / "rows")
    assert list(chosen) == list(watch_time.ROWS)
    assert len({repr(each.training) for each in chosen.values()}) == 1
    weights = chosen["without"].weighting.loss_weight
    assert weights.pop("play_time_ms") == 0
    assert set(weights.values()) == {1}
    assert {each.weighting.loss_weight for name, each in chosen.items() if name != "without"} == {"EQ"}
