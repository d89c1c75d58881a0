"""The command line: what each of its commands does."""

import argparse
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fuxi_mtl.cli.chosen import fetched, folder_of_run, found_run, named, published
from fuxi_mtl.cli.cleaning import cleaned
from fuxi_mtl.cli.days import unsplit
from fuxi_mtl.cli.parser import make_parser
from fuxi_mtl.cli.startup import quiet_start, without_collections
from fuxi_mtl.cli.tuning import check_space, tune
from fuxi_mtl.cli.workers import follow, joined, leading, start_processes, starts_processes
from fuxi_mtl.cluster import check_alone
from fuxi_mtl.files import end_with_parent
from fuxi_mtl.files.remote import as_path, is_url, put_text, without_secrets
from fuxi_mtl.hints import printable
from fuxi_mtl.interruption import Terminated, terminate
from fuxi_mtl.workflow.log_file import TerminalHandler

if TYPE_CHECKING:
    from fuxi_mtl.cluster.workers import Workers
    from fuxi_mtl.config import Experiment
    from fuxi_mtl.runs import Run
    from fuxi_mtl.workflow.tuning.outcome import Outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit status: 0, 1 for an error that is told in one message, 75 for another worker that was lost,
        130 for Ctrl-C, 143 for SIGTERM.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = make_parser(COMMANDS).parse_args(arguments)
    if getattr(options, "ends_with_parent", False):
        end_with_parent()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.raiseExceptions = False  # a log that cannot be written is not worth a traceback a line
    terminal = TerminalHandler(verbose=getattr(options, "verbose", False))
    logging.basicConfig(level=logging.INFO, handlers=[terminal], force=True)
    for library in ("absl", "tensorflow"):  # TensorFlow's notes on its own saving and tracing
        logging.getLogger(library).setLevel(logging.ERROR)
    if threading.current_thread() is threading.main_thread():
        # Schedulers end a run with SIGTERM: it cleans up as after Ctrl-C.
        signal.signal(signal.SIGTERM, terminate)
    try:
        return _start(options, arguments)
    except KeyboardInterrupt as interrupt:
        kept = f" {interrupt}" if str(interrupt) else ""
        print(printable(f"Interrupted; nothing half-written was left.{kept}"), file=sys.stderr)
        return 143 if isinstance(interrupt, Terminated) else 130
    except BrokenPipeError:  # as in `list | head`; Python would complain once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        _tell(error)
        return getattr(error, "exit_status", 1)


def _tell(error: Exception) -> None:
    print(printable(without_secrets(f"{type(error).__name__}: {error}")), file=sys.stderr)


