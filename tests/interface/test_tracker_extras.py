"""MLflow, W&B and SwanLab hold what was trained, and nothing leaves the machine unasked."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress

import pytest
from interface_world import small_model

import fuxi_mtl as fm

SHORT = {"epochs": 1, "batch_size": 64, "learning_rate": 0.01, "seed": 5}


@pytest.fixture(autouse=True)
def nothing_leaves(monkeypatch, tmp_path):
    """A working directory of its own, no settings of the user's, and only this machine to connect to."""
    monkeypatch.chdir(tmp_path)
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
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    uri, ends = f"http://127.0.0.1:{port}", time.monotonic() + 180
    try:
        while time.monotonic() < ends and process.poll() is None:
            with suppress(OSError):
                urllib.request.urlopen(f"{uri}/health", timeout=2)
                break
            time.sleep(0.5)
        yield uri
    finally:
        process.terminate()
        process.wait(30)


def check_mlflow(uri, run, experiment):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["learning_rate"] == "0.01"
    assert found.data.tags["data_key"] == json.loads((run.folder / "metrics.json").read_text())["data_key"]
    (record,) = run.history
    (point,) = client.get_metric_history(found.info.run_id, "losses/ctr")
    assert (point.step, point.value) == (record["step"], pytest.approx(record["losses"]["ctr"]))
    assert found.data.metrics["final/test/ctr_AUC"] == pytest.approx(run.metrics["test"]["ctr_AUC"])
    files = {each.path for each in client.list_artifacts(found.info.run_id)}
    assert {"config.yaml", "metrics.json", "report.html"} <= files


def test_mlflow_has_a_database_beside_the_runs_and_a_server(data, tmp_path):
    pytest.importorskip("mlflow", reason="needs mlflow: pip install 'fuxi-mtl[mlflow]'")
    run = fm.fit(small_model(data), data, **SHORT, trackers=["mlflow"])
    assert (tmp_path / "mlflow.db").is_file()
    check_mlflow(f"sqlite:///{tmp_path}/mlflow.db", run, "data")
    with server(tmp_path) as uri:
        run = fm.fit(
            small_model(data), data, **SHORT, trackers=["mlflow"], mlflow_uri=uri, mlflow_experiment="shop"
        )
        check_mlflow(uri, run, "shop")
    with pytest.raises(ValueError, match="trackers: mlflow cannot begin"):  # the server is gone
        fm.fit(small_model(data), data, **SHORT, trackers=["mlflow"], mlflow_uri=uri)


def test_wandb_is_offline_unless_it_is_told_otherwise(data, tmp_path):
    pytest.importorskip("wandb", reason="needs wandb: pip install 'fuxi-mtl[wandb]'")
    run = fm.fit(small_model(data), data, **SHORT, trackers=["wandb"])
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (written,) = folder.glob("*.wandb")
    content = written.read_bytes()
    for text in (b"losses/ctr", b"learning_rate", b"data_key", b"final/test/ctr_AUC"):
        assert text in content, text
    copied = folder / "files" / "fuxi_mtl" / "metrics.json"
    assert copied.read_bytes() == (run.folder / "metrics.json").read_bytes()


def test_swanlab_is_offline_unless_it_is_told_otherwise(data, tmp_path):
    pytest.importorskip("swanlab", reason="needs swanlab: pip install 'fuxi-mtl[swanlab]'")
    fm.fit(small_model(data), data, **SHORT, trackers=["swanlab"])
    content = b"".join(file.read_bytes() for file in (tmp_path / "swanlog").rglob("*") if file.is_file())
    for text in (b"losses/ctr", b"learning_rate", b"data_key", b"final/test/ctr_AUC"):
        assert text in content, text
