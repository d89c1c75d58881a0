"""Weightings by losses inside a training: weights of a step come from its own losses, and survive a break."""

import keras
import pytest
import tiny

from fuxi_mtl import ShareBottom
from fuxi_mtl.options import WeightingOptions
from fuxi_mtl.training import checkpoint
from fuxi_mtl.weighting import make_weighting

TASKS = tiny.PLAIN["two"]
KINDS = {"click": "binary", "buy": "binary"}


def trained(choice, steps, start=None, epoch_steps=1):
    keras.utils.set_random_seed(3)
    model = ShareBottom(tiny.FEATURES, TASKS, **tiny.options_of(ShareBottom))
    model.build()
    weighting = make_weighting(WeightingOptions(loss_weight=choice), KINDS, epoch_steps=epoch_steps, seed=7)
    model.compile(keras.optimizers.SGD(0.1), weighting, run_eagerly=True)
    if start is not None:
        checkpoint.restore(model, start)
    logs = []
    for step in steps:
        model.reset_metrics()
        logs.append({k: float(v) for k, v in model.train_step(tiny.batch(TASKS, seed=step)).items()})
    return model, logs


@pytest.mark.parametrize("choice", ["DWA", "RLW", "GLS", "NISE"])
def test_a_training_goes_on_from_a_checkpoint_with_the_weights_it_would_have_had(choice, tmp_path):
    _, whole = trained(choice, range(4))
    half, first = trained(choice, range(3))
    checkpoint.save(half, tmp_path / "checkpoint")
    _, second = trained(choice, range(3, 4), tmp_path / "checkpoint")
    assert first + second == whole
    assert whole[3]["weight_buy"] != 1


def test_the_loss_of_a_step_is_the_geometric_mean_of_its_losses():
    _, (logs,) = trained("GLS", range(1))
    penalty = logs["loss"] - (logs["loss_click"] * logs["loss_buy"]) ** 0.5
    _, (plain,) = trained("EQ", range(1))
    assert penalty == pytest.approx(plain["loss"] - plain["loss_click"] - plain["loss_buy"], abs=1e-6)


def test_an_epoch_is_the_period_of_dwa():
    _, logs = trained("DWA", range(5), epoch_steps=2)
    assert [log["weight_click"] == 1 for log in logs] == [True] * 4 + [False]
