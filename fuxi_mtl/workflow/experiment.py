"""Training of an experiment to a finished run, and the way back from a run to its model."""

import itertools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl import registry
from fuxi_mtl.cluster.workers import connected, together
from fuxi_mtl.comparison import Table
from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.dataset import Dataset, Encoder, Split, declared_features, dummy_features, load_dataset
from fuxi_mtl.evaluation.evaluate import Scores, log_lines, summary
from fuxi_mtl.evaluation.measure import check_finite, groups, measure, sample_weights
from fuxi_mtl.features import FeatureMap
from fuxi_mtl.files.remote import is_url, uploaded
from fuxi_mtl.layers.absent_rows import rows_elsewhere
from fuxi_mtl.layers.embedding import check_tables
from fuxi_mtl.layers.shards import spreading
from fuxi_mtl.layers.tables import memory_of_machine
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options.exported import STORED
from fuxi_mtl.report import render
from fuxi_mtl.runs import Run, StoredScores, append_results_line, environment, new_run, run_folder
from fuxi_mtl.serving.formats import exporter
from fuxi_mtl.training import checkpoint
from fuxi_mtl.training.devices import use_devices
from fuxi_mtl.training.initial import InitialRun
from fuxi_mtl.training.precision import Precision, use_precision
from fuxi_mtl.training.shared import END
from fuxi_mtl.training.state import Source, StateFolder
from fuxi_mtl.training.tracking import Tracking, check_trackers
from fuxi_mtl.training.train import Training, train
from fuxi_mtl.workflow.breakdown import breakdown, breakdown_lines, values_of
from fuxi_mtl.workflow.calibrate import calibrate_model, load_calibration
from fuxi_mtl.workflow.checking import check_split
from fuxi_mtl.workflow.chief import check_same_data
from fuxi_mtl.workflow.fuse import fuse_scores, load_fusion
from fuxi_mtl.workflow.interrupted import continued, identity_of, states_of
from fuxi_mtl.workflow.log_file import DETAIL
from fuxi_mtl.workflow.opening import tell_data
from fuxi_mtl.workflow.precision import settle_for_predictions, settle_precision
from fuxi_mtl.workflow.spread import chosen_tables
from fuxi_mtl.workflow.thresholds import thresholds_of

logger = logging.getLogger(__name__)

DEBUG_ROWS = 10_000
_SESSIONS = itertools.count()


def run_experiment(experiment: Experiment, gpus: tuple[int, ...] = (-1,), resume: bool = False) -> Run:
    """Trains, measures and exports one experiment with one seed.

    Args:
        experiment: What to do, checked.
        gpus: GPUs to use; -1 is the CPU.
        resume: Whether to go on with an interrupted training.

    Returns:
        The finished run.
    """
    experiment = as_planned(experiment)
    strategy = begin_session(experiment, gpus)
    initial = InitialRun.of(experiment)  # one that is not there is said before data are read
    continued(experiment)
    dataset = load_data(experiment)
    check_same_data(dataset.key)
    make = partial(make_model, experiment)
    folder = folder_of(experiment)
    identity = identity_of(experiment, dataset.key, initial)
    states = states_of(folder, identity, experiment.training.keep_checkpoints, resume)
    run, _, scores = train_run(experiment, dataset, make, folder, strategy, states)
    _append_results(experiment, scores)
    finish_run(run, experiment, dataset)
    return run


def begin_session(experiment: Experiment, gpus: Sequence[int] = (-1,)) -> tf.distribute.Strategy:
    """A new session of Keras with the experiment's precision, and what the log says first; the devices."""
    strategy = use_devices(tuple(gpus))
    # First: it forgets the precision too. What an earlier session has left is worth a search for garbage.
    keras.utils.clear_session(free_memory=next(_SESSIONS) > 0)
    use_precision(experiment.training.precision)
    logger.info("Params: %s", _shown(experiment), extra=DETAIL)
    _log_notes(experiment)
    return strategy


def load_data(experiment: Experiment, **options: Any) -> Dataset:
    """The data of an experiment; see :func:`~fuxi_mtl.dataset.load_dataset` for the options."""
    return load_dataset(
        experiment.dataset,
        experiment.tasks,
        experiment.options.dataset_id,
        threads=experiment.training.num_workers,
        encode_workers=experiment.training.encode_workers,
        **{"progress": bool(experiment.training.verbose), **options},
    )


