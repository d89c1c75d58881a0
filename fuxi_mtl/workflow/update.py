"""Update of a run with the rows of another day: its vocabularies grow, and its training goes on."""

import datetime
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.dataset import Dataset, Encoder, data_key
from fuxi_mtl.dataset.frames import describe
from fuxi_mtl.dataset.growing import Growth
from fuxi_mtl.dataset.loading import with_own_counts
from fuxi_mtl.dataset.windows import Window, as_date
from fuxi_mtl.evaluation.evaluate import Scores
from fuxi_mtl.evaluation.measure import check_finite, measure
from fuxi_mtl.lineage import check_day
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.runs import Run
from fuxi_mtl.training.initial import InitialRun
from fuxi_mtl.training.precision import use_precision
from fuxi_mtl.training.state import StateFolder
from fuxi_mtl.training.step_plan import AUTO
from fuxi_mtl.workflow.calibrate import calibrate_model, load_calibration
from fuxi_mtl.workflow.experiment import (
    as_planned,
    begin_session,
    finish_run,
    load_data,
    load_run,
    make_model,
    train_run,
)
from fuxi_mtl.workflow.interrupted import identity_of, states_of
from fuxi_mtl.workflow.keys import measured_keys
from fuxi_mtl.workflow.progressive import keep_scores, kept_scores, show
from fuxi_mtl.workflow.thresholds import chosen_thresholds

logger = logging.getLogger(__name__)

# New rows are trained on as they are; --set says otherwise.
_UNSPLIT = {
    "valid_data": None,
    "test_data": None,
    "valid_size": 0.0,
    "test_size": 0.0,
    "split_type": "random",
    "split_col": None,
    "epochs": 1,
}


