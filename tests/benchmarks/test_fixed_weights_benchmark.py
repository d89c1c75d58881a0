"""Fixed weights from a small grid: its points, the choice, and the tables."""

import json

from synthetic_runs import write_run

from benchmarks import compared_runs, fixed_weights
from benchmarks.__main__ import main


def test_a_grid_of_two_tasks_has_every_weight_of_the_second():
    assert fixed_weights.grid(["ctr", "cvr"], 12) == [
        {"ctr": 1, "cvr": each} for each in (0.25, 0.5, 1, 2, 4)
    ]
    assert fixed_weights.name_of({"ctr": 1, "cvr": 0.25}) == "MMoE_fixed_1_0.25"
    assert fixed_weights.name_of({"ctr": 1, "cvr": 1}) == "MMoE"


def test_a_grid_of_three_tasks_fills_the_space_evenly():
    points = fixed_weights.grid(["ctr", "cvr", "ctcvr"], 12)
    assert len(points) == 12
    assert points[0] == {"ctr": 1, "cvr": 1, "ctcvr": 1}
    # Halton's sequence: 1/2, 1/4, 3/4 and 1/3, 2/3, 1/9 of the way from 2^-2 to 2^2.
    assert points[1:4] == [
        {"ctr": 1, "cvr": 1, "ctcvr": 0.63},
        {"ctr": 1, "cvr": 0.5, "ctcvr": 1.587},
        {"ctr": 1, "cvr": 2, "ctcvr": 0.34},
    ]


def test_the_best_point_on_validation_rows_is_trained_with_all_seeds_and_compared_with(tmp_path, monkeypatch):
    data, trained = "census_income", []
    skills = {"MMoE": 1.0, "MMoE_fixed_1_2": 1.4, "MMoE_UW": 1.1}
    for name, skill in skills.items():
        for seed in (1, 2):
            write_run(tmp_path / "zoo" / "runs" / data, name, seed, dataset_id=data, skill=skill)
    monkeypatch.setattr(fixed_weights, "WEIGHTS", (1, 2))
    monkeypatch.setattr(
        compared_runs, "train", lambda _, chosen, seeds, each: trained.append((list(chosen), seeds))
    )
    arguments = ["--data", data, "--seeds", "1", "2", "--cache", str(tmp_path), "--results", str(tmp_path)]
    assert main(["fixed_weights", *arguments]) == 0
    assert trained == [(["MMoE", "MMoE_fixed_1_2"], [1]), (["MMoE_fixed_1_2"], [1, 2])]
    content = json.loads((tmp_path / f"fixed_weights_{data}.json").read_text())
    assert content["best"] == "MMoE_fixed_1_2"
    lines = fixed_weights.section(content)
    best, equal, uncertain = (line for line in lines if line.startswith(("| the grid's", "| MMoE")))
    assert best.endswith("|  |")
    assert equal.startswith("| MMoE | 2 |")
    assert equal.split(" | ")[-1].startswith("-")
    assert uncertain.startswith("| MMoE_UW | 2 |")


def test_an_unknown_data_set_is_told(tmp_path, capsys):
    assert main(["fixed_weights", "--data", "movielens", "--cache", str(tmp_path)]) == 1
    assert "there is no data set 'movielens'. There are: census_income, " in capsys.readouterr().err
