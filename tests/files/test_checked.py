"""Files that say by themselves what they should hold."""

import json

import numpy as np
import pytest

from fuxi_mtl.files import (
    DamagedError,
    check_yaml,
    checked_json,
    checked_yaml,
    checksum_of,
    read_arrays,
    read_json,
)

CONTENT = {
    "AUC": 0.7512345678901234,
    "none": None,
    "names": ["a", "ü"],
    "steps": {"3": [1, -0.0]},
    "last": 10**20,
}


def told(error, path):
    return str(error).startswith(f"{path} cannot be read (") and str(error).endswith("): run again.")


def flipped(path, step=1):
    """The file with one of its bits the other way round, of every bit or every so many."""
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), step):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        yield bit


def test_a_flipped_bit_of_json_is_an_error_or_changes_nothing(tmp_path):
    path, seen = tmp_path / "metrics.json", 0
    path.write_text(checked_json(CONTENT))
    assert read_json(path, "run again.") == CONTENT
    for _ in flipped(path):
        try:
            content = read_json(path, "run again.")
        except DamagedError as error:
            seen += told(error, path)
        else:
            # A key more, where the name of the checksum was hit; nobody reads it.
            assert {key: value for key, value in content.items() if key in CONTENT} == CONTENT
            assert len(content) <= len(CONTENT) + 1
    assert seen > len(path.read_bytes()) * 6


def test_a_flipped_bit_of_yaml_is_an_error_or_changes_nothing(tmp_path):
    import yaml

    path, wanted = tmp_path / "config.yaml", {"expid": "MMoE", "epochs": 12, "rate": 1e-3, "unit": "ü"}
    path.write_text(checked_yaml(yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True)))
    check_yaml(path, "train again.")
    for bit in flipped(path):
        try:
            check_yaml(path, "train again.")
            found = yaml.safe_load(path.read_text())
        except (DamagedError, yaml.YAMLError, ValueError):
            continue
        assert {key: found[key] for key in wanted} == wanted, bit
    check_yaml(tmp_path / "none.yaml", "")


@pytest.mark.parametrize("save", [np.savez_compressed, np.savez])
def test_a_flipped_bit_of_arrays_is_an_error_or_changes_nothing(tmp_path, save):
    path, wanted = (
        tmp_path / "scores.npz",
        {"pred": np.arange(3) / np.float32(7), "group": np.array(["a", "bc"])},
    )
    save(path, **wanted)
    assert list(read_arrays(path, "")) == list(wanted)
    for bit in flipped(path, 5):
        try:
            found = read_arrays(path, "run again.")
        except DamagedError as error:
            found = wanted if told(error, path) else {}
        assert list(found) == list(wanted), bit
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


def test_files_without_a_checksum_are_taken_as_they_are(tmp_path):
    path = tmp_path / "file"
    for content in ({"AUC": 0.5}, [1, 2], 3):
        path.write_text(json.dumps(content))
        assert read_json(path, "") == content
    path.write_text("epochs: 3\n")
    check_yaml(path, "")


def test_who_changes_a_file_is_told_how(tmp_path):
    path = tmp_path / "file"
    path.write_text(checked_json(CONTENT).replace("0.75", "0.95"))
    with pytest.raises(DamagedError, match=r"if you changed it yourself, remove its crc32\): run again"):
        read_json(path, "run again.")
    path.write_text(checked_yaml("epochs: 3\n").replace("3\n", "4\n", 1))
    with pytest.raises(DamagedError, match=r"if you changed it yourself, remove its crc32\): train again"):
        check_yaml(path, "train again.")


def test_a_missing_file_is_missing_and_no_damage(tmp_path):
    for read in (read_json, read_arrays):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none", "")
    (tmp_path / "folder").mkdir()
    for read in (read_json, read_arrays, check_yaml):
        with pytest.raises(DamagedError, match="cannot be read"):
            read(tmp_path / "folder", "again.")


def test_a_checksum_sees_every_part(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"123456789")
    assert checksum_of(path) == 0xCBF43926  # the check value of CRC-32