@dataclass(frozen=True)
class Update:
    """How a run is updated.

    Attributes:
        day: Name of the day.
        count_over: See :class:`~fuxi_mtl.dataset.growing.Growth`.
        statistics: See there.
        expire_days: See there.
        keep_calibration: Whether the calibration of the run stays, also where there are rows to fit it anew.
    """

    day: str = ""
    count_over: str = "new"
    statistics: str = "keep"
    expire_days: int | None = None
    keep_calibration: bool = False

    def __post_init__(self) -> None:
        if not self.day:
            object.__setattr__(self, "day", datetime.date.today().isoformat())
        check_day(self.day)
        choices = {
            "count_over": ("new", "lineage"),
            "statistics": ("keep", "update"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}. Choices: {', '.join(allowed)}.")
        if self.expire_days is not None and self.expire_days < 1:
            raise ValueError(f"expire_days is {self.expire_days}; the least is 1.")

    @property
    def growth(self) -> Growth:
        """How the encoding grows."""
        return Growth(self.day, self.count_over, self.expire_days, self.statistics)


@dataclass(frozen=True)
class PlannedUpdate:
    """An update before anything of it is done: which run goes on, on which rows, and how.

    Attributes:
        parent: A finished run.
        rows: ``train``, and perhaps ``valid`` and ``test``: files, patterns or rows in memory.
        how: What grows, and how.
        experiment: The stanza of the run on these rows, starting from it.
        root: Folder of encoded data, in the place of ``data_root``.
    """

    parent: Run
    rows: Mapping[str, Any]
    how: Update
    experiment: Experiment
    root: Path | None = None

    @classmethod
    def of(
        cls,
        parent: Run,
        rows: Mapping[str, Any],
        how: Update,
        *,
        overrides: Sequence[str] = (),
        changes: Mapping[str, Any] = MappingProxyType({}),
        root: Path | None = None,
    ) -> "PlannedUpdate":
        """The update of a run.

        Args:
            parent: The run.
            rows: The rows by split.
            how: What grows, and how.
            overrides: Keys of the stanza that change, as ``--set`` has them.
            changes: The same as plain values.
            root: Folder of encoded data, in the place of ``data_root``.

        Raises:
            ValueError: The run is damaged, or a key cannot be as it is said.
        """
        start = {
            "init_from": str(parent.folder.resolve()),
            "init_with": "warm",
            "init_missing": "error",
            "resume_path": None,  # as the run itself may have begun
            "last_day": how.day if as_date(how.day) else None,  # never that of the run
        }
        if load_resolved(parent.config, parent.expid).training.batch_size == AUTO:
            start["batch_size"] = parent.read_json(parent.metrics)["batch_size"]  # not by the rows of a day
        divided = {"valid_data", "valid_size"} & {*changes, *(text.partition("=")[0] for text in overrides)}
        if not (rows.get("valid") is not None or divided):
            start["final_weights"] = "last"  # there is nothing to choose by
        files = {f"{name}_data": _named(given) for name, given in rows.items()}
        keys = {**_UNSPLIT, **files, **start, **changes}
        experiment = as_planned(load_resolved(parent.config, parent.expid, keys, overrides))
        planned = cls(parent, rows, how, experiment, root)
        if planned.keeps_fusion:
            planned._check_fusion()
        return planned

    @property
    def keeps_fusion(self) -> bool:
        """Whether there is a fusion, and no validation rows to choose its weights by."""
        data = self.experiment.dataset
        chosen_on = data.valid_data or data.valid_size or data.split_type == "column"
        return bool(self.experiment.fusion.fusion and not chosen_on)

    def _check_fusion(self) -> None:
        """The weights of the run's fusion can stay; a network of weights is of one vocabulary.

        Raises:
            ValueError: They cannot.
        """
        there, here = load_resolved(self.parent.config, self.parent.expid).fusion, self.experiment.fusion
        learnt = here.fusion is not None and here.fusion.method == "ltr"
        if there != here or not self.parent.fusion.exists() or learnt:
            raise ValueError(
                f"fusion: its {'network is learnt' if learnt else 'weights are chosen'} on validation rows, "
                "and the update has none. Give valid_data, or leave it out with fusion: null."
            )

    @property
    def named(self) -> dict[str, str]:
        """What the update tells of its rows."""
        last_day = self.experiment.dataset.last_day
        return {
            name: Window(f"{name}_data", _named(given), last_day).dated for name, given in self.rows.items()
        }

    @property
    def frames(self) -> dict[str, Any]:
        """Those of them that are in memory."""
        return {name: given for name, given in self.rows.items() if not isinstance(given, (str, Path))}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What its training is known by; nothing is encoded for it.

        The parent and the rows say how the rows are encoded: the key is that of the rows alone.
        """
        initial = InitialRun.of(self.experiment)
        unnamed = replace(self.experiment.training, init_from=None)  # the parent is known by what it is
        return identity_of(
            replace(self.experiment, training=unnamed), self.data_key(), initial, **asdict(self.how)
        )

    def data_key(self, known: Encoder | None = None) -> str:
        """The key of its rows, or of what an encoder makes of them."""
        about = self.experiment
        return data_key(about.dataset, about.tasks, about.options.dataset_id, self.frames, known)

    @property
    def rows_key(self) -> str:
        """The key of its training rows alone."""
        return self._of_new_rows().data_key()

    def load(self, **options: Any) -> Dataset:
        """Its data."""
        return load_data(self.experiment, frames=self.frames, root=self.root, **options)

    def load_new(self, known: Encoder) -> Dataset:
        """Its training rows alone, by an encoder that has never seen them."""
        return self._of_new_rows().load(known=known)

    def _of_new_rows(self) -> "PlannedUpdate":
        alone = replace(self.experiment.dataset, valid_data=None, test_data=None)
        rows = {"train": self.rows["train"]}
        return replace(self, rows=rows, experiment=replace(self.experiment, dataset=alone))


def update_run(
    planned: PlannedUpdate,
    folder: Path,
    *,
    number: int = 1,
    gpus: Sequence[int] = (-1,),
    saves: bool = True,
    resume: bool = False,
) -> tuple[Run, MultiTaskModel, Encoder]:
    """Measures new rows by a run, extends its encoding with them, and trains on from it.

    The run stays as it is, whatever happens; the update appears when it is whole.

    Args:
        planned: What is done.
        folder: Where the update goes; the states of its training lie beside it.
        number: How many updates there are with this one.
        gpus: GPUs to use; -1 is the CPU.
        saves: Whether states of its training are saved.
        resume: Whether to go on with an interrupted update of this folder, if there is one.

    Returns:
        The update, its model and its encoder.

    Raises:
        ValueError: The run or the rows cannot be used, or the interrupted update is another one.
        LockedError: Another process writes the folder.
    """
    experiment, how, states = planned.experiment, planned.how, None
    strategy = begin_session(experiment, gpus)
    if saves:
        states = states_of(folder, planned.identity, experiment.training.keep_checkpoints, resume)
    encoder, before = _before(planned, states, resume)
    keras.utils.clear_session()  # without the model that measured
    use_precision(experiment.training.precision)
    started = time.perf_counter()
    if how.count_over == "lineage" and encoder.seen is None:
        encoder = _with_own_counts(planned.parent, encoder, how.day)
    dataset = planned.load(known=encoder, growth=how.growth)
    _tell_growth(dataset)

    def complete(run: Run, model: MultiTaskModel) -> None:
        after, predictions = measure(
            model, dataset.train, experiment.outputs, experiment.evaluation, before.thresholds
        )
        check_finite(predictions, "new rows")
        show("after", experiment, after)
        progressive = {"before": before.values, "after": after.values, "undefined": before.undefined}
        content = {
            "day": how.day,
            "number": number,
            "data": planned.named,
            "rows_key": planned.rows_key,
            "how": asdict(how),
            "rows": dataset.rows,
            "progressive": progressive,
            "vocabularies": {owner: asdict(grown) for owner, grown in dataset.grown.items()},
            "seconds": time.perf_counter() - started,
        }
        run.write_json(run.metrics, {**run.read_json(run.metrics), "update": content})
        if planned.keeps_fusion:
            kept = planned.parent.read_json(planned.parent.fusion)
            run.write_json(run.fusion, {**kept, "report": None})
            logger.info("The fusion is that of %s.", planned.parent.folder)
        history = run.read_json(run.history)
        run.write_json(run.history, {**history, "progressive": progressive})

    make, calibrate = partial(make_model, experiment), partial(_calibrate, planned)
    run, model, _ = train_run(experiment, dataset, make, folder, strategy, states, calibrate, complete)
    finish_run(run, experiment, dataset)
    return run, model, dataset.encoder


def _before(planned: PlannedUpdate, states: StateFolder | None, resume: bool) -> tuple[Encoder, Scores]:
    """The encoder of the run, and what the run is worth on rows that it has not seen.

    These are encoded as it encodes. An update that goes on takes what it measured before it was interrupted.
    """
    parent, experiment = planned.parent, planned.experiment
    known = {**planned.identity, "measured": measured_keys(experiment)}
    kept = kept_scores(states.path, known, resume) if states is not None else None
    if kept is not None:
        return Encoder.load(parent.features), kept
    model, encoder = load_run(parent.folder)
    scores, predictions = measure(
        model,
        planned.load_new(encoder).train,
        experiment.outputs,
        experiment.evaluation,
        chosen_thresholds(parent, experiment),
    )
    check_finite(predictions, "new rows")
    show("before", experiment, scores)
    if states is not None:
        keep_scores(states.path, known, scores)
    return encoder, scores


def _calibrate(
    planned: PlannedUpdate,
    model: MultiTaskModel,
    dataset: Dataset,
    experiment: Experiment,
    run: Run,
    step: int,
) -> None:
    """Calibrates anew where there is something to do it by, else as the run is calibrated."""
    closed = experiment.imbalance.calibration == "closed_form"
    anew, kept = None, load_calibration(planned.parent)
    if not planned.how.keep_calibration and (dataset.valid is not None or closed):
        calibrate_model(model, dataset, experiment, run, step)
        anew = load_calibration(run)
        if closed or anew is None or kept is None or kept.method != anew.method:
            return
        if not kept.maps.keys() - anew.maps:
            return
        kept = replace(anew, maps={**kept.maps, **anew.maps})
    model.calibrate(kept)
    if kept is not None:
        run.write_json(run.calibration, kept.plain())
        told = ", ".join(name for name in kept.maps if anew is None or name not in anew.maps)
        logger.info("The calibration%s is that of %s.", f" of {told}" if anew else "", planned.parent.folder)


def _with_own_counts(parent: Run, encoder: Encoder, day: str) -> Encoder:
    """The encoder with the counts of the rare tokens that the first run was trained on."""
    first = load_resolved(parent.config, parent.expid)
    key = parent.read_json(parent.metrics)["data_key"]
    about = (first.dataset, first.tasks, first.options.dataset_id)
    found = with_own_counts(encoder, *about, key, day)
    if found is None:
        logger.warning(
            "count_over: lineage: the training rows of %s are not there as they were, so rare tokens are "
            "counted from this day on.",
            parent.folder,
        )
    return found or encoder


def _named(rows: Any) -> str:
    """What stands in a stanza for rows."""
    return str(rows) if isinstance(rows, (str, Path)) else describe(rows)


def _tell_growth(dataset: Dataset) -> None:
    for owner, grown in dataset.grown.items():
        logger.info(
            "feature %r: %s tokens are new and %s dropped; it has %s.",
            owner,
            f"{grown.new:,}",
            f"{grown.dropped:,}",
            f"{grown.tokens:,}",
        )
