"""The experiments that ship with the repository."""

from functools import cache
from pathlib import Path

import pytest
import yaml

from fuxi_mtl.config import available, load_experiments, load_resolved

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(autouse=True, scope="module")
def zoo():
    from fuxi_mtl.registry import import_zoo

    import_zoo()


@cache
def experiments() -> dict:
    """All of them: the folder is read once."""
    return {each.expid: each for each in load_experiments(CONFIG, available(CONFIG).expids)}


@pytest.mark.parametrize("expid", available(CONFIG).expids)
def test_a_shipped_experiment_loads_and_survives_a_round_trip(expid, tmp_path):
    experiment = experiments()[expid]
    stored = tmp_path / "config.yaml"
    stored.write_text(yaml.safe_dump(experiment.resolved(), sort_keys=False))
    assert load_resolved(stored, expid) == experiment


def test_every_shipped_dataset_is_used_by_an_experiment():
    used = {each.options.dataset_id for each in experiments().values()}
    assert used == set(available(CONFIG).datasets)
