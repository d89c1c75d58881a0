"""One experiment, from its stanza to a finished run; and back from a run to its model."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras

from fuxi_mtl import registry
from fuxi_mtl.comparison import Table
from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.dataset import Dataset, Encoder, dummy_features, load_dataset
from fuxi_mtl.evaluation.evaluate import Scores, summary
from fuxi_mtl.evaluation.measure import predict
from fuxi_mtl.features import FeatureMap
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import FusionSection
from fuxi_mtl.report import render
from fuxi_mtl.runs import Run, append_results_line, environment, new_run, run_folder
from fuxi_mtl.serving.export import export_model
from fuxi_mtl.serving.predict import predict_file
from fuxi_mtl.training import checkpoint
from fuxi_mtl.training.devices import use_devices, use_precision
from fuxi_mtl.training.train import train
from fuxi_mtl.workflow.breakdown import values_of
from fuxi_mtl.workflow.calibrate import calibrate_model, load_calibration, with_method
from fuxi_mtl.workflow.fuse import fuse_scores, load_fusion
from fuxi_mtl.workflow.results import measure_splits, measured, save_results, save_scores

logger = logging.getLogger(__name__)

DEBUG_ROWS = 10_000


def run_experiment(experiment: Experiment, gpus: tuple[int, ...] = (-1,)) -> Run:
    """Trains, measures and exports one experiment with one seed.

    Args:
        experiment: What to do, checked.
        gpus: GPUs to use; -1 is the CPU.

    Returns:
        The finished run.
    """
    if experiment.training.debug_mode:
        experiment = shortened(experiment)
    strategy = use_devices(gpus)
    keras.utils.clear_session()  # First: it forgets the precision too.
    use_precision(experiment.training.precision)
    logger.info("Params: %s", _shown(experiment))
    dataset = load_dataset(
        experiment.dataset,
        experiment.tasks,
        experiment.options.dataset_id,
        threads=experiment.training.num_workers,
        progress=bool(experiment.training.verbose),
    )
    for split in filter(None, (dataset.valid, dataset.test)):
        # What cannot be measured is refused before training, not behind it.
        split.truth(experiment.tasks)
        if experiment.evaluation.metrics_by:
            values_of(split, dataset, experiment.evaluation.metrics_by)
    keras.utils.set_random_seed(experiment.training.seed)
    with new_run(folder_of(experiment)) as run:
        save_inputs(run, experiment, dataset)
        with strategy.scope():
            model = make_model(experiment, dataset.feature_map)
            logger.info("Total number of parameters: %d.", model.count_params())
            training = train(model, dataset, experiment, run)
        step = training.best_step or training.history[-1]["step"]
        calibrate_model(model, dataset, experiment, run, step)
        scores, checks = measure_splits(model, dataset, experiment, run)
        save_results(run, experiment, dataset, model, training, scores, checks)
    # The run is whole and in its place: what fails now does not take hours of training with it.
    run = Run(folder_of(experiment))
    _append_results(experiment, scores)
    if experiment.fusion.fusion:
        _show_fusion(fuse_scores(run, experiment, lambda: dataset))
    if experiment.evaluation.export:
        export_run(run.folder, run.saved_model)
    return run


def finished_run(experiment: Experiment) -> Run | None:
    """The stored run of an experiment, if it is whole and another one would be trained the same way.

    The stanza, the seed and the data count; the version of the code does not, nor does the block
    ``fusion``, of which training knows nothing.

    Args:
        experiment: What would be run.
    """
    if experiment.training.debug_mode:
        experiment = shortened(experiment)
    run = Run(folder_of(experiment))
    if not run.config.is_file():
        return None
    try:
        stored, key = (
            load_resolved(run.config, run.expid).resolved(),
            run.read_json("metrics.json")["data_key"],
        )
    except (ValueError, LookupError) as error:
        logger.warning("%s is trained again: %s", run.folder, error)
        return None
    if {**stored, "fusion": None} != {**experiment.resolved(), "fusion": None}:
        return None
    dataset = load_dataset(
        experiment.dataset, experiment.tasks, experiment.options.dataset_id, progress=False
    )
    return run if dataset.key == key else None


def try_model(experiment: Experiment) -> None:
    """Builds the model once on inputs of the smallest size.

    What its constructor refuses is then refused before any data are read, and before another
    experiment of the same command is trained.

    Raises:
        ValueError: The model or an input refuses an option.
    """
    try:
        make_model(experiment, dummy_features(experiment.dataset, experiment.options.dataset_id))
    except ValueError as error:
        raise ValueError(f"{experiment.expid}: {error}") from error


def shortened(experiment: Experiment) -> Experiment:
    """The same experiment in ``debug_mode``: one epoch on the first rows of each file."""
    return replace(
        experiment,
        training=replace(experiment.training, epochs=1),
        dataset=replace(experiment.dataset, n_rows=min(experiment.dataset.n_rows or DEBUG_ROWS, DEBUG_ROWS)),
    )


def _shown(experiment: Experiment) -> str:
    """The resolved keys, one a line, without the columns of the dataset."""
    columns = ("feature_cols", "label_col")
    shown = {key: value for key, value in experiment.resolved().items() if key not in columns}
    return json.dumps({"expid": experiment.expid, **shown}, indent=4)


def folder_of(experiment: Experiment) -> Path:
    """Where the run of this experiment lies."""
    options = experiment.options
    return run_folder(options.model_root, options.dataset_id, experiment.expid, experiment.training.seed)


def make_model(experiment: Experiment, features: FeatureMap) -> MultiTaskModel:
    """The model of an experiment, built."""
    model = registry.model(experiment.options.model)(features, experiment.tasks, **experiment.model_options)
    model.build()
    return model


def save_inputs(run: Run, experiment: Experiment, dataset: Dataset) -> None:
    """Writes all that is needed to build the model again, and to know what it was trained on."""
    run.write_config(experiment.resolved())
    run.write_json("environment.json", environment(dataset.key))
    run.features.mkdir()
    dataset.encoder.save(run.features)


def load_run(folder: str | Path) -> tuple[MultiTaskModel, Encoder]:
    """The trained model of a run, and the encoder of its inputs.

    The model computes in float32, whatever precision it was trained in: its predictions do not depend
    on the device that it happens to be loaded on.

    Raises:
        ValueError: The run is incomplete or damaged, or its model is not registered.
    """
    run = Run(Path(folder))
    experiment = load_resolved(run.config, run.expid)
    try:
        encoder = Encoder.load(run.features)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{run.features}: the encoding of the inputs is damaged ({error}). Train the experiment again."
        ) from error
    use_precision("float32")
    model = make_model(experiment, encoder.feature_map)
    checkpoint.restore(model, run.checkpoint)
    model.calibrate(load_calibration(run))
    return model, encoder


def export_run(folder: str | Path, output: str | Path) -> None:
    """Writes a run's model as a SavedModel, with the fused score if the run has one."""
    model, encoder = load_run(folder)
    export_model(model, encoder, output, load_fusion(Run(Path(folder)), encoder.feature_map))


