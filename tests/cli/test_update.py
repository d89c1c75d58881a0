"""`update`: a day is measured, then trained on; what names a run knows its days."""

import itertools
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import graphs
import h5py
import numpy as np
import polars as pl
import pytest
from command_line import by_hand, call

import fuxi_mtl as fm
from fuxi_mtl.comparison import compare, stored_runs
from fuxi_mtl.config import load_experiment
from fuxi_mtl.dataset import Encoder
from fuxi_mtl.evaluation.calibration import Calibration, Platt
from fuxi_mtl.files import LockedError
from fuxi_mtl.lineage import (
    ancestors,
    check_day,
    chosen_day,
    days_of,
    find_run,
    lost_days,
    newest_days,
    split_day,
)
from fuxi_mtl.report import render
from fuxi_mtl.runs import Run, held_run, run_folders
from fuxi_mtl.workflow import next_day as days_ahead
from fuxi_mtl.workflow import resume, update
from fuxi_mtl.workflow.calibrate import load_calibration
from fuxi_mtl.workflow.next_day import next_day
from fuxi_mtl.workflow.update import PlannedUpdate, Update

SMALL = ("epochs=1", "calibration=platt", "save_predictions=true", "fusion.method=product")


def day_file(path: Path, first: int, items: dict[str, str]) -> Path:
    """Some of the toy's training rows, in which some items have another name."""
    rows = pl.read_csv("data/toy/train.csv", infer_schema_length=0).slice(first, 120)
    rows.with_columns(pl.col("item").replace(items)).write_csv(path)
    return path


@pytest.fixture(scope="module")
def lineage(in_place, tmp_path_factory):
    """Two seeds of a run, of which the first has two days and the second one, all of the command line."""
    root = tmp_path_factory.mktemp("lineage")
    items = pl.read_csv("data/toy/train.csv", infer_schema_length=0)["item"].unique().sort().to_list()
    files = [day_file(root / f"{i}.csv", 40 * i, {items[i]: f"new_{i}"}) for i in (0, 1)]
    model_root = f"model_root={root}"
    days = (1, files[0], "2026-11-08"), (1, files[1], "2026-11-09"), (2, files[0], "2026-11-08")
    with graphs.without_graphs():
        done = [call("run", "--expid", "Toy", "--seed", 1, 2, "--set", model_root, *SMALL)]
        for seed, file, day in days:
            arguments = ("--seed", seed, "--train_data", file, "--day", day, "--set", model_root)
            done.append(call("update", "--expid", "Toy", *arguments))
    assert [(each.status, each.err) for each in done] == [(0, "")] * 4
    assert not any("monitor is undefined" in each.out for each in done)
    return root, [each.out for each in done]


