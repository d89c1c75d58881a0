"""What an interaction costs: networks with and without, a step each, and the table."""

from benchmarks import interactions, step_cost
from benchmarks.workload import Workload


def test_every_interaction_takes_a_step_and_has_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(interactions, "BATCH", 8)
    few = {name: interactions.INTERACTIONS[name] for name in (interactions.NONE, "rankmixer")}
    monkeypatch.setattr(interactions, "INTERACTIONS", few)
    for name in ("STEPS", "CALLS", "WARM"):
        monkeypatch.setattr(step_cost, name, 1)
    rows = Workload(
        vocabulary=500, rows=64, held=16, fields=2, numbers=1, click_rate=0.5, conversion_rate=0.5
    )
    content = interactions.measure_interactions(1, tmp_path, tmp_path, rows)
    assert (tmp_path / "interactions.json").is_file()
    none, mixer = content["cells"]
    assert (none["weights"], none["width"], none["ratio"]["median"]) == (0, 33, 1)
    # Four tokens of 33 columns, two blocks.
    weights = 33 * 64 + 4 * 64 + 2 * (4 * (2 * 2 * 64 * 64 + 2 * 64 + 64) + 4 * 64)
    assert (mixer["weights"], mixer["width"]) == (weights, 64)
    lines = interactions.section(content)
    assert sum(line.startswith(("| none", "| rankmixer")) for line in lines) == 2
