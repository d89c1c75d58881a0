"""The command line: one command a table, `all` for everything, `report` for what was measured."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from benchmarks.contestants import OURS, PEERS, YARDSTICKS
from benchmarks.environments import ENVIRONMENTS, default_cache, python_of
from benchmarks.measure import measure
from benchmarks.scale import STANZAS as KINDS
from benchmarks.tables import AXES, LARGE, RESULTS, TABLES, Settings

BEFORE = "an earlier checkout to take turns with"
# Every table of the report, the most important first, and what differs from the defaults. FuxiCTR on parquet
# takes half a minute to start, so it is left out where its npz loader tells as much.
FEWER = (*OURS, *PEERS[:-1], *YARDSTICKS)
ALL = (
    ("train", {}),
    ("train", {"batch": 1024, "rounds": 2, "contestants": FEWER}),
    ("train", {"vocabulary": LARGE, "rounds": 2, "contestants": FEWER}),
    ("flat", {}),
    ("weighting", {}),
    ("surgery", {"rounds": 2, "seconds": 6.0}),
    ("predict", {"rounds": 2, "contestants": FEWER}),
    ("preprocess", {"rounds": 2}),
    ("metrics", {}),
    ("input", {"seconds": 5.0}),
    *(("growth", {"axis": axis, "rounds": 1, "seconds": 4.0}) for axis in AXES),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status is 1 for an error that is told in one line."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (ValueError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _table(options: argparse.Namespace) -> None:
    settings = _settings(options)
    measure(TABLES[options.table](settings), settings, options.cache, options.results)


def _settings(options: argparse.Namespace) -> Settings:
    given = {f.name: getattr(options, f.name, None) for f in fields(Settings)}
    given = {name: value for name, value in given.items() if value is not None}
    if "contestants" in given:
        given["contestants"] = tuple(given["contestants"])
    return replace(Settings(), **given)


def _all(options: argparse.Namespace) -> None:
    settings = _settings(options)
    for name, changes in ALL:
        changed = replace(settings, **changes)
        measure(TABLES[name](changed), changed, options.cache, options.results)
    _report(options)


def _prepare(options: argparse.Namespace) -> None:
    for name, changes in ALL:
        for cell in TABLES[name](replace(_settings(options), **changes)).cells:
            cell.job(options.cache)


def _install(options: argparse.Namespace) -> None:
    for name in ENVIRONMENTS:
        print(f"{name}: {python_of(name, options.cache)}")


def _quality(options: argparse.Namespace) -> None:
    from benchmarks.quality import measure_quality

    measure_quality(options.seeds, options.cache, options.results)


def _selection(options: argparse.Namespace) -> None:
    from benchmarks.selection import measure_selection

    measure_selection(options.seeds, options.cache, options.results)


def _zoo(options: argparse.Namespace) -> None:
    from benchmarks.zoo import measure_zoo

    measure_zoo(options.data, options.rows, options.seeds, options.cache, options.results)


def _zoo_cost(options: argparse.Namespace) -> None:
    from benchmarks.zoo_cost import measure_costs

    measure_costs(options.data, options.rows, options.turns, options.cache, options.results)


def _correlation(options: argparse.Namespace) -> None:
    from benchmarks.correlation import measure_correlation

    measure_correlation(options.seeds, options.cache, options.results)


def _spend(options: argparse.Namespace) -> None:
    from benchmarks.spend import measure_spend

    measure_spend(options.seeds, options.cache, options.results)


def _days(options: argparse.Namespace) -> None:
    from benchmarks.days import measure_days

    measure_days(options.seeds, options.cache, options.results)


def _start(options: argparse.Namespace) -> None:
    from benchmarks.start import measure_start

    measure_start(options.before, options.rounds, options.results)


def _steps(options: argparse.Namespace) -> None:
    from benchmarks.steps import measure_steps

    measure_steps(
        options.before, options.batches, options.rounds, options.seconds, options.cache, options.results
    )


def _saving(options: argparse.Namespace) -> None:
    from benchmarks.saving import measure_saving

    measure_saving(options.rounds, options.results)


def _serving(options: argparse.Namespace) -> None:
    from benchmarks.serving import measure_serving
    from benchmarks.workload import Workload

    measure_serving(Workload(vocabulary=options.vocabulary), options.rounds, options.results)


def _served_tables(options: argparse.Namespace) -> None:
    from benchmarks.served_tables import measure_tables

    measure_tables(options.expid, options.seeds, options.ids, options.cache, options.results, options.run)


def _sequences(options: argparse.Namespace) -> None:
    from benchmarks.sequences import measure_sequences

    measure_sequences(options.turns, options.results)


def _interactions(options: argparse.Namespace) -> None:
    from benchmarks.interactions import measure_interactions

    measure_interactions(options.turns, options.cache, options.results)


def _histories(options: argparse.Namespace) -> None:
    from benchmarks.histories import measure_histories

    measure_histories(
        options.models, options.seeds, options.turns, options.every, options.cache, options.results
    )


def _crossings(options: argparse.Namespace) -> None:
    from benchmarks.crossings import measure_crossings

    measure_crossings(
        options.models, options.seeds, options.turns, options.every, options.cache, options.results
    )


def _watch_time(options: argparse.Namespace) -> None:
    from benchmarks.watch_time import measure_watch_time

    measure_watch_time(options.seeds, options.turns, options.every, options.cache, options.results)


def _fixed_weights(options: argparse.Namespace) -> None:
    from benchmarks.fixed_weights import measure_fixed_weights

    measure_fixed_weights(options.data, options.points, options.seeds, options.cache, options.results)


def _small_data(options: argparse.Namespace) -> None:
    from benchmarks.small_data import measure_small_data

    measure_small_data(options.stage, options.seeds, options.cache, options.results)


def _mutants(options: argparse.Namespace) -> None:
    from benchmarks.mutants import measure_mutants

    measure_mutants(options.only, options.results)


def _replicas(options: argparse.Namespace) -> None:
    from benchmarks.replicas import measure_replicas

    measure_replicas(options.only, options.steps, options.results)


def _shards(options: argparse.Namespace) -> None:
    from benchmarks.shards import measure_shards

    measure_shards(options.only, options.steps, options.processes, options.missing, options.results)


def _scale(options: argparse.Namespace) -> None:
    from benchmarks.scale import measure_scale

    measure_scale(
        options.ids, options.processes, options.tables, options.turns, options.cache, options.results
    )


def _network(options: argparse.Namespace) -> None:
    from benchmarks.network import measure_network

    measure_network(
        options.ids, options.processes, options.tables, options.turns, options.cache, options.results
    )


def _ray(options: argparse.Namespace) -> None:
    from benchmarks.ray_hosts import measure_ray

    measure_ray(options.results)


def _processes(options: argparse.Namespace) -> None:
    from benchmarks.processes import measure_processes

    measure_processes(
        options.only, options.steps, options.turns, options.missing, options.stops, options.results
    )


def _shared_evaluation(options: argparse.Namespace) -> None:
    from benchmarks.shared_evaluation import measure_shared_evaluation

    measure_shared_evaluation(options.rows, options.results)


def _encode(options: argparse.Namespace) -> None:
    from benchmarks.encode import measure_encoding

    measure_encoding(options.before, options.rows, options.rounds, options.cache, options.results)


def _score_file(options: argparse.Namespace) -> None:
    from benchmarks.score_file import measure_score_file

    measure_score_file(options.rows, options.rounds, options.cache.resolve(), options.results.resolve())


def _comparing(options: argparse.Namespace) -> None:
    from benchmarks.comparing import measure_comparing

    measure_comparing(options.before, options.runs, options.rounds, options.results)


def _memory(options: argparse.Namespace) -> None:
    from benchmarks.memory import measure_memory

    measure_memory(
        options.rows,
        options.columns,
        options.ids,
        options.window_gb,
        options.beside_gb,
        options.cache,
        options.results,
    )


def _encode_workers(options: argparse.Namespace) -> None:
    from benchmarks.encode_workers import measure_workers

    measure_workers(
        options.workers, options.files, options.rows, options.rounds, options.cache, options.results
    )


def _kills(options: argparse.Namespace) -> None:
    from benchmarks.kills import measure_kills

    measure_kills(options.kills, options.seed, options.cache, options.results)


def _report(options: argparse.Namespace) -> None:
    from benchmarks.plots import draw_all
    from benchmarks.report import write_report

    draw_all(options.results, options.results.parent / "pictures")
    print(write_report(options.results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function, doc: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=doc, description=doc)
        sub.set_defaults(command=function, table=name)
        sub.add_argument("--cache", type=Path, default=default_cache(), help="environments and rows")
        sub.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
        return sub

    for name, make in TABLES.items():
        _add_settings(command(name, _table, str(make.__doc__)), name)
    _add_settings(command("all", _all, "Every table, the most important first, then the report."), "all")
    prepare = "The environments, rows and encoded data of all tables, so that measuring is all that is left."
    command("prepare", _prepare, prepare)
    command("install", _install, "Make the environments of the peers.")
    quality = command("quality", _quality, "AUC of the fast path beside a plain Keras reference.")
    quality.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    selection = command(
        "selection", _selection, "Conversion models on simulated clicks whose truth is known."
    )
    selection.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    zoo = command("zoo", _zoo, "Every model at one size, and MMoE under every weighting and surgery.")
    zoo.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    cost = command(
        "zoo_cost", _zoo_cost, "What a step of each row of the zoo's tables costs, for the tables."
    )
    cost.add_argument("--turns", type=int, default=9, help="how often each takes eight steps")
    for each in (zoo, cost):
        each.add_argument("--data", nargs="+", default=[], help="data sets; all that are there unless said")
        each.add_argument("--rows", nargs="+", default=[], help="rows of the table; all of them unless said")
    fixed = command(
        "fixed_weights", _fixed_weights, "MMoE under fixed weights of a small grid, and what balances."
    )
    fixed.add_argument("--data", default="kuairand_pure_chain", help="a data set of the zoo's tables")
    fixed.add_argument("--points", type=int, default=12, help="points of the grid, at most")
    joined = command(
        "histories", _histories, "Users' histories on KuaiRand, every encoder under three models."
    )
    timed = command(
        "watch_time", _watch_time, "Every decoder of KuaiRand's watch time beside six binary tasks."
    )
    joined.add_argument("--models", nargs="+", default=[], help="MMoE, ESMM, PLE; all of them unless said")
    crossed = command("crossings", _crossings, "Every interaction of features on KuaiRand, under two models.")
    crossed.add_argument("--models", nargs="+", default=[], help="MMoE, SingleTask; both unless said")
    for each in (joined, timed, crossed):
        each.add_argument(
            "--turns", type=int, default=9, help="how often each takes eight steps; 0 for no costs"
        )
        each.add_argument("--every", type=int, default=1, help="one in how many training impressions is used")
    spend = command("spend", _spend, "Bias of every decoder of amounts on simulated spend of known mean.")
    small = command(
        "small_data", _small_data, "Dropout and regularizers on small data: searched, then held out."
    )
    small.add_argument("--stage", choices=("search", "held_out"), default="search")
    for each in (fixed, joined, timed, crossed, spend, small):
        each.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    correlation = command("correlation", _correlation, "Loss against the relatedness of two tasks, by model.")
    correlation.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    days = command("days", _days, "An update a day against training anew on all days, or on a window.")
    days.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    _add_before(command)
    saving = command("saving", _saving, "What saving the state of a training costs, by its size.")
    saving.add_argument("--rounds", type=int, default=5, help="how often each is saved")
    _add_serving(command)
    for each in (
        command("sequences", _sequences, "A step with a history under each encoder, by its length."),
        command("interactions", _interactions, "A step of the reference work with each interaction."),
    ):
        each.add_argument("--turns", type=int, default=9, help="how often each takes some steps")
    _add_encoding(command)
    _add_processes(command)
    _add_checks(command)
    command("report", _report, "Write RESULTS.md and the pictures from the stored results.")
    return parser


def _add_before(command: Callable[..., argparse.ArgumentParser]) -> None:
    start = command("start", _start, "Seconds until a command answers, and a run takes its first step.")
    start.add_argument("--rounds", type=int, default=5, help="how often each is started")
    steps = command("steps", _steps, "Steps of few and many rows in both precisions, before and now.")
    steps.add_argument("--batches", type=int, nargs="+", default=[256, 4096], help="rows of a step")
    steps.add_argument("--rounds", type=int, default=5, help="how often each trains")
    steps.add_argument("--seconds", type=float, default=5.0, help="measured time of each")
    for each in (start, steps):
        each.add_argument("--before", type=Path, metavar="FOLDER", help=BEFORE)


def _add_encoding(command: Callable[..., argparse.ArgumentParser]) -> None:
    encode = command("encode", _encode, "Csv and parquet files to encoded arrays, before and now.")
    many = command("comparing", _comparing, "Tables and pages of many finished runs, before and now.")
    many.add_argument("--runs", type=int, default=300, help="finished runs, five an experiment")
    many.add_argument("--rounds", type=int, default=3, help="how often each writes each format")
    for each in (encode, many):
        each.add_argument("--before", type=Path, metavar="FOLDER", help=BEFORE)
    encode.add_argument("--rows", type=int, default=600_000, help="rows of the files")
    encode.add_argument("--rounds", type=int, default=5, help="how often each encodes each file")
    file = command("score_file", _score_file, "Predictions for a file, beside the network alone.")
    file.add_argument("--rows", type=int, default=600_000, help="rows of the files")
    file.add_argument("--rounds", type=int, default=7, help="how often each is predicted")
    memory = command("memory", _memory, "Memory of encoding, an epoch and predicting, by the rows.")
    memory.add_argument("--rows", type=int, nargs="+", default=[10**6, 3 * 10**6, 10**7, 3 * 10**7])
    memory.add_argument("--columns", type=int, default=25, help="inputs, five of them numbers")
    memory.add_argument("--ids", type=int, default=1_490_266, help="ids over all fields")
    memory.add_argument("--window-gb", type=float, default=2.0, help="of shuffled rows")
    memory.add_argument(
        "--beside-gb", type=float, help="limit of the memory beside the tables, by a memory group; of root"
    )
    side = command(
        "encode_workers", _encode_workers, "Several files to encoded arrays, by one process and by more."
    )
    side.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of processes")
    side.add_argument("--files", type=int, default=8, help="files of the rows")
    side.add_argument("--rows", type=int, default=600_000, help="rows of all files")
    side.add_argument("--rounds", type=int, default=3, help="how often each encodes each format")


def _add_serving(command: Callable[..., argparse.ArgumentParser]) -> None:
    """What exported models cost."""
    serving = command("serving", _serving, "What an answer takes, by the form of the exported model.")
    serving.add_argument("--rounds", type=int, default=3, help="how often each takes its turn")
    serving.add_argument("--vocabulary", type=int, default=300_000, help="ids over all fields")
    tables = command(
        "served_tables", _served_tables, "Tables in half the bytes: AUC, size; and loading many ids."
    )
    tables.add_argument("--expid", nargs="*", default=["MMoE_kuairand", "MMoE_journey"], help="experiments")
    tables.add_argument("--seeds", type=int, nargs="+", default=[2026])
    tables.add_argument(
        "--ids", type=int, default=10_000_000, help="ids of the model that is loaded; 0: none"
    )
    tables.add_argument("--run", type=Path, nargs="*", default=[], help="folders of finished runs, too")


def _add_processes(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Commands whose training is of several processes."""
    scale = command("scale", _scale, "The reference work in several processes of this machine.")
    scale.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="one after the other")
    network = command(
        "network", _network, "The same on several hosts of this machine, by delay and bandwidth; of root."
    )
    network.add_argument("--processes", type=int, default=2, help="hosts, a process each")
    for each in (scale, network):
        each.add_argument("--ids", type=int, default=1_490_266, help="over all fields")
        each.add_argument("--tables", nargs="+", choices=KINDS, default=list(KINDS), help="where rows lie")
        each.add_argument("--turns", type=int, default=5, help="how often each takes some steps")
    command("ray", _ray, "A run by Ray on two hosts of this machine, one of which loses its worker; of root.")


