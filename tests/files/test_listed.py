"""Lists of files with their checksums."""

import pytest

from fuxi_mtl.files import DamagedError, check_listed, list_files


def test_a_list_is_as_sha256sum_writes_it_and_its_damage_is_told(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "below/nothing").write_bytes(b"")
    listed = tmp_path / "below/SUMS"
    list_files(tmp_path, listed)
    # of FIPS 180-2
    first = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  abc\n"
    second = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  below/nothing\n"
    assert listed.read_text() == first + second
    (tmp_path / "more").write_bytes(b"of another program")
    check_listed(tmp_path, listed, "write it again.")
    for content, told in (
        (
            (first + second[:-2]).encode(),
            r"below/nothin cannot be read \(SUMS lists it, and it is not there\)",
        ),
        (first[1:].encode(), "is no checksum and name"),
        (b"\xff", "can't decode"),
        (
            first.replace("ba", "bb").encode(),
            r"abc cannot be read \(SUMS lists another checksum\): write it again\.",
        ),
    ):
        listed.write_bytes(content)
        with pytest.raises(DamagedError, match=told):
            check_listed(tmp_path, listed, "write it again.")
    listed.unlink()
    with pytest.raises(FileNotFoundError):
        check_listed(tmp_path, listed, "write it again.")
