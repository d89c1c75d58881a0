"""Workers that Ray starts: what it is asked for, and what becomes of its failures. Ray itself is not here."""

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
from command_line import call

from fuxi_mtl.cli import commands, on_ray
from fuxi_mtl.cli.on_ray import FailedError, LostError, run_on_ray
from fuxi_mtl.cluster import LOST

PATIENCE = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


class TrainingFailedError(Exception):
    """As Ray's."""


@pytest.fixture
def ray(monkeypatch):
    """What stands for Ray: it notes what it is asked for, and fails as `failures` says, one a start."""
    asked = SimpleNamespace(init=[], starts=[], failures=[], shut=0)

    def trainer(loop, *, train_loop_config, scaling_config):
        def fit():
            asked.starts.append((train_loop_config, scaling_config))
            if asked.failures and (error := asked.failures.pop(0)) is not None:
                raise error

        assert loop is on_ray._work
        return SimpleNamespace(fit=fit)

    def init(**options):
        asked.init.append(options)
        if options["address"] == "nowhere":
            raise ConnectionError("Could not find any running Ray instance")

    def shutdown():
        asked.shut += 1

    modules = {name: ModuleType(name) for name in ("ray", "ray.train", "ray.train.tensorflow")}
    vars(modules["ray"]).update(init=init, shutdown=shutdown, train=modules["ray.train"])
    vars(modules["ray.train"]).update(
        ScalingConfig=lambda **options: options,
        TrainingFailedError=TrainingFailedError,
        tensorflow=modules["ray.train.tensorflow"],
    )
    vars(modules["ray.train.tensorflow"]).update(TensorflowTrainer=trainer)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("RAY_TRAIN_V2_ENABLED", "1")
    monkeypatch.setenv(PATIENCE, "1")
    monkeypatch.delenv(PATIENCE)  # and again behind the test
    return asked


def test_without_ray_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    told = call("run", "--expid", "Toy", "--ray", "local", "--processes", "2")
    assert told.status == 1
    assert "--ray needs Ray" in told.err
    assert told.err.rstrip().endswith("pip install 'fuxi-mtl[ray]'.")


def test_every_worker_gets_the_command_and_the_folder(ray, place):
    assert run_on_ray(["run", "--expid", "X"], "local", 4, [-1]) == 0
    [(config, scaling)] = ray.starts
    assert scaling == {"num_workers": 4, "use_gpu": False}
    assert config["folder"] == str(place)
    assert config["command"] == [*"run --expid X --ray".split(), "", "--processes", "1", "--gpu", "-1"]
    assert ray.init[0]["address"] is None
    assert ray.shut == 1
    assert os.environ[PATIENCE] == "600"


def test_ray_chooses_a_gpu_for_each_worker(ray):
    run_on_ray(["run"], "auto", 2, [0])
    [(config, scaling)] = ray.starts
    assert (ray.init[0]["address"], scaling["use_gpu"], config["command"][-1]) == ("auto", True, "0")


def test_a_cluster_that_is_not_there_is_told(ray):
    with pytest.raises(ValueError, match="--ray nowhere: there is no cluster of Ray"):
        run_on_ray(["run"], "nowhere", 2, [-1])


def test_all_start_again_and_go_on_where_one_is_lost(ray):
    ray.failures = [TrainingFailedError("worker 1 died"), None]
    assert run_on_ray(["run"], "local", 2, [-1]) == 0
    assert ["--resume" in config["command"] for config, _ in ray.starts] == [False, True]


def test_a_failure_that_would_come_again_is_not_tried_again(ray):
    ray.failures = [TrainingFailedError("...\nfuxi_mtl.cli.on_ray.FailedError: exit status 1")]
    assert run_on_ray(["run"], "local", 2, [-1]) == 1
    assert len(ray.starts) == 1


def test_workers_that_are_lost_again_and_again_end_it(ray):
    ray.failures = [TrainingFailedError("x\nworker 1 died")] * 4
    with pytest.raises(LostError, match="lost 4 times, the last time so: worker 1 died"):
        run_on_ray(["run"], "local", 2, [-1])
    assert ray.shut == 1


@pytest.mark.parametrize(("status", "error"), [(0, None), (1, FailedError), (LOST, LostError)])
def test_a_worker_tells_ray_whether_a_restart_may_help(status, error, monkeypatch, tmp_path):
    monkeypatch.setattr(commands, "main", lambda command: status if command == ["run"] else None)
    config = {"folder": str(tmp_path), "command": ["run"]}
    if error is None:
        on_ray._work(config)
    else:
        with pytest.raises(error):
            on_ray._work(config)