def content(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_a_day_is_taken_in_the_batches_of_its_run_where_nobody_says_their_size(lineage, tmp_path):
    root, _ = lineage
    parent = Run(shutil.copytree(first(root), tmp_path / "seed_1"))
    assert content(parent.folder)["batch_size"] == 32
    lines = parent.config.read_text().splitlines()[:-1]  # the last one has a checksum
    parent.config.write_text("\n".join(lines).replace("batch_size: 32\n", "batch_size: auto\n", 1))
    parent.write_json(parent.metrics, {**parent.read_json(parent.metrics), "batch_size": 48})

    def size(*overrides):
        planned = PlannedUpdate.of(parent, {"train": root / "0.csv"}, Update(), overrides=overrides)
        return planned.experiment.training.batch_size

    assert size() == 48
    assert size("batch_size=16") == 16


def first(root: Path, seed: int = 1) -> Path:
    return root / "toy/Toy" / f"seed_{seed}"


def test_each_update_is_a_run_beside_its_parent(lineage):
    root, out = lineage
    days = days_of(first(root))
    assert [day.name for day in days] == ["first", "2026-11-08", "2026-11-09"]
    assert days[1].folder == root / "toy/Toy/days/2026-11-08/seed_1"
    assert (days[1].folder.parent / "seed_1.log").is_file()
    assert run_folders(root) == [first(root), first(root, 2)]  # a day is no seed
    for before, day in itertools.pairwise(days):
        assert day.content["parent"]["folder"] == str(before.folder)
        with h5py.File(before.folder / "checkpoint/state.h5") as file:
            assert day.content["steps_before"] == int(file["optimizer/dense/iterations"][()])
        tokens = [Encoder.load(each.folder / "features").tokens["item"] for each in (before, day)]
        assert tokens[1][: len(tokens[0])] == tokens[0]
        assert day.content["update"]["vocabularies"]["item"]["new"] == len(tokens[1]) - len(tokens[0]) == 1
    assert "feature 'item': 1 tokens are new and 0 dropped" in out[1]
    assert "**** New rows before training on them ****" in out[1]


def test_progressive_numbers_are_those_of_the_run_before_on_rows_that_it_never_saw(lineage):
    root, _ = lineage
    days = days_of(first(root))
    for before, day in itertools.pairwise(days):
        told = day.content["update"]["progressive"]
        expected = fm.load_run(before.folder).evaluate(day.content["update"]["data"]["train"])
        after = fm.load_run(day.folder).evaluate(day.content["update"]["data"]["train"])
        for key, value in told["before"].items():
            assert value == pytest.approx(expected[key], abs=1e-6)
            assert told["after"][key] == pytest.approx(after[key], abs=1e-5)
        history = json.loads((day.folder / "history.json").read_text())
        assert history["progressive"]["before"] == told["before"]
        assert day.content["update"]["rows"] == {"train": 120}


def test_without_validation_rows_the_calibration_stays(lineage):
    root, _ = lineage
    days = days_of(first(root))
    kept = [json.loads((day.folder / "calibration.json").read_text()) for day in days]
    assert kept[0] == kept[1] == kept[2]
    fusions = [json.loads((day.folder / "fusion.json").read_text()) for day in days]
    assert fusions[0]["fusion"] == fusions[1]["fusion"] == fusions[2]["fusion"]
    assert [each["report"] is None for each in fusions] == [False, True, True]
    # An update that is whole has all that it can have.
    before = {path: path.stat().st_mtime_ns for path in days[2].folder.rglob("*")}
    again = {"train": str(root / "1.csv")}
    assert next_day(first(root), None, again, Update("2026-11-09"), resume=True) == Run(days[2].folder)
    assert {path: path.stat().st_mtime_ns for path in days[2].folder.rglob("*")} == before


def test_what_is_chosen_on_validation_rows_is_refused_without_any(lineage):
    root, _ = lineage
    day = chosen_day(first(root), None).folder

    def planned(*overrides):
        return PlannedUpdate.of(Run(day), {"train": str(root / "0.csv")}, Update("x"), overrides=overrides)

    for told, *changes in (
        ("its weights are chosen", "fusion.weights=equal"),
        ("its network is learnt", "fusion={method: ltr, label: {buy: 1}}", "group_id=user"),
    ):
        with pytest.raises(ValueError, match=f"fusion: {told} on validation rows, and the update has none"):
            planned(*changes)
    assert planned("fusion=null").experiment.fusion.fusion is None
    assert not planned("valid_size=0.2", "fusion.weights=equal").keeps_fusion
    given = ("--seed", 1, "--method", "isotonic", "--set", f"model_root={root}")
    assert (
        "isotonic is fitted to validation rows, and the run has none"
        in call("calibrate", "--expid", "Toy", *given).err
    )


def test_a_task_that_validation_rows_cannot_calibrate_stays_as_it_was(lineage, tmp_path, monkeypatch):
    root, _ = lineage
    parent = Run(chosen_day(first(root), None).folder)
    kept = load_calibration(parent)
    planned = PlannedUpdate.of(
        parent, {"train": str(root / "0.csv")}, Update("x"), overrides=["valid_size=9"]
    )
    run, calibrated = Run(tmp_path), []

    def calibrate(model, dataset, experiment, place, step):  # click has no positives there
        anew = Calibration("platt", {"buy": Platt(2.0, 1.0)})
        place.write_json(place.calibration, anew.plain())

    monkeypatch.setattr(update, "calibrate_model", calibrate)
    model, rows = SimpleNamespace(calibrate=calibrated.append), SimpleNamespace(valid=True)
    update._calibrate(planned, model, rows, planned.experiment, run, 1)
    expected = Calibration("platt", {"click": kept.maps["click"], "buy": Platt(2.0, 1.0)})
    assert load_calibration(run) == expected
    assert calibrated == [expected]


def test_an_update_of_a_run_that_itself_went_on_begins_where_that_ended(lineage, tmp_path):
    root, _ = lineage
    folder = Run(shutil.copytree(first(root), tmp_path / "seed_1"))
    by_hand(folder.config, ("resume_path: null", "resume_path: Toy"))
    planned = PlannedUpdate.of(folder, {"train": str(root / "0.csv")}, Update("x"))
    assert planned.experiment.training.resume_path is None


def test_the_day_is_the_last_one_of_patterns_unless_another_is_said(lineage):
    root, _ = lineage

    def told(day, *overrides):
        rows = {"train": f"{root}/{{last_day-1..last_day}}.csv"}
        return PlannedUpdate.of(Run(first(root)), rows, Update(day), overrides=overrides).named["train"]

    assert told("2026-11-08") == f"{root}/{{2026-11-07..2026-11-08}}.csv"
    assert told("2026-11-08", "last_day=2026-11-01") == f"{root}/{{2026-10-31..2026-11-01}}.csv"
    with pytest.raises(ValueError, match="needs last_day, a date"):
        told("monday")


def test_rows_that_were_trained_on_and_days_that_go_back_are_said(lineage, monkeypatch, caplog):
    root, _ = lineage
    monkeypatch.setattr(days_ahead, "update_run", lambda *_, **__: [None])
    next_day(first(root), None, {"train": str(root / "0.csv")}, Update("2026-11-01"))
    assert "The new rows are those of day 2026-11-08, which was trained on: what they are" in caplog.text
    assert "Day 2026-11-01 is before 2026-11-09, behind which it is trained on." in caplog.text
    caplog.clear()
    shutil.copy(root / "0.csv", root / "2.csv")
    next_day(first(root), None, {"train": str(root / "2.csv")}, Update("2026-11-10"))
    assert not caplog.records


def test_keys_are_those_of_a_stanza_without_its_split(lineage, monkeypatch):
    root, _ = lineage
    asked = []
    monkeypatch.setattr(days_ahead, "next_day", lambda first, *_, **how: asked.append(how["overrides"]))
    given = ("update", "--expid", "Toy", "--train_data", root / "0.csv", "--set", f"model_root={root}")
    done = call(*given, "valid_size=0.2")
    assert (done.status, done.err) == (0, "")
    assert asked == [[f"model_root={root}", "valid_size=0.2"]]
    refused = call(*given, "valid_size=0.2", "--valid_data", "data/toy/valid.csv")
    assert "valid_size 0.2 and valid_data 'data/toy/valid.csv' exclude each other" in refused.err


def test_history_shows_the_days_of_the_newest_or_of_a_certain_one(lineage):
    root, _ = lineage
    done = call("history", "--expid", "Toy", "--seed", 1, "--set", f"model_root={root}")
    lines = done.out.splitlines()
    assert lines[0].split()[:4] == ["day", "rows", "new", "tokens"]
    assert [line.split()[0] for line in lines[1:4]] == ["first", "2026-11-08", "2026-11-09"]
    before = content(days_of(first(root))[2].folder)["update"]["progressive"]["before"]
    assert f"{before['click_AUC']:.6f}" in lines[3]
    assert "those of first are of its test rows." in lines[5]
    shorter = call("history", "--expid", "Toy@2026-11-08", "--seed", 1, "--set", f"model_root={root}")
    assert [line.split()[0] for line in shorter.out.splitlines()[1:3]] == ["first", "2026-11-08"]
    assert len(shorter.out.splitlines()) == len(lines) - 1
    missing = call("history", "--expid", "Toy@2026-11-10", "--seed", 1, "--set", f"model_root={root}")
    assert "has no day '2026-11-10'. Did you mean '2026-11-0" in missing.err


def test_predict_and_export_know_the_days_and_serve_old_and_new_tokens(lineage, tmp_path):
    import tensorflow as tf

    root, _ = lineage
    rows = pl.read_csv(root / "1.csv", infer_schema_length=0)
    rows.write_csv(tmp_path / "in.csv")
    found = {}
    for name in ("Toy", "Toy@2026-11-09", "Toy@2026-11-08", "Toy@first"):
        output = tmp_path / f"{name}.csv"
        given = ("--seed", 1, "--input", tmp_path / "in.csv", "--output", output)
        done = call("predict", "--expid", name, *given, "--set", f"model_root={root}")
        assert (done.status, done.err) == (0, "")
        found[name] = pl.read_csv(output)[:, 0].to_numpy()  # the first task is click
    np.testing.assert_array_equal(found["Toy"], found["Toy@2026-11-09"])
    assert not np.allclose(found["Toy"], found["Toy@2026-11-08"])
    given = ("--seed", 1, "--output", tmp_path / "served", "--set", f"model_root={root}")
    assert call("export", "--expid", "Toy", *given).status == 0
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    raw = {"item": tf.constant(rows["item"]), "price": tf.constant(rows["price"].cast(pl.Float32))}
    [name] = [name for name in served.structured_outputs if name.startswith("click")]
    np.testing.assert_allclose(served(**raw)[name].numpy().ravel(), found["Toy"], atol=1e-5)
    new = rows["item"].str.starts_with("new_1").to_numpy()
    assert new.any()


def test_compare_takes_the_newest_day_and_shows_a_line_over_days(lineage, caplog):
    root, _ = lineage
    runs = stored_runs(root)
    assert [(run.folder.parent.name, run.seed) for run in runs] == [("2026-11-09", 1)]
    assert "Toy: day 2026-11-09 lacks seed_2" in caplog.text
    pair = stored_runs(root, ["Toy@first", "Toy@2026-11-08"])
    assert [(run.expid, run.seed) for run in pair] == [
        ("Toy@first", 1),
        ("Toy@first", 2),
        ("Toy@2026-11-08", 1),
        ("Toy@2026-11-08", 2),
    ]
    tables = compare(pair, resamples=0)
    [day] = tables[0].days
    assert (day.expid, day.day, day.rows) == ("Toy@2026-11-08", "2026-11-08", 120)
    expected = [
        content(root / f"toy/Toy/days/2026-11-08/seed_{seed}")["update"]["progressive"] for seed in (1, 2)
    ]
    assert dict(day.cells["click_AUC"].by_seed) == {
        s: e["before"]["click_AUC"] for s, e in enumerate(expected, 1)
    }
    for style in ("terminal", "markdown", "html"):
        assert "Rows of each day, before they were trained on" in render(tables, style)
    narrow = render(tables, "terminal", width=60)
    assert all(f" {column} " in narrow for column in tables[0].columns)
    assert "2026-11-08" in narrow
    assert json.loads(render(tables, "json"))[0]["days"][0]["day"] == "2026-11-08"
    with pytest.raises(ValueError, match="'Toy' has no day '2026'"):
        stored_runs(root, ["Toy@2026"])
    with pytest.raises(ValueError, match="no finished run of expid 'Toi@first'"):
        stored_runs(root, ["Toi@first"])


def test_a_day_is_measured_anew_on_its_own_rows(lineage):
    """Such as with another calibration: its rows are encoded as it encodes, by an encoding that grew."""
    root, _ = lineage
    folder = chosen_day(first(root, 2), None).folder
    before = content(folder)
    given = ("--seed", 2, "--method", "none", "--set", f"model_root={root}")
    done = call("calibrate", "--expid", "Toy", *given)
    assert (done.status, done.err) == (0, "")
    after = content(folder)
    assert after["update"] == before["update"]
    assert not (folder / "calibration.json").exists()
    assert [day.name for day in days_of(first(root, 2))] == ["first", "2026-11-08"]


def test_days_go_forward(lineage, monkeypatch):
    root, _ = lineage
    file = root / "0.csv"

    def refused(at: str | None, day: str) -> str:
        with pytest.raises(ValueError) as error:  # noqa: PT011 - the messages are compared by the caller
            next_day(first(root), at, {"train": file}, Update(day))
        return str(error.value)

    assert "'first' is not the newest day of 'Toy': 2026-11-08, 2026-11-09 came after it" in refused(
        "first", "x"
    )
    assert "day '2026-11-08' is behind '2026-11-09' already" in refused(None, "2026-11-08")
    # The last day may be done again.
    reached = []
    monkeypatch.setattr(days_ahead, "update_run", lambda *_, **how: [reached.append(how["number"])])
    next_day(first(root), "2026-11-08", {"train": file}, Update("2026-11-09"))
    assert reached == [2]


def test_updates_of_a_run_that_was_trained_anew_are_none_of_its_own(lineage, tmp_path, caplog):
    root, _ = lineage
    shutil.copytree(root / "toy", tmp_path / "toy")
    place = first(tmp_path)
    metrics = content(place)
    by_hand(place / "metrics.json", (metrics["finished"], "later"))
    assert [day.name for day in days_of(place)] == ["first"]
    assert [day.name for day in ancestors(place)] == ["first"]
    assert lost_days(place) == ["2026-11-08", "2026-11-09"]
    with pytest.raises(
        ValueError, match="day '2026-11-08' is there, but the run that it goes on from is gone"
    ):
        chosen_day(place, "2026-11-08")
    told = call("history", "--expid", "Toy", "--set", f"model_root={tmp_path}").out
    assert "Left out, as the run that they go on from is gone or was trained anew: 2026-11-08, 2026" in told
    days_ahead._tell_of_others(place, "2026-11-09")
    assert "the updates of 2026-11-08 go on from a run that is gone or was trained anew" in caplog.text
    with pytest.raises(ValueError, match="there is no such run. Train it: run_expid.py --expid Toy"):
        chosen_day(first(tmp_path, 7), None)
    with pytest.raises(ValueError, match="'Toy' has no day 'x'"):
        newest_days([place], "x")
    assert days_of(first(tmp_path, 7)) == []
    (first(tmp_path, 8).parent / "seed_8.training").mkdir()
    with pytest.raises(
        ValueError, match=r"was interrupted. Go on with it: run_expid.py --expid Toy --resume"
    ):
        chosen_day(first(tmp_path, 8), None)


def test_two_updates_of_one_run_wait_for_each_other(lineage):
    root, _ = lineage
    holds, done = threading.Event(), threading.Event()

    def other():
        with held_run(first(root)):
            holds.set()
            done.wait(60)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(other)
        holds.wait(60)
        try:
            with pytest.raises(LockedError):
                next_day(first(root), None, {"train": root / "0.csv"}, Update("2026-11-10"))
        finally:
            done.set()


def test_a_run_that_is_trained_anew_says_that_it_loses_its_days(lineage, monkeypatch, caplog):
    root, _ = lineage
    monkeypatch.setattr(resume, "run_experiment", lambda *_: None)
    resume.run_or_resume(load_experiment("config", "Toy", [f"model_root={root}", "epochs=1"]))
    assert "Its updates (2026-11-08, 2026-11-09) will be none of the new run." in caplog.text


def test_a_run_may_start_from_a_day(lineage):
    root, _ = lineage
    assert find_run("Toy", str(root), "toy", 1).parent.name == "2026-11-09"
    assert find_run("Toy@first", str(root), "toy", 1) == first(root)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"day": "a/b"}, "it is a path"),
        ({"day": "a@b"}, "it holds @"),
        ({"day": "first"}, "the run before all updates"),
        ({"count_over": "all"}, "count_over is 'all'. Choices: new, lineage"),
        ({"expire_days": 0}, "expire_days is 0; the least is 1"),
    ],
)
def test_what_no_update_can_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Update(**given)


def test_a_name_and_its_day():
    assert split_day("Toy@2026-11-08") == ("Toy", "2026-11-08")
    assert split_day("Toy") == ("Toy", None)
    assert split_day("Toy@") == ("Toy@", None)
    assert len(Update().day) == len("2026-11-08")
    check_day("week 1")
