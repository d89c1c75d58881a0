"""One experiment, read from its stanza and checked."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from fuxi_mtl import registry
from fuxi_mtl.config import checks
from fuxi_mtl.config.columns import select_columns
from fuxi_mtl.config.conversion import checked_conversion
from fuxi_mtl.config.expected import plan_expected
from fuxi_mtl.config.families import check_members_fit, keys_to_try
from fuxi_mtl.config.fusion import checked_fusion
from fuxi_mtl.config.imbalance import checked_imbalance
from fuxi_mtl.config.optimizer import check_moments, checked_schedule
from fuxi_mtl.config.planning import plan
from fuxi_mtl.config.routing import (
    as_yaml,
    check_keys,
    left_behind,
    model_name,
    model_options,
    options_of_members,
    sections_of,
)
from fuxi_mtl.config.stanzas import Folder, Settings, read_datasets, read_folder, stored_settings
from fuxi_mtl.config.translating import translate
from fuxi_mtl.config.yaml_reading import read_mapping, read_value
from fuxi_mtl.files import check_yaml
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import (
    CVR_AUX,
    SECTIONS,
    DatasetOptions,
    DiagnosticsOptions,
    EvaluationOptions,
    ExperimentOptions,
    Family,
    FeatureOptions,
    FusionSection,
    ImbalanceOptions,
    LabelOptions,
    OptimizerOptions,
    ParetoSection,
    SurgeryOptions,
    TrainingOptions,
    WeightingOptions,
)
from fuxi_mtl.options.mistakes import UNJUDGED, Mistakes, together
from fuxi_mtl.options.source_location import ConfigError, Located, SourceLocation, as_located
from fuxi_mtl.options.values import checked, show, spelled
from fuxi_mtl.tasks import Task


@dataclass(frozen=True)
class Experiment:
    """Everything that a run needs to know.

    Attributes:
        expid: Its name.
        options: Data, model and tasks, as written.
        weighting: How losses are weighted.
        surgery: Which way shared variables go.
        optimizer: How variables move.
        training: How long to train, and on what to stop.
        evaluation: What is measured.
        diagnostics: What is measured of the training itself.
        imbalance: What is done about rare positives.
        fusion: How one score is made of the tasks'.
        pareto: Which preferences a search tries; no property of a single run, so it is not resolved.
        dataset: The dataset, with the columns that this experiment uses.
        member_options: The own options of the chosen weighting, surgery and errors, defaults included.
        model_options: The model's options, defaults included.
        tasks: What the model predicts.
        expected: Products of predictions that are served and measured, too.
        config_dir: The folder it was read from.
        notes: What became of keys in the words of other libraries, for the log.
    """

    expid: str
    options: ExperimentOptions
    weighting: WeightingOptions
    surgery: SurgeryOptions
    optimizer: OptimizerOptions
    training: TrainingOptions
    evaluation: EvaluationOptions
    diagnostics: DiagnosticsOptions
    imbalance: ImbalanceOptions
    fusion: FusionSection
    pareto: ParetoSection = field(compare=False)
    dataset: DatasetOptions
    member_options: dict[str, Any]
    model_options: dict[str, Any]
    tasks: tuple[Task, ...]
    expected: tuple[Task, ...] = ()
    config_dir: str = field(default="", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def outputs(self) -> tuple[Task, ...]:
        """All that is predicted, stored and measured: the tasks, and what is expected of them."""
        return (*self.tasks, *self.expected)

    def with_seed(self, seed: int) -> "Experiment":
        """The same experiment with another seed."""
        return replace(self, training=checked(replace(self.training, seed=seed)))

    def resolved(self) -> dict[str, Any]:
        """One flat stanza of plain values with every key, those of the dataset included.

        :func:`load_resolved` makes the same experiment of it, if it is written in this order: the order
        of tasks counts.
        """
        flat: dict[str, Any] = {}
        for name in SECTIONS:
            if name not in ("dataset", "pareto"):
                flat.update(as_yaml(asdict(getattr(self, name), dict_factory=_as_spelled)))
        return {**flat, **self.member_options, **as_yaml(self.model_options), **self.resolved_dataset()}

    def resolved_dataset(self) -> dict[str, Any]:
        """The dataset's keys of :meth:`resolved`: a stanza of ``dataset_config``."""
        flat = as_yaml({each.name: getattr(self.dataset, each.name) for each in fields(self.dataset)})
        flat["feature_cols"] = [_given(each) for each in self.dataset.feature_cols]
        flat["label_col"] = [_given(each) for each in self.dataset.label_col]
        return flat

    def stanzas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The stanza of the experiment and that of its dataset, without what is the default anyway."""
        defaults: dict[str, Any] = {}
        for section in SECTIONS.values():
            defaults |= as_yaml(asdict(section(), dict_factory=_as_spelled))
        found: dict[str, list[Any]] = {}
        members = [each.options for family in Family.known for each in family.members]
        for options in (*members, registry.options(self.options.model)):
            for key, parameter in options.items():
                found.setdefault(key, []).append(as_yaml(parameter.default))
        # Where members of a family have one key and several defaults, nothing is.
        defaults |= {key: given[0] for key, given in found.items() if all(x == given[0] for x in given)}
        dataset = self.resolved_dataset()
        own = {key: value for key, value in self.resolved().items() if key not in dataset}
        changed = [
            {key: value for key, value in stanza.items() if key not in defaults or value != defaults[key]}
            for stanza in (own, dataset)
        ]
        return changed[0], changed[1]


class Available(NamedTuple):
    """The names in a config folder, in the order of its files."""

    expids: tuple[str, ...]
    datasets: tuple[str, ...]


def available(config_dir: str | Path) -> Available:
    """What can be run from a config folder."""
    folder = read_folder(config_dir)
    return Available(tuple(folder.experiments), tuple(folder.datasets))


def located(config_dir: str | Path, expid: str, message: str) -> ConfigError:
    """An error at the head of a stanza of a config folder."""
    return read_folder(config_dir).experiments[expid].error(message)


def load_experiment(
    config_dir: str | Path | Folder,
    expid: str,
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> Experiment:
    """Reads one experiment from a config folder; no data is read.

    Args:
        config_dir: Folder with ``model_config.yaml`` and ``dataset_config.yaml``, or folders so called; or
            what was read from one.
        expid: A stanza of ``model_config``.
        overrides: ``key=value``, each typed like YAML and stronger than the files.
        changes: The same as plain Python values, or as values that know where they are from.

    Raises:
        ConfigError: All mistakes, each with its file, line and stanza.
    """
    folder = read_folder(config_dir)
    mistakes = Mistakes()
    settings = folder.settings(expid, overrides, _located(changes, expid), mistakes)
    return _experiment(settings, str(folder.path), mistakes)


def experiment_on(config_dir: str | Path, dataset_id: str, overrides: Sequence[str] = ()) -> Experiment:
    """A network of its own for each label of a dataset: what there is to say of data without an experiment.

    Args:
        config_dir: As for :func:`load_experiment`.
        dataset_id: A stanza of ``dataset_config``, and the name of the experiment.
        overrides: As there.

    Raises:
        ConfigError: As there.
    """
    stanza = {"dataset_id": dataset_id, "model": "SingleTask"}
    own = as_located(stanza, SourceLocation(str(config_dir)))
    folder = replace(read_datasets(config_dir), experiments={dataset_id: own})
    mistakes = Mistakes()
    settings = folder.settings(dataset_id, overrides, mistakes=mistakes)
    return _experiment(settings, str(config_dir), mistakes)


def load_experiments(
    config_dir: str | Path, expids: Sequence[str], overrides: Sequence[str] = ()
) -> list[Experiment]:
    """Reads several experiments; see :func:`load_experiment`."""
    folder = read_folder(config_dir)
    mistakes = Mistakes()
    experiments = []
    for expid in dict.fromkeys(expids):
        with mistakes.noted():
            found = Mistakes()
            settings = folder.settings(expid, overrides, mistakes=found)
            experiments.append(_experiment(settings, str(config_dir), found))
    mistakes.tell()
    return experiments


def make_experiment(
    expid: str,
    entries: Mapping[str, Any],
    source: str,
    mistakes: Mistakes | None = None,
    changes: Mapping[str, Located] = MappingProxyType({}),
) -> Experiment:
    """An experiment of plain Python values, which are checked as if they stood in a stanza.

    Args:
        expid: Its name.
        entries: Every key, those of the dataset and of the model included.
        source: What errors name in the place of a file, such as ``fit``.
        mistakes: Those that the caller has found; they are told with the others.
        changes: Keys that are to have other values, each by its path with dots.

    Raises:
        ConfigError: All mistakes.
    """
    settings = stored_settings(expid, _located(entries, source), source, values=changes)
    return _experiment(settings, "", mistakes)


def make_dataset(entries: Mapping[str, Any], source: str) -> tuple[DatasetOptions, tuple[Task, ...]]:
    """A dataset of plain Python values, and its tasks before any model plans them.

    Args:
        entries: The keys of the dataset, ``tasks``, ``dataset_id`` and ``group_id``.
        source: What errors name in the place of a file.

    Raises:
        ConfigError: All mistakes.
    """
    settings = stored_settings("", _located(entries, source), source)
    mistakes = Mistakes()
    for key, entry in settings.entries.items():
        with mistakes.noted():
            if key not in _KEYS_OF_DATA:
                raise entry.error(
                    f"unknown key {key!r} (value {show(entry)}).{did_you_mean(key, _KEYS_OF_DATA)} "
                    f"Keys of dataset: {', '.join(_KEYS_OF_DATA)}."
                )
    parts, own = _sections(settings, mistakes)
    tasks: tuple[Task, ...] = ()
    with mistakes.noted():
        tasks = plan(settings, parts["options"], parts["dataset"].label_col, _AsWritten, own)
    mistakes.tell()
    return parts["dataset"], tasks


_KEYS_OF_DATA = (
    *(each.name for each in fields(DatasetOptions)),
    "tasks",
    "dataset_id",
    "group_id",
)


class _AsWritten:
    """The plan of a model that predicts each task as it is written, and trains it on its own label."""

    @staticmethod
    def plan_tasks(tasks: tuple[Task, ...], explicit: bool) -> tuple[Task, ...]:  # noqa: ARG004
        return tasks

    @staticmethod
    def supervised_tasks(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        return tasks

    @staticmethod
    def objective_names(tasks: tuple[Task, ...]) -> tuple[str, ...]:
        return tuple(task.name for task in tasks)


def _located(entries: Mapping[str, Any], source: str) -> dict[str, Located]:
    return {
        key: value if isinstance(value, Located) else as_located(value, SourceLocation(source))
        for key, value in entries.items()
    }


def check_stanzas(
    config_dir: str | Path | Folder,
    expids: Sequence[str],
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Finds what can be wrong with experiments as far as that needs the declarations of models only.

    That is all but what a weighting or a surgery refuses when it is made, and, for a model with a plan of its
    own, what depends on its tasks.

    Raises:
        ConfigError: All of them, as :func:`load_experiment` would tell them; ``unfinished`` if it may tell
            more.
    """
    folder = read_folder(config_dir)
    mistakes = Mistakes()
    for expid in expids:
        with mistakes.noted():
            settings = folder.settings(expid, overrides, _located(changes, expid), mistakes)
            _judged(settings, str(folder.path), mistakes, imported=False)
    mistakes.tell()


