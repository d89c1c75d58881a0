"""The study of simulated spend: its truth, its experiments and its table."""

import numpy as np
import pytest

from benchmarks import spend


@pytest.mark.parametrize("world", spend.WORLDS)
def test_what_an_exposure_is_worth_is_the_mean_of_what_came_of_it(world):
    rows = spend.simulated(world, 200_000, 5)
    paid, truth = rows["spend"].to_numpy(), rows["truth_value"].to_numpy()
    assert abs((paid - truth).mean()) < 4 * (paid - truth).std() / np.sqrt(len(paid))
    for factor, least in (("click", 0.2), ("buy", 0.05)):
        assert rows[factor].mean() > least
    assert (rows["spend"] > 0).to_list() == (rows["buy"] == 1).to_list()
    assert spend.simulated(world, 100, 5).equals(spend.simulated(world, 100, 5))


def test_decoders_differ_in_the_label_alone_and_chains_serve_a_product(monkeypatch, tmp_path):
    monkeypatch.setattr(spend, "SIZES", {"train": 50, "valid": 20, "test": 20})
    found = spend.experiments("gamma", tmp_path)
    assert list(found) == [*spend.DIRECT, *spend.CHAINED]
    direct = [found[name] for name in spend.DIRECT]
    ours = [(each.optimizer, each.training, each.options, each.model_options) for each in direct]
    assert all(each == ours[0] for each in ours)
    assert [task.name for task in found["ziln"].outputs] == ["ctr", "buy", "value"]
    chain = found["ESMM, ziln"]
    assert [task.expression for task in chain.expected] == ["ctr * cvr * amount"]
    assert {task.name: task.decoder for task in chain.tasks}["amount"] == "ziln"


def test_the_table_has_bias_and_error_in_percent_of_the_mean_truth():
    metrics = {
        "value_bias": {"mean": -0.2, "sd": 0.02},
        "value_bucket_bias": {"mean": 0.25, "sd": None},
        "value_truth_MSE": {"mean": 4.0, "sd": 0.1},
    }
    row = {"expid": "ziln", "seeds": [1, 2], "metrics": metrics, "differences": {}}
    found = {"table": {"rows": [row]}, "mean": 4.0, "sample": 0.0123}
    lines = spend.section({"worlds": {"gamma": found}})
    assert "| ziln | 2 | -5.0 ± 0.5 | 25.0 | 50 |  |  |" in lines
    assert "The training rows' own mean is +1.2% from its truth." in lines
