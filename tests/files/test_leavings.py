"""What killed writers leave beside a path, and who may remove it."""

from dataclasses import replace

from fuxi_mtl.files import Leaving, leavings_of, partial_name, remove_leavings
from fuxi_mtl.files.processes import this_process


def left_by(path, process, random="0123abcd"):
    place = path.with_name(f".{path.name}.partial-{process.mark}-{random}")
    place.mkdir(parents=True)
    (place / "file").write_text("x")
    return place


def test_a_name_says_what_it_was_to_be_and_who_writes(tmp_path):
    found = Leaving.at(partial_name(tmp_path / "seed_1.partial-x"))
    assert (found.of, found.dead) == ("seed_1.partial-x", False)
    assert found.writer == this_process()
    for name in ("seed_1", ".seed_1", "seed_1.partial-1234abcd", ".seed_1.log"):
        assert Leaving.at(tmp_path / name) is None
    assert Leaving.at(tmp_path / ".seed_1.replaced-1234abcd").dead is None


def test_the_dead_go_and_the_living_and_the_unknown_stay(tmp_path):
    path = tmp_path / "seed_1"
    dead = left_by(path, replace(this_process(), start=1))
    living = left_by(path, this_process())
    far = left_by(path, replace(this_process(), machine="11111111"))
    others = left_by(tmp_path / "seed_10", replace(this_process(), start=1))
    old = tmp_path / ".seed_1.partial-1234abcd"
    old.write_text("")
    assert {each.path for each in leavings_of(path)} == {dead, living, far, old}
    assert remove_leavings(path) == [dead]
    assert set(remove_leavings(path, alone=True)) == {far, old}
    assert sorted(tmp_path.iterdir()) == sorted([living, others])
    assert remove_leavings(tmp_path / "none" / "run") == []
