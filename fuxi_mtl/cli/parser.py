"""Commands, their arguments and their examples."""

import argparse
from collections.abc import Callable, Mapping

from fuxi_mtl import __version__
from fuxi_mtl.cli.arguments import folder_here, whole
from fuxi_mtl.cli.cleaning import add_clean
from fuxi_mtl.cli.days import add_update
from fuxi_mtl.cli.tuning import add_tune
from fuxi_mtl.cluster import MOST_PORT


def make_parser(functions: Mapping[str, Callable]) -> argparse.ArgumentParser:
    """What the command line takes.

    Args:
        functions: What runs each command, by its name.
    """
    parser = argparse.ArgumentParser(
        prog="fuxi-mtl", description="Multi-task recommender models: trained, measured, exported."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, doc: str, example: str) -> argparse.ArgumentParser:
        sub = _add_command(commands, name, functions[name], doc, example)
        sub.add_argument(
            "--config", default="./config/", help="folder with the stanzas (default: %(default)s)"
        )
        sub.add_argument(
            "--models",
            action="append",
            default=[],
            metavar="PATH",
            help="file or folder with your own models",
        )
        return sub

    run = command(
        "run",
        "Train, measure and export experiments; several give a table.",
        "run --expid ShareBottom_test MMoE_test --set epochs=2 batch_size=256",
    )
    run.add_argument("--expid", nargs="+", required=True, help="experiments")
    run.add_argument(
        "--verify", action="store_true", help="read data files again whose size and time are as before"
    )
    run.add_argument(
        "--processes",
        type=whole(1),
        metavar="N",
        help="train in N processes of this machine as one",
    )
    run.add_argument(
        "--ray",
        default="",
        metavar="ADDRESS",
        help="with --processes: start them by Ray Train, in a cluster that runs there, or local",
    )
    run.add_argument(
        "--cluster",
        choices=["slurm", "kubernetes"],
        help="find the other workers by what this scheduler says; by TF_CONFIG unless said",
    )
    run.add_argument("--port", type=whole(1, MOST_PORT), help="with --cluster: the first port of the workers")
    run.add_argument("--ends_with_parent", action="store_true", help=argparse.SUPPRESS)  # by `launch`
    _add_training(run)

    pareto = command(
        "pareto",
        "Train under several preferences, and choose on the front.",
        "pareto --expid MMoE_test --set pareto.vectors=5",
    )
    pareto.add_argument("--expid", required=True, help="experiment to vary; its block pareto says how")
    pareto.add_argument(
        "--gpu", nargs="+", type=whole(-1), default=[-1], help="GPUs; -1 is the CPU (default)"
    )
    pareto.add_argument("--seed", nargs="+", type=whole(), help="repeat every run with each of these seeds")
    pareto.add_argument("--verbose", action="store_true", help="also show all keys and all columns")
    _add_encoding(pareto)
    _add_set(pareto)

    add_tune(command)

    show = command(
        "list",
        "Show models, weightings, metrics, datasets and experiments; or all options, one of them, a model.",
        "list options early_stop_patience",
    )
    show.add_argument(
        "what", nargs="*", help="nothing for an overview; options, options KEY, metrics, or a model's name"
    )
    show.add_argument(
        "--format",
        default="terminal",
        choices=["terminal", "markdown"],
        help="markdown: of options and of metrics",
    )

    compare = command(
        "compare",
        "Compare stored runs in a table.",
        "compare ShareBottom_test MMoE_test --baseline ShareBottom_test --format html --output runs.html",
    )
    compare.add_argument(
        "expid", nargs="*", help="experiments, or EXPID@DAY; the newest day of all of them unless said"
    )
    compare.add_argument("--model_root", default="./checkpoints/", help="folder of the runs, or a URL")
    compare.add_argument("--seed", nargs="+", type=whole(), help="only these seeds; all of them unless said")
    compare.add_argument("--baseline", help="experiment that the others are compared to")
    compare.add_argument("--checks", action="store_true", help="also show the conversion checks")
    compare.add_argument(
        "--format", default="terminal", choices=["terminal", "markdown", "csv", "json", "html"]
    )
    compare.add_argument("--output", help="file to write; the terminal unless said")

    _add_uses(command)
    _add_doctor(command)
    _add_simulate(commands, functions["simulate"])
    _add_convert(command)
    add_clean(command)
    return parser


