"""Stanzas as people write them for FuxiCTR's multi-task fork train unmodified, and when converted."""

import shutil

import command_line
import graphs
import numpy as np
import polars as pl
import pytest
import yaml

FOLDER = command_line.REPOSITORY / "tests" / "config" / "fork_folder"
EXPIDS = tuple(name for name in yaml.safe_load((FOLDER / "model_config.yaml").read_text()) if name != "Base")
CONVERTED = "M3oE_test"  # that all experiments are the same is seen without training, in tests/config
METRICS = ("AUC", "KS", "recall", "precision", "F1")


def write_parts(folder):
    """Three parquet files of rows of three products, with lists and with labels that are missing (-1)."""
    random = np.random.default_rng(3)
    folder.mkdir(parents=True)
    for number in range(3):
        product = random.integers(0, 3, 120)
        clicks = random.poisson(3, 120)
        register = random.random(120) < 0.2 + 0.2 * product
        apply = np.where(random.random(120) < 0.1, -1, register & (clicks > 2))
        frame = pl.DataFrame(
            {
                "area_tag": [f"area{i}" for i in random.integers(0, 5, 120)],
                "product": [f"product{i}" for i in product],
                "click_cnt": clicks.astype(float),
                "hit_cnt": random.poisson(2, 120).astype(float),
                "installs": [
                    [f"app{i}" for i in random.integers(0, 6, random.integers(0, 5))] for _ in product
                ],
                "label_register": register.astype(float),
                "label_apply": apply.astype(float),
            },
            schema_overrides={"installs": pl.List(pl.String)},
        )
        frame.write_parquet(folder / f"part-{number}.parquet")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder copied as it is, with data."""
    place = tmp_path_factory.mktemp("fork") / "config"
    shutil.copytree(FOLDER, place)
    write_parts(place / "data" / "parts")
    return place


def train(place, config, expids):
    with pytest.MonkeyPatch.context() as patch, graphs.as_traced():
        patch.chdir(place)
        done = command_line.call(
            "run", "--config", config, "--gpu", "-1", "--expid", *expids, "--set", "export=false",
            *([] if config == "." else [f"model_root={config}/checkpoints"]),
        )  # fmt: skip
    assert (done.status, done.err) == (0, "")
    root = place / ("" if config == "." else config) / "checkpoints" / "all_seeds"
    return {expid: command_line.Trained(root / expid / "seed_2019", done.out) for expid in expids}


@pytest.fixture(scope="module")
def runs(place):
    """Everything in the folder, trained."""
    return train(place, ".", EXPIDS)


@pytest.mark.parametrize("expid", EXPIDS)
def test_every_stanza_of_the_fork_trains(runs, expid):
    metrics = runs[expid].read("metrics.json")
    for task in ("label_register", "label_apply"):
        assert {f"{task}_{name}" for name in METRICS} <= set(metrics["test"])
        assert 0 <= metrics["test"][f"{task}_AUC"] <= 1
    # The thresholds of label_col.
    assert metrics["thresholds"] == {"label_register": 0.5, "label_apply": 0.3}


def test_rows_are_divided_by_the_shares_of_the_stanza(runs):
    scores = [np.load(runs["PLE_test"].folder / f"{name}_scores.npz") for name in ("valid", "test")]
    assert [len(each["label_register_pred"]) for each in scores] == [72, 72]  # a fifth of 360 rows each


def test_the_log_of_a_run_says_what_became_of_each_key(runs):
    log = (runs["M3oE_test"].folder.parent / "seed_2019.log").read_text()
    for line in (
        "expert_num is num_experts here.",
        "domain_feature is domain here.",
        "num_domains is left out. Domains are counted",
        "exp_d is fusion_start.domain_weight here. The sigmoid of 0.1",
        "train_size is left out. Training has the rows that valid_size and test_size leave.",
        "valid_data is left out. It is train_data again, of which valid_size takes 0.2.",
        "infer_data is left out. Rows without labels are given to a command: predict --input FILE.",
        "encoder is feature_encoder here.",
        "M3oE: the four numbers of fusion_start learn on validation batches here",
    ):
        assert log.count(line) == 1, line


def test_fusion_starts_at_the_forks_numbers(runs):
    (evaluation,) = runs["M3oE_test"].evaluations
    watched = evaluation["watched"]
    # sigmoid(0.1), and a few steps of the optimizer of validation batches
    assert watched["domain_weight"] == pytest.approx(0.525, abs=0.03)


def test_converted_stanzas_give_the_same_metrics_to_the_last_digit(place, runs):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        done = command_line.call("convert", "--config", ".", "--output", "new")
    assert (done.status, done.err) == (0, "")
    assert "M3oE_test: " in done.out
    after = train(place, "new", [CONVERTED])[CONVERTED]
    before = runs[CONVERTED].read("metrics.json")
    for split in ("valid", "test"):
        assert after.read("metrics.json")[split] == before[split]
    assert "is left out" not in (after.folder.parent / "seed_2019.log").read_text()
