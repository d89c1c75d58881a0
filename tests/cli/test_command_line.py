"""What people type, and what they get."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from command_line import REPOSITORY, Trained, call, in_process

from fuxi_mtl import registry
from fuxi_mtl.cli.commands import COMMANDS
from fuxi_mtl.cli.parser import make_parser
from fuxi_mtl.options import Family
from fuxi_mtl.options.exported import BAGS, FORMATS, SIGNATURES, STORED
from fuxi_mtl.runs import Run

SEEDS = (1, 2)
SHORT = ("epochs=1", "batch_size=160")  # two steps


@pytest.fixture(scope="module")
def runs(in_place, tmp_path_factory):
    """Two experiments with two seeds each."""
    root = tmp_path_factory.mktemp("runs")
    done = call(
        "run",
        "--expid",
        "Toy",
        "ToyFunnel",
        "Toy",
        "--seed",
        *SEEDS,
        1,
        "--set",
        f"model_root={root}",
        "epochs=1",
    )
    assert (done.status, done.err) == (0, "")
    return root, done


def metrics_of(root, expid, seed):
    return json.loads((root / "toy" / expid / f"seed_{seed}" / "metrics.json").read_text())


# ---- run ----------------------------------------------------------------------------------------


def test_experiments_and_seeds_run_once_each_and_end_in_a_table(runs):
    _, done = runs
    assert done.out.count("Total number of parameters") == 4
    table = done.out[done.out.rindex("Test evaluation") :]
    for part in ("Toy", "ToyFunnel", "±", "2"):
        assert part in table


def test_another_seed_gives_another_model(runs):
    root, _ = runs
    first, second = (metrics_of(root, "Toy", seed)["test"] for seed in SEEDS)
    assert first["AUC"] != second["AUC"]


def test_the_same_seed_gives_the_same_metrics_to_the_last_digit_in_another_process(runs, place, tmp_path):
    root, _ = runs
    # Two runs come before it there, none here; and this is the other front command_line.
    arguments = ["--config", "./config/", "--expid", "ToyFunnel", "--seed", 2, "--gpu", -1]
    settings = ["--set", f"model_root={tmp_path}", "epochs=1"]
    done = in_process(REPOSITORY / "run_expid.py", *arguments, *settings, cwd=place)
    assert done.returncode == 0, done.stderr
    for split in ("valid", "test"):
        assert metrics_of(tmp_path, "ToyFunnel", 2)[split] == metrics_of(root, "ToyFunnel", 2)[split]
    stored = [
        dict(np.load(each / "toy" / "ToyFunnel" / "seed_2" / "test_scores.npz")) for each in (root, tmp_path)
    ]
    for name, values in stored[0].items():
        np.testing.assert_array_equal(values, stored[1][name])


def test_a_terminal_without_colour_sees_no_progress_bar_and_nothing_of_tensorflow(runs, place, tmp_path):
    done = in_process("-m", "fuxi_mtl", "run", "--expid", "Nonsense", cwd=place)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def assert_says_what_it_is(told: dict, run: Run, place: Path) -> None:
    """Each field of a model, by what is known from elsewhere."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=False, cwd=REPOSITORY, capture_output=True, text=True
    )
    assert told.pop("git_commit") == (commit.stdout.strip() or None)
    assert told.pop("version") == metadata.version("fuxi_mtl")
    written = datetime.fromtimestamp(run.metrics.stat().st_mtime)
    assert abs(datetime.fromisoformat(told.pop("finished")) - written) < timedelta(seconds=60)
    assert (place / "data" / "toy" / f"encoded-{told.pop('data_key')}").is_dir()
    metrics = told.pop("metrics")
    assert metrics == {split: run.read_json(run.metrics)[split] for split in ("valid", "test")}
    assert 0 < metrics["test"]["buy_AUC"] < 1
    assert told == {
        "expid": "Toy",
        "seed": 1,
        "dataset_id": "toy",
        "rows": {"train": 320, "valid": 160, "test": 160},
        "model": "ShareBottom",
        "tasks": {"click": "click", "buy": "buy | click"},
        "outputs": ["click_pred", "buy_pred"],
    }


