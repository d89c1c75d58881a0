"""Comparison of stored runs: tables, paired intervals, transfer, and what it refuses to claim."""

import json
from dataclasses import replace

import numpy as np
import pytest
from synthetic_runs import labels_of_test, write_run

from fuxi_mtl.comparison import bootstrap, compare, stored_runs


@pytest.fixture
def three(tmp_path):
    """SingleTask, a better and a worse model, two seeds each."""
    for seed in (1, 2):
        write_run(tmp_path, "single", seed, model="SingleTask", skill=1.0)
        write_run(tmp_path, "better", seed, skill=1.5)
        write_run(tmp_path, "worse", seed, skill=0.6)
    return tmp_path


def test_the_table_shows_mean_and_deviation_over_seeds(three):
    (table,) = compare(stored_runs(three))
    row = next(row for row in table.rows if row.expid == "better")
    values = [run.metrics["test"]["ctr_AUC"] for run in table.runs if run.expid == "better"]
    assert row.seeds == (1, 2)
    assert row.cells["ctr_AUC"].mean == pytest.approx(np.mean(values))
    assert row.cells["ctr_AUC"].deviation == pytest.approx(np.std(values, ddof=1))
    assert table.columns == ("ctr_AUC", "ctr_logloss", "cvr_AUC", "cvr_logloss", "AUC", "logloss")
    assert row.train_seconds == 14.0
    assert row.num_parameters == 106_000


def test_the_best_of_a_column_follows_the_metrics_direction(three):
    (table,) = compare(stored_runs(three))
    assert table.best["ctr_AUC"] == {"better"}
    assert table.best["ctr_logloss"] == {"better"}


def test_a_real_difference_has_an_interval_that_excludes_zero(three):
    (table,) = compare(stored_runs(three))
    found = {row.expid: row.differences for row in table.rows}
    assert table.baseline == "single"
    assert found["single"] == {}
    assert found["better"]["ctr_AUC"].low > 0
    assert found["worse"]["ctr_AUC"].high < 0
    assert found["better"]["AUC"].low < found["better"]["AUC"].value < found["better"]["AUC"].high
    assert found["better"]["AUC"].seeds == (1, 2)
    assert "1,000 resamples of the 4,000 test rows" in table.resampled


@pytest.mark.parametrize("name", ["_TOGETHER", "_ROWS_TOGETHER"])
def test_runs_that_are_resampled_one_by_one_have_the_same_intervals(three, name, monkeypatch):
    write_run(three, "unsaved", 1, scores=False)
    (together,) = compare(stored_runs(three))
    widths = []
    products = bootstrap._products

    def counted(statistics, drawn):
        widths.append(len(statistics))
        return products(statistics, drawn)

    monkeypatch.setattr(bootstrap, "_products", counted)
    monkeypatch.setattr(f"fuxi_mtl.comparison.paired.{name}", 1)
    (alone,) = compare(stored_runs(three))
    assert set(widths) == {4}  # two metrics of two tasks of one run
    for one, other in zip(together.rows, alone.rows, strict=True):
        assert one.differences.keys() == other.differences.keys()
        for column, found in one.differences.items():
            assert found.reason == other.differences[column].reason
            ends = (found.low, found.high), (other.differences[column].low, other.differences[column].high)
            np.testing.assert_allclose(*ends, rtol=0, atol=1e-6, equal_nan=True)
    unsaved = next(row for row in together.rows if row.expid == "unsaved")
    assert "has no saved test scores" in unsaved.differences["ctr_AUC"].reason


def test_equal_models_have_an_interval_around_zero(tmp_path):
    for seed in (1, 2, 3):
        write_run(tmp_path, "one", seed)
        write_run(tmp_path, "two_", seed)
    (table,) = compare(stored_runs(tmp_path))
    assert not table.rows[1].differences["AUC"].excludes_zero


def test_pairing_makes_the_interval_of_like_models_narrow(tmp_path):
    first = write_run(tmp_path, "first")
    second = write_run(tmp_path, "copy")
    (second / "test_scores.npz").write_bytes((first / "test_scores.npz").read_bytes())
    content = json.loads((first / "metrics.json").read_text())
    (second / "metrics.json").write_text(json.dumps({**content, "expid": "copy"}))
    (table,) = compare([first, second])
    difference = table.rows[1].differences["ctr_AUC"]
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_the_same_runs_give_the_same_intervals(three):
    once, again = compare(stored_runs(three)), compare(stored_runs(three))
    assert [row.differences for row in once[0].rows] == [row.differences for row in again[0].rows]


