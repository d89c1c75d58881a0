"""The command ``tune``: what it takes, what it checks before TensorFlow is there, and what it prints."""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fuxi_mtl.cli.arguments import folder_here, number, whole
from fuxi_mtl.cluster import check_alone
from fuxi_mtl.files.remote import is_url
from fuxi_mtl.workflow.tuning.plan import PRUNERS, SAMPLERS, STORAGES, TRIALS, Plan

if TYPE_CHECKING:
    from fuxi_mtl.config import Experiment
    from fuxi_mtl.options.source_location import Located
    from fuxi_mtl.workflow.tuning.outcome import Outcome
    from fuxi_mtl.workflow.tuning.space import Space


def add_tune(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Declares the command, by what adds one."""
    sub = command(
        "tune",
        "Search for the keys of a stanza that do best on validation rows, and train the winner anew.",
        "tune --expid MMoE_test --space space.yaml --trials 40 --pruner median",
    )
    sub.set_defaults(config=None)
    sub.add_argument("--space", required=True, help="file with what is varied; FuxiCTR's tuner files, too")
    sub.add_argument("--expid", help="experiment to vary; base_expid of the file unless said")
    sub.add_argument("--trials", type=whole(), help=f"how many; {TRIALS} unless said, all points of a grid")
    sub.add_argument(
        "--sampler", choices=SAMPLERS, default="tpe", help="what proposes values (default: %(default)s)"
    )
    sub.add_argument(
        "--pruner",
        choices=PRUNERS,
        default="none",
        help="what ends trials that fall behind (default: %(default)s)",
    )
    sub.add_argument(
        "--objective", nargs="+", default=[], metavar="METRIC", help="the stanza's monitor unless said"
    )
    sub.add_argument("--choose", default="fairness", help="of several: fairness (default) or least_misery")
    sub.add_argument("--seed", nargs="+", type=whole(), help="train each trial with each of these seeds")
    sub.add_argument("--minutes", type=number, help="no trial goes on after so many")
    sub.add_argument(
        "--folder",
        type=folder_here,
        help="where the search is kept; beside the runs of the stanza unless said",
    )
    sub.add_argument(
        "--storage", choices=STORAGES, default="journal", help="kind of its file (default: %(default)s)"
    )
    sub.add_argument(
        "--as", dest="name", metavar="NAME", help="stanza of the winner; EXPID_tuned unless said"
    )
    sub.add_argument(
        "--output",
        type=folder_here,
        help="config folder for that stanza; the experiment's own unless said",
    )
    sub.add_argument("--overwrite", action="store_true", help="replace the stanza of an earlier winner")
    sub.add_argument(
        "--retrain",
        type=whole(),
        default=3,
        metavar="N",
        help="train the winner with N new seeds (default: %(default)s)",
    )
    sub.add_argument("--gpu", nargs="+", type=whole(-1), default=[-1], help="GPUs; -1 is the CPU (default)")
    sub.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override keys of all trials",
    )


def check_space(options: argparse.Namespace) -> None:
    """Finds what is wrong with the plan, the space and the stanza as far as that needs no TensorFlow.

    Raises:
        ConfigError: All of what is wrong with the space and the stanza.
        ValueError: The plan cannot be carried out, or optuna is missing.
    """
    from fuxi_mtl.config import check_stanzas
    from fuxi_mtl.workflow.tuning.space import stanza_of
    from fuxi_mtl.workflow.tuning.study import import_optuna

    _plan(options).check(options.objective)
    import_optuna()
    space = _space(options)
    folder, expid = stanza_of(space, options.config, options.expid)
    space.check(lambda values: check_stanzas(folder, [expid], options.set, values), options.set)


def tune(options: argparse.Namespace, show: Callable[["Outcome"], None]) -> str:
    """Searches, writes the winner and trains it anew.

    Args:
        options: Of the command.
        show: Takes what there is where it is interrupted.

    Returns:
        The report.

    Raises:
        ValueError: The space, the stanza, the plan or the folder cannot be used.
    """
    check_alone(os.environ, "tune", "Run it in one of them; several that are not named there share a search")
    from fuxi_mtl.config import load_experiment
    from fuxi_mtl.files import held
    from fuxi_mtl.training.devices import use_devices
    from fuxi_mtl.workflow.tuning import winner
    from fuxi_mtl.workflow.tuning.search import FOLDER, Search, search, try_models
    from fuxi_mtl.workflow.tuning.space import stanza_of

    plan = _plan(options)
    plan.check(options.objective)
    space = _space(options)
    stanzas, expid = stanza_of(space, options.config, options.expid)
    name, output = options.name or f"{expid}_tuned", Path(options.output or stanzas.path)

    def make(values: "Mapping[str, Located]") -> "Experiment":
        return load_experiment(stanzas, expid, options.set, values)

    space.check(make, options.set)
    base = make(space.values(lambda each: each.extremes[0]))
    if is_url(base.options.model_root):
        raise ValueError(
            f"model_root is {base.options.model_root}: runs of a search stay on this machine. Name a folder: "
            "--set model_root=./checkpoints/."
        )
    beside = Path(base.options.model_root).expanduser() / base.options.dataset_id / expid / FOLDER
    folder = Path(options.folder) if options.folder else beside
    winner.check_free(output, name, winner.folder_of(output), options.overwrite, folder)
    asked = Search(
        space,
        make,
        folder,
        replace(plan, seed=base.training.seed),
        tuple(options.objective),
        tuple(dict.fromkeys(options.seed or ())),
        strategy=use_devices(tuple(options.gpu)),
    )
    try_models(asked)
    with _kept():
        outcome = search(asked, interrupted=show)
    if running := outcome.count("running"):
        others = "1 trial is" if running == 1 else f"{running} trials are"
        return "\n".join(
            [*outcome.lines(), f"{others} still tried elsewhere; the last process writes the winner."]
        )
    with held(asked.folder / "winner"):
        outcome = replace(outcome, stanza=str(winner.files_of(output, name)[0].resolve()))
        outcome.store()
        winner.write_winner(outcome, make(outcome.located), output, name, options.set)
        if plan.retrain:
            seeds = winner.fresh_seeds(outcome, plan.retrain)
            with _kept(partial(show, outcome)):
                outcome = winner.retrain(outcome, output, name, seeds, options.gpu)
    return "\n".join(outcome.lines())


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        options.trials,
        options.sampler,
        options.pruner,
        options.storage,
        options.choose,
        minutes=options.minutes,
        retrain=options.retrain,
    )


def _space(options: argparse.Namespace) -> "Space":
    from fuxi_mtl.workflow.tuning.space import read_space

    return read_space(options.space).judged_by(
        options.objective, f"--objective {' '.join(options.objective)}"
    )


@contextmanager
def _kept(tell: Callable[[], None] | None = None) -> Iterator[None]:
    """Whoever interrupts what is inside is told that nothing is lost.

    Args:
        tell: Shows what there is, first.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if tell is not None:
            tell()
        raise type(interrupt)("Trials and runs that are whole are kept: the same command goes on.") from None