def _add_uses(command: Callable[..., argparse.ArgumentParser]) -> None:
    """What one does with a trained model."""
    predict = command(
        "predict",
        "Write a trained model's probabilities beside the rows of a file.",
        "predict --expid MMoE_test --input new.csv --output scored.csv --keep user_id item_id",
    )
    _add_run(predict)
    predict.add_argument("--input", required=True, help="csv, parquet, npz or h5 file with the inputs")
    predict.add_argument("--output", required=True, help="csv or parquet file to write")
    predict.add_argument("--sep", help="separator of a csv file; a comma unless said")
    predict.add_argument("--keep", nargs="+", default=[], metavar="COLUMN", help="columns to carry over")

    evaluate = command(
        "evaluate",
        "Tell the metrics of labelled rows that came after a training.",
        "evaluate --expid MMoE_test --input data/tiny_mtl/test.csv --by device",
    )
    _add_run(evaluate)
    evaluate.add_argument(
        "--input", required=True, help="csv, parquet, npz or h5 file with inputs and labels"
    )
    evaluate.add_argument("--sep", help="separator of a csv file; a comma unless said")
    evaluate.add_argument(
        "--by", metavar="COLUMN", help="also for each value of a categorical feature or meta column"
    )
    evaluate.add_argument("--output", help="json file for the same numbers")

    report = command(
        "report",
        "Write a page of one run: data, curves, weights, gates, calibration, groups and errors.",
        "report --expid MMoE_test --output mmoe.html",
    )
    _add_run(report)
    report.add_argument("--output", required=True, help="html file to write")

    export = command(
        "export",
        "Write a trained model as a SavedModel, an ONNX or a LiteRT file that takes raw features or ids.",
        "export --expid MMoE_test --output served/mmoe",
    )
    _add_run(export)
    _add_form(export)

    calibrate = command(
        "calibrate",
        "Calibrate the probabilities of a trained model.",
        "calibrate --expid MMoE_test --method isotonic",
    )
    _add_run(calibrate)
    calibrate.add_argument("--method", required=True, help="none, closed_form, platt, isotonic or your own")

    fuse = command(
        "fuse",
        "Join a trained model's scores into one, and report it on test rows.",
        'fuse --expid MMoE_test --set "fusion={method: product, weights: equal}" --compare',
    )
    _add_run(fuse)
    fuse.add_argument("--compare", action="store_true", help="also make and report the other methods")
    fuse.add_argument("--format", default="terminal", choices=["terminal", "markdown", "csv", "json"])
    fuse.add_argument("--output", help="file to write the report to; the terminal unless said")

    update = command(
        "update",
        "Measure new rows by a trained model, and train on with them: another day.",
        "update --expid MMoE_test --train_data logs/dt=2026-11-08/*.parquet --day 2026-11-08",
    )
    add_update(update)
    _add_training(update)

    history = command(
        "history",
        "Show the days of a trained model: their rows, and what they were worth before training.",
        "history --expid MMoE_test",
    )
    _add_run(history)


def _add_form(export: argparse.ArgumentParser) -> None:
    """How a model is written for a server; the choices are those of `fuxi_mtl.options.exported`."""
    export.add_argument(
        "--output", required=True, help="folder of a SavedModel, or .onnx or .tflite file, to write"
    )
    export.add_argument(
        "--format",
        choices=("savedmodel", "onnx", "litert"),
        default="savedmodel",
        help="savedmodel for TensorFlow, onnx and litert for runtimes without it; savedmodel unless said",
    )
    export.add_argument(
        "--signature",
        choices=("raw", "from_ids"),
        default="",
        help="what it takes: raw columns (unless said), or ids, with encoding.json beside it (litert)",
    )
    export.add_argument(
        "--export_dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="type in which tables are stored; a row is float32 again when it was looked up",
    )
    export.add_argument(
        "--bags",
        choices=("padded", "text"),
        default="padded",
        help="with --format onnx: bags as padded lists (unless said), or as texts that are split",
    )