def check_further(
    config_dir: str | Path, expids: Sequence[str], overrides: Sequence[str], told: Iterable[ConfigError]
) -> None:
    """Finds what :func:`check_stanzas` could not, now that the models are imported.

    Raises:
        ConfigError: What has not been told.
    """
    before = set(map(str, told))
    try:
        load_experiments(config_dir, expids, overrides)
    except ConfigError as error:
        further = [each for each in error.mistakes if str(each) not in before]
        if further:
            raise together(further) from None


def load_resolved(
    file: str | Path,
    expid: str,
    changes: Mapping[str, Any] = MappingProxyType({}),
    overrides: Sequence[str] = (),
) -> Experiment:
    """The experiment of a stored run, from the stanza that :meth:`Experiment.resolved` gave.

    Args:
        file: The stanza.
        expid: Its name.
        changes: Keys that are to have other values, checked as if they stood in the file.
        overrides: The same as ``key=value``, stronger than these.

    Raises:
        ConfigError: The file cannot be read, or its content is no such stanza.
        DamagedError: It is not what was written.
    """
    check_yaml(Path(file), "train the experiment again.")
    changed = {key: read_value(json.dumps(value), f"{file}, changed") for key, value in changes.items()}
    mistakes = Mistakes()
    entries = {**read_mapping(Path(file)), **changed}
    settings = stored_settings(expid, entries, str(file), overrides, mistakes)
    return _experiment(settings, str(Path(file).parent), mistakes)


