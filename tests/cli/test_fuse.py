"""Fusion from the stanza to the SavedModel, and on finished runs."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
import yaml
from command_line import by_hand, call, train

from fuxi_mtl import metrics
from fuxi_mtl.config import load_resolved
from fuxi_mtl.fusion import Fusion
from fuxi_mtl.options import FusionOptions, FusionSection, SearchOptions
from fuxi_mtl.runs import Run
from fuxi_mtl.workflow.amending import fuse_run
from fuxi_mtl.workflow.experiment import load_run
from fuxi_mtl.workflow.fuse import load_fusion, variants

QUICK = "{rounds: 3, samples: 8, elites: 3}"
LTR = "{features: [item, price], hidden_units: [4], epochs: 2}"


@pytest.fixture(scope="module")
def fused(in_place, tmp_path_factory):
    """A run whose stanza asks for a product with searched weights."""
    settings = ("group_id=user", f"fusion={{method: product, search: {QUICK}}}", "export=true")
    return train(tmp_path_factory.mktemp("fused"), *settings)


@pytest.fixture
def copied(fused, tmp_path):
    """A copy of it, to change."""
    shutil.copytree(fused.folder.parents[2], tmp_path / "runs")
    return fused._replace(folder=tmp_path / "runs" / fused.folder.relative_to(fused.folder.parents[2]))


def fuse(run, block, *others):
    return call(
        "fuse", "--expid", "Toy", "--set", f"model_root={run.folder.parents[2]}", "group_id=user",
        f"fusion={block}", *others,
    )  # fmt: skip


def scores_of(run, split="test"):
    with np.load(run.folder / f"{split}_scores.npz") as arrays:
        return dict(arrays)


def served(run, place):
    rows = pl.read_csv(place / "data/toy/test.csv")
    model = tf.saved_model.load(str(run.folder / "saved_model")).signatures["serving_default"]
    item, price = rows["item"].cast(str).to_list(), rows["price"]
    return lambda keep: model(
        item=tf.constant([item[i] for i in keep]), price=tf.constant(price.to_numpy()[keep], tf.float32)
    )


def test_a_run_with_a_fusion_serves_the_score_that_was_reported(fused, place):
    stored, test = fused.read("fusion.json"), scores_of(fused)
    fusion = Fusion.of(stored["fusion"])
    assert set(fusion.weights) == {"click", "buy"}
    offline = fusion({name: test[f"{name}_pred"] for name in fusion.weights})
    found = served(fused, place)(np.arange(160))
    np.testing.assert_allclose(found["fused_score"], offline, rtol=1e-5)
    np.testing.assert_allclose(found["click_pred"], test["click_pred"], atol=1e-6)
    assert [row["expid"] for row in stored["report"]["rows"]] == ["click", "buy", "fused_score"]
    assert stored["report"]["columns"] == ["click_gAUC", "buy_gAUC", "objective"]
    assert "Fused score" in fused.out


def test_validation_scores_are_kept_beside_those_of_the_test(fused):
    valid = scores_of(fused, "valid")
    assert len(valid["click_pred"]) == len(valid["group"]) == 160
    assert set(valid) == set(scores_of(fused))


def test_a_finished_run_gets_another_fusion_and_all_methods_are_compared(copied, place, tmp_path):
    block = f"{{method: rank, weights: equal, rank_constant: 60, search: {QUICK}}}"
    done = fuse(copied, block, "--compare", "--format", "json", "--output", tmp_path / "table.json")
    assert (done.status, done.err) == (0, "")
    table = json.loads((tmp_path / "table.json").read_text())[0]
    names = [row["expid"] for row in table["rows"]]
    assert names[:3] == ["click", "buy", "fused_score"]
    assert {"product, cem", "product, equal", "sum of sqrt, cem", "rank, cem"} <= set(names)
    assert "rank, equal" not in names  # that is fused_score
    stored = copied.read("fusion.json")
    assert stored["fusion"]["ties"] == "min"
    assert "rank_constant: 60.0" in (copied.folder / "config.yaml").read_text()
    # Ranks are those within a request: the rows of one user are served as a batch.
    test, fusion = scores_of(copied), Fusion.of(stored["fusion"])
    offline = fusion({name: test[f"{name}_pred"] for name in fusion.weights}, test["group"])
    keep = np.flatnonzero(test["group"] == test["group"][0])
    np.testing.assert_allclose(served(copied, place)(keep)["fused_score"], offline[keep], rtol=1e-5)


def test_personal_weights_are_served_as_they_were_reported(copied, place):
    done = fuse(copied, f"{{method: ltr, label: {{click: 1, buy: 3}}, ltr: {LTR}}}")
    assert (done.status, done.err) == (0, "")
    assert "ltr, lambdarank" in done.out
    test = scores_of(copied)
    found = served(copied, place)(np.arange(160))["fused_score"].numpy()
    _, encoder = load_run(copied.folder)
    score = load_fusion(Run(copied.folder), encoder.feature_map)
    ids, numeric = encoder.encode(
        pl.read_csv(place / "data/toy/test.csv").with_columns(pl.col("item").cast(str))
    )
    inputs = {"ids": tf.constant(ids), "numeric": tf.constant(numeric)}
    offline = score(inputs, {name: tf.constant(test[f"{name}_pred"]) for name in ("click", "buy")})
    np.testing.assert_allclose(found, offline, rtol=1e-4)
    row = copied.read("fusion.json")["report"]["rows"][-1]
    for name in ("click", "buy"):
        value = metrics.gauc(test[f"{name}_label"], found, test["group"]).value
        assert row["metrics"][f"{name}_gAUC"]["mean"] == pytest.approx(value, abs=1e-6)
    done = fuse(copied, "{method: product, weights: {click: 1, buy: 2}}")
    assert not (copied.folder / "fusion_network.npz").exists()


def predict(run, place, output):
    done = call(
        "predict", "--expid", "Toy", "--set", f"model_root={run.folder.parents[2]}", "--input",
        place / "data/toy/test.csv", "--output", output, "--keep", "item",
    )  # fmt: skip
    assert done.status == 0
    return pl.read_parquet(output), done.out


def test_predictions_for_a_file_have_the_fused_score_behind_them(fused, place, tmp_path):
    frame, _ = predict(fused, place, tmp_path / "scores.parquet")
    assert frame.columns == ["item", "click_pred", "buy_pred", "fused_score"]
    expected = served(fused, place)(np.arange(160))["fused_score"].numpy()
    np.testing.assert_allclose(frame["fused_score"], expected, rtol=1e-5)


def test_personal_weights_are_those_of_each_row_of_a_file(copied, place, tmp_path):
    fuse(copied, f"{{method: ltr, label: {{click: 1, buy: 3}}, ltr: {LTR}}}")
    frame, _ = predict(copied, place, tmp_path / "scores.parquet")
    expected = served(copied, place)(np.arange(160))["fused_score"].numpy()
    np.testing.assert_allclose(frame["fused_score"], expected, rtol=1e-4)


def test_rows_of_a_file_are_not_ranked_against_each_other(copied, place, tmp_path):
    fuse(copied, "{method: rank, weights: equal}")
    frame, said = predict(copied, place, tmp_path / "scores.parquet")
    assert frame.columns == ["item", "click_pred", "buy_pred"]
    assert "No fused_score: ranks are those within a request" in said


def test_a_run_without_validation_scores_predicts_them_again(copied):
    before = scores_of(copied, "valid")
    (copied.folder / "valid_scores.npz").unlink()
    shutil.rmtree(copied.folder / "saved_model")
    section = FusionSection(FusionOptions(weights={"click": 1.0, "buy": 1.0}, objective={"click_gAUC": 1.0}))
    table = fuse_run(copied.folder, section)
    assert table.columns == ("click_gAUC", "objective")
    np.testing.assert_allclose(scores_of(copied, "valid")["click_pred"], before["click_pred"], atol=1e-6)
    assert not (copied.folder / "saved_model").exists()  # there was none


def test_a_run_that_kept_no_predictions_has_them_afterwards_and_can_be_loaded(copied):
    config = copied.folder / "config.yaml"
    stanza = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**stanza, "save_predictions": False, "fusion": None}))
    for split in ("valid", "test"):
        (copied.folder / f"{split}_scores.npz").unlink()
    shutil.rmtree(copied.folder / "saved_model")
    fuse_run(copied.folder, FusionSection(FusionOptions(weights="equal")))
    assert load_resolved(config, "Toy").evaluation.save_predictions
    assert scores_of(copied, "valid").keys() == scores_of(copied).keys()


@pytest.mark.parametrize(("old", "new", "block", "message"), [
    ("group_id: user", "group_id: null", "{method: rank}", "fusion.method: rank needs group_id"),
    ("group_id: user", "group_id: null", "{weights: online, label: {click: 1}}",
     "fusion.weights: online needs group_id"),
    ("", "", "{weights: online}", "fusion.weights: online needs label"),
])  # fmt: skip
def test_a_fusion_that_does_not_fit_the_run_leaves_it_as_it_is(copied, old, new, block, message):
    config = copied.folder / "config.yaml"
    by_hand(config, (old, new))
    before = {file: file.read_bytes() for file in (config, copied.folder / "fusion.json")}
    done = fuse(copied, block)
    assert done.status == 1
    assert message in done.err
    assert {file: file.read_bytes() for file in before} == before


def test_methods_that_do_not_fit_are_left_out_of_the_comparison(copied):
    config = copied.folder / "config.yaml"
    by_hand(config, ("group_id: user", "group_id: null"))
    done = fuse(copied, "{method: product, weights: equal, label: {click: 1}}", "--compare")
    assert (done.status, done.err) == (0, "")
    assert "sum of sqrt, cem" in done.out
    assert "ltr" not in done.out
    assert "rank, " not in done.out


def test_a_run_that_is_kept_gets_what_is_missing_and_another_fusion_without_training(copied):
    trained = (copied.folder / "metrics.json").stat().st_mtime_ns
    shutil.rmtree(copied.folder / "saved_model")
    (copied.folder / "fusion.json").unlink()
    root, config = f"model_root={copied.folder.parents[2]}", copied.folder / "config.yaml"
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "model_root": root[11:]}))
    common = ("run", "--expid", "Toy", "--resume", "--set", root, "group_id=user", "export=true")
    for block in (f"{{method: product, search: {QUICK}}}", "{method: product, weights: equal}"):
        done = call(*common, f"fusion={block}")
        assert (done.status, done.err) == (0, "")
        assert "is finished: it stays as it is" in done.out
    assert copied.read("fusion.json")["fusion"]["weights"] == {"click": 0.5, "buy": 0.5}
    assert (copied.folder / "saved_model").is_dir()
    assert (copied.folder / "metrics.json").stat().st_mtime_ns == trained


def test_calibrating_a_run_fuses_the_new_scores(copied):
    shutil.rmtree(copied.folder / "saved_model")
    before = copied.read("fusion.json")
    done = call(
        "calibrate", "--expid", "Toy", "--set", f"model_root={copied.folder.parents[2]}", "--method", "platt"
    )
    assert (done.status, done.err) == (0, "")
    assert copied.read("fusion.json")["fusion"] != before["fusion"]


def test_export_writes_the_fused_score_too(fused, tmp_path):
    done = call(
        "export",
        "--expid",
        "Toy",
        "--set",
        f"model_root={fused.folder.parents[2]}",
        "--output",
        tmp_path / "served",
    )
    assert (done.status, done.err) == (0, "")
    outputs = tf.saved_model.load(str(tmp_path / "served")).signatures["from_ids"].structured_outputs
    assert set(outputs) == {"click_pred", "buy_pred", "fused_score"}


def test_a_stanza_without_a_fusion_cannot_be_fused(copied):
    done = fuse(copied, "null")
    assert done.status == 1
    assert "toy.yaml, line " in done.err
    assert "(Toy): there is no block fusion: add fusion: {method: product}" in done.err


@pytest.mark.parametrize(("name", "message"), [
    ("valid_scores.npz", "valid_scores.npz cannot be read"),
    ("fusion.json", "fusion.json is damaged"),
])  # fmt: skip
def test_damaged_files_are_an_error(copied, name, message):
    (copied.folder / name).write_text("{}")
    if name == "fusion.json":
        done = call(
            "export", "--expid", "Toy", "--set", f"model_root={copied.folder.parents[2]}",
            "--output", copied.folder / "out",
        )  # fmt: skip
    else:
        done = fuse(copied, "{}")
    assert done.status == 1
    assert message in done.err


def test_other_data_than_those_of_the_run_are_an_error(copied):
    by_hand(copied.folder / "metrics.json", ('"data_key": "', '"data_key": "other'))
    (copied.folder / "valid_scores.npz").unlink()
    done = fuse(copied, "{}")
    assert done.status == 1
    assert "the data are not those it was trained on" in done.err


def test_the_methods_that_are_compared_keep_the_scores_and_the_objective():
    options = FusionOptions(
        method="sum",
        transform="logit",
        weights={"a": 1.0},
        objective={"a_AUC": 1.0},
        search=SearchOptions(seed=3),
    )
    found = variants(options)
    assert set(found) == {f"{m}, {w}" for m in ("product", "sum of logit", "rank") for w in ("equal", "cem")}
    assert all(each.scores == ["a"] and each.search.seed == 3 for each in found.values())
    assert found["rank, cem"].rank_constant == 60
    assert set(variants(FusionOptions(label={"a": 1.0}))) >= {
        "ltr, pairwise",
        "ltr, lambdarank",
        "ltr, listnet",
    }
    assert "product, cem" not in variants(FusionOptions())