def _add_command(commands, name: str, function, doc: str, example: str) -> argparse.ArgumentParser:
    sub = commands.add_parser(
        name,
        help=doc,
        description=doc,
        epilog=f"example:\n  python -m fuxi_mtl {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.set_defaults(command=function)
    return sub


def _add_doctor(command: Callable[..., argparse.ArgumentParser]) -> None:
    doctor = command(
        "doctor",
        "Look for what usually goes wrong with data and runs, each with its number and what to do.",
        "doctor --expid MMoE_test",
    )
    what = doctor.add_mutually_exclusive_group(required=True)
    what.add_argument("--expid", help="experiment: its data and, if it was trained, its run; EXPID@DAY too")
    what.add_argument("--data", metavar="DATASET_ID", help="a stanza of dataset_config, each label a task")
    doctor.add_argument("--seed", type=whole(), help="seed of the run; the stanza's unless said")
    _add_name(doctor)
    _add_set(doctor)


def _add_convert(command) -> None:
    sub = command(
        "convert",
        "Write stanzas of FuxiCTR, of its fork or of a DeepFM-MMoE file as ours, with comments.",
        "convert --config old/ --output new/",
    )
    sub.add_argument("--output", required=True, type=folder_here, help="folder to write the stanzas into")
    sub.add_argument("--overwrite", action="store_true", help="replace files that are there")
    sub.add_argument("--dataset_id", help="dataset of a file's experiment; a new one unless said")


def _add_simulate(commands, function: Callable) -> None:
    doc = "Write data whose truth is known, and stanzas to train on them."
    example = "simulate --output data/sim --config config_sim --set rows=100000 selection=1"
    simulate = _add_command(commands, "simulate", function, doc, example)
    simulate.add_argument("--output", required=True, type=folder_here, help="folder to write")
    simulate.add_argument("--generator", default="funnel", help="funnel (default) or regression")
    simulate.add_argument("--preset", default="default", help="default or ali_ccp")
    simulate.add_argument("--dataset_id", help="name of the stanza; the folder's unless said")
    simulate.add_argument("--config", help="folder to write the stanzas into; printed unless said")
    _add_set(simulate)


def _add_training(parser: argparse.ArgumentParser) -> None:
    """What commands take that train, once with each seed."""
    parser.add_argument(
        "--gpu", nargs="+", type=whole(-1), default=[-1], help="GPUs; -1 is the CPU (default)"
    )
    parser.add_argument("--seed", nargs="+", type=whole(), help="do it with each of these seeds")
    _add_encoding(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep finished runs that would be the same, and go on with interrupted trainings",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="with --resume: begin anew where an interrupted training is another one",
    )
    parser.add_argument("--verbose", action="store_true", help="also show all keys and all columns")
    _add_name(parser)
    _add_set(parser)


def _add_encoding(parser: argparse.ArgumentParser) -> None:
    """How data are encoded: a key like those of ``--set``, before which it stands."""
    parser.add_argument(
        "--encode_workers",
        action="append",
        default=[],
        dest="set",
        type=lambda text: f"encode_workers={whole(1)(text)}",
        metavar="N",
        help="encode the files of the data in N processes of this machine",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--expid", required=True, help="experiment, at its newest day; EXPID@DAY for another")
    parser.add_argument("--seed", type=whole(), help="seed of the run; the stanza's unless said")
    _add_name(parser)
    _add_set(parser)


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as", dest="name", metavar="NAME", help="name of the run; the experiment's unless said"
    )


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="override keys"
    )