def test_differences_use_the_seeds_that_both_have(three):
    write_run(three, "better", 3, skill=1.5)
    write_run(three, "alone", 9)
    (table,) = compare(stored_runs(three))
    found = {row.expid: row.differences["AUC"] for row in table.rows if row.differences}
    assert found["better"].seeds == (1, 2)
    assert found["alone"].reason == "no seed in common with the baseline"
    assert np.isnan(found["alone"].value)
    assert any("not all run with the same seeds" in note for note in table.notes)
    assert any("With one seed the spread over seeds is unknown" in note for note in table.notes)


def test_scores_that_were_not_saved_leave_a_difference_without_interval(three):
    (three / "toy" / "worse" / "seed_2" / "test_scores.npz").unlink()
    (table,) = compare(stored_runs(three))
    found = {row.expid: row.differences for row in table.rows}
    assert found["worse"]["AUC"].value < 0
    assert np.isnan(found["worse"]["AUC"].low)
    assert found["worse"]["AUC"].reason == "worse seed 2 has no saved test scores (save_predictions)"
    assert any("worse seed 2 has no saved test scores" in note for note in table.notes)
    assert found["better"]["AUC"].excludes_zero


def test_other_labels_leave_a_difference_without_interval(tmp_path):
    write_run(tmp_path, "base")
    write_run(tmp_path, "other", labels=labels_of_test(seed=5))
    write_run(tmp_path, "short", labels=labels_of_test(rows=3000))
    (table,) = compare(stored_runs(tmp_path, ["base", "other", "short"]))
    found = {row.expid: row.differences for row in table.rows}
    assert found["other"]["AUC"].reason == "other seed 1 was tested on rows with another ctr_label than base"
    assert found["short"]["AUC"].reason == "short seed 1 was tested on 3000 rows, base on 4000"


def test_scores_that_do_not_give_the_stored_value_leave_no_interval(tmp_path):
    write_run(tmp_path, "base")
    folder = write_run(tmp_path, "edited")
    content = json.loads((folder / "metrics.json").read_text())
    content["test"]["ctr_AUC"] += 0.01
    (folder / "metrics.json").write_text(json.dumps(content))
    (table,) = compare(stored_runs(tmp_path))
    found = table.rows[1].differences
    assert found["ctr_AUC"].reason == "the saved test scores of edited seed 1 do not give its AUC"
    assert found["AUC"].reason == found["ctr_AUC"].reason
    assert not np.isnan(found["cvr_AUC"].low)