def _add_checks(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Commands whose result is right or wrong, not fast or slow."""
    mutants = command(
        "mutants", _mutants, "Break lines from which a silent wrong number would come: do tests see it?"
    )
    mutants.add_argument(
        "--only", nargs="+", default=[], metavar="PART", help="those whose file or sentence has it"
    )
    kills = command("kills", _kills, "Kill commands at random moments: do they go on to the same numbers?")
    kills.add_argument("--kills", type=int, default=30, help="how many, through phases and data sets")
    kills.add_argument("--seed", type=int, default=2026, help="seed of the moments")
    replicas = command(
        "replicas", _replicas, "Every model, weighting and surgery on two replicas: as on one?"
    )
    shards = command(
        "shards", _shards, "The same with tables spread over processes of this machine: as in one?"
    )
    shards.add_argument("--processes", type=int, default=2, help="how many share the tables")
    processes = command(
        "processes", _processes, "Every model, weighting and surgery in two processes: as in one?"
    )
    processes.add_argument(
        "--stops", action="store_true", help="stop the processes for up to half a second, again and again"
    )
    processes.add_argument("--turns", type=int, default=1, help="how often two processes train each case")
    shared = command(
        "shared_evaluation", _shared_evaluation, "Memory of processes that measure a split in common."
    )
    shared.add_argument("--rows", type=int, default=8_000_000, help="rows of the split")
    for each in (shards, processes):
        each.add_argument("--missing", action="store_true", help="only what has no result yet")
    for each in (replicas, shards, processes):
        each.add_argument("--only", nargs="+", default=[], metavar="PART", help="cases whose name has it")
        each.add_argument("--steps", type=int, default=30, help="of each training")


def _add_settings(parser: argparse.ArgumentParser, table: str) -> None:
    parser.add_argument("--seconds", type=float, help="measured time of each contestant in each round")
    parser.add_argument("--rounds", type=int, help="how often each runs, in turns")
    parser.add_argument("--training-rows", type=int, help="rows to train on; a multiple of all batches")
    if table != "all":
        parser.add_argument("--contestants", nargs="+", metavar="NAME", help="only these")
        parser.add_argument("--vocabulary", type=int, help="ids over all fields")
        parser.add_argument("--batch", type=int, help="rows in a step")
    if table == "preprocess":
        parser.add_argument("--rows", type=int, help="rows of the csv file")
    if table == "growth":
        parser.add_argument("--axis", choices=AXES, help="what grows")


if __name__ == "__main__":
    sys.exit(main())