def _experiment(settings: Settings, config_dir: str, mistakes: Mistakes | None = None) -> Experiment:
    mistakes = mistakes or Mistakes()
    experiment = _judged(settings, config_dir, mistakes, imported=True)
    mistakes.tell()
    return experiment


def _judged(settings: Settings, config_dir: str, mistakes: Mistakes, imported: bool) -> Experiment:
    """What all keys say together; where there are mistakes, it is of no use.

    A block that notes mistakes ends at its first one; what it would have given stays unjudged, and so does
    what would be made of that.

    Args:
        settings: All keys.
        config_dir: Where they are from.
        mistakes: Gets the mistakes.
        imported: Whether the model is there, and not only its declaration.
    """
    parts, own, of_model, notes = _declared(settings, mistakes)
    model: Any = UNJUDGED
    tasks = supervised = objectives = UNJUDGED
    with mistakes.noted():
        name = model_name(settings)
        if imported:
            model = registry.model(name)
        elif registry.plans_tasks(name):
            mistakes.unfinished = True
        else:
            model = _AsWritten
    with mistakes.noted():
        tasks = plan(settings, parts["options"], parts["dataset"].label_col, model, own)
        supervised, objectives = model.supervised_tasks(tasks), model.objective_names(tasks)
    of_losses, objectives = objectives, UNJUDGED
    with mistakes.noted():
        imbalance = checked_imbalance(settings, parts["imbalance"], tasks, supervised, of_losses)
        objectives = (*of_losses, *((CVR_AUX,) if imbalance.lambda_cvr_aux else ()))
        parts["imbalance"] = imbalance
    with mistakes.noted():
        checks.check_weighting(settings, parts["weighting"], parts["surgery"], objectives)
    with mistakes.noted():
        kinds = dict.fromkeys(objectives, "binary") | {
            # Classes have a log-likelihood, as 0 and 1 have.
            task.name: "binary" if task.kind == "classes" else task.kind
            for task in tasks
            if task.name in objectives
        }
        if imported:
            check_members_fit(settings, parts["weighting"], parts["surgery"], kinds, own)
        elif keys_to_try(settings, parts["weighting"], parts["surgery"], kinds):
            mistakes.unfinished = True
    with mistakes.noted():
        checks.check_diagnostics(settings, parts["diagnostics"], objectives)
    with mistakes.noted():
        checks.check_representation(settings, of_model, parts["dataset"])
        checks.check_pareto(settings, parts["pareto"], objectives)
    expected, outputs, measured = _measured(settings, parts, tasks, mistakes)
    with mistakes.noted():
        parts["evaluation"] = checked_conversion(settings, parts["evaluation"], tasks)
    with mistakes.noted():
        checks.check_start(settings, parts["training"], parts["dataset"])
    with mistakes.noted():
        parts["training"] = checked_schedule(settings, parts["optimizer"], parts["training"])
    with mistakes.noted():
        training = checks.checked_monitor(settings, parts["training"], tasks)
        training, watched = checks.watched_unless_said(settings, training, measured, outputs)
        notes = (*notes, *checks.metrics_of_no_task(settings, measured, outputs), *watched)
        mode = checks.checked_mode(settings, training, measured, outputs)
        parts["training"] = replace(training, monitor_mode=mode)
    with mistakes.noted():
        parts["fusion"] = checked_fusion(
            settings, parts["fusion"], outputs, parts["evaluation"], parts["dataset"]
        )
    return Experiment(
        expid=settings.expid,
        **parts,
        member_options=own,
        model_options=of_model,
        tasks=tasks,
        expected=expected,
        config_dir=config_dir,
        notes=tuple(map(str, notes)),
    )


