"""Data, runs, scores and SavedModels in a store of objects: a server of S3 on this machine."""

import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from command_line import call

import fuxi_mtl as fm
from fuxi_mtl.files import remote
from fuxi_mtl.serving.export import check_saved_model

SECRET = "0123-very-secret"


@pytest.fixture(scope="module")
def s3():
    """A client of the server, which the environment names as it would name another one."""
    boto3 = pytest.importorskip("boto3", reason="needs moto[server]")
    server = pytest.importorskip("moto.server", reason="needs moto[server]").ThreadedMotoServer(port=0)
    pytest.importorskip("s3fs", reason="needs the extra remote")
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        patch.setenv("AWS_ACCESS_KEY_ID", "me")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        for bucket in ("data", "runs"):
            client.create_bucket(Bucket=bucket)
        yield client
    server.stop()


@pytest.fixture(scope="module")
def trained(s3, in_place, tmp_path_factory):
    """A run whose data come from the store, which goes there; and what was printed."""
    for split, number in (("train", 1), ("train", 2), ("valid", 1), ("test", 1)):
        s3.upload_file(f"data/toy/{split}.csv", "data", f"toy/{split}_{number}.csv")
    place = tmp_path_factory.mktemp("remote")
    changes = [f"{split}_data=s3://data/toy/{split}_*.csv" for split in ("train", "valid", "test")]
    changes += ["model_root=s3://runs/mtl", f"remote_cache={place / 'copies'}", f"data_root={place / 'data'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUXI_MTL_RUNS", str(place / "runs"))
        command = ("run", "--expid", "Toy", "--encode_workers", "2", "--set", *changes, "epochs=1")
        yield call(*command), changes, place


def test_data_come_from_the_store_and_the_run_goes_there(trained, s3):
    told, _, place = trained
    assert told.status == 0, told.err
    folder = place / "runs" / "s3" / "runs" / "mtl" / "toy" / "Toy" / "seed_1"
    assert remote.same_as("s3://runs/mtl/toy/Toy/seed_1", folder)
    assert "Uploaded" in told.out
    written = [file for file in place.rglob("*") if file.is_file()]
    assert not any(SECRET.encode() in file.read_bytes() for file in written)
    assert "s3://data/toy/train_*.csv" in (folder / "config.yaml").read_text()


