"""Training from a model and data, or from a stanza, to finished runs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, overload

import keras
from typing_extensions import Unpack

from fuxi_mtl import config, registry, runs
from fuxi_mtl.cluster import check_alone
from fuxi_mtl.config import load_experiment, make_experiment
from fuxi_mtl.config.routing import owners
from fuxi_mtl.dataset import Dataset as EncodedDataset
from fuxi_mtl.features import FeatureMap
from fuxi_mtl.files.remote import as_url, is_url
from fuxi_mtl.interface.data import Dataset, TemporaryFolder, with_reader
from fuxi_mtl.interface.keywords import FitOptions
from fuxi_mtl.interface.run import Run
from fuxi_mtl.interface.session import leaves_no_trace
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.model.recipe import make_again
from fuxi_mtl.options import DatasetOptions
from fuxi_mtl.options.mistakes import Mistakes
from fuxi_mtl.options.source_location import ConfigError
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.runs import local_root
from fuxi_mtl.tasks import Task
from fuxi_mtl.training.initial import InitialRun
from fuxi_mtl.training.precision import AUTO, use_precision
from fuxi_mtl.workflow.experiment import as_planned, finish_run, load_data, make_model, train_run
from fuxi_mtl.workflow.interrupted import identity_of, states_of
from fuxi_mtl.workflow.remote_runs import check_writable, fetch_parents, upload_run
from fuxi_mtl.workflow.sweep import sweep

OF_SEVERAL = "Train a stanza by run_expid.py in all of them"
_TASKS_KIND = {
    "binary": "binary_classification",
    "regression": "regression",
    "classes": "multiclass_classification",
}


class Experiment:
    """A stanza of a config folder as an object; :func:`experiment` reads one.

    Attributes:
        config: Every key of it, checked.

    Example:
        >>> fm.experiment("MMoE_test", config="config", learning_rate=1e-3).expid
        'MMoE_test'
    """

    def __init__(self, checked: config.Experiment):
        self.config = checked

    @property
    def expid(self) -> str:
        """Its name."""
        return self.config.expid

    @overload
    def fit(self, *, seeds: None = None, folder: str | Path | None = None, resume: bool = False) -> Run: ...

    @overload
    def fit(
        self, *, seeds: Sequence[int], folder: str | Path | None = None, resume: bool = False
    ) -> list[Run]: ...

    @leaves_no_trace
    def fit(
        self,
        *,
        seeds: Sequence[int] | None = None,
        folder: str | Path | None = None,
        resume: bool = False,
    ) -> Run | list[Run]:
        """Trains and measures it, as the command line does, without its log and its line of results.

        Args:
            seeds: Trains once with each of them.
            folder: Where the run goes; with several seeds ``seed_{seed}`` below it. Without one it is
                temporary, whatever its ``model_root`` is. To a URL it is uploaded when it is whole.
            resume: Goes on with a training of the same folder that was interrupted, if there is one.

        Raises:
            ValueError: The data or the folder cannot be used, or the interrupted training is another one.
            SweepError: Some of several seeds failed; the runs of the others are its ``runs``.
        """
        check_alone(os.environ, "fit", OF_SEVERAL)
        check_resumable("fit", resume, folder)
        checked = as_planned(self.config)
        if folder is None:  # nobody could find the SavedModel; Run.export writes one
            checked = replace(checked, evaluation=replace(checked.evaluation, export=False))
        data = load_data(checked, progress=False)

        def trained(seeded: config.Experiment) -> Run:
            make = partial(make_model, seeded)
            return train_in(seeded, data, make, folder, resume, several=seeds is not None)

        found = sweep(_seeded(checked, seeds), trained)
        return found if seeds is not None else found[0]

    def __repr__(self) -> str:
        return (
            f"<Experiment {self.expid!r}: {self.config.options.model} on {self.config.options.dataset_id!r}>"
        )


def experiment(expid: str, config: str | Path = "./config/", **changes: Any) -> Experiment:
    """A stanza of a config folder.

    Args:
        expid: Its name.
        config: The folder, with ``model_config`` and ``dataset_config``.
        **changes: Keys that are to have other values, as ``--set`` of the command line has them.

    Raises:
        ValueError: All mistakes of the stanza, each with its file and line.

    Example:
        >>> fm.experiment("MMoE_test", config="config", epochs=2)
        <Experiment 'MMoE_test': MMoE on 'tiny_mtl'>
    """
    import_zoo()
    return Experiment(load_experiment(config, expid, changes=changes))


@overload
def fit(
    model: MultiTaskModel,
    data: Dataset,
    *,
    seeds: None = None,
    folder: str | Path | None = None,
    expid: str | None = None,
    resume: bool = False,
    **options: Unpack[FitOptions],
) -> Run: ...


@overload
def fit(
    model: MultiTaskModel,
    data: Dataset,
    *,
    seeds: Sequence[int],
    folder: str | Path | None = None,
    expid: str | None = None,
    resume: bool = False,
    **options: Unpack[FitOptions],
) -> list[Run]: ...


@leaves_no_trace
def fit(
    model: MultiTaskModel,
    data: Dataset,
    *,
    seeds: Sequence[int] | None = None,
    folder: str | Path | None = None,
    expid: str | None = None,
    resume: bool = False,
    **options: Unpack[FitOptions],
) -> Run | list[Run]:
    """Trains a model, measures it and returns its run.

    A model without variables gets them under ``seed`` and ``precision``. One that has been trained, or whose
    variables are there already, goes on from where it is; the state of the optimizer and of the weighting
    starts anew.

    Args:
        model: A model; its variables are those of the best evaluation afterwards. With ``seeds`` it stays as
            it is, and each run has a model of its own.
        data: What to train, choose and report on.
        seeds: Trains anew with each of them.
        folder: Where the run goes; with several seeds ``seed_{seed}`` below it. Without one it is temporary.
            To a URL, such as ``s3://runs/mmoe``, it is uploaded when it is whole; :attr:`Run.folder` is on
            this machine.
        expid: What comparisons call the run; the model's name unless said.
        resume: Goes on with a training of the same folder that was interrupted, if there is one: what it
            had learnt takes the place of what `model` has.
        **options: Every key of a stanza about training, its optimizer, weighting, surgery, imbalance,
            evaluation, calibration, fusion and diagnostics: ``epochs``, ``batch_size``, ``learning_rate``,
            ``loss_weight``, ``monitor``, ``seed``, ``precision``, ... The defaults are a stanza's, but for
            ``export``: :meth:`Run.export` writes the model where it is wanted. ``init_from`` takes a run.

    Raises:
        ValueError: An option, the data or the folder cannot be used, or the interrupted training is another
            one.
        SweepError: Some of several seeds failed; the runs of the others are its ``runs``.

    Example:
        >>> model = fm.MMoE(data.features, data.tasks, num_experts=2, expert_hidden_units=[4])
        >>> run = fm.fit(model, data, epochs=1, learning_rate=0.01)
        >>> len(run.history)
        1
    """
    import_zoo()
    check_given("fit", model, data)
    check_alone(os.environ, "fit", OF_SEVERAL)
    check_resumable("fit", resume, folder)
    given: dict[str, Any] = {**options}
    if isinstance(given.get("init_from"), Run | Path):
        place = getattr(given["init_from"], "folder", given["init_from"])
        given["init_from"] = as_url(place) if is_url(place) else str(place)
    checked = _checked(model, data, expid, given)
    checked = as_planned(checked)
    n_rows = checked.dataset.n_rows if checked.training.debug_mode else None
    encoded = data.encoded(checked.tasks, n_rows, checked.training.encode_workers)
    if seeds is None:
        _check_goes_on(model, encoded, checked, given)

        def made(features: FeatureMap) -> MultiTaskModel:
            return _made(model, features, checked)

        return train_in(checked, encoded, made, folder, resume)

    def trained(seeded: config.Experiment) -> Run:
        twin = type(model)(model.recipe.features, model.recipe.tasks, **model.recipe.options)

        def made(features: FeatureMap) -> MultiTaskModel:
            return _made(twin, features, checked)

        return train_in(seeded, encoded, made, folder, resume, several=True)

    return sweep(_seeded(checked, seeds), trained)


def check_given(fit: str, model: Any, data: Any) -> None:
    """The first two are what they are called; a class, a name or a frame is an easy mistake."""
    if not isinstance(model, MultiTaskModel):
        what = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise ValueError(
            f"{fit}: model is {what}. It is a model object, such as fm.MMoE(data.features, data.tasks)."
        )
    if not isinstance(data, Dataset):
        raise ValueError(
            f"{fit}: data is {type(data).__name__}. It is a fm.Dataset, which says what the columns are."
        )


def _checked(
    model: MultiTaskModel, data: Dataset, expid: str | None, options: Mapping[str, Any]
) -> config.Experiment:
    """The experiment that a model, data and options are; checked as a stanza is."""
    mistakes = Mistakes()
    entries = entries_of(model, data, options, "fit", mistakes)
    return make_experiment(expid or type(model).__name__, entries, "fit", mistakes)


def entries_of(
    model: MultiTaskModel, data: Dataset, options: Mapping[str, Any], what: str, mistakes: Mistakes
) -> dict[str, Any]:
    """The keys of the stanza that a model, data and options are.

    Args:
        model: The model.
        data: The data.
        options: Keys of training.
        what: What takes them, as errors name it.
        mistakes: Gets keys that belong elsewhere.

    Raises:
        ValueError: The class of the model is not registered.
    """
    name = type(model).__name__
    if name not in registry.names() or registry.model(name) is not type(model):
        raise ValueError(f"{what}: {name} is not registered. Write @fm.register above its class.")
    belongs = {**dict.fromkeys(registry.options(name), name)}
    belongs |= {key: "Dataset" for key, owner in owners().items() if owner is DatasetOptions}
    belongs |= dict.fromkeys(("tasks", "dataset_id", "num_tasks"), "Dataset")
    belongs |= dict.fromkeys(
        ("use_features", "feature_specs", "feature_config"), "Dataset, as features=[...]"
    )
    belongs |= {"task": "Dataset, as the kind of its labels", "model": f"{what}, as an object"}
    belongs |= {"model_root": f"{what}, as folder=", "pareto": "a stanza, for the command pareto"}
    for key in [key for key in options if key in belongs]:
        mistakes.add(ConfigError(what, f"{key} is no option of training: give it to {belongs[key]}."))
    options = {key: value for key, value in options.items() if key not in belongs}
    if model.built and options.get("precision", AUTO) == AUTO:  # its variables are in one already
        options = {**options, "precision": model.dtype_policy.name}
    return {
        **data.entries,
        **_tasks(model.recipe.tasks, data),
        **model.recipe.options,
        "model": name,
        "export": False,  # Run.export writes it where it is wanted
        **options,
    }


def _tasks(tasks: Sequence[Task], data: Dataset) -> dict[str, Any]:
    """The keys that say what a model predicts; none if it is what the data say."""
    if tuple(tasks) == tuple(data.tasks):
        return {}
    kinds = [_TASKS_KIND[task.kind] for task in tasks]
    losses = [task.loss for task in tasks]
    return {
        "tasks": {task.name: task.expression for task in tasks},
        "task": kinds if len(set(kinds)) > 1 else kinds[0],
        **({"loss": losses} if any(losses) else {}),
    }


def _check_goes_on(
    model: MultiTaskModel, data: EncodedDataset, checked: config.Experiment, options: Mapping[str, Any]
) -> None:
    """A model with variables fits the data and the precision."""
    if not model.built:
        return
    if model.features != data.feature_map:
        known = {each.name: each for each in model.features.features}
        other = [each.name for each in data.feature_map.features if known.get(each.name) != each]
        raise ValueError(
            f"fit: the variables of this {type(model).__name__} are for other data: "
            f"{', '.join(other) or 'the features'} differ there. Make a new model on data.features."
        )
    if "precision" in options and use_precision(checked.training.precision) != model.dtype_policy.name:
        raise ValueError(
            f"fit: precision is {checked.training.precision}, but the variables of this model were made in "
            f"{model.dtype_policy.name}. Make a new model."
        )


def _made(model: MultiTaskModel, features: FeatureMap, checked: config.Experiment) -> MultiTaskModel:
    """The model with variables: its own, or new ones under the seed and the precision that are in force."""
    if model.built:
        model.calibrate(None)
    else:
        make_again(model, features, checked.tasks)
        model.build()
    model.expect(checked.expected)
    return model


def _seeded(checked: config.Experiment, seeds: Sequence[int] | None) -> list[config.Experiment]:
    if seeds is None:
        return [checked]
    if isinstance(seeds, int):
        raise ValueError(f"seeds is {seeds}: give a list, such as [1, 2, 3].")
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are {list(seeds)}: give one or more, each once.")
    return [checked.with_seed(seed) for seed in seeds]


def train_in(
    checked: config.Experiment,
    data: EncodedDataset,
    make: Any,
    folder: str | Path | None,
    resume: bool,
    several: bool = False,
) -> Run:
    """Trains an experiment on data that are read already.

    Args:
        checked: What to do.
        data: The data.
        make: Makes the model of the inputs.
        folder: Where the run goes, or a URL to which it is uploaded; without one it is temporary.
        resume: Goes on with a training that was interrupted.
        several: Whether the run lies below the folder, by its seed.
    """
    keras.utils.clear_session()  # Each run has a session of its own, so that names repeat from run to run.
    use_precision(checked.training.precision)
    fetch_parents(checked)
    owner, target = None, None if folder is None else _target(folder, checked.training.seed, several)
    if target is None:
        owner = TemporaryFolder()
        place = owner.path / checked.expid / f"seed_{checked.training.seed}"
        run, model, _ = train_run(checked, data, make, place)
    else:
        place = local_root(target)
        check_writable(target, "folder")
        check_replaceable(place)
        with runs.held_run(place):
            identity = identity_of(checked, data.key, InitialRun.of(checked))
            states = states_of(place, identity, checked.training.keep_checkpoints, resume)
            run, model, _ = train_run(checked, data, make, place, states=states)
    finish_run(run, checked, data)
    if target is not None:
        upload_run(target, run.folder)
    if model.features.reader is None:
        model.features = with_reader(model.features, data.encoder)
    model.recipe.fits += 1
    return Run(run.folder, owner, model)


def _target(folder: str | Path, seed: int, several: bool) -> str | Path:
    """Where a run goes: a path, or a URL as text."""
    if is_url(folder):
        url = as_url(folder).rstrip("/")
        return f"{url}/seed_{seed}" if several else url
    return Path(folder) / f"seed_{seed}" if several else Path(folder)


def check_resumable(what: str, resume: bool, folder: str | Path | None) -> None:
    """What is gone on with lies in a folder.

    Raises:
        ValueError: None is given; the message begins with what was asked to.
    """
    if resume and folder is None:
        raise ValueError(f"{what}: resume goes on with the training of a folder: give folder, too.")


def check_replaceable(folder: Path) -> None:
    """A folder that a run may take: there is none, or it is empty, or an older run."""
    if (
        folder.exists()
        and not runs.Run(folder).metrics.is_file()
        and not (folder.is_dir() and not any(folder.iterdir()))
    ):
        raise ValueError(f"folder: {folder} is there and is no run: name another one.")


__all__ = ["Experiment", "experiment", "fit"]
