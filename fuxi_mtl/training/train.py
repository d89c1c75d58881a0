"""Training of a model on a dataset as an experiment says, until its monitor stops improving."""

import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.cluster.workers import Workers, together
from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import Dataset
from fuxi_mtl.evaluation.evaluate import Scores, metric_keys, monitor_direction
from fuxi_mtl.evaluation.measure import check_finite, measure
from fuxi_mtl.evaluation.memory import CURE, TrainingError, enough_memory
from fuxi_mtl.evaluation.monitor import few_positives
from fuxi_mtl.interruption import Interruption, Left
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives.imbalance import Imbalance
from fuxi_mtl.objectives.priors import constant_losses
from fuxi_mtl.optimizers import make_optimizer, rate_of
from fuxi_mtl.runs import Run
from fuxi_mtl.surgery import make_surgery
from fuxi_mtl.training import checkpoint
from fuxi_mtl.training.bilevel import make_bilevel_optimizer
from fuxi_mtl.training.callbacks import (
    EarlyStopping,
    Evaluation,
    LearningRateLog,
    ReduceLROnPlateau,
    StepLog,
)
from fuxi_mtl.training.checkpoint.naming import parts_of
from fuxi_mtl.training.checkpoint.spread import spread_parts
from fuxi_mtl.training.decoding import fit_decoders, settle_decoders
from fuxi_mtl.training.feed import Feed
from fuxi_mtl.training.initial import InitialRun
from fuxi_mtl.training.leading import LedSteps
from fuxi_mtl.training.loop import OwnSteps, Position, Steps, run_steps
from fuxi_mtl.training.loss_scales import LossScales
from fuxi_mtl.training.progress import ProgressBar, ProgressLines
from fuxi_mtl.training.shared import BEGIN, rows_are_finite, share_numbers, tell_traffic
from fuxi_mtl.training.state import (
    FinishedTraining,
    Saving,
    Source,
    StateFolder,
    TrainingState,
    take_up,
)
from fuxi_mtl.training.step_plan import StepPlan
from fuxi_mtl.training.tracking import Tracking
from fuxi_mtl.weighting import make_weighting

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What training leaves beside the model.

    Attributes:
        history: One record an evaluation.
        best_step: Optimizer step of the weights that are kept: of the best evaluation, unless the last are
            asked for. None if the monitor was never defined.
        best_epoch: The same in epochs.
        seconds: Time spent in training steps, evaluations not counted.
        rows_per_second: Rows a second of that time.
        batch_size: Rows in a step.
        diagnostics: What :class:`Diagnostics` measured; empty if nothing was asked for.
    """

    history: list[dict[str, Any]]
    best_step: int | None
    best_epoch: float | None
    seconds: float
    rows_per_second: float
    batch_size: int
    diagnostics: dict[str, Any]


def compile_model(
    model: MultiTaskModel,
    experiment: Experiment,
    plan: StepPlan,
    labels: Mapping[str, np.ndarray] = MappingProxyType({}),
    first_step: int = 0,
) -> None:
    """Gives the model its optimizer (with loss scaling under float16), weighting, surgery and imbalance.

    Args:
        model: Not compiled.
        experiment: With the options of all of them.
        plan: How many steps there will be.
        labels: ``(rows,)`` training labels by task, for weightings that want to know base rates.
        first_step: Where the count of steps stands.
    """
    optimizer: keras.optimizers.Optimizer = make_optimizer(experiment.optimizer, plan.total_steps, first_step)
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    trained_on = model.imbalance.apply(model.objectives(), model.tasks, model.step)
    objectives = {objective.name: objective.kind for objective in trained_on}
    seed, own = experiment.training.seed, experiment.member_options
    plain = {name: label for name, label in labels.items() if name not in model.decoders}
    known = constant_losses(model.labels_learnt(plain, {}), objectives)
    model.compile(
        optimizer=optimizer,
        weighting=make_weighting(experiment.weighting, objectives, plan.steps_per_epoch, seed, own, known),
        imbalance=model.imbalance,
        surgery=make_surgery(experiment.surgery, objectives, seed, own),
        bilevel_optimizer=make_bilevel_optimizer(model, experiment),
        representation_columns=experiment.surgery.representation_columns,
        batch_norm_statistics=experiment.training.batch_norm_statistics,
        steps_per_execution=plan.steps_per_execution(Position()),
    )


def train(
    model: MultiTaskModel,
    dataset: Dataset,
    experiment: Experiment,
    run: Run,
    initial: InitialRun | None = None,
    states: StateFolder | None = None,
    sources: Sequence[Source] = (),
    tracking: Tracking | None = None,
    watching: Sequence[keras.callbacks.Callback] = (),
) -> Training:
    """Trains until the monitor stops improving, and leaves the best weights in the model.

    Args:
        model: A built model, not compiled.
        dataset: Its data; without a validation split the last weights are kept.
        experiment: Optimizer, weighting, monitor, patience.
        run: Where the checkpoint goes.
        initial: What it starts from; nothing unless said.
        states: Where states of the training go; without it none is saved.
        sources: What it goes on from, the newest first; it begins unless there is any.
        tracking: Who follows it from outside; nobody unless said.
        watching: Callbacks behind the evaluation, each of whose values they find in the logs as ``monitor``;
            what they raise ends the training.

    Raises:
        ValueError: The model does not fit what it should start from, no state can be gone on from, or a
            tracker cannot begin.
        TrainingError: A loss is not finite, or the memory is not enough.
        KeyboardInterrupt: The training was interrupted; its message says what is saved.
    """
    workers = together(model)
    feed = Feed.of(model, dataset, experiment)
    plan = feed.plan
    model.imbalance = Imbalance(experiment.imbalance)  # how a model starts may depend on it
    prepares_again = _begin(model, dataset, feed, initial, sources, workers)
    interruption = Interruption()
    evaluation = _evaluation(model, dataset, experiment, run, plan, interruption)
    diagnostics = feed.diagnostics()
    summaries = run.folder / "tensorboard" if states is None else states.summaries
    callbacks = _callbacks(evaluation, experiment, plan, stops=dataset.valid is not None)
    callbacks += [diagnostics, *watching]
    told = [] if tracking is None else [tracking.beside(evaluation, diagnostics, summaries)]
    remembering = {type(each).__name__: each for each in (*callbacks, *told) if hasattr(each, "get_state")}
    members = {**remembering, "LossScales": evaluation.loss_scales}
    state = TrainingState(model, Position(), members, prepares_again)
    if sources:
        callbacks.append(take_up(state, sources, run.checkpoint))
        _check_steps(state.position, plan, whole=isinstance(sources[0], FinishedTraining))
        model.steps_per_execution = plan.steps_per_execution(state.position)
    callbacks += told  # behind what tells them how they know the training
    if workers is not None:
        share_numbers(workers, state)
    position = state.position
    saving = None
    if states is not None:
        saving = Saving(state, states, experiment.training, run.checkpoint, plan.total_steps, interruption)
        saving.announce()
    try:
        with enough_memory("batch_size", plan.batch_size), _until_left(saving, interruption):
            steps: Steps = (
                OwnSteps(model, feed.steps(position.step))
                if workers is None
                else LedSteps(model, feed, workers, position, saving)
            )
            run_steps(
                model,
                steps,
                callbacks,
                position,
                every=plan.steps,
                total=plan.total_steps,
                pause=lambda: None if saving is None else saving.pause(*steps.agreed),
            )
    except tf.errors.InvalidArgumentError as error:
        raise diverged(error, model, experiment) from error
    finally:
        for callback in callbacks:
            if isinstance(callback, ProgressBar):
                callback.stop()
    if states is not None and states.summaries.is_dir():
        states.summaries.replace(run.folder / "tensorboard")
    _keep_weights(model, experiment, run, evaluation)
    _settle(model, dataset, experiment, run, state)
    _check_parameters(model, workers)
    rows = min(evaluation.history[-1]["step"] * plan.batch_size, feed.rows * plan.epochs)
    return Training(
        evaluation.history,
        None if evaluation.best is None else evaluation.best["step"],
        None if evaluation.best is None else evaluation.best["epoch"],
        evaluation.seconds_training,
        rows / evaluation.seconds_training,
        plan.batch_size,
        diagnostics.content(),
    )


@contextmanager
def _until_left(saving: Saving | None, interruption: Interruption) -> Iterator[None]:
    """Saves a training that is interrupted inside, and waits for what is being written otherwise."""
    if saving is None:
        yield
        return
    try:
        with interruption:
            try:
                yield
            except Left:
                told = saving.leave()
                logger.info("%s", told)
                raise type(interruption.error)(told) from None
    except KeyboardInterrupt:  # nobody waits behind the second signal
        raise
    except BaseException:
        saving.wait()
        raise
    saving.wait()


def _keep_weights(model: MultiTaskModel, experiment: Experiment, run: Run, evaluation: Evaluation) -> None:
    """Leaves the weights in the model and in the run that the stanza asks for."""
    if experiment.training.final_weights == "last":
        evaluation.best = evaluation.history[-1]
        checkpoint.save(model, run.checkpoint)
    elif evaluation.best is None:
        logger.warning("The monitor was never defined: keeping the last weights.")
        checkpoint.save(model, run.checkpoint)
    else:
        if not experiment.training.save_best_only:
            checkpoint.save(model, run.folder / "checkpoint_last")
        checkpoint.restore(model, run.checkpoint)


def _settle(
    model: MultiTaskModel, dataset: Dataset, experiment: Experiment, run: Run, state: TrainingState
) -> None:
    """Has decoders learn from validation rows, and all workers have the weights that are kept."""
    workers = together(model)
    if workers is not None:
        share_numbers(workers, state)
    if settle_decoders(model, dataset.valid, experiment.evaluation.eval_batch_size):
        checkpoint.save(model, run.checkpoint)
        if workers is not None:
            share_numbers(workers, state)
    if workers is not None:
        tell_traffic(model)


def prepare(model: MultiTaskModel, feed: Feed) -> None:
    """Has a model and its decoders learn of the training rows what they need before the first step.

    Args:
        model: Built, not compiled.
        feed: The rows.
    """
    split, experiment = feed.split, feed.experiment
    model.prepare(feed.labels, feed.batches)
    if model.decoders:
        fit_decoders(model, split.labels(experiment.tasks), split.numeric)


def _check_parameters(model: MultiTaskModel, workers: Workers | None) -> None:
    """Raises if the network that would be kept computes nothing.

    Raises:
        TrainingError: A parameter is not finite.
    """
    for variable in model.weights:
        values = tf.convert_to_tensor(variable)
        if values.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(values))):
            raise TrainingError(
                f"the parameter {variable.path} is not finite after training: there is no model. {CURE}",
                diverges=True,
            )
    if workers is not None and not rows_are_finite(workers, model):
        raise TrainingError(
            f"rows of tables are not finite after training: there is no model. {CURE}", diverges=True
        )


def _evaluation(
    model: MultiTaskModel,
    dataset: Dataset,
    experiment: Experiment,
    run: Run,
    plan: StepPlan,
    interruption: Interruption,
) -> Evaluation:
    options = experiment.training
    keys = metric_keys(experiment.outputs, experiment.evaluation)
    valid = dataset.valid
    if valid is not None:
        if options.max_valid_steps:
            valid = valid.head(options.max_valid_steps * experiment.evaluation.eval_batch_size)
            logger.info("max_valid_steps: the first %d validation rows are watched.", valid.rows)
        for name, count in few_positives(options.monitor, valid.labels(experiment.outputs), keys).items():
            logger.warning("monitor: %s rests on %d positives; small differences are chance.", name, count)

    def scores() -> Scores:
        if valid is None:
            undefined = {}
            if options.final_weights != "last":  # else nobody watches it
                undefined = dict.fromkeys(keys, "there is no validation data")
            return Scores(values=dict.fromkeys(keys, math.nan), undefined=undefined)
        # Workers whose tables are spread predict together: none may leave in between.
        spread = spread_parts(parts_of(model))
        with nullcontext() if spread else interruption.leaving_at_once():
            found, predictions = measure(model, valid, experiment.outputs, experiment.evaluation)
        check_finite(predictions, f"validation rows at step {int(model.step)}")
        return found

    return Evaluation(
        scores,
        LossScales(model.training_objectives(), model.features.label_units),
        lambda: checkpoint.save(model, run.checkpoint),
        options.monitor,
        monitor_direction(options.monitor, options.monitor_mode, keys),
        steps=plan.steps,
        steps_per_epoch=plan.steps_per_epoch,
        total_steps=plan.total_steps,
    )


def _begin(
    model: MultiTaskModel,
    dataset: Dataset,
    feed: Feed,
    initial: InitialRun | None,
    sources: Sequence[Source],
    workers: Workers | None,
) -> bool:
    """Brings a model to where its first step may be taken; see :func:`train`.

    Returns:
        Whether it is prepared again where its training is gone on with.
    """
    again = sources[0].plain["prepares_again"] if sources else True
    first_step = initial.steps if initial else 0
    if workers is not None:
        transfers = initial is not None and not sources
        workers.tell(BEGIN, prepares=again, first_step=first_step, transfers=transfers)
    if again:
        before = vars(model).copy()
        prepare(model, feed)
        # What lies in variables is in the state of the training, and is not fitted again.
        again = any(before.get(name) is not value for name, value in vars(model).items())
    compile_model(model, feed.experiment, feed.plan, feed.labels, first_step)
    if initial and not sources:
        initial.put_into(model, dataset.encoder)
    return again


def _check_steps(position: Position, plan: StepPlan, whole: bool) -> None:
    """Raises if nothing is left to do for a training that is gone on with.

    Args:
        position: Where it is.
        plan: How long it is to be.
        whole: Whether it was whole once: then more is asked for.
    """
    if position.step > plan.total_steps or (whole and position.step == plan.total_steps):
        raise ValueError(
            f"the training that is gone on with has taken {position.step} steps, and epochs and "
            f"max_train_steps ask for {plan.total_steps}. Ask for more."
        )


def _callbacks(
    evaluation: Evaluation, experiment: Experiment, plan: StepPlan, stops: bool
) -> list[keras.callbacks.Callback]:
    options = experiment.training
    mode = monitor_direction(options.monitor, options.monitor_mode)
    callbacks: list[keras.callbacks.Callback] = [evaluation]
    if stops:
        patience = options.early_stop_patience
        callbacks.append(EarlyStopping("monitor", mode=mode, patience=patience))
    if stops and options.reduce_lr_on_plateau:
        plateau = {"factor": 0.1, "patience": 1, "min_delta": 0.0, "min_lr": 1e-6}
        callbacks.append(ReduceLROnPlateau("monitor", mode=mode, **plateau))
    if options.log_every:
        callbacks.append(StepLog(options.log_every, plan.steps))
    if options.verbose:
        callbacks.insert(0, ProgressBar(plan) if sys.stderr.isatty() else ProgressLines(plan))
    return [*callbacks, LearningRateLog(evaluation)]


def diverged(error: tf.errors.OpError, model: MultiTaskModel, experiment: Experiment) -> Exception:
    """What to say of an objective whose loss is not finite; other errors stay as they are."""
    names = [o.name for o in model.training_objectives() if f"objective {o.name} :" in error.message]
    if not names:
        return error
    step = int(tf.convert_to_tensor(model.optimizer.iterations)) + 1
    return TrainingError(
        f"the loss of objective {names[0]!r} is not finite at step {step}. "
        f"Try a smaller learning_rate (now {rate_of(model.optimizer):g}), "
        f"a smaller max_gradient_norm (now {experiment.optimizer.max_gradient_norm:g}), "
        "precision: float32, or look for extreme values in the numeric features and labels.",
        diverges=True,
    )