def test_another_machine_uses_the_run(trained, s3, monkeypatch, tmp_path):
    _, changes, _ = trained
    monkeypatch.setenv("FUXI_MTL_RUNS", str(tmp_path / "other"))
    given = ("--expid", "Toy", "--set", *changes)
    told = call("predict", *given, "--input", "s3://data/toy/test_1.csv", "--output", "s3://data/scored.csv")
    assert told.status == 0, told.err
    s3.download_file("data", "scored.csv", str(tmp_path / "scored.csv"))
    told = call("predict", *given, "--input", "data/toy/test.csv", "--output", str(tmp_path / "local.csv"))
    assert told.status == 0, told.err
    assert (tmp_path / "scored.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    told = call("evaluate", *given, "--input", "s3://data/toy/test_1.csv", "--output", "s3://data/found.json")
    assert told.status == 0, told.err
    assert b'"metrics"' in s3.get_object(Bucket="data", Key="found.json")["Body"].read()
    told = call("export", *given, "--output", "s3://data/served/toy")
    assert told.status == 0, told.err
    assert remote.download_folder("s3://data/served/toy", tmp_path / "served")
    check_saved_model(tmp_path / "served")
    assert "serving_default" in tf.saved_model.load(str(tmp_path / "served")).signatures


@pytest.fixture
def another_machine(monkeypatch, tmp_path):
    """Has what follows find no run but those in the store."""
    numbers = iter(range(9))

    def begin() -> Path:
        place = tmp_path / f"machine_{next(numbers)}"
        monkeypatch.setenv("FUXI_MTL_RUNS", str(place))
        return place / "s3" / "runs"

    return begin


def test_runs_there_are_amended_updated_and_compared(trained, s3, another_machine):
    _, changes, _ = trained
    given = ("--expid", "Toy", "--set", *changes)
    another_machine()
    told = call("fuse", *given, "fusion.method=product")
    assert told.status == 0, told.err
    assert "fusion.json" in remote.read_manifest("s3://runs/mtl/toy/Toy/seed_1")
    another_machine()
    told = call("calibrate", *given, "--method", "platt")
    assert told.status == 0, told.err
    there = remote.read_manifest("s3://runs/mtl/toy/Toy/seed_1")
    assert {"fusion.json", "calibration.json"} <= set(there)
    another_machine()
    day = ("--day", "2026-11-08", "--train_data", "s3://data/toy/train_1.csv")
    told = call("update", "--expid", "Toy", *day, "--set", *changes)
    assert told.status == 0, told.err
    assert "metrics.json" in remote.read_manifest("s3://runs/mtl/toy/Toy/days/2026-11-08/seed_1")


def test_a_training_starts_from_a_run_there_and_all_runs_there_are_compared(trained, s3, another_machine):
    _, changes, _ = trained
    runs = another_machine()
    own = ("init_from=Toy@first", "init_with=weights", "epochs=1")
    told = call("run", "--expid", "Toy", "--as", "Second", "--set", *changes, *own)
    assert told.status == 0, told.err
    first = runs / "mtl" / "toy" / "Toy" / "seed_1"
    assert str(first) in (runs / "mtl" / "toy" / "Second" / "seed_1" / "metrics.json").read_text()
    another_machine()
    told = call(
        "compare", "--model_root", "s3://runs/mtl", "--format", "csv", "--output", "s3://data/all.csv"
    )
    assert told.status == 0, told.err
    table = s3.get_object(Bucket="data", Key="all.csv")["Body"].read().decode()
    assert all(name in table for name in ("Toy", "Second"))
    told = call("compare", "Nobody", "--model_root", "s3://runs/mtl")
    assert (told.status, "no finished run of expid 'Nobody'" in told.err) == (1, True)


def test_programs_train_to_a_url_and_read_runs_from_there(trained, in_place, another_machine):
    another_machine()
    toy = fm.experiment("Toy", config="config", epochs=1)
    run = toy.fit(folder="s3://runs/python/toy")
    assert remote.same_as("s3://runs/python/toy", run.folder)
    update = fm.update(run, "data/toy/train.csv", day="2026-11-08", folder="s3://runs/python/day")
    assert remote.same_as("s3://runs/python/day", update.folder)
    another_machine()
    found = fm.load_run("s3://runs/python/toy")
    assert found.metrics == run.metrics
    assert len(found.predict("s3://data/toy/test_1.csv")) == 160
    assert "Toy (2)" in fm.compare([found, "s3://runs/python/day"]).to_markdown()
    initial = fm.experiment("Toy", config="config", epochs=1, init_from="s3://runs/python/toy")
    assert initial.fit().metrics.keys() == run.metrics.keys()
    with pytest.raises(remote.RemoteError, match="s3://runs/python/none: no whole run is there"):
        fm.load_run("s3://runs/python/none")
    with pytest.raises(remote.RemoteError, match="folder: nosuch://a: nosuch:// is no scheme"):
        toy.fit(folder="nosuch://a")


def test_a_run_whose_upload_was_torn_is_uploaded_again_and_two_of_one_name_are_told(trained, s3, monkeypatch):
    _, changes, place = trained
    folder = place / "runs" / "s3" / "runs" / "mtl" / "toy" / "Toy" / "seed_1"
    s3.delete_object(Bucket="runs", Key=f"mtl/toy/Toy/seed_1/{remote.MANIFEST}")
    command = ("run", "--expid", "Toy", "--resume", "--set", *changes, "epochs=1")
    assert call(*command).status == 0
    assert remote.same_as("s3://runs/mtl/toy/Toy/seed_1", folder)
    (folder / "stray").write_text("x")
    (folder / "history.json").write_text("{}")
    told = call("history", "--expid", "Toy", "--set", *changes)
    assert told.status == 1
    assert "are two runs of one name" in told.err
    shutil.rmtree(folder)


def test_urls_of_this_machine_serve_as_well(in_place, tmp_path, monkeypatch):
    pytest.importorskip("fsspec", reason="needs the extra remote")
    monkeypatch.setenv("FUXI_MTL_RUNS", str(tmp_path / "local"))
    for name in ("train", "valid", "test"):
        (tmp_path / "toy" / name).mkdir(parents=True)
        shutil.copy(f"data/toy/{name}.csv", tmp_path / "toy" / name / "part_1.csv")
    url = tmp_path.as_uri()
    changes = [f"train_data={url}/toy/train/*.csv", f"valid_data={url}/toy/valid"]
    changes += [f"test_data={url}/toy/test/part_1.csv", f"remote_cache={tmp_path / 'copies'}"]
    changes += [f"data_root={tmp_path / 'data'}", f"model_root={url}/runs"]
    told = call("run", "--expid", "Toy", "--set", *changes, "epochs=1")
    assert told.status == 0, told.err
    assert (tmp_path / "runs" / "toy" / "Toy" / "seed_1" / remote.MANIFEST).is_file()
    shutil.rmtree(tmp_path / "local")
    given = ("--expid", "Toy", "--set", *changes)
    asked = ("--input", f"{url}/toy/test/part_1.csv", "--output", f"{url}/scored.csv")
    for told in (call("predict", *given, *asked), call("export", *given, "--output", f"{url}/served")):
        assert told.status == 0, told.err
    assert len((tmp_path / "scored.csv").read_text().splitlines()) == 161
    check_saved_model(tmp_path / "served")
    run = fm.load_run(f"{url}/runs/toy/Toy/seed_1")
    assert len(run.predict(f"{url}/toy/test/part_1.csv")) == 160
    assert "Toy" in fm.compare([f"{url}/runs/toy/Toy/seed_1"]).to_markdown()


def test_urls_with_a_password_are_written_nowhere(place):
    for arguments in (
        ("run", "--expid", "Toy", "--set", f"train_data=s3://me:{SECRET}@data/train.csv"),
        ("run", "--expid", "Toy", "--set", f"model_root=s3://me:{SECRET}@runs"),
        ("run", "--expid", "Toy", "--set", "data_root=s3://data/encoded"),
        ("run", "--expid", "Toy", "--set", f"trian_data=s3://me:{SECRET}@data/train.csv"),
    ):
        told = call(*arguments)
        assert told.status == 1
        assert SECRET not in told.err + told.out
    assert (
        "data_root is s3://data/encoded, a URL"
        in call(*("run", "--expid", "Toy", "--set", "data_root=s3://data/encoded")).err
    )
    assert not any(SECRET in file.read_text() for file in Path().glob("*.csv"))