def _measured(
    settings: Settings, parts: Mapping[str, Any], tasks: tuple[Task, ...], mistakes: Mistakes
) -> tuple[Any, Any, Any]:
    """What is expected beside the tasks, all that is measured, and how; unjudged where that is wrong."""
    expected = outputs = measured = UNJUDGED
    with mistakes.noted():
        expected = plan_expected(settings, parts["evaluation"].expected, tasks)
        outputs = (*tasks, *expected)
    with mistakes.noted():
        checks.check_metrics(settings, parts["evaluation"], outputs, parts["dataset"])
        checks.check_groups(settings, parts["evaluation"], outputs, parts["dataset"])
        measured = parts["evaluation"]
    return expected, outputs, measured


def _declared(
    settings: Settings, mistakes: Mistakes
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], tuple]:
    """All that needs no model's class: the options by section, of members and of the model, and the notes."""
    notes: tuple = ()
    of_model = UNJUDGED
    with mistakes.noted():
        notes = translate(settings, mistakes)
    with mistakes.noted():
        check_keys(settings)
    with mistakes.noted():
        notes = (*notes, *left_behind(settings))
    with mistakes.noted():
        of_model = model_options(settings, model_name(settings))
    return *_sections(settings, mistakes), of_model, notes


def _sections(settings: Settings, mistakes: Mistakes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options by section, and those of members, as far as they can be checked without the model."""
    own = UNJUDGED
    parts = sections_of(settings, mistakes)
    with mistakes.noted():
        own = options_of_members(settings)
    with mistakes.noted():
        check_moments(settings, parts["optimizer"])
    with mistakes.noted():
        checks.check_urls(settings)
    with mistakes.noted():
        checks.check_split(settings, parts["dataset"], parts["training"].final_weights)
    with mistakes.noted():
        selected = select_columns(settings, parts["dataset"], parts["options"])
        parts["dataset"] = replace(
            selected, valid_data=selected.valid_data or None, test_data=selected.test_data or None
        )
    return parts, own


def _as_spelled(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    return {spelled(name): value for name, value in entries}


def _given(entry: FeatureOptions | LabelOptions) -> dict[str, Any]:
    """The fields of an entry that differ from their defaults."""
    default = type(entry)()
    return {key: as_yaml(value) for key, value in vars(entry).items() if value != getattr(default, key)}
