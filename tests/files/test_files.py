"""Files and folders that are whole or not there."""

import os
from pathlib import Path

import pytest

from fuxi_mtl.files import Leaving, partial_name, replace_folder, write_text, writing
from fuxi_mtl.files.processes import this_process


def test_a_file_is_written_whole_or_the_older_one_stays(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_text(path, "old")

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*metrics.json"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.json"]


def test_nobody_sees_half_of_a_file(tmp_path, monkeypatch):
    path, seen = tmp_path / "metrics.json", []
    write_text(path, "old")
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda *each: (seen.append(path.read_text()), replace(*each))[1])
    write_text(path, "new")
    assert seen == ["old"]
    assert path.read_text() == "new"


def test_a_partial_name_is_never_given_twice_and_lies_beside(tmp_path):
    first, second = partial_name(tmp_path / "x"), partial_name(tmp_path / "x")
    assert first != second
    assert first.parent == tmp_path
    own = Leaving.at(first).writer  # says who writes, and rests on more than a number that is given again
    assert (own.pid, own) == (os.getpid(), this_process())
    assert len(first.name.rpartition("-")[2]) == 8


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_takes_the_name_of_another(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(writing, "_exchange", lambda *_: False)
    new, old = tmp_path / "new", tmp_path / "run"
    new.mkdir()
    (new / "a").write_text("new")
    replace_folder(new, old)
    new.mkdir()
    (new / "a").write_text("newer")
    replace_folder(new, old)
    assert (old / "a").read_text() == "newer"
    assert [each.name for each in tmp_path.iterdir()] == ["run"]


def test_a_folder_is_under_its_name_at_every_moment(tmp_path, monkeypatch):
    new, old = tmp_path / "new", tmp_path / "run"
    for each in (new, old):
        each.mkdir()
    if not writing._exchange(new, old):
        pytest.skip("this system cannot exchange two names")
    rename, there = Path.rename, []
    monkeypatch.setattr(
        Path, "rename", lambda *each: (there.append(old.is_dir()), rename(*each), there.append(old.is_dir()))
    )
    replace_folder(new, old)
    assert there == [True, True]
