"""Trackers: what they are told of a training, and that a training outlives them."""

import json
import logging
import math

import pytest
from interface_world import small_model

import fuxi_mtl as fm
from fuxi_mtl.options import TRACKERS

SHORT = {"epochs": 2, "batch_size": 64, "learning_rate": 0.01}


@pytest.fixture
def told():
    """What the tracker `Watcher` was told; it is unknown to other tests."""
    events = []

    @fm.register_tracker
    class Watcher(fm.Tracker):
        """Writes down what it is told."""

        def __init__(self, *, fails_at: str = ""):
            self._fails_at = fails_at

        def _hear(self, what, *about):
            events.append((what, *about))
            if self._fails_at == what:
                raise RuntimeError("the server\nis gone")

        def begin(self, training):
            self._hear("begin", training)
            return "known"

        def log(self, step, numbers):
            self._hear("log", step, numbers)

        def pause(self):
            self._hear("pause")

        def end(self, outcome):
            self._hear("end", outcome, {file.name: file.read_bytes() for file in outcome.files})

    yield events
    del TRACKERS._members["Watcher"]


def test_a_tracker_is_told_the_training_its_numbers_and_how_it_ended(data, told):
    run = fm.fit(
        small_model(data), data, **SHORT, trackers=["Watcher"], log_health_metrics=True, loss_weight="UW"
    )
    assert [event[0] for event in told] == ["begin", "log", "log", "pause", "end"]
    training = told[0][1]
    assert (training.expid, training.seed, training.known_as) == (run.expid, run.seed, None)
    assert training.parameters["learning_rate"] == 0.01
    stored = json.loads((run.folder / "metrics.json").read_text())
    assert training.lineage["data_key"] == stored["data_key"]
    for (_, step, numbers), record in zip(told[1:3], run.history, strict=True):
        assert (step, numbers["loss"]) == (record["step"], record["loss"])
        assert numbers["weights/cvr"] == record["weights"]["cvr"]
        assert numbers["valid/ctr_AUC"] == record["metrics"]["ctr_AUC"]
        assert all(math.isfinite(value) for value in numbers.values())
        gate = {name: value for name, value in numbers.items() if name.startswith("gates/gated_experts/ctr/")}
        assert gate.pop("gates/gated_experts/ctr/entropy") <= 1
        assert sum(gate.values()) == pytest.approx(1, abs=1e-5)
    outcome, files = told[-1][1:]
    assert outcome.status == "finished"
    assert outcome.metrics["test/ctr_AUC"] == run.metrics["test"]["ctr_AUC"]
    small = {"config.yaml", "metrics.json", "history.json", "environment.json", "diagnostics.json"}
    assert set(files) == {*small, "report.html"}
    assert all(files[name] == (run.folder / name).read_bytes() for name in small)


def test_a_training_goes_on_without_a_tracker_that_fails_which_is_said_once(data, told, caplog):
    with caplog.at_level(logging.WARNING):
        run = fm.fit(small_model(data), data, **SHORT, trackers=["Watcher"], fails_at="log")
    assert len(run.history) == 2
    assert [event[0] for event in told].count("log") == 1
    said = [record.getMessage() for record in caplog.records if "Watcher" in record.getMessage()]
    assert said == [
        "trackers: Watcher failed at step 2 (RuntimeError: the server is gone); the training goes on without "
        "it."
    ]


def test_a_tracker_that_cannot_begin_ends_the_command_before_the_first_step(data, told, tmp_path):
    with pytest.raises(
        ValueError, match=r"trackers: Watcher cannot begin \(RuntimeError: the server is gone\)"
    ):
        fm.fit(
            small_model(data), data, **SHORT, trackers=["Watcher"], fails_at="begin", folder=tmp_path / "run"
        )
    assert [event[0] for event in told] == ["begin"]
    assert not (tmp_path / "run").exists()


def test_a_training_that_fails_is_told_and_one_that_goes_on_is_known(data, told, tmp_path, monkeypatch):
    from fuxi_mtl.workflow import experiment

    def broken(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "measure_splits", broken)
        with pytest.raises(KeyboardInterrupt):
            fm.fit(
                *(small_model(data), data),
                **SHORT,
                trackers=["Watcher"],
                save_every_steps=1,
                folder=tmp_path / "run",
            )
    assert told[-1][1].status == "interrupted"
    fm.fit(
        *(small_model(data), data),
        **SHORT,
        trackers=["Watcher"],
        save_every_steps=1,
        folder=tmp_path / "run",
        resume=True,
    )
    begun = [event[1].known_as for event in told if event[0] == "begin"]
    assert begun == [None, "known"]
    assert told[-1][1].status == "finished"


def test_a_tracker_whose_package_is_missing_is_told_before_training(data, told):
    TRACKERS["Watcher"].target.package = "no_such_package"
    with pytest.raises(
        ValueError, match="Watcher needs the package no_such_package: pip install no_such_package"
    ):
        fm.fit(small_model(data), data, **SHORT, trackers=["Watcher"])
    assert told == []


def test_an_unknown_tracker_and_an_option_of_one_that_is_not_chosen_are_refused(data):
    with pytest.raises(ValueError, match=r"trackers\[0\] is 'mlfow'. Did you mean 'mlflow'"):
        fm.fit(small_model(data), data, trackers=["mlfow"])
    with pytest.raises(ValueError, match="mlflow_uri has an effect only with trackers: mlflow"):
        fm.fit(small_model(data), data, mlflow_uri="sqlite:///x.db")