def train_run(
    experiment: Experiment,
    dataset: Dataset,
    make: Callable[[FeatureMap], MultiTaskModel],
    folder: Path,
    strategy: tf.distribute.Strategy | None = None,
    states: StateFolder | None = None,
    calibrate: Callable[[MultiTaskModel, Dataset, Experiment, Run, int], None] | None = None,
    complete: Callable[[Run, MultiTaskModel], None] | None = None,
    watching: Sequence[keras.callbacks.Callback] = (),
) -> tuple[Run, MultiTaskModel, dict[str, Scores]]:
    """Trains and measures one experiment on data that are read already.

    Args:
        experiment: What to do, checked; Keras has its precision already.
        dataset: The data.
        make: Makes the model, built, of the inputs. Random numbers are seeded when it is called.
        folder: Where the run goes. An older run there is replaced once the new one is whole.
        strategy: The devices; the strategy in whose scope this is called, unless said.
        states: Where states of the training are saved, and from which it goes on; none are unless said.
        calibrate: In the place of :func:`~fuxi_mtl.workflow.calibrate.calibrate_model`.
        complete: Adds to the run before it appears under its name.
        watching: Callbacks behind each evaluation of the training.

    Returns:
        The finished run, its model and the scores of its splits.
    """
    for split in filter(None, (dataset.valid, dataset.test)):
        # What cannot be measured is refused before training, not behind it.
        split.truth(experiment.outputs)
        if experiment.evaluation.metrics_by:
            values_of(split, dataset.encoder, experiment.evaluation.metrics_by)
    initial = InitialRun.of(experiment)
    sources: Sequence[Source] = states.source if states is not None else ()
    sources = sources or continued(experiment, dataset.key)
    probe = partial(make_model, experiment, dataset.feature_map)
    precision = settle_precision(experiment, probe, dataset.train.rows, sources)
    if states is not None:
        states.precision = precision.plain()
    keras.utils.set_random_seed(experiment.training.seed)
    marking = nullcontext() if states is None else states.marking_divergence()
    about = tell_data(dataset, experiment.tasks)
    tracking = Tracking.of(experiment, folder, dataset.key, initial.description() if initial else {})
    with new_run(folder, keeps_trained=True) as run, marking, tracking.until_whole():
        save_inputs(run, experiment, dataset)
        devices = (strategy or tf.distribute.get_strategy()).scope()
        with devices, spreading(chosen_tables(experiment, memory_of_machine())):
            model = make(dataset.feature_map)
            logger.info("Total number of parameters: %d.", model.count_params())
            training = train(model, dataset, experiment, run, initial, states, sources, tracking, watching)
        run.write_json(run.history, {"evaluations": training.history})
        if training.diagnostics:
            run.write_json(run.diagnostics, training.diagnostics, indent=None)
        step = (training.best_step or training.history[-1]["step"]) + (initial.steps if initial else 0)
        (calibrate or calibrate_model)(model, dataset, experiment, run, step)
        scores, checks = measure_splits(model, dataset, experiment, run)
        save_results(run, experiment, dataset, about, model, training, precision, scores, checks, initial)
        if complete:
            complete(run, model)
        tracking.finish(run, scores)
    workers = together(model)
    if workers is not None:
        workers.tell(END)
    if states is not None:
        states.remove()
    return Run(folder), model, scores


def finish_run(run: Run, experiment: Experiment, dataset: Dataset) -> None:
    """Makes what a stanza asks for beside a trained model: one score of several, and a SavedModel.

    The run is whole and in its place: what fails here does not take hours of training with it.
    """
    if experiment.fusion.fusion and not run.fusion.exists():
        show_fusion(fuse_scores(run, experiment, lambda: dataset))
    if experiment.evaluation.export:
        export_run(run.folder, run.saved_model)


def try_model(experiment: Experiment) -> None:
    """Builds the model once on inputs of the smallest size.

    What its constructor refuses is then refused before any data are read, and before another
    experiment of the same command is trained; and so are tables beyond the memory, as far as the
    stanza says their sizes, and trackers whose packages are missing.

    Raises:
        ValueError: The model or an input refuses an option, tables are larger than the memory, or the
            package of a tracker is missing.
    """
    data, name = experiment.dataset, experiment.options.dataset_id
    try:
        check_trackers(experiment)
        model = make_model(experiment, dummy_features(data, name))
        workers = connected()
        spread = workers is not None and experiment.training.embedding_sharding != "none"
        check_tables(model, declared_features(data, name), workers.size if workers and spread else 1)
    except ValueError as error:
        raise ValueError(f"{experiment.expid}: {error}") from error


