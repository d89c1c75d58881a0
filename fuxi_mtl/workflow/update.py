"""Update of a run with the rows of another day: its vocabularies grow, and its training goes on."""

import datetime
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.dataset import Dataset, Encoder, load_dataset
from fuxi_mtl.dataset.frames import describe
from fuxi_mtl.dataset.growing import Growth
from fuxi_mtl.dataset.loading import with_own_counts
from fuxi_mtl.evaluation.evaluate import Scores, log_lines
from fuxi_mtl.evaluation.measure import check_finite, measure
from fuxi_mtl.lineage import check_day, day_folder, days_of, first_of
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.runs import Run, held_run
from fuxi_mtl.training.devices import use_devices, use_precision
from fuxi_mtl.workflow.calibrate import calibrate_model, load_calibration
from fuxi_mtl.workflow.experiment import finish_run, load_run, make_model, train_run
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


def update_run(
    parent: Run,
    rows: Mapping[str, Any],
    how: Update,
    *,
    folder: Path | None = None,
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] = MappingProxyType({}),
    gpus: Sequence[int] = (-1,),
    root: Path | None = None,
) -> tuple[Run, MultiTaskModel, Encoder]:
    """Measures new rows by a run, extends its encoding with them, and trains on from it.

    The run stays as it is, whatever happens; the update appears when it is whole.

    Args:
        parent: A finished run.
        rows: ``train``, and perhaps ``valid`` and ``test``: files, patterns or rows in memory.
        how: What grows, and how.
        folder: Where the update goes; its place among the days of the run unless said.
        overrides: Keys of the stanza that change, as ``--set`` has them.
        changes: The same as plain values.
        gpus: GPUs to use; -1 is the CPU.
        root: Folder of encoded data, in the place of ``data_root``.

    Returns:
        The update, its model and its encoder.

    Raises:
        ValueError: The run, the rows or the day cannot be used.
        LockedError: Another process updates the run.
    """
    named = {name: _named(given) for name, given in rows.items()}
    frames = {name: given for name, given in rows.items() if not isinstance(given, (str, Path))}
    experiment = _experiment(parent, named, overrides, changes)
    number = _count(parent) + 1
    with ExitStack() as stack:
        if folder is None:  # one day after another, whoever updates
            stack.enter_context(held_run(first_of(parent.folder)))
            number = _number(parent, how.day)
        place = folder or day_folder(first_of(parent.folder), how.day)
        about = {"day": how.day, "number": number, "data": named, "how": asdict(how)}
        return _updated(parent, experiment, how, place, about, frames, gpus, root)


def _experiment(
    parent: Run, named: Mapping[str, Any], overrides: Sequence[str], changes: Mapping[str, Any]
) -> Experiment:
    """The stanza of the run on other rows, starting from it."""
    start = {"init_from": str(parent.folder.resolve()), "init_with": "warm", "init_missing": "error"}
    divided = {"valid_data", "valid_size"} & {*changes, *(text.partition("=")[0] for text in overrides)}
    if not (named.get("valid") or divided):
        start["final_weights"] = "last"  # there is nothing to choose by
    files = {f"{name}_data": given for name, given in named.items()}
    return load_resolved(parent.config, parent.expid, {**_UNSPLIT, **files, **start, **changes}, overrides)


def _updated(
    parent: Run,
    experiment: Experiment,
    how: Update,
    folder: Path,
    about: Mapping[str, Any],
    frames: Mapping[str, Any],
    gpus: Sequence[int],
    root: Path | None,
) -> tuple[Run, MultiTaskModel, Encoder]:
    """The update of :func:`update_run`; ``about`` is what it tells of itself."""
    strategy = use_devices(tuple(gpus))
    keras.utils.clear_session()
    encoder, before = _progressive(parent, experiment, frames, root)
    keras.utils.clear_session()
    use_precision(experiment.training.precision)
    started = time.perf_counter()
    if how.count_over == "lineage" and encoder.seen is None:
        encoder = _with_own_counts(parent, encoder, how.day)
    dataset = _load(experiment, frames, root, known=encoder, growth=how.growth)
    _tell_growth(dataset)

    def complete(run: Run, model: MultiTaskModel) -> None:
        after, predictions = measure(
            model, dataset.train, experiment.tasks, experiment.evaluation, before.thresholds
        )
        check_finite(predictions, "new rows")
        _show("after", experiment, after)
        progressive = {"before": before.values, "after": after.values, "undefined": before.undefined}
        content = {
            **about,
            "rows": _rows(dataset),
            "progressive": progressive,
            "vocabularies": {owner: asdict(grown) for owner, grown in dataset.grown.items()},
            "seconds": time.perf_counter() - started,
        }
        run.write_json(run.metrics, {**run.read_json(run.metrics), "update": content})
        history = run.read_json(run.history)
        run.write_json(run.history, {**history, "progressive": progressive})

    make = partial(make_model, experiment)
    calibrate = partial(_calibrate, parent, how)
    run, model, _ = train_run(
        experiment, dataset, make, folder, strategy, calibrate=calibrate, complete=complete
    )
    finish_run(run, experiment, dataset)
    return run, model, dataset.encoder