def _start(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Runs the command, and imports TensorFlow, which takes seconds, when nothing can be said without it.

    Mistakes of stanzas that can be told without it are told first; what else is wrong with them follows.

    Returns:
        The exit status: 1 if mistakes have been told already, else 0.
    """
    if options.command in (_compare, _simulate, _clean):
        options.command(options)
        return 0
    with without_collections():
        from fuxi_mtl.config import ConfigError, check_further, check_stanzas
        from fuxi_mtl.registry import declared, import_models, import_zoo, zoo_folder

        early: ConfigError | None = None
        with declared(zoo_folder()) as known:
            if known and not options.models:
                if options.command in (_list, _convert):
                    options.command(options)
                    return 0
                try:
                    if options.command is _tune:
                        check_space(options)
                    elif _expids(options):  # else a dataset alone is asked about
                        check_stanzas(options.config, _expids(options), _overrides(options))
                except ConfigError as error:
                    if not error.unfinished:
                        raise
                    early = error
                    _tell(early)
        if early is None and options.command is _run and starts_processes(options):
            return start_processes(options, arguments)
        with quiet_start():
            import_zoo()
    if early is not None:
        if options.command is _tune:
            return 1
        check_further(options.config, _expids(options), _overrides(options), early.mistakes)
        return 1
    for path in options.models:
        import_models(path)
    options.command(options)
    return 0


def _expids(options: argparse.Namespace) -> list[str]:
    if options.expid is None:  # doctor, of a dataset
        return []
    if options.command not in ON_A_DAY:
        return [options.expid] if isinstance(options.expid, str) else options.expid
    from fuxi_mtl.lineage import split_day

    return [split_day(options.expid)[0]]


def _overrides(options: argparse.Namespace) -> list[str]:
    """What a command changes of its stanzas: an update has other rows than the stanza names."""
    return [*unsplit(options), *options.set] if options.command is _update else options.set


def _run(options: argparse.Namespace) -> None:
    from fuxi_mtl.config import load_experiments

    planned = [named(each, options) for each in load_experiments(options.config, options.expid, options.set)]
    if options.name and len(planned) > 1:
        raise ValueError(f"--as {options.name} names one run, and --expid names {len(planned)} experiments.")
    seeded = [each for experiment in planned for each in _with_seeds(experiment, options)]
    workers = joined(options)

    from fuxi_mtl.workflow.experiment import folder_of, try_model
    from fuxi_mtl.workflow.remote_runs import fetch_parents
    from fuxi_mtl.workflow.resume import run_or_resume, verify_data

    for each in seeded:
        fetch_parents(each)
    how, keeps = (options.gpu, options.resume, options.restart), "--as NAME keeps both"
    for experiment in planned:
        try_model(experiment)
        if options.verify:
            verify_data(experiment)
    if workers is not None and not workers.is_chief:
        follow(seeded, workers)
        return
    _sweep(
        seeded,
        lambda each: published(each, run_or_resume(fetched(each, options.resume), *how, keeps=keeps)),
        folder_of,
        workers,
    )


def _with_seeds(experiment: "Experiment", options: argparse.Namespace) -> "list[Experiment]":
    seeds = dict.fromkeys(options.seed or [experiment.training.seed])
    return [experiment.with_seed(seed) for seed in seeds]


def _sweep(
    seeded: "Sequence[Experiment]",
    run: "Callable[[Experiment], Run]",
    place: "Callable[[Experiment], Path]",
    workers: "Workers | None" = None,
) -> None:
    """Runs what is to be run, one after the other, and compares what is whole.

    Args:
        seeded: The experiments, each with its seed.
        run: Gives the finished run of one.
        place: Where that lies.
        workers: The workers that do it together, if there are several.
    """
    from fuxi_mtl.runs import TRAINING
    from fuxi_mtl.workflow.sweep import SweepError, sweep

    begun: list[Experiment] = []
    runs: list[Run] = []  # those that are whole count when the next is interrupted or fails
    failed = None

    def done(each: "Experiment") -> None:
        begun.append(each)
        runs.append(run(each))

    try:
        with leading(workers):
            sweep(
                seeded,
                done,
                ", and the same command with --resume runs only what is missing",
                goes_on=workers is None,  # the others would not be where this one is
            )
    except SweepError as error:
        failed = error
    except KeyboardInterrupt as interrupt:
        told = [*map(str, interrupt.args)]
        if runs:
            with suppress(ValueError, OSError):  # what is told of the interruption comes first
                _show_runs(runs)
            whole = ", ".join(str(run.folder) for run in runs)
            told.append(f"Kept, and not trained again with --resume: {whole}.")
        earlier = place(begun[-1])
        states = earlier.with_name(f"{earlier.name}{TRAINING}")
        if not interrupt.args and states.is_dir():  # behind the training, or before its first step
            told.append(f"{states} holds what was done: --resume goes on from there.")
        if earlier.is_dir():
            told.append(f"{earlier} is there as it was before.")
        raise type(interrupt)(" ".join(told)) from None
    if len(runs) > 1:
        _show_runs(runs)
    if failed is not None:
        raise failed


def _show_runs(runs: "Sequence[Run]") -> None:
    from fuxi_mtl.comparison import compare

    _show(compare([run.folder for run in runs]), "terminal")


def _list(options: argparse.Namespace) -> None:
    from fuxi_mtl.cli.listing import listed

    print(printable(listed(options.what, options.config, options.format).rstrip("\n")))


def _clean(options: argparse.Namespace) -> None:
    for line in cleaned(options):
        print(printable(line))


def _convert(options: argparse.Namespace) -> None:
    from fuxi_mtl.config.converting import convert, describe, write_converted

    converted = convert(options.config, options.dataset_id)
    for line in describe(converted, write_converted(converted, options.output, options.overwrite)):
        print(printable(line))


def _compare(options: argparse.Namespace) -> None:
    from fuxi_mtl.comparison import compare, stored_runs

    if is_url(options.model_root):
        from fuxi_mtl.workflow.remote_runs import fetch_all

        fetch_all(options.model_root, options.expid)
    runs = stored_runs(options.model_root, options.expid or None, options.seed)
    tables = compare(runs, options.baseline, checks=options.checks)
    _show(tables, options.format, options.output)


def _pareto(options: argparse.Namespace) -> None:
    check_alone(os.environ, "pareto", "Run it in one of them")
    from fuxi_mtl.report import fronts
    from fuxi_mtl.workflow.pareto_search import search

    try:
        front = search(options.config, options.expid, options.set, options.seed or (), options.gpu)
    except KeyboardInterrupt as interrupt:
        raise type(interrupt)("Whole runs are kept: the same command goes on with the next.") from None
    width = shutil.get_terminal_size((160, 40)).columns
    print(printable(fronts.terminal(front, width=width, colour=sys.stdout.isatty()), colours=True))


def _tune(options: argparse.Namespace) -> None:
    def show(found: "Outcome") -> None:
        print(printable("\n".join(found.lines())))

    print(printable(tune(options, show)))


def _show(tables: Sequence, style: str, output: str | None = None) -> None:
    from fuxi_mtl.comparison.pareto import fronts_among
    from fuxi_mtl.report import render

    if output:
        put_text(output, render(tables, style, fronts=fronts_among(tables) if style == "html" else ()))
    else:
        width = shutil.get_terminal_size((160, 40)).columns
        text = render(tables, style, width=width, colour=sys.stdout.isatty())
        print(printable(text, colours=sys.stdout.isatty()))


def _predict(options: argparse.Namespace) -> None:
    from fuxi_mtl.workflow.predicting import predict_run

    predict_run(folder_of_run(options), options.input, options.output, keep=options.keep, sep=options.sep)


def _evaluate(options: argparse.Namespace) -> None:
    from fuxi_mtl.workflow.evaluating import evaluate_run

    evaluate_run(folder_of_run(options), options.input, options.by, options.output, options.sep)


def _report(options: argparse.Namespace) -> None:
    from fuxi_mtl.comparison import read_run
    from fuxi_mtl.report import run_page

    put_text(options.output, run_page.html(read_run(folder_of_run(options))))


def _export(options: argparse.Namespace) -> None:
    from fuxi_mtl.workflow.experiment import export_run

    chosen = (options.format, options.signature, options.export_dtype, options.bags)
    export_run(folder_of_run(options), as_path(options.output), *chosen)


def _simulate(options: argparse.Namespace) -> None:
    from fuxi_mtl import simulation

    settings = simulation.read_settings(options.generator, options.preset, options.set)
    folder = Path(options.output)
    dataset_id = options.dataset_id or folder.resolve().name
    config = Path(options.config) if options.config else None
    if config:
        simulation.check_config(config, dataset_id)
    simulation.simulate(settings, folder)
    dataset = simulation.dataset_stanza(settings, folder, dataset_id)
    models = simulation.model_stanzas(settings, dataset_id)
    if config:
        simulation.write_config(config, dataset_id, dataset, models)
        print(f"Train: python run_expid.py --config {config} --expid {' '.join(models)}")
    else:
        print(f"# dataset_config\n{simulation.as_yaml(dataset)}")
        print(f"# model_config\n{simulation.as_yaml(models)}")


def _calibrate(options: argparse.Namespace) -> None:
    from fuxi_mtl.workflow.amending import calibrate_run

    experiment, folder = found_run(options)
    published(experiment, calibrate_run(folder, options.method))


def _fuse(options: argparse.Namespace) -> None:
    from fuxi_mtl.config import load_experiment, located
    from fuxi_mtl.runs import Run
    from fuxi_mtl.workflow.amending import fuse_run

    [expid] = _expids(options)
    section = load_experiment(options.config, expid, options.set).fusion
    if section.fusion is None:
        raise located(
            options.config,
            expid,
            "there is no block fusion: add fusion: {method: product}, or --set fusion.method=product.",
        )
    experiment, folder = found_run(options)
    table = fuse_run(folder, section, options.compare)
    published(experiment, Run(folder))
    if table is not None:
        _show([table], options.format, options.output)


def _update(options: argparse.Namespace) -> None:
    check_alone(os.environ, "update", "Run it in one of them")
    from fuxi_mtl.cli.days import planned_update
    from fuxi_mtl.config import load_experiment
    from fuxi_mtl.lineage import day_folder
    from fuxi_mtl.workflow.experiment import folder_of

    day, update = planned_update(options)
    [expid] = _expids(options)
    experiment = named(load_experiment(options.config, expid, _overrides(options)), options)
    seeded = _with_seeds(experiment, options)
    _sweep(
        seeded,
        lambda each: published(each, update(folder_of(fetched(each)))),
        lambda each: day_folder(folder_of(each), day),
    )


def _doctor(options: argparse.Namespace) -> None:
    from fuxi_mtl.cli.examining import examined

    for line in examined(options, folder_of_run):
        print(printable(line))


def _history(options: argparse.Namespace) -> None:
    from fuxi_mtl.cli.days import history

    history(folder_of_run(options))


COMMANDS = {
    "run": _run,
    "pareto": _pareto,
    "tune": _tune,
    "list": _list,
    "compare": _compare,
    "predict": _predict,
    "evaluate": _evaluate,
    "report": _report,
    "export": _export,
    "calibrate": _calibrate,
    "fuse": _fuse,
    "update": _update,
    "history": _history,
    "doctor": _doctor,
    "clean": _clean,
    "simulate": _simulate,
    "convert": _convert,
}
# Of which one run is meant.
ON_A_DAY = (_predict, _evaluate, _report, _export, _calibrate, _fuse, _update, _history, _doctor)
