import pytest

from fuxi_mtl.features import LabelUnit
from fuxi_mtl.objectives import supervised
from fuxi_mtl.tasks import Task
from fuxi_mtl.training.loss_scales import LossScales

TASKS = (Task("ctr", ("click",)), Task("cvr", ("buy",)), Task("value", ("spend",), kind="regression"))
ONES = dict.fromkeys(("ctr", "cvr", "value"), 1.0)


@pytest.fixture
def observed(caplog):
    def observe(losses, weights=ONES, units=None):
        caplog.clear()
        LossScales([supervised(task) for task in TASKS], units or {}).observe(losses, weights)
        return caplog.text

    return observe


def test_a_regression_in_raw_units_is_told(observed):
    told = observed({"ctr": 0.6, "cvr": 0.3, "value": 10_598.0})
    assert "value 10598, cvr 0.3. The larger one decides alone" in told
    assert "Give the label 'spend' a normalizer" in told


def test_a_rare_event_beside_a_common_one_is_no_mistake(observed):
    assert not observed({"ctr": 0.6, "cvr": 0.0001, "value": 0.5})


def test_a_weight_of_the_loss_is_a_cure(observed):
    assert not observed({"ctr": 0.6, "cvr": 0.3, "value": 1000.0}, {**ONES, "value": 0.001})


def test_a_unit_that_does_not_fit_is_not_cured_by_the_unit_it_has(observed):
    told = observed({"ctr": 0.6, "cvr": 0.3, "value": 1e4}, units={"spend": LabelUnit(log=True)})
    assert "try another, or loss: huber" in told