def _calibrate(
    parent: Run,
    how: Update,
    model: MultiTaskModel,
    dataset: Dataset,
    experiment: Experiment,
    run: Run,
    step: int,
) -> None:
    """Calibrates anew where there is something to do it by, else as the run is calibrated."""
    closed = experiment.imbalance.calibration == "closed_form"
    if not how.keep_calibration and (dataset.valid is not None or closed):
        calibrate_model(model, dataset, experiment, run, step)
        return
    kept = load_calibration(parent)
    model.calibrate(kept)
    if kept is not None:
        run.write_json(run.calibration, kept.plain())
        logger.info("The calibration is that of %s.", parent.folder)


def _progressive(
    parent: Run, experiment: Experiment, frames: Mapping[str, Any], root: Path | None
) -> tuple[Encoder, Scores]:
    """What the run is worth on rows that it has not seen, encoded as it encodes; and its encoder."""
    model, encoder = load_run(parent.folder)
    alone = replace(experiment.dataset, valid_data=None, test_data=None)
    only = replace(experiment, dataset=alone)
    data = _load(only, {name: rows for name, rows in frames.items() if name == "train"}, root, known=encoder)
    scores, predictions = measure(
        model, data.train, experiment.tasks, experiment.evaluation, chosen_thresholds(parent, experiment)
    )
    check_finite(predictions, "new rows")
    _show("before", experiment, scores)
    return encoder, scores


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


def _load(experiment: Experiment, frames: Mapping[str, Any], root: Path | None, **options: Any) -> Dataset:
    return load_dataset(
        experiment.dataset,
        experiment.tasks,
        experiment.options.dataset_id,
        threads=experiment.training.num_workers,
        progress=bool(experiment.training.verbose),
        frames=frames,
        root=root,
        **options,
    )


def _number(parent: Run, day: str) -> int:
    """The number of an update of a run, which is the newest of its lineage, or the last but this day.

    Raises:
        ValueError: There are later days.
    """
    first = first_of(parent.folder)
    known = days_of(first)
    here = next((each for each in known if each.folder.resolve() == parent.folder.resolve()), None)
    if here is None:
        raise ValueError(
            f"{parent.folder} is no day of {first}: the run that it goes on from was trained anew since."
        )
    later = [each.name for each in known if each.number > here.number]
    if day in [each.name for each in known if each.number <= here.number]:
        raise ValueError(f"day {day!r} is behind {here.name!r} already: name another one.")
    if later and later != [day]:
        raise ValueError(
            f"{here.name!r} is not the newest day of {first.parent.name!r}: {', '.join(later)} came after "
            "it. Update the newest, or do only the last day again."
        )
    return here.number + 1


def _count(parent: Run) -> int:
    return int(parent.read_json(parent.metrics).get("update", {}).get("number", 0))


def _named(rows: Any) -> str | None:
    """What stands in a stanza for rows."""
    return str(rows) if isinstance(rows, (str, Path)) else describe(rows)


def _rows(dataset: Dataset) -> dict[str, int]:
    return {
        split.name: split.rows for split in (dataset.train, dataset.valid, dataset.test) if split is not None
    }


def _show(when: str, experiment: Experiment, scores: Scores) -> None:
    logger.info("**** New rows %s training on them ****", when)
    for line in log_lines(experiment.tasks, scores):
        logger.info("%s", line)


def _tell_growth(dataset: Dataset) -> None:
    for owner, grown in dataset.grown.items():
        logger.info(
            "feature %r: %s tokens are new and %s dropped; it has %s.",
            owner,
            f"{grown.new:,}",
            f"{grown.dropped:,}",
            f"{grown.tokens:,}",
        )
