"""What was measured, as Markdown: the bars that the design set, then every table."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import (
    comparing,
    correlation,
    crossings,
    days,
    encode,
    encode_workers,
    fixed_weights,
    histories,
    interactions,
    kills,
    memory,
    mutants,
    network,
    processes,
    quality,
    ray_hosts,
    replicas,
    saving,
    scale,
    score_file,
    selection,
    sequences,
    served_tables,
    serving,
    shards,
    shared_evaluation,
    small_data,
    spend,
    start,
    steps,
    watch_time,
    zoo,
)
from benchmarks.contestants import LIMITS, OURS, PEERS, YARDSTICKS, precision_of
from benchmarks.markdown import number, table
from benchmarks.runner import Summary, quotient
from benchmarks.tables import LARGE, REFERENCE, SMALL

FLOAT32, BFLOAT16 = OURS
Results = Mapping[str, Mapping[str, Any]]
# What is no table of contestants and rounds writes its own section.
STUDIES = {
    "comparing": comparing.section,
    "correlation": correlation.section,
    "crossings": crossings.section,
    "days": days.section,
    "encode": encode.section,
    "encode_workers": encode_workers.section,
    "fixed_weights": fixed_weights.section,
    "histories": histories.section,
    "interactions": interactions.section,
    "kills": kills.section,
    "memory": memory.section,
    "mutants": mutants.section,
    "network": network.section,
    "score_file": score_file.section,
    "processes": processes.section,
    "quality": quality.section,
    "ray": ray_hosts.section,
    "replicas": replicas.section,
    "saving": saving.section,
    "scale": scale.section,
    "selection": selection.section,
    "sequences": sequences.section,
    "served_tables": served_tables.section,
    "serving": serving.section,
    "shards": shards.section,
    "shared_evaluation": shared_evaluation.section,
    "small_data": small_data.section,
    "spend": spend.section,
    "start": start.section,
    "steps": steps.section,
    "watch_time": watch_time.section,
    "zoo": zoo.section,
}


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """All stored results by name."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}


def write_report(folder: Path) -> str:
    """Writes ``RESULTS.md`` beside the folder of results, and returns it."""
    results = read_results(folder)
    parts = [
        "# Results",
        "Written by `python -m benchmarks report` from `results/`; README.md says what each table measures.",
        *_machines(results),
        "## What was aimed at, and what came",
        *table(("measure", "bar", "aim", "measured", "least to most"), goals(results)),
        *_pictures(folder.parent / "pictures"),
    ]
    for content in results.values():
        parts += STUDIES.get(content["name"], _section)(content)
    text = "\n".join(parts) + "\n"
    (folder.parent / "RESULTS.md").write_text(text)
    return text


# ---- the bars ------------------------------------------------------------------------------------


