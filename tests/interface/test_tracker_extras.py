"""MLflow, W&B and SwanLab hold what was trained, and nothing leaves the machine unasked."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from interface_world import small_model

import fuxi_mtl as fm

SHORT = {"epochs": 1, "batch_size": 64, "learning_rate": 0.01, "seed": 5}


def local_only(monkeypatch, folder):
    """A working directory of its own, no settings of the user's, and only this machine to connect to."""
    monkeypatch.chdir(folder)
    for name in ("WANDB_MODE", "SWANLAB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    connect = socket.socket.connect

    def guarded(self, address):
        host = address[0] if isinstance(address, tuple) else "unix"
        assert host in ("127.0.0.1", "::1", "localhost", "unix"), f"a connection to {host}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server(folder):
    """A server of MLflow on this machine."""
    port = free_port()
    store = [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        f"{folder}/files",
    ]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *store]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet, start_new_session=True)
    uri, ends = f"http://127.0.0.1:{port}", time.monotonic() + 180
    try:
        while time.monotonic() < ends and process.poll() is None:
            with suppress(OSError):
                urllib.request.urlopen(f"{uri}/health", timeout=2)
                break
            time.sleep(0.5)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it and its workers, of which none has anything to save
        process.wait(30)


@pytest.fixture(scope="module")
def followed(data, tmp_path_factory):
    """A run that all three have followed, and the folder of its command."""
    for package in ("mlflow", "wandb", "swanlab"):
        pytest.importorskip(package, reason=f"needs {package}: pip install 'fuxi-mtl[{package}]'")
    folder = tmp_path_factory.mktemp("followed")
    with pytest.MonkeyPatch.context() as patch:
        local_only(patch, folder)
        run = fm.fit(small_model(data), data, **SHORT, trackers=["mlflow", "wandb", "swanlab"])
    return run, folder


def test_mlflow_has_parameters_lineage_curves_and_files_in_a_database(followed):
    from mlflow import MlflowClient

    run, folder = followed
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("data").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["learning_rate"] == "0.01"
    assert found.data.tags["data_key"] == json.loads((run.folder / "metrics.json").read_text())["data_key"]
    (record,) = run.history
    (point,) = client.get_metric_history(found.info.run_id, "losses/ctr")
    assert (point.step, point.value) == (record["step"], pytest.approx(record["losses"]["ctr"]))
    assert found.data.metrics["final/test/ctr_AUC"] == pytest.approx(run.metrics["test"]["ctr_AUC"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        files = {each.path for each in client.list_artifacts(found.info.run_id)}
    assert {"config.yaml", "metrics.json", "report.html"} <= files


def test_wandb_is_offline_unless_it_is_told_otherwise(followed):
    run, folder = followed
    (place,) = (folder / "wandb").glob("offline-run-*")
    content = b"".join(file.read_bytes() for file in place.glob("*.wandb"))
    for text in (b"losses/ctr", b"learning_rate", b"data_key", b"final/test/ctr_AUC"):
        assert text in content, text
    copied = place / "files" / "fuxi_mtl" / "metrics.json"
    assert copied.read_bytes() == (run.folder / "metrics.json").read_bytes()


def test_swanlab_is_offline_unless_it_is_told_otherwise(followed):
    run, folder = followed
    files = [file for file in (folder / "swanlog").rglob("*") if file.is_file()]
    content = b"".join(file.read_bytes() for file in files)
    for text in (b"losses/ctr", b"learning_rate", b"data_key", b"final/test/ctr_AUC"):
        assert text in content, text
    metrics = (run.folder / "metrics.json").read_bytes()
    assert any(file.name == "metrics.json" and file.read_bytes() == metrics for file in files)


def test_a_server_of_mlflow_is_told_knows_a_run_again_and_its_absence_costs_seconds(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="needs mlflow: pip install 'fuxi-mtl[mlflow]'")
    local_only(monkeypatch, tmp_path)
    from mlflow import MlflowClient

    from fuxi_mtl.training.tracking import Outcome, Tracked
    from fuxi_mtl.training.tracking.on_mlflow import MLflow

    training = Tracked("MMoE", "shop", 1, {"learning_rate": 0.01}, {"model": "MMoE"}, tmp_path, tmp_path)
    file = tmp_path / "metrics.json"
    file.write_text("{}")
    with server(tmp_path) as uri:
        first = MLflow(mlflow_uri=uri, mlflow_experiment="ads")
        name = first.begin(training)
        first.log(10, {"losses/ctr": 0.5, "gates/a/ctr/e·0": 1.0})
        first.end(Outcome("interrupted"))
        again = MLflow(mlflow_uri=uri, mlflow_experiment="ads")
        assert again.begin(replace(training, known_as=name)) == name
        again.log(20, {"losses/ctr": 0.25})
        again.end(Outcome("finished", {"test/ctr_AUC": 0.75}, [file]))
        client = MlflowClient(tracking_uri=uri)
        (found,) = client.search_runs([client.get_experiment_by_name("ads").experiment_id])
        points = [(each.step, each.value) for each in client.get_metric_history(name, "losses/ctr")]
        assert (found.info.run_id, found.info.status, points) == (name, "FINISHED", [(10, 0.5), (20, 0.25)])
        assert (found.data.params, found.data.tags["expid"]) == ({"learning_rate": "0.01"}, "MMoE")
        assert [each.path for each in client.list_artifacts(name)] == ["metrics.json"]
    began = time.monotonic()
    with pytest.raises(Exception, match="Max retries exceeded|refused"):
        MLflow(mlflow_uri=uri).begin(training)
    assert time.monotonic() - began < 60
