"""Several preferences among objectives, the front of what they lead to, and a choice on it.

Pure parts only: :mod:`fuxi_mtl.workflow.pareto_search` trains the runs.
"""

from fuxi_mtl.comparison.pareto.front import chosen, gains, hypervolume, non_dominated
from fuxi_mtl.comparison.pareto.preferences import evenly_spread, preferences_of, stanza_of
from fuxi_mtl.comparison.pareto.result import (
    FILE,
    Front,
    Point,
    fronts_among,
    make_front,
    read_front,
    traded_metrics,
)

__all__ = [
    "FILE",
    "Front",
    "Point",
    "chosen",
    "evenly_spread",
    "fronts_among",
    "gains",
    "hypervolume",
    "make_front",
    "non_dominated",
    "preferences_of",
    "read_front",
    "stanza_of",
    "traded_metrics",
]