def as_planned(experiment: Experiment) -> Experiment:
    """What will be trained: in ``debug_mode`` one epoch on the first rows of each file."""
    if not experiment.training.debug_mode:
        return experiment
    return replace(
        experiment,
        training=replace(experiment.training, epochs=1),
        dataset=replace(experiment.dataset, n_rows=min(experiment.dataset.n_rows or DEBUG_ROWS, DEBUG_ROWS)),
    )


def _log_notes(experiment: Experiment) -> None:
    """A line for each key that was taken under another name."""
    for note in experiment.notes:
        logger.info("%s", note)


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
    model.expect(experiment.expected)
    model.build()
    return model


def save_inputs(run: Run, experiment: Experiment, dataset: Dataset) -> None:
    """Writes all that is needed to build the model again, and to know what it was trained on."""
    run.write_config(experiment.resolved())
    run.write_json(run.environment, environment(dataset.key))
    run.features.mkdir()
    dataset.encoder.save(run.features)


def measure_splits(
    model: MultiTaskModel, dataset: Dataset, experiment: Experiment, run: Run
) -> tuple[dict[str, Scores], dict[str, Any]]:
    """The metrics of each split; of the last one also checks of conversions and metrics by value."""
    scores: dict[str, Scores] = {}
    checks: dict[str, Any] = {}
    for split, title in (
        (dataset.valid, "****** Validation evaluation ******"),
        (dataset.test, "******** Test evaluation ********"),
    ):
        if split is None:
            continue
        logger.info(title)
        thresholds = None if split is dataset.valid else thresholds_of(scores)
        scores[split.name], predictions = measure(
            model, split, experiment.outputs, experiment.evaluation, thresholds
        )
        check_finite(predictions, f"{split.name} rows")
        for line in log_lines(experiment.outputs, scores[split.name]):
            logger.info("%s", line)
        if experiment.evaluation.save_predictions:
            save_scores(run, split, experiment, model, predictions)
        if experiment.evaluation.metrics_by and split is (dataset.test or dataset.valid):
            checks["metrics_by"] = breakdown(
                split, dataset.encoder, experiment, predictions, scores[split.name], model.parts(predictions)
            )
            for line in breakdown_lines(checks["metrics_by"], experiment):
                logger.info("%s", line)
        if experiment.evaluation.conversion_checks and split is (dataset.test or dataset.valid):
            checks["conversion_checks"] = check_split(split, dataset, experiment, predictions)
    return scores, checks


def save_scores(
    run: Run,
    split: Split,
    experiment: Experiment,
    model: MultiTaskModel,
    predictions: Mapping[str, np.ndarray],
) -> None:
    """Writes predictions of a split, and what they are held against."""
    scalars = model.scalars(predictions)
    classes = [task.name for task in experiment.tasks if task.kind == "classes" and task.name in scalars]
    stored = StoredScores.of(
        {task.name: predictions[task.name] for task in experiment.outputs},
        split.labels(experiment.outputs),
        split.truth(experiment.outputs),
        groups(split, experiment.evaluation.group_id),
        sample_weights(split, experiment.evaluation),
        model.parts(predictions),
        {name: scalars[name] for name in classes},
    )
    run.write_scores(split.name, stored)


def save_results(
    run: Run,
    experiment: Experiment,
    dataset: Dataset,
    about: Mapping[str, Any],
    model: MultiTaskModel,
    training: Training,
    precision: Precision,
    scores: Mapping[str, Scores],
    checks: Mapping[str, Any],
    initial: InitialRun | None = None,
) -> None:
    """Writes metrics.json, which makes a run a finished one."""
    run.write_json(
        run.metrics,
        {
            "expid": experiment.expid,
            "dataset_id": experiment.options.dataset_id,
            "model": experiment.options.model,
            "seed": experiment.training.seed,
            "tasks": {task.name: task.expression for task in experiment.outputs},
            **measured(experiment, scores, checks),
            "gauc_weight": experiment.evaluation.gauc_weight,
            "eval_sample_weight": experiment.evaluation.eval_sample_weight,
            "num_parameters": model.count_params(),
            "train_seconds": training.seconds,
            "rows_per_second": training.rows_per_second,
            "precision": precision.plain(),
            "batch_size": training.batch_size,
            "best_epoch": training.best_epoch,
            "best_step": training.best_step,
            "data_key": dataset.key,
            "rows": dataset.rows,
            **about,
            **({"parent": initial.description(), "steps_before": initial.steps} if initial else {}),
            "finished": datetime.now().isoformat(timespec="seconds"),
        },
    )