@pytest.mark.usefixtures("eagerly")
def test_an_exported_model_lies_in_the_run_and_equals_the_one_of_the_command(place, tmp_path):
    done = call("run", "--expid", "Toy", "--set", f"model_root={tmp_path}", *SHORT, "export=true")
    assert (done.status, done.err) == (0, "")
    stored = ("--expid", "Toy", "--set", f"model_root={tmp_path}")
    assert call("export", *stored, "--output", tmp_path / "served").status == 0
    import tensorflow as tf

    places = (tmp_path / "toy" / "Toy" / "seed_1" / "saved_model", tmp_path / "served")
    inputs = {"item": tf.constant(["3", "nobody"]), "price": tf.constant([0.5, np.nan])}
    first, second = (
        tf.saved_model.load(str(each)).signatures["serving_default"](**inputs) for each in places
    )
    assert set(first) == {"click_pred", "buy_pred"}
    run = Run(places[0].parent)
    told = json.loads((places[1] / "assets.extra" / "model_info.json").read_text())
    assert_says_what_it_is(told, run, place)
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    done = call(
        "predict",
        *stored,
        "--input",
        "data/toy/test.csv",
        "--output",
        tmp_path / "scores.csv",
        "--keep",
        "user",
    )
    assert (done.status, done.err) == (0, "")
    assert (tmp_path / "scores.csv").read_text().startswith("user,click_pred,buy_pred\n")


def test_a_run_is_reported_on_a_page_of_its_own(runs, tmp_path):
    stored = ("--expid", "Toy", "--seed", 1, "--set", f"model_root={runs[0]}")
    done = call("report", *stored, "--output", tmp_path / "toy.html")
    assert (done.status, done.err) == (0, "")
    page = (tmp_path / "toy.html").read_text(encoding="utf-8")
    for text in ("<h1>Toy, seed 1</h1>", "Errors by slice", "<h3>ROC</h3>", "Inputs (", "learning_rate: "):
        assert text in page, text


def test_new_rows_are_measured_as_those_of_the_training(runs, tmp_path):
    stored = ("--expid", "Toy", "--seed", 1, "--set", f"model_root={runs[0]}")
    output = tmp_path / "new.json"
    done = call("evaluate", *stored, "--input", "data/toy/test.csv", "--by", "item", "--output", output)
    assert (done.status, done.err) == (0, "")
    expected = metrics_of(runs[0], "Toy", 1)["test"]
    written = json.loads(output.read_text())
    assert written["metrics"] == pytest.approx(expected, rel=1e-6)
    assert f"click_AUC: {expected['click_AUC']:.6f}" in done.out.replace(
        "[Metrics] AUC", "[Metrics] click_AUC"
    )
    items = written["metrics_by"]["values"]
    lines = Path("data/toy/test.csv").read_text().splitlines()
    assert sum(each["rows"] for each in items.values()) == len(lines) - 1
    assert "[item: " in done.out


def test_new_rows_without_labels_or_such_a_column_are_refused_by_name(runs, tmp_path):
    stored = ("--expid", "Toy", "--seed", 1, "--set", f"model_root={runs[0]}")
    rows = [line.split(",") for line in Path("data/toy/test.csv").read_text().splitlines()]
    kept = [place for place, name in enumerate(rows[0]) if name != "click"]
    bare = tmp_path / "bare.csv"
    bare.write_text("".join(",".join(row[place] for place in kept) + "\n" for row in rows))
    done = call("evaluate", *stored, "--input", bare)
    assert done.status == 1
    assert "'click'" in done.err
    assert str(bare) in done.err
    done = call("evaluate", *stored, "--input", "data/toy/test.csv", "--by", "colour")
    assert done.status == 1
    assert "'colour', which is neither a categorical feature nor a meta column" in done.err