def goals(results: Results) -> list[tuple[str, ...]]:
    """A row for each bar: what it asks, bar, aim, median and range; a dash where nothing was measured."""
    main, small = f"train_{REFERENCE}_4096", f"train_{REFERENCE}_1024"
    large = f"train_{LARGE}_4096"

    def peer(name: str, ours: str, what: str = "rows_per_second") -> Callable[[], Summary]:
        return lambda: _against_peers(results[name], ours, what)

    def pair(name: str, above: tuple, below: tuple, what: str = "rows_per_second") -> Callable[[], Summary]:
        return lambda: quotient(
            _find(results[name], *above, what=what), _find(results[name], *below, what=what)
        )

    def share(name: str, who: str) -> Callable[[], Summary]:
        return lambda: _share(results[name], who)

    def alone(name: str, who: str, what: str) -> Callable[[], Summary]:
        return lambda: _find(results[name], who, what=what)

    eq, uw, gn = ({"weighting": kind} for kind in ("EQ", "UW", "GN"))
    ten_million, ten_thousand = {"vocabulary": LARGE}, {"vocabulary": SMALL}
    rows = [
        (
            "Training, 1.5 M ids, batch 4096, float32, against the best peer",
            "2.0 ×",
            "2.5 ×",
            peer(main, FLOAT32),
        ),
        ("The same, batch 1024, float32", "3.5 ×", "4 ×", peer(small, FLOAT32)),
        ("The same, batch 1024, bfloat16", "3.5 ×", "4 ×", peer(small, BFLOAT16)),
        ("The same, batch 4096, bfloat16", "3.6 ×", "4.5 ×", peer(main, BFLOAT16)),
        ("The same, 10 M ids, float32", "12 ×", "16 ×", peer(large, FLOAT32)),
        ("The same, 10 M ids, bfloat16", "12 ×", "16 ×", peer(large, BFLOAT16)),
    ]
    for who, hand in zip(OURS, YARDSTICKS, strict=True):
        rows += [
            (f"Against {hand}, 1.5 M ids", "1.2 ×", "1.6 ×", pair(main, (who,), (hand,))),
            (f"Against {hand}, 10 M ids", "1.2 ×", "1.6 ×", pair(large, (who,), (hand,))),
        ]
    for who in OURS:
        rows += [
            (
                f"Step time, 10 M against 10 k ids, {who}",
                "1.4 ×",
                "1.2 ×",
                pair("flat", (who, ten_million), (who, ten_thousand), "step_ms"),
            ),
            (f"UW against EQ, {who}", "1.03 ×", "1.0 ×", pair("weighting", (who, uw), (who, eq), "step_ms")),
            (f"GN against EQ, {who}", "1.25 ×", "1.15 ×", pair("weighting", (who, gn), (who, eq), "step_ms")),
        ]
    rows += [
        ("Inference, float32, against the best peer", "2 ×", "3 ×", peer("predict_4096", FLOAT32)),
        ("Inference, bfloat16, against the best peer", "2 ×", "3 ×", peer("predict_4096", BFLOAT16)),
        ("Share of the limit, batch 4096, float32", "0.9 ×", "1 ×", share(main, FLOAT32)),
        ("Share of the limit, batch 4096, bfloat16", "0.9 ×", "1 ×", share(main, BFLOAT16)),
        ("Share of the limit, 10 M ids, float32", "0.9 ×", "1 ×", share(large, FLOAT32)),
        ("Share of the limit, 10 M ids, bfloat16", "0.9 ×", "1 ×", share(large, BFLOAT16)),
        ("Share of the limit, inference, float32", "–", "–", share("predict_4096", FLOAT32)),
        ("Share of the limit, inference, bfloat16", "–", "–", share("predict_4096", BFLOAT16)),
        ("Shuffled input alone, rows/s", "1.2 M", "3 M", alone("input", FLOAT32, "rows_per_second")),
        (
            "csv to encoded arrays, 2 M rows, against FuxiCTR",
            "5 ×",
            "10 ×",
            peer("preprocess_2000000", FLOAT32),
        ),
        ("gAUC of 10 M rows in 500 k groups, seconds", "3", "1", alone("metrics", FLOAT32, "gauc_seconds")),
        ("Memory of training, against the best peer", "1 ×", "0.7 ×", peer(main, FLOAT32, "peak_mb")),
        ("Memory of training at 10 M ids", "1 ×", "0.7 ×", peer(large, FLOAT32, "peak_mb")),
        ("Memory of preprocessing", "1 ×", "0.7 ×", peer("preprocess_2000000", FLOAT32, "peak_mb")),
    ]
    return [(what, bar, aim, *_shown(find)) for what, bar, aim, find in rows]


def _shown(find: Callable[[], Summary]) -> tuple[str, str]:
    try:
        found = find()
    except LookupError:
        return "–", ""
    return number(found.median), f"{number(found.low)} to {number(found.high)}"


def _against_peers(content: Mapping[str, Any], ours: str, what: str) -> Summary:
    """Ours divided by the best peer's: the fastest, or the one with the least memory."""
    peers = [cell for cell in content["cells"] if cell["contestant"] in PEERS and what in cell]
    if not peers:
        raise LookupError(f"no peer was measured in {content['name']}.")
    best = (min if what == "peak_mb" else max)(peers, key=lambda cell: cell[what]["median"])
    return quotient(_find(content, ours, what=what), _summary(best[what]))


def _share(content: Mapping[str, Any], who: str) -> Summary:
    """Rows a second divided by those of the limit in the same precision."""
    what = "rows_per_second"
    limit = _limit(content, precision_of(who))
    return quotient(_find(content, who, what=what), _summary(limit[what]))


