"""Files behind URLs: copies within a limit, uploads that are whole or not there, no secrets."""

import logging
import os
import sys
import zipfile
from pathlib import Path

import pytest

from fuxi_mtl.files import remote
from fuxi_mtl.files.remote import copies, uploads, urls


def test_urls_are_told_from_paths_and_keep_their_names_as_paths():
    for url in ("s3://logs/day=1/a.csv", "memory://a.csv", "gs://b/c", "hdfs://namenode:8020/x.parquet"):
        path = remote.as_path(url)
        assert remote.is_url(url)
        assert remote.is_url(path)
        assert remote.as_url(path) == url == remote.name_of(path)
    assert remote.as_path("s3://logs/day=1/a.csv").suffix == ".csv"
    for url in (
        "hdfs:///data/a.csv",
        "file:///tmp/.x/a.csv",
        "s3://logs//a/./:/b.csv",
        "memory:///:./::/a.csv",
    ):
        path = remote.as_path(url)
        assert remote.is_url(path)
        assert remote.as_url(path) == url == remote.name_of(path)
        assert path.name == url.rpartition("/")[2]
    assert remote.as_path("hdfs:///data/a.csv") != remote.as_path("hdfs://data/a.csv")
    for name in (Path("/data/a.csv"), remote.as_path("s3://logs/a.csv")):
        assert remote.as_path(name) == name
    for name in ("./a.csv", "/data/a.csv", "C:/a.csv", "a://", "logs/{last_day}/*.csv"):
        assert not remote.is_url(name)
        assert remote.as_path(name) == Path(name)


@pytest.mark.parametrize(
    "url",
    [
        "s3://me:secret@logs/a.csv",
        "s3://secret@logs/a.csv",
        "s3://me:p@secret@logs/a.csv",
        "hdfs://secret@node:8020/a.csv",
        "https://host/a.csv?sig=secret",
    ],
)
def test_a_url_with_a_secret_is_refused_and_never_shown(url):
    for refuse in (
        lambda: remote.check_url("train_data", url),
        lambda: remote.file_system(url, "train_data"),
    ):
        with pytest.raises(remote.RemoteError, match="train_data: .* holds a user, password or sig") as told:
            refuse()
        assert "secret" not in str(told.value)
    assert "secret" not in remote.without_secrets(f"run --set train_data={url} --expid A")
    harmless = "mail me@host; s3://logs/part_?.csv"
    assert remote.without_secrets(harmless) == harmless


@pytest.mark.parametrize("scheme", ["abfs", "abfss", "wasb", "wasbs", "az", "ABFSS"])
def test_before_a_host_of_azure_stands_a_container_which_is_no_secret(scheme):
    url = f"{scheme}://container@account.dfs.core.windows.net/day=1/a.csv"
    remote.check_url("train_data", url)
    assert remote.without_secrets(f"run --set train_data={url}") == f"run --set train_data={url}"
    for refused in (
        f"{scheme}://me:secret@account.dfs.core.windows.net/a.csv",
        f"{scheme}://me@secret@account.dfs.core.windows.net/a.csv",
        f"{scheme}://:secret@account.dfs.core.windows.net/a.csv",
        f"{url}?sig=secret",
        f"x{scheme}://secret@account.dfs.core.windows.net/a.csv",
    ):
        with pytest.raises(remote.RemoteError, match="train_data: .* holds a user, password or sig") as told:
            remote.check_url("train_data", refused)
        assert "secret" not in str(told.value)


def test_without_fsspec_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(
        remote.RemoteError, match=r"input: s3://b/a needs .* pip install 'fuxi-mtl\[remote\]'"
    ):
        remote.file_system("s3://b/a", "input")


@pytest.fixture
def store():
    """An empty store in memory, as fsspec has one."""
    fsspec = pytest.importorskip("fsspec", reason="needs the extra remote")
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def put(store, name, content):
    with store.open(name, "wb") as file:
        file.write(content)


def test_a_copy_is_fetched_once_and_again_when_the_file_has_changed(store, tmp_path):
    put(store, "/logs/a.csv", b"one")
    kept, file = remote.Copies(tmp_path, 100), remote.as_path("memory://logs/a.csv")
    with kept.local(file) as first:
        assert first.read_bytes() == b"one"
        assert first.parts[-3:] == ("memory", "logs", "a.csv")
    first.write_bytes(b"own")  # is taken for what was fetched
    with kept.local(file) as again:
        assert (again, again.read_bytes()) == (first, b"own")
    put(store, "/logs/a.csv", b"two")
    with kept.local(file) as changed:
        assert changed.read_bytes() == b"two"
    with kept.local(tmp_path / "here.csv") as local:
        assert local == tmp_path / "here.csv"
    assert copies.version_of({"size": 3, "ETag": "x", "mtime": 1}) == ["3", "x"]
    assert copies.version_of({"size": 3, "mtime": 1}) == ["3", "1"]