def test_the_extra_of_a_format_is_named_where_it_is_missing(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.delitem(sys.modules, "fuxi_mtl.serving.onnx_export", raising=False)
    stored = ("--expid", "Toy", "--set", f"model_root={runs[0]}")
    done = call("export", *stored, "--format", "onnx", "--output", tmp_path / "model.onnx")
    assert done.status == 1
    assert "format: onnx needs the package" in done.err
    assert "pip install 'fuxi-mtl[onnx]'" in done.err


def test_the_choices_of_export_are_those_that_there_are():
    commands = next(a for a in make_parser(COMMANDS)._actions if isinstance(a.choices, dict))
    choices = {action.dest: action.choices for action in commands.choices["export"]._actions}
    known = {"format": FORMATS, "signature": SIGNATURES, "export_dtype": STORED, "bags": BAGS}
    assert {name: tuple(choices[name]) for name in known} == {name: tuple(x) for name, x in known.items()}


@pytest.mark.usefixtures("eagerly")
def test_an_export_that_fails_leaves_the_run(tmp_path, monkeypatch):
    from fuxi_mtl.serving.export import ExportError

    def fails(*_, form):
        raise ExportError("no room")

    monkeypatch.setattr("fuxi_mtl.serving.formats.export_model", fails)
    done = call("run", "--expid", "Toy", "--set", f"model_root={tmp_path}", *SHORT, "export=true")
    assert (done.status, done.err) == (1, "ExportError: no room\n")
    folder = tmp_path / "toy" / "Toy" / "seed_1"
    assert (folder / "metrics.json").is_file()
    assert not (folder / "saved_model").exists()


@pytest.mark.usefixtures("eagerly")
def test_a_working_directory_that_cannot_be_written_costs_the_results_line_only(tmp_path, monkeypatch):
    def fails(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fuxi_mtl.workflow.experiment.append_results_line", fails)
    done = call("run", "--expid", "Toy", "--set", f"model_root={tmp_path}", *SHORT)
    assert (done.status, done.err) == (0, "")
    assert "The results line cannot be added in the working directory" in done.out
    assert (tmp_path / "toy" / "Toy" / "seed_1" / "metrics.json").is_file()


# ---- list, compare ------------------------------------------------------------------------------


def test_list_shows_all_that_there_is_to_choose_from(place):
    done = call("list")
    assert (done.status, done.err) == (0, "")
    titles = [line for line in done.out.splitlines() if line and not line.startswith(" ")]
    assert "Weightings (loss_weight)" in titles
    assert titles == [
        "Models",
        *(f"{family.plural.capitalize()} ({family.key})" for family in Family.known),
        "Metrics",
        "Datasets in ./config/",
        "Experiments in ./config/",
    ]
    for part in ("MMoE: ", "num_experts: 8", "gradnorm_alpha", "gAUC", "  tiny_mtl", "  ToyFunnel", "  EQ "):
        assert part in done.out


def test_a_reader_that_leaves_early_is_no_error_on_the_screen(place):
    command = f"{sys.executable} -m fuxi_mtl list | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=place, env=environment, check=False
    )
    assert done.stdout == "Models\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("style", "start"),
    [
        ("terminal", ""),
        ("markdown", ""),
        ("csv", "dataset_id,split,expid,"),
        ("json", ""),
        ("html", "<!doctype html>"),
    ],
)
def test_stored_runs_are_compared_in_every_format(runs, tmp_path, style, start):
    root, _ = runs
    command = ("compare", "--model_root", root, "--format", style)
    shown = call(*command)
    assert (shown.status, shown.err) == (0, "")
    assert "ToyFunnel" in shown.out
    assert shown.out.lower().startswith(start)
    assert call(*command, "Toy", "--output", tmp_path / "table").status == 0
    written = (tmp_path / "table").read_text()
    assert "Toy" in written
    assert "ToyFunnel" not in written
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_a_comparison_may_have_a_baseline_and_one_seed(runs):
    root, _ = runs
    done = call("compare", "--model_root", root, "--baseline", "Toy", "--seed", 2, "--format", "json")
    assert done.status == 0
    json.loads(done.out)


# ---- models of one's own ------------------------------------------------------------------------

OWN = '''
import keras
from fuxi_mtl.layers import FeatureEmbedding
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.registry import register


@register
class Linear(MultiTaskModel):
    """A number for each task from the embeddings."""

    def __init__(self, features, tasks, *, embedding_dim: int = 4):
        super().__init__(features, tasks)
        self.embedding = FeatureEmbedding(features, embedding_dim)
        self.outputs_by_task = {task.name: keras.layers.Dense(1, dtype="float32") for task in tasks}

    def heads(self, x, training=False):
        return {name: layer(x)[:, 0] for name, layer in self.outputs_by_task.items()}
'''


