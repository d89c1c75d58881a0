"""What a training step of the reference work costs with each interaction between embeddings and experts."""

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import step_cost
from benchmarks.machine import machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.workload import Workload, prepare

NONE = "none"
ROWS = 1 << 18
BATCH = 4096
INTERACTIONS: dict[str, str | dict[str, Any] | None] = {
    NONE: None,
    "dcnv2": "dcnv2",
    "dcnv2, crosses alone": {"type": "dcnv2", "model_structure": "crossnet_only"},
    "dcnv2, crosses alone, 4 experts of rank 32": {
        "type": "dcnv2",
        "model_structure": "crossnet_only",
        "use_low_rank_mixture": True,
        "low_rank": 32,
    },
    "masknet": "masknet",
    "masknet, serial": {"type": "masknet", "model_type": "SerialMaskNet"},
    "finalmlp": "finalmlp",
    "rankmixer": "rankmixer",
}


def measure_interactions(
    turns: int, cache: Path, results: Path, workload: Workload | None = None
) -> dict[str, Any]:
    """Times steps of the reference work with each interaction in turns; writes ``interactions.json``.

    Args:
        turns: How often each takes its steps.
        cache: Where the rows lie.
        results: Where the table goes.
        workload: The rows; those of the reference work unless said.
    """
    load = os.getloadavg()[0]  # of others: before anything of ours runs
    from benchmarks.peers.ours import experiment_of
    from benchmarks.peers.protocol import Request

    workload = workload or Workload(rows=ROWS)
    folder = prepare(workload, cache)
    experiments = {
        name: experiment_of(
            Request(folder=str(folder), batch=BATCH, options={"stanza": {"interaction": spec}}), workload
        )
        for name, spec in INTERACTIONS.items()
    }
    ratios = step_cost.cost(experiments, NONE, turns, time.process_time)
    content: dict[str, Any] = {"name": "interactions", "machine": machine(), "load": round(load, 1)}
    content |= {"turns": turns, "batch": BATCH, "ids": workload.vocabulary}
    content["cells"] = [
        {"interaction": name, **_size(spec, workload, experiments[name].model_options), "ratio": ratios[name]}
        for name, spec in INTERACTIONS.items()
    ]
    write(results / "interactions.json", content)
    return content


def _size(spec: str | Mapping | None, workload: Workload, options: Mapping[str, Any]) -> dict[str, int]:
    """How many numbers an interaction trains, and how wide what it gives is."""
    from fuxi_mtl.layers import make_interaction

    width, columns, start = options["embedding_dim"], {}, 0
    for name, own in [
        *((each, width) for each in workload.field_names),
        *((n, 1) for n in workload.number_names),
    ]:
        columns[name] = (start, start + own)
        start += own
    layer = make_interaction(spec, columns, workload.number_names, None)
    if layer is None:
        return {"weights": 0, "width": start}
    layer.build((None, start))
    return {
        "weights": sum(math.prod(each.shape) for each in layer.trainable_variables),
        "width": layer.output_width,
    }


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    rows = [
        (cell["interaction"], f"{cell['weights']:,}", f"{cell['width']:,}", _ratio(cell["ratio"]))
        for cell in content["cells"]
    ]
    heading = ("interaction", "weights", "columns that experts see", "processor time of a step beside none")
    steps = step_cost.STEPS * step_cost.CALLS
    text = (
        f"A training step of the reference work ({content['ids']:,} ids, batch {content['batch']}) with each "
        f"interaction at its defaults unless said: the processor's seconds, which depend less on other work "
        f"than the clock's. All networks in one process, {steps} steps each in {content['turns']} turns; "
        "ratios are medians of the turns' own, with the least and the greatest. Behind an interaction that "
        "is narrower than the embeddings, experts cost less. Processes of others at the start: "
        f"{content['load']:g} on average."
    )
    return ["", "## What an interaction of features costs", text, *table(heading, rows)]


def _ratio(ratio: Mapping[str, float]) -> str:
    low, high = number(ratio["low"]), number(ratio["high"])
    return f"x {number(ratio['median'])} ({low} to {high})"