def test_a_task_without_saved_scores_has_no_interval(tmp_path):
    write_run(tmp_path, "base")
    folder = write_run(tmp_path, "partly")
    with np.load(folder / "test_scores.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != "cvr_pred"}
    np.savez(folder / "test_scores.npz", **kept)
    (table,) = compare(stored_runs(tmp_path))
    assert table.rows[1].differences["cvr_AUC"].reason == "partly seed 1 saved no cvr_pred"


def test_too_few_positives_to_resample_are_said_so(tmp_path):
    labels = labels_of_test(200)
    labels["ctr"] = (np.arange(200) == 5).astype(np.float32)
    write_run(tmp_path, "base", labels=labels)
    write_run(tmp_path, "other", labels=labels)
    (table,) = compare(stored_runs(tmp_path))
    assert table.rows[1].differences["ctr_AUC"].reason == "too few labels of one class to resample"


def test_groups_are_the_unit_of_resampling_where_they_were_saved(tmp_path):
    groups = np.arange(4000) % 400
    for expid in ("base", "other"):
        write_run(tmp_path, expid, groups=groups)
    (table,) = compare(stored_runs(tmp_path))
    assert "400 groups of test rows" in table.resampled


def test_rows_without_a_group_are_resampled_one_by_one_and_are_the_same_rows_in_every_run(tmp_path):
    groups = np.where(np.arange(4000) < 1000, np.nan, np.arange(4000) % 400)
    for expid in ("base", "other"):
        write_run(tmp_path, expid, groups=groups)
    (table,) = compare(stored_runs(tmp_path))
    assert "1,400 groups of test rows" in table.resampled
    assert not np.isnan(table.rows[1].differences["AUC"].low)


def test_intervals_can_be_left_out(three):
    (table,) = compare(stored_runs(three), resamples=0)
    difference = table.rows[0].differences["AUC"]
    assert np.isnan(difference.low)
    assert difference.reason == "intervals were not asked for"


def test_c5_an_undefined_metric_is_never_best_and_keeps_its_reason(tmp_path):
    labels = labels_of_test()
    labels["cvr"] = np.where(np.isnan(labels["cvr"]), labels["cvr"], np.float32(0))
    write_run(tmp_path, "one_class", labels=labels)
    write_run(tmp_path, "usual")
    (table,) = compare(stored_runs(tmp_path))
    cells = {row.expid: row.cells for row in table.rows}
    assert np.isnan(cells["one_class"]["cvr_AUC"].mean)
    assert "labels are 0" in cells["one_class"]["cvr_AUC"].reason
    assert table.best["cvr_AUC"] == frozenset()
    assert table.rows[1].differences["cvr_AUC"].reason == "not defined for both"


def test_a_metric_undefined_for_one_seed_counts_the_others(three):
    folder = three / "toy" / "better" / "seed_2"
    content = json.loads((folder / "metrics.json").read_text())
    content["test"]["ctr_AUC"] = None
    (folder / "metrics.json").write_text(json.dumps(content))
    (table,) = compare(stored_runs(three))
    cell = next(row for row in table.rows if row.expid == "better").cells["ctr_AUC"]
    assert list(cell.by_seed) == [1]
    assert np.isnan(cell.deviation)
    assert cell.reason == "seed 2: undefined"


def test_delta_m_is_the_mean_relative_change_signed_by_direction(three):
    (table,) = compare(stored_runs(three))
    rows = {row.expid: row for row in table.rows}
    single, worse = rows["single"].cells, rows["worse"].cells
    expected = {task: worse[f"{task}_AUC"].mean / single[f"{task}_AUC"].mean - 1 for task in ("ctr", "cvr")}
    assert rows["worse"].transfer.by_task == pytest.approx(expected)
    assert rows["worse"].transfer.delta_m == pytest.approx(np.mean(list(expected.values())))
    assert rows["worse"].transfer.delta_m < 0 < rows["better"].transfer.delta_m
    assert np.isnan(rows["single"].transfer.delta_m)


def test_delta_m_of_an_error_is_positive_when_it_falls(three):
    def errors_only(run):
        return replace(
            run, metrics={s: {k: v for k, v in of.items() if "AUC" not in k} for s, of in run.metrics.items()}
        )

    (table,) = compare([errors_only(run) for run in stored_runs(three)], resamples=0)
    rows = {row.expid: row for row in table.rows}
    assert rows["better"].transfer.metric_of == {"ctr": "logloss", "cvr": "logloss"}
    assert rows["better"].transfer.delta_m > 0


def write_decisions(root, expid, model="MMoE", **changes):
    """A run that decided, with a threshold of each task; without more keys as version 0.1.0 stored it."""
    folder = write_run(root, expid, model=model, thresholds={"ctr": 0.4, "cvr": 0.5})
    content = json.loads((folder / "metrics.json").read_text())
    content["test"] = {"ctr_F1": 0.6, "cvr_F1": 0.5, **content["test"], "F1": 0.55}
    (folder / "metrics.json").write_text(json.dumps(content | changes))
    return folder


def test_decisions_of_a_run_whose_threshold_read_the_test_rows_are_an_oracle_and_do_not_compare(tmp_path):
    write_decisions(tmp_path, "old", "SingleTask")
    write_decisions(tmp_path, "new", thresholds_chosen_on="valid")
    write_decisions(tmp_path, "fixed").joinpath("config.yaml").write_text("threshold: 0.5\n")
    (table,) = compare(stored_runs(tmp_path), resamples=50)
    told = [note for note in table.notes if "oracle" in note]
    assert told[0].startswith("F1 of old are at a threshold that the test rows' own number of positives gave")
    difference = table.rows[0].differences["ctr_F1"]
    assert (np.isnan(difference.value), difference.reason) == (
        True,
        "the threshold of one of the two is an oracle",
    )
    assert table.best["F1"] == table.best["ctr_F1"] == frozenset()
    assert table.best["ctr_AUC"]
    assert table.rows[0].transfer.metric_of == {"ctr": "AUC", "cvr": "AUC"}
    (table,) = compare(stored_runs(tmp_path, ["new", "fixed"]), resamples=0)
    assert not [note for note in table.notes if "oracle" in note]
    assert table.best["F1"] == {"new", "fixed"}


def test_the_best_threshold_of_an_old_run_is_an_oracle_without_validation_only(tmp_path):
    for expid, valid in (("chosen", {"ctr_F1": 0.6}), ("own", {})):
        write_decisions(tmp_path, expid, valid=valid).joinpath("config.yaml").write_text(
            "threshold: best_f1\n"
        )
    assert {run.expid: run.oracle for run in stored_runs(tmp_path)} == {"chosen": False, "own": True}


def test_without_a_single_task_experiment_there_is_no_transfer(tmp_path):
    write_run(tmp_path, "a")
    write_run(tmp_path, "b")
    (table,) = compare(stored_runs(tmp_path))
    assert table.rows[0].transfer.reason == "no SingleTask experiment on this dataset"
    assert not table.has_transfer
    assert any("Negative transfer is not shown" in note for note in table.notes)


def test_different_tasks_are_compared_where_they_mean_the_same(tmp_path):
    write_run(tmp_path, "base", model="SingleTask")
    labels = labels_of_test()
    write_run(tmp_path, "joint", labels={"ctr": labels["ctr"]}, tasks={"ctr": "click"}, skill=1.5)
    other = {"ctr": np.ones(4000, np.float32) * (np.arange(4000) % 2)}
    write_run(tmp_path, "renamed", labels=other, tasks={"ctr": "cart"})
    (table,) = compare(stored_runs(tmp_path))
    rows = {row.expid: row for row in table.rows}
    assert rows["joint"].differences["ctr_AUC"].excludes_zero
    assert rows["joint"].differences["AUC"].reason == "means over different tasks"
    assert rows["joint"].cells["cvr_AUC"].reason == "this experiment does not measure it"
    assert list(rows["joint"].transfer.by_task) == ["ctr"]
    assert rows["renamed"].transfer.reason == "no task in common with the single-task experiment"
    assert table.best["AUC"] == frozenset()
    assert "Task ctr means different things here: cart; click." in table.notes


def test_each_dataset_has_its_own_table_and_baseline(tmp_path):
    write_run(tmp_path, "a", dataset_id="one")
    write_run(tmp_path, "b", dataset_id="one")
    write_run(tmp_path, "c", dataset_id="two")
    tables = compare(stored_runs(tmp_path), baseline="b")
    assert [(table.dataset_id, table.baseline) for table in tables] == [("one", "b"), ("two", None)]


def test_without_a_test_split_validation_is_compared_and_said_so(tmp_path):
    write_run(tmp_path, "a", test={})
    write_run(tmp_path, "b", test={})
    (table,) = compare(stored_runs(tmp_path))
    assert table.split == "valid"
    assert "No run has a test split" in table.notes[0]
    assert table.rows[1].differences["AUC"].reason == "intervals need test rows"
    write_run(tmp_path, "c")
    (table,) = compare(stored_runs(tmp_path))
    assert table.rows[0].cells["AUC"].reason == "the run has no test split"


def test_requests_that_make_no_sense_are_refused(three):
    runs = stored_runs(three)
    with pytest.raises(ValueError, match="there is no run to compare"):
        compare([])
    with pytest.raises(ValueError, match="baseline 'singel' is not among the runs. Did you mean 'single'"):
        compare(runs, baseline="singel")
    with pytest.raises(ValueError, match="'better' with seed 1 came twice"):
        compare([runs[0], runs[0]])
    for wrong in ({"resamples": -1}, {"level": 1.0}):
        with pytest.raises(ValueError, match="resamples .* must be 0 or more"):
            compare(runs, **wrong)