def predict_run(folder: str | Path, input: str | Path, output: str | Path, **options: Any) -> int:  # noqa: A002
    """Writes a run's predictions for a file, with the fused score if the run has one of single rows.

    Args:
        folder: The run.
        input: See :func:`fuxi_mtl.serving.predict.predict_file`.
        output: See there.
        **options: See there.

    Returns:
        The number of rows.
    """
    model, encoder = load_run(folder)
    fusion = load_fusion(Run(Path(folder)), encoder.feature_map, row_by_row=True)
    return predict_file(model, encoder, input, output, fusion=fusion, **options)


def fuse_run(folder: str | Path, section: FusionSection, compare: bool = False) -> Table | None:
    """Joins the scores of a finished run into one; the SavedModel, if there is one, has it afterwards.

    Args:
        folder: The run.
        section: With the block ``fusion``.
        compare: Also report the other methods.

    Returns:
        The report on test rows; None without any.

    Raises:
        ValueError: The run or its data are not as they were, or the fusion does not fit them.
    """
    run = Run(Path(folder))
    changes: dict[str, Any] = asdict(section)
    if not run.scores("valid").exists():  # a run of before validation scores were kept, or without any
        changes["save_predictions"] = True
    experiment = load_resolved(run.config, run.expid, changes)
    if "save_predictions" in changes:
        model, _ = load_run(folder)
        dataset = _data_of(run, experiment)
        for split in filter(None, (dataset.valid, dataset.test)):
            scores = predict(model, split, experiment.evaluation.eval_batch_size)
            save_scores(run, split, experiment, scores)
    table = fuse_scores(run, experiment, lambda: _data_of(run, experiment), compare)
    run.write_config(experiment.resolved())
    if run.saved_model.exists():
        export_run(folder, run.saved_model)
    return table


def _data_of(run: Run, experiment: Experiment) -> Dataset:
    """The data of a run, unchanged."""
    dataset = load_dataset(experiment.dataset, experiment.tasks, experiment.options.dataset_id)
    if dataset.key != run.read_json("metrics.json")["data_key"]:
        raise ValueError(
            f"{run.folder}: the data are not those it was trained on. Train the experiment again."
        )
    return dataset


def _show_fusion(table: Table | None) -> None:
    if table is not None:
        logger.info("****** Fused score ******\n%s", render([table], "terminal"))


def calibrate_run(folder: str | Path, method: str) -> Run:
    """Calibrates a finished run anew: its predictions, its metrics and its SavedModel.

    Args:
        folder: The run.
        method: ``none``, ``closed_form``, ``platt`` or ``isotonic``.

    Raises:
        ValueError: The run or its data are not as they were, or the method does not fit the experiment.
    """
    run = Run(Path(folder))
    experiment = with_method(load_resolved(run.config, run.expid), method)
    model, _ = load_run(folder)
    stored = run.read_json("metrics.json")
    dataset = _data_of(run, experiment)
    step = stored["best_step"] or run.read_json("history.json")["evaluations"][-1]["step"]
    calibrate_model(model, dataset, experiment, run, step)
    scores, checks = measure_splits(model, dataset, experiment, run)
    run.write_json("metrics.json", {**stored, **measured(experiment, scores, checks)})
    run.write_config(experiment.resolved())
    if experiment.fusion.fusion:  # of other scores, it has other weights
        _show_fusion(fuse_scores(run, experiment, lambda: dataset))
    if run.saved_model.exists():
        export_run(folder, run.saved_model)
    return run


def _append_results(experiment: Experiment, scores: Mapping[str, Scores]) -> None:
    line = {name: summary(split.values) for name, split in scores.items()}
    try:
        append_results_line(
            experiment.config_dir,
            experiment.expid,
            experiment.options.dataset_id,
            line.get("valid", ""),
            line.get("test", ""),
        )
    except OSError as error:
        logger.warning("The results line cannot be added in the working directory: %s.", error)