def test_what_was_used_least_lately_makes_room_and_what_is_read_does_not(store, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    kept = remote.Copies(tmp_path, 10)
    files = [remote.as_path(f"memory://logs/{name}") for name in "abc"]
    for name in "abc":
        put(store, f"/logs/{name}", 4 * name.encode())
    for number, file in enumerate(files[:2]):
        with kept.local(file) as copy:
            pass
        os.utime(copy, (number, number))
    with kept.local(files[0]) as used, kept.local(files[2]):
        assert used.is_file()
        left = {path.name for path in tmp_path.rglob("?") if path.is_file()}
        assert left == {"a", "c"}
        put(store, "/logs/large", b"x" * 9)
        with (
            pytest.raises(remote.RemoteError, match="remote_cache_gb allows .* Raise it, or lower"),
            kept.local(remote.as_path("memory://logs/large"), "train_data"),
        ):
            pass
    assert "remote_cache: memory://logs/b (0.0 MiB) makes room for memory://logs/c." in caplog.text
    assert not list(tmp_path.rglob(".*"))


def test_patterns_name_files_at_any_depth(store):
    for name in ("day=1/a.csv", "day=2/b.csv", "day=2/deep/c.csv", "d.txt"):
        put(store, f"/logs/{name}", b"x")
    assert remote.files_at("memory://logs/day=*/*.csv") == [
        "memory://logs/day=1/a.csv",
        "memory://logs/day=2/b.csv",
    ]
    assert len(remote.files_at("memory://logs/**/*.csv")) == 3
    assert remote.files_at("memory://logs/d.txt") == ["memory://logs/d.txt"]
    assert remote.files_at("memory://logs/e.txt") == []
    with pytest.raises(remote.RemoteError, match="input: memory://logs/e.txt is not there"):
        copies.about(remote.as_path("memory://logs/e.txt"), "input")
    with pytest.raises(remote.RemoteError, match="input: memory://logs is a folder: name one file"):
        copies.about(remote.as_path("memory://logs"), "input")
    with pytest.raises(remote.RemoteError, match="nosuch:// is no scheme that fsspec knows"):
        remote.file_system("nosuch://a/b")


@pytest.fixture
def hosts():
    """Stores by host and port, whose paths do not say them, as hdfs, ftp and webhdfs have it."""
    fsspec = pytest.importorskip("fsspec", reason="needs the extra remote")
    from fsspec.implementations.memory import MemoryFileSystem
    from fsspec.utils import infer_storage_options

    stores = {}

    class Hosted(MemoryFileSystem):
        protocol = "hosted"
        cachable = False

        def __init__(self, host="default", port=0, **options):
            super().__init__(**options)
            self.store, self.pseudo_dirs = stores.setdefault((host, port), {}), [""]

        @classmethod
        def _strip_protocol(cls, path):
            return infer_storage_options(path)["path"].rstrip("/")

        @staticmethod
        def _get_kwargs_from_urls(path):
            return {
                key: value for key, value in infer_storage_options(path).items() if key in ("host", "port")
            }

    fsspec.register_implementation("hosted", Hosted, clobber=True)
    return Hosted


@pytest.mark.parametrize("root", ["hosted://node:8020/data", "hosted://node/data", "hosted:///data"])
def test_what_is_listed_is_opened_on_the_same_host_at_the_same_root(hosts, tmp_path, root):
    for other in ("hosted://node:8020", "hosted://node", "hosted://data", "hosted://"):
        for name in ("day=1/a.csv", "day=2/deep/b.csv"):
            system, path = remote.file_system(f"{other}/data/{name}")
            put(system, path, f"{other}/data/{name}".encode())
    expected = [f"{root}/day=1/a.csv", f"{root}/day=2/deep/b.csv"]
    assert remote.files_at(f"{root}/**/*.csv") == expected
    assert remote.files_at(f"{root}/day=1/*.csv") == expected[:1] == remote.files_at(expected[0])
    for url in expected:
        with remote.Copies(tmp_path, 1000).local(remote.as_path(url)) as copy:
            assert copy.read_text() == url


def test_copies_that_make_room_are_told_with_root(hosts, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for name in "ab":
        put(hosts(), f"/data/{name}", b"four")
    kept = remote.Copies(tmp_path, 6)
    for name in "ab":
        with kept.local(remote.as_path(f"hosted:///data/{name}")):
            pass
    assert "hosted:///data/a (0.0 MiB) makes room for hosted:///data/b." in caplog.text


def test_a_file_that_no_url_opens_is_told(hosts):
    put(hosts("node"), "/data/a?b.csv", b"x")
    with pytest.raises(
        remote.RemoteError, match=r"input: hosted://node/data/\* finds '/data/a\?b.csv', which no URL opens"
    ):
        remote.files_at("hosted://node/data/*", "input")


def test_files_of_this_machine_are_found_by_url(tmp_path, monkeypatch):
    pytest.importorskip("fsspec", reason="needs the extra remote")
    for name in ("day=1/a.csv", "day=2/b.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    url = f"file://{tmp_path}"
    expected = [f"{url}/day=1/a.csv", f"{url}/day=2/b.csv"]
    assert url.startswith("file:///")
    assert remote.files_at(f"{url}/*/*.csv") == expected == remote.files_at(f"{url}/**/*.csv")
    assert remote.files_at(expected[0]) == expected[:1]
    assert copies.about(remote.as_path(expected[0]))["size"] == len("day=1/a.csv")
    monkeypatch.chdir(tmp_path)
    assert remote.files_at("file://day=1/*.csv") == ["file://day=1/a.csv"]


def test_files_in_an_archive_elsewhere_are_found(store, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("day=1/a.csv", "x")
    put(store, "/logs/a.zip", (tmp_path / "a.zip").read_bytes())
    assert remote.files_at("zip://*/*.csv::memory://logs/a.zip") == ["zip://day=1/a.csv::memory://logs/a.zip"]


@pytest.fixture
def folder(tmp_path):
    """A folder with a file and one below."""
    folder = tmp_path / "run"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    (folder / "deep" / "b.bin").write_bytes(b"b" * 100)
    return folder


def test_an_uploaded_folder_is_what_its_manifest_names(store, folder, tmp_path):
    url = "memory://runs/seed_1"
    put(store, "/runs/seed_1/left_by_an_older_one", b"x")
    remote.upload_folder(folder, url)
    assert set(store.find("/runs/seed_1")) == {
        f"/runs/seed_1/{name}" for name in ("a.json", "deep/b.bin", remote.MANIFEST)
    }
    assert remote.same_as(url, folder)
    put(store, "/runs/seed_1/stray", b"x")
    assert remote.download_folder(url, tmp_path / "back")
    assert {p.name for p in (tmp_path / "back").rglob("*") if p.is_file()} == {"a.json", "b.bin"}
    (folder / "a.json").write_text('{"other": 1}')
    assert not remote.same_as(url, folder)
    put(store, "/runs/seed_1/deep/b.bin", b"c" * 100)
    with pytest.raises(remote.RemoteError, match=r"deep/b.bin is not what MANIFEST.json says"):
        remote.download_folder(url, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    with pytest.raises(remote.RemoteError, match="no file below it"):
        uploads._inside(folder, "../outside")


@pytest.mark.parametrize("older", [False, True])
def test_an_upload_that_was_killed_half_way_is_not_there_and_begins_anew(
    store, folder, tmp_path, monkeypatch, older
):
    url = "memory://runs/seed_1"
    if older:
        remote.upload_folder(folder, url)
        (folder / "a.json").write_text('{"newer": 1}')
    put_one, calls = uploads._put, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        put_one(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_put", killed)
        with pytest.raises(KeyboardInterrupt):
            remote.upload_folder(folder, url)
    assert store.find("/runs/seed_1")
    assert remote.read_manifest(url) is None
    assert not remote.download_folder(url, tmp_path / "back")
    remote.upload_folder(folder, url)
    assert remote.download_folder(url, tmp_path / "back")
    put(store, f"/runs/seed_1/{remote.MANIFEST}", b'{"files": {"a')
    assert remote.read_manifest(url) is None


def test_what_a_block_writes_is_uploaded_behind_it(store, folder):
    with remote.uploaded("memory://out/scored.csv", "output") as file:
        file.write_text("a,b\n")
    assert store.cat_file("/out/scored.csv") == b"a,b\n"
    with remote.uploaded("memory://out/model/", "output") as place:
        folder.rename(place)
    assert remote.read_manifest("memory://out/model").keys() == {"a.json", "deep/b.bin"}
    with pytest.raises(ValueError, match="stopped"), remote.uploaded("memory://out/none", "output"):
        raise ValueError("stopped")
    assert not store.exists("/out/none")


def test_errors_of_a_service_are_ours(store):
    with (
        pytest.raises(remote.RemoteError, match="input: s3://b/a cannot be read: no credentials"),
        urls.errors_of("s3://b/a", "input"),
    ):
        raise PermissionError("no credentials\nmore")
    with pytest.raises(AttributeError), urls.errors_of("s3://b/a"):
        raise AttributeError("a mistake of ours")
