"""The winner of a search: written as a stanza, trained anew with seeds that no trial had, and tested once."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fuxi_mtl.comparison import read_run
from fuxi_mtl.config import ConfigError, Experiment, load_experiment
from fuxi_mtl.config.routing import owners
from fuxi_mtl.config.stanza_text import StanzaText, file_text
from fuxi_mtl.config.stanzas import BASE, Folder, parse_override, read_datasets, read_folder
from fuxi_mtl.evaluation.evaluate import monitor_value
from fuxi_mtl.files import write_text
from fuxi_mtl.options import DatasetOptions
from fuxi_mtl.workflow.resume import run_or_resume
from fuxi_mtl.workflow.tuning.outcome import Outcome, Retrained, unfinished_stanza
from fuxi_mtl.workflow.tuning.trial import Objective, objective_of

logger = logging.getLogger(__name__)


def files_of(folder: str | Path, name: str) -> tuple[Path, Path]:
    """Where the stanza of a winner goes, and that of its data if the search varied these."""
    return Path(folder, "model_config", f"{name}.yaml"), Path(folder, "dataset_config", f"{name}.yaml")


def check_free(folder: Path, name: str, known: Folder, overwrite: bool, search: Path) -> None:
    """The name and the files are free, or may be written over.

    What this search wrote itself may be, as long as its winner is not trained anew: there it goes on.

    Args:
        folder: Where the stanza is to go.
        name: Its expid.
        known: The stanzas that there are.
        overwrite: Whether a file that a search wrote is replaced.
        search: The folder of the search.

    Raises:
        ConfigError: Something is in the way.
    """
    files = files_of(folder, name)
    stanza = known.experiments.get(name)
    there = [file for file in files if file.exists()]
    if stanza is not None and Path(stanza.location.source) not in files:
        raise stanza.error(f"{name} is there already: give the winner another name with --as.")
    if there and not overwrite and unfinished_stanza(search) != str(files[0].resolve()):
        raise ConfigError(
            str(there[0]),
            "there already. Give the winner another name with --as, or write over it with --overwrite.",
        )


def write_winner(
    outcome: Outcome, experiment: Experiment, folder: Path, name: str, overrides: Sequence[str] = ()
) -> Path:
    """Writes the stanza of the winner, and one of its data where the search varied these.

    Args:
        outcome: With the winner.
        experiment: The winner's, checked.
        folder: The config folder to write into.
        name: The expid.
        overrides: ``--set`` of all trials.

    Returns:
        The file of the stanza.

    Raises:
        ConfigError: What is written would not be read as it is meant.
    """
    model_file, dataset_file = files_of(folder, name)
    known = folder_of(folder)
    datasets = [key for key, each in known.datasets.items() if Path(each.location.source) != dataset_file]
    bases = [source for source in known.bases if Path(source) != model_file]
    own, of_data = experiment.stanzas()
    dataset_id = experiment.options.dataset_id
    changed = {*outcome.located, *(".".join(parse_override(text)[0]) for text in overrides)}
    varies_data = any(owners().get(key.partition(".")[0]) is DatasetOptions for key in changed)
    if varies_data:
        dataset_id = f"{dataset_id}_{name}"
    if varies_data or dataset_id not in datasets:
        _write(dataset_file, outcome, [StanzaText(dataset_id, of_data)])
    else:
        dataset_file.unlink(missing_ok=True)  # of an earlier winner
    text = StanzaText(name, {**own, "dataset_id": dataset_id})
    several = [StanzaText(BASE)] if len(bases) > 1 else []  # which of them would apply?
    _write(model_file, outcome, [*several, text])
    if other := _differing(folder, name, experiment):  # what a Base says has to be said here, too
        text.values |= {key: experiment.resolved()[key] for key in other}
        _write(model_file, outcome, [*several, text])
    if other := _differing(folder, name, experiment):
        raise ConfigError(
            str(model_file),
            f"the stanza is not read as the trial was trained: {', '.join(other)} differ. The trial's own is "
            f"{outcome.folder / 'trials' / str(outcome.winner)}.",
        )
    logger.info("The winner is written: %s.", model_file)
    return model_file


def folder_of(folder: str | Path) -> Folder:
    """The stanzas of a config folder, or of one that is still to be made."""
    if any(Path(folder).glob("model_config*")):
        return read_folder(folder)
    if any(Path(folder).glob("dataset_config*")):
        return read_datasets(folder)
    return Folder(Path(folder), {}, {}, {})


def _write(file: Path, outcome: Outcome, stanzas: Sequence[StanzaText]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, file_text(_head(outcome), stanzas))


def _head(outcome: Outcome) -> Iterable[str]:
    best = outcome.best
    scores = ", ".join(f"{name} {value:.6f}" for name, value in best.scores.items())
    yield f"Written by python -m fuxi_mtl tune: trial {best.number} of {len(outcome.attempts)} on"
    yield f"{outcome.expid}. On validation rows, which chose it: {scores}."


def _differing(folder: Path, name: str, meant: Experiment) -> list[str]:
    """The keys in which a stanza is read otherwise than it is meant."""
    found, wanted = load_experiment(folder, name).resolved(), meant.resolved()
    return [key for key in wanted if found.get(key) != wanted[key] and key != "dataset_id"]


def retrain(
    outcome: Outcome,
    folder: Path,
    name: str,
    seeds: Sequence[int],
    gpus: Sequence[int] = (-1,),
) -> Outcome:
    """Trains the winner's stanza with other seeds; the first and only time that test rows are looked at.

    Args:
        outcome: With the winner.
        folder: The config folder with its stanza.
        name: The stanza.
        seeds: Seeds; runs of them that are finished and would be the same are kept.
        gpus: The devices.
    """
    experiment = load_experiment(folder, name)
    runs = [
        read_run(run_or_resume(experiment.with_seed(seed), gpus, resume=True, restart=True).folder)
        for seed in seeds
    ]
    metrics = [run.metrics for run in runs]
    return with_runs(outcome, experiment, str(files_of(folder, name)[0]), metrics, seeds)


def with_runs(
    outcome: Outcome,
    experiment: Experiment,
    file: str,
    metrics: Sequence[Mapping[str, Mapping[str, float]]],
    seeds: Sequence[int],
) -> Outcome:
    """The outcome with what the winner came to when it was trained anew; stored again.

    Args:
        outcome: The outcome.
        experiment: The winner's.
        file: Where that lies; empty where it lies nowhere.
        metrics: Those of each run, by split.
        seeds: Of the runs.
    """
    named = set(outcome.objectives) - {objective_of(experiment).name}
    objectives = [Objective(name, "") for name in outcome.objectives] if named else [objective_of(experiment)]

    def of(split: str) -> dict[str, list[float]]:
        if not all(each.get(split) for each in metrics):
            return {}
        return {
            objective.name: [monitor_value(objective.monitor, each[split]) for each in metrics]
            for objective in objectives
        }

    found = replace(
        outcome, retrained=Retrained(experiment.expid, file, of("valid"), of("test"), list(seeds))
    )
    found.store()
    return found


def fresh_seeds(outcome: Outcome, count: int) -> list[int]:
    """So many seeds that no trial had."""
    first = max(outcome.seeds) + 1
    return list(range(first, first + count))