def _limit(content: Mapping[str, Any], precision: str) -> Mapping[str, Any]:
    """The cell of the library with the faster products, among those that were measured."""
    cells = [cell for cell in content["cells"] if cell["contestant"] in LIMITS and "rows_per_second" in cell]
    cells = [cell for cell in cells if precision_of(cell["contestant"]) == precision]
    if not cells:
        raise LookupError(f"no limit in {precision} was measured in {content['name']}.")
    return max(cells, key=lambda cell: cell["rows_per_second"]["median"])


def _find(content: Mapping[str, Any], who: str, at: Mapping[str, Any] | None = None, *, what: str) -> Summary:
    for cell in content["cells"]:
        if cell["contestant"] == who and (at is None or cell["at"] == at) and what in cell:
            return _summary(cell[what])
    raise LookupError(f"{who} was not measured in {content['name']}.")


def _summary(content: Mapping[str, Any]) -> Summary:
    return Summary(content["median"], content["low"], content["high"], tuple(content["rounds"]))


# ---- the tables ----------------------------------------------------------------------------------

COLUMNS = {
    "rows_per_second": "rows/s",
    "step_ms": "ms a step",
    "seconds": "seconds",
    "gauc_seconds": "gAUC, s",
    "auc_seconds": "AUC, s",
    "peak_mb": "peak MB",
}


def _section(content: Mapping[str, Any]) -> list[str]:
    cells = content["cells"]
    axes = list(dict.fromkeys(key for cell in cells for key in cell["at"]))
    # What a clock ran is of no interest; what a task took is.
    timed = not any("step_ms" in cell or "predict" in content["name"] for cell in cells)
    kinds = [k for k in COLUMNS if any(k in cell for cell in cells) and (timed or k != "seconds")]
    if content["name"] == "input":
        kinds = [k for k in kinds if k != "seconds"]
    has_limit = any(cell["contestant"] in LIMITS for cell in cells)
    rows = []
    for cell in cells:
        values = [_cell(cell, kind) for kind in kinds]
        if has_limit:
            values.append(_shown_share(content, cell))
        if "error" in cell:
            values[0] = cell["error"]
        rows.append((cell["contestant"], *(f"{cell['at'].get(axis, '')}" for axis in axes), *values))
    rounds, seconds = content["settings"]["rounds"], content["settings"]["seconds"]
    note = f"Rounds in turns: {rounds}, median (least to most); {seconds:g} s measured where a clock ran."
    heading = ("contestant", *axes, *(COLUMNS[kind] for kind in kinds))
    heading += ("share of limit",) if has_limit else ()
    return ["", f"## {content['question']}", "", note, *table(heading, rows)]


def _cell(cell: Mapping[str, Any], kind: str) -> str:
    if kind not in cell:
        return ""
    found = _summary(cell[kind])
    if len(found.rounds) == 1:
        return number(found.median)
    return f"{number(found.median)} ({number(found.low)} to {number(found.high)})"


def _shown_share(content: Mapping[str, Any], cell: Mapping[str, Any]) -> str:
    try:
        is_limit = cell is _limit(content, precision_of(cell["contestant"]))
        return "the limit" if is_limit else number(_share(content, cell["contestant"]).median)
    except LookupError:
        return ""


def _machines(results: Results) -> list[str]:
    lines = []
    for content in results.values():
        each = content["machine"]
        described = (
            f"{each['cpu']}, {each['cores']} cores ({', '.join(each['flags'])}), {each['memory_gb']} GB"
        )
        lines.append(f"Machine: {described}, {each['system']}.")
    versions: dict[str, str] = {}
    for content in results.values():
        for cell in content.get("cells", ()):
            versions |= {
                k: v for k, v in cell.get("versions", {}).items() if k not in ("python", "numpy", "keras")
            }
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return ["", *dict.fromkeys(lines), f"Versions: {told}.", ""]


def _pictures(folder: Path) -> list[str]:
    return ["", *(f"![{file.stem}](pictures/{file.name})" for file in sorted(folder.glob("*.png")))]