@pytest.fixture
def own_model(tmp_path):
    file = tmp_path / "linear.py"
    file.write_text(OWN)
    yield file
    registry._MODELS.pop("Linear", None)


@pytest.mark.usefixtures("eagerly")
def test_a_model_of_ones_own_trains_exports_and_is_listed(own_model, tmp_path, place):
    config = tmp_path / "config"
    config.mkdir()
    (config / "dataset_config.yaml").write_text((place / "config/dataset_config/toy.yaml").read_text())
    (config / "model_config.yaml").write_text(
        "Mine: {model: Linear, dataset_id: toy, loss_weight: GN, epochs: 1}\n"
    )
    common = ("--config", config, "--models", own_model)
    stored = ("--expid", "Mine", "--set", f"model_root={tmp_path / 'runs'}", "batch_size=160")
    done = call("run", *common, *stored)
    assert (done.status, done.err) == (0, "")
    assert (tmp_path / "runs/toy/Mine/seed_2026/saved_model/saved_model.pb").is_file()
    assert "Linear: A number for each task" in call("list", *common).out
    assert call("export", *common, *stored, "--output", tmp_path / "served").status == 0


# ---- what cannot be done ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "--expid", "Toi"], ["ConfigError: ", "no expid is called 'Toi'. Did you mean 'Toy'?"]),
        (["run", "--expid", "Toy", "--set", "dataset_id=toi"], ["Did you mean 'toy'?"]),
        (["run", "--expid", "Toy", "--set", "model=MMeE"], ["no model is called 'MMeE'", "MMoE"]),
        (["run", "--expid", "Toy", "--set", "bach_size=3"], ["bach_size", "batch_size"]),
        (["run", "--expid", "Toy", "--set", "batch_size"], ["write --set key=value"]),
        (["run", "--expid", "Toy", "--seed", "-1"], ["seed is -1"]),
        (["run", "--expid", "Toy", "--config", "nowhere"], ["no such folder"]),
        (["run", "--expid", "Toy", "--as", "ToyFunnel"], ["--as ToyFunnel: an experiment of"]),
        (["run", "--expid", "Toy", "ToyFunnel", "--as", "Mine"], ["--as Mine names one run"]),
        (["run", "--expid", "Toy", "--as", "a/b"], ["expid 'a/b' names a folder"]),
        (["run", "--expid", "Toy", "--models", "nowhere.py"], ["--models nowhere.py: no Python file there."]),
        (["run", "--expid", "Toy", "--set", "train_data=nowhere.csv"], ["nowhere.csv"]),
        (["compare", "--model_root", "nowhere"], ["no finished run under nowhere"]),
        (["export", "--expid", "Toy", "--set", "model_root=nowhere", "--output", "x"],
         ["there is no such run. Train it: run_expid.py --expid Toy."]),
        (["history", "--expid", "Toy", "--as", "Mine"], ["Mine/seed_1: there is no such run"]),
        (["doctor", "--data", "tiny"], ["no dataset is called 'tiny'. Did you mean 'tiny_mtl'?"]),
        (["predict", "--expid", "Toy", "--seed", "5", "--input", "x.csv", "--output", "y.csv"], ["seed_5"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_on_standard_error(arguments, parts, tmp_path):
    if arguments[0] == "run" and "--set" not in arguments:
        arguments = [*arguments, "--set", f"model_root={tmp_path}"]
    done = call(*arguments)
    assert done.status == 1
    for part in parts:
        assert part in done.err
    assert len(done.err.splitlines()) <= 2
    assert "Traceback" not in done.err


def test_an_unknown_command_or_option_shows_the_usage(capsys):
    for arguments in (["train"], ["run"], ["run", "--expid", "Toy", "--epochs", "3"]):
        with pytest.raises(SystemExit) as ended:
            call(*arguments)
        assert ended.value.code == 2


def test_the_version_can_be_asked_for(capsys):
    with pytest.raises(SystemExit) as ended:
        call("--version")
    assert ended.value.code == 0


# ---- interruptions ------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_half_written(place, tmp_path, sent):
    command = [sys.executable, "-m", "fuxi_mtl", "run", "--expid", "Toy", "--set", f"model_root={tmp_path}",
               "epochs=100000", "early_stop_patience=100000"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    impatient = threading.Timer(100, process.kill)
    impatient.start()
    try:
        for line in process.stdout:
            if "Epoch=2 start" in line:
                break
        started = time.monotonic()
        process.send_signal(sent)
        _, err = process.communicate()
    finally:
        impatient.cancel()
    assert time.monotonic() - started < 60
    assert process.returncode == 128 + sent
    place = tmp_path / "toy" / "Toy"
    (state,) = (place / "seed_1.training").iterdir()
    step = int(state.name.removeprefix("state_"))
    assert step >= 10
    assert err.splitlines()[-1] == (
        f"Interrupted; nothing half-written was left. Saved at step {step} in {state}: --resume goes on from "
        "there."
    )
    assert "Traceback" not in err
    assert sorted(path.name for path in place.iterdir()) == ["seed_1.log", "seed_1.training"]


def test_a_changed_run_has_the_name_that_it_is_given(toy_run, monkeypatch):
    begun = []

    def trained(experiment, *_, **__):
        begun.append((experiment.expid, experiment.training.seed, experiment.training.epochs))
        return Run(toy_run.folder)

    monkeypatch.setattr("fuxi_mtl.workflow.resume.run_or_resume", trained)
    done = call("run", "--expid", "Toy", "--as", "Longer", "--seed", 2, "--set", "epochs=9")
    assert (done.status, begun) == (0, [("Longer", 2, 9)])


def test_an_interrupted_sweep_shows_and_names_the_runs_that_are_kept(toy_run, monkeypatch):
    begun = []

    def trained(experiment, *_, **__):
        begun.append(experiment.expid)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return Run(toy_run.folder)

    monkeypatch.setattr("fuxi_mtl.workflow.resume.run_or_resume", trained)
    done = call("run", "--expid", "Toy", "--seed", 1, 2, 3)
    assert done.status == 130
    kept = f"Kept, and not trained again with --resume: {toy_run.folder}."
    assert done.err == f"Interrupted; nothing half-written was left. {kept}\n"
    assert f"{toy_run.read('metrics.json')['test']['AUC']:.4f}" in done.out


def test_the_doctor_looks_at_data_and_at_a_run(toy_run):
    root = toy_run.folder.parent.parent.parent
    done = call("doctor", "--expid", "Toy", "--set", f"model_root={root}")
    assert (done.status, done.err) == (0, "")
    assert f"Run {toy_run.folder}." in done.out
    assert "LOOK   valid: no scores are stored." not in done.out
    alone = call("doctor", "--expid", "Toy", "--set", "model_root=nowhere")
    assert "Only the data were looked at: nowhere/toy/Toy/seed_1: there is no such run." in alone.out
    of_data = call("doctor", "--data", "toy")
    assert of_data.status == 0
    assert "Data toy: 320 train, 160 valid, 160 test rows." in of_data.out


def test_a_finished_run_stays_when_its_repetition_is_interrupted(runs, monkeypatch):
    root, _ = runs
    before = Trained(root / "toy" / "Toy" / "seed_1", "").read("metrics.json")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fuxi_mtl.workflow.experiment.train", interrupted)
    done = call("run", "--expid", "Toy", "--set", f"model_root={root}")
    kept = f"{root / 'toy' / 'Toy' / 'seed_1'} is there as it was before."
    assert (done.status, done.err) == (130, f"Interrupted; nothing half-written was left. {kept}\n")
    assert Trained(root / "toy" / "Toy" / "seed_1", "").read("metrics.json") == before
    assert "Test evaluation" in (root / "toy" / "Toy" / "seed_1.log").read_text()
    assert "stays until this run is whole and then takes its place; they differ in " in done.out
    assert "here). --as NAME keeps both." in done.out
    assert "CRITICAL" not in (root / "toy" / "Toy" / "seed_1.failed.log").read_text()
