# ruff: noqa: N802 - tests are named after their entries in the list of regressions
"""GPUs that are there or not, and precisions of whole runs."""

import json
import textwrap

import pytest
import tensorflow as tf
from command_line import call, in_process, train

from fuxi_mtl.training import devices

pytestmark = pytest.mark.usefixtures("float32_afterwards")


@pytest.fixture
def gpus(monkeypatch):
    """Pretends that there are GPUs; returns what was made visible."""
    visible = []

    def pretend(count):
        names = [f"GPU{i}" for i in range(count)]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: names)
        monkeypatch.setattr(tf.config, "set_visible_devices", lambda found, kind: visible.append(found))
        monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda found: ("mirrored", found))
        return visible

    return pretend


def test_T9_a_gpu_that_is_not_there_is_a_warning_and_the_cpu_trains(tmp_path):
    done = call("run", "--expid", "Toy", "--gpu", "0", "--set", f"model_root={tmp_path}", "epochs=1")
    assert done.status == 0
    assert "--gpu 0: no GPU is visible to TensorFlow; using the CPU." in done.out
    assert (tmp_path / "toy" / "Toy" / "seed_1" / "metrics.json").is_file()


def test_no_gpu_is_visible_to_a_run_on_the_cpu(gpus):
    visible = gpus(2)
    assert devices.use_devices([-1]) is tf.distribute.get_strategy()
    assert visible == [[]]


def test_one_gpu_is_made_visible(gpus):
    visible = gpus(2)
    assert devices.use_devices([1]) is tf.distribute.get_strategy()
    assert visible == [["GPU1"]]


def test_several_gpus_share_each_step(gpus):
    visible = gpus(4)
    # Visible GPUs are numbered anew.
    assert devices.use_devices([1, 3]) == ("mirrored", ["GPU:0", "GPU:1"])
    assert visible == [["GPU1", "GPU3"]]


def test_a_gpu_beyond_those_that_exist_is_an_error(gpus):
    gpus(2)
    with pytest.raises(ValueError, match="--gpu 0 2: there are 2 GPUs, numbered from 0."):
        devices.use_devices([0, 2])


@pytest.fixture(scope="module")
def plain(in_place, tmp_path_factory):
    """A run with balanced norms, in float32 on one device."""
    settings = ("precision=float32", "loss_weight=GN")
    return train(tmp_path_factory.mktemp("plain"), *settings, expid="ToyFunnel")


def test_all_precisions_train_and_agree_within_noise(plain, tmp_path):
    metrics = {}
    for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
        settings = (f"precision={precision}", "loss_weight=GN")
        run = plain if precision == "float32" else train(tmp_path / precision, *settings, expid="ToyFunnel")
        metrics[precision] = run.read("metrics.json")["test"]
        assert all(norm > 0 for norm in run.evaluations[0]["gradient_norms"].values())
    for precision in ("mixed_bfloat16", "mixed_float16"):
        for name, value in metrics["float32"].items():
            assert metrics[precision][name] == pytest.approx(value, abs=0.02), (precision, name)
        assert metrics[precision] != metrics["float32"]  # the precision was really used


def test_a_run_on_two_devices_is_predicted_stored_loaded_and_exported(plain, place, tmp_path):
    script = f"""
        import sys
        import tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        tf.config.optimizer.set_experimental_options({{"disable_meta_optimizer": True}})
        import fuxi_mtl.workflow.experiment
        from fuxi_mtl.cli.commands import main
        two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        fuxi_mtl.workflow.experiment.use_devices = lambda gpus: two
        common = ["run", "--expid", "ToyFunnel", "--set", "loss_weight=GN", "export=true"]
        sys.exit(main([*common, r"model_root={tmp_path}"]))
    """
    done = in_process("-c", textwrap.dedent(script), cwd=place)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = tmp_path / "toy" / "ToyFunnel" / "seed_1"
    assert (folder / "saved_model" / "saved_model.pb").is_file()
    metrics = json.loads((folder / "metrics.json").read_text())["test"]
    assert metrics == pytest.approx(plain.read("metrics.json")["test"], abs=0.02)