def measured(
    experiment: Experiment, scores: Mapping[str, Scores], checks: Mapping[str, Any]
) -> dict[str, Any]:
    """The part of metrics.json that depends on how predictions are calibrated."""
    return {
        **{name: split.values for name, split in scores.items()},
        "undefined": {name: split.undefined for name, split in scores.items()},
        "notes": {name: split.notes for name, split in scores.items()},
        "thresholds": thresholds_of(scores),
        "thresholds_chosen_on": "valid",
        "conversion_checks": checks.get("conversion_checks", {}),
        "metrics_by": checks.get("metrics_by", {}),
        "calibration": experiment.imbalance.calibration,
    }


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


def load_run(
    folder: str | Path, with_rows: bool = True, precision: str = "float32"
) -> tuple[MultiTaskModel, Encoder]:
    """The trained model of a run, and the encoder of its inputs.

    The model computes in float32 unless said, whatever precision it was trained in: its predictions do not
    depend on the device that it happens to be loaded on.

    Args:
        folder: The run.
        with_rows: False makes tables without their rows: the model can be exported, and nothing else.
        precision: See ``eval_precision``.

    Raises:
        ValueError: The run is incomplete or damaged, or its model is not registered.
    """
    run = Run(Path(folder))
    experiment = load_resolved(run.config, run.expid)
    _log_notes(experiment)
    try:
        encoder = Encoder.load(run.features)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{run.features}: the encoding of the inputs is damaged ({error}). Train the experiment again."
        ) from error
    make = partial(make_model, experiment, encoder.feature_map)
    settle_for_predictions(precision, make, experiment.evaluation.eval_batch_size)
    with nullcontext() if with_rows else rows_elsewhere():
        model = make()
    checkpoint.restore(model, run.checkpoint)
    model.calibrate(load_calibration(run))
    return model, encoder


def export_run(
    folder: str | Path,
    output: str | Path,
    format: str = "savedmodel",  # noqa: A002
    signature: str = "",
    export_dtype: str = "float32",
    bags: str = "padded",
) -> None:
    """Writes a run's model, with the fused score if the run has one.

    Args:
        folder: The run.
        output: The folder of a SavedModel, or the file of another format; a URL is
            uploaded to when it is whole.
        format: One of :data:`fuxi_mtl.options.exported.FORMATS`.
        signature: ``raw`` or ``from_ids``; the first that the format has unless said.
        export_dtype: Type in which tables are stored.
        bags: ``padded`` or ``text``, in an ONNX file of raw columns.

    Raises:
        ValueError: The run cannot be loaded or written so, or a package is missing.
    """
    export = exporter(format, signature, export_dtype, bags)
    if is_url(output):
        with uploaded(output, "output") as local:
            export_run(folder, local, format, signature, export_dtype, bags)
        return
    run = Run(Path(folder))
    # Rows that were spread over workers may be more than this process can hold: they go from file to file.
    as_they_are = format == "savedmodel" and export_dtype == STORED[0]
    piece_by_piece = as_they_are and checkpoint.is_spread(run.checkpoint)
    model, encoder = load_run(folder, with_rows=not piece_by_piece)
    rows = {"rows": checkpoint.rows_of_tables(model, run.checkpoint)} if piece_by_piece else {}
    export(model, encoder, output, load_fusion(run, encoder.feature_map), _said_of(run), **rows)


def _said_of(run: Run) -> dict[str, Any]:
    """What an exported model says of the run that it is from, as far as that says it."""
    metrics, origin = run.read_json(run.metrics), run.read_json(run.environment)
    said = {
        name: metrics.get(name) for name in ("expid", "seed", "dataset_id", "finished", "data_key", "rows")
    }
    return {
        **said,
        "version": origin["packages"]["fuxi_mtl"],
        "git_commit": origin["git_commit"],
        "metrics": {split: metrics[split] for split in ("valid", "test") if split in metrics},
    }


def show_fusion(table: Table | None) -> None:
    """Puts the report of a fusion into the log."""
    if table is not None:
        logger.info("****** Fused score ******\n%s", render([table], "terminal"))
