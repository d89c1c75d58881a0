"""What is cleaned away, and what is not."""

import os
import time
from dataclasses import replace

import pytest
from synthetic_runs import write_run

from fuxi_mtl.dataset import usage
from fuxi_mtl.files import held, partial_name
from fuxi_mtl.files.locks import Holder, lock_file
from fuxi_mtl.files.processes import this_process
from fuxi_mtl.workflow import cleaning
from fuxi_mtl.workflow.cleaning import duration

DAY = 86400.0
DEAD = replace(this_process(), start=1)
FAR = replace(this_process(), machine="11111111")


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "runs", "MMoE")


def left(path, process, age=0.0, kind="partial"):
    name = f".{path.name}.{kind}-{process.mark}-0123abcd" if process else f".{path.name}.{kind}-0123abcd"
    return folder(path.with_name(name), age)


def folder(place, age=0.0, name="file", size=7):
    place.mkdir(parents=True)
    (place / name).write_text("x" * size)
    for each in (place / name, place):
        os.utime(each, (time.time() - age,) * 2)
    return place


def encoding(tmp_path, age):
    return folder(tmp_path / "data/toy/encoded-0123", age, "manifest.json")


def clean(tmp_path, days=30.0, dry_run=False):
    """What is gone by path, and why the rest stays."""
    done = cleaning.clean([tmp_path / "runs"], [tmp_path / "data"], days * DAY, dry_run)
    return {each.path for each in done.found if not each.stays}, {
        each.path: each.stays for each in done.found if each.stays
    }


def test_what_a_dead_process_left_goes_whatever_its_age(tmp_path, run):
    places = [run, run / "saved_model", run.parent / "unfinished_seed_1", tmp_path / "data/toy/sources.json"]
    dead = {left(place, DEAD) for place in places}
    before = sorted(run.rglob("*"))
    assert clean(tmp_path, dry_run=True) == (dead, {})
    assert all(each.exists() for each in dead)
    assert clean(tmp_path) == (dead, {})
    assert not any(each.exists() for each in dead)
    assert sorted(run.rglob("*")) == [each for each in before if ".partial-" not in str(each)]


def test_what_was_left_where_runs_of_a_url_are_written_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("FUXI_MTL_RUNS", str(tmp_path / "cache"))
    run = write_run(tmp_path / "cache" / "s3" / "bucket" / "runs", "MMoE")
    dead = left(run, DEAD)
    done = cleaning.clean(["s3://bucket/runs"], [], 0)
    assert [each.path for each in done.found] == [dead]
    assert done.runs == (run,)


def test_what_is_being_written_stays(tmp_path, run):
    place = folder(partial_name(run), age=99 * DAY)
    gone, stays = clean(tmp_path)
    assert (gone, stays) == (set(), {place: f"process {os.getpid()} is at work on it"})


@pytest.mark.parametrize("writer", [None, FAR])
def test_of_what_this_machine_does_not_know_the_age_decides(tmp_path, run, writer):
    place = left(run, writer, age=2 * DAY)
    assert clean(tmp_path, days=3) == (set(), {place: "changed 2 days ago"})
    assert clean(tmp_path, days=1) == ({place}, {})
    assert not place.exists()


def test_what_is_locked_stays_however_old(tmp_path, run):
    place = left(run, None, age=99 * DAY)
    with held(run):
        gone, stays = clean(tmp_path)
    assert gone == set()
    assert set(stays) == {place, lock_file(run)}
    assert all(f"process {os.getpid()} on" in reason for reason in stays.values())


def test_names_of_other_programs_are_left_alone(tmp_path, run):
    for name in (".seed_1.partial-old", ".seed_1.partial-a-b-c-12345678", ".x.lock.orig"):
        folder(run.with_name(name), age=99 * DAY)
    assert clean(tmp_path) == (set(), {})


def test_encodings_go_by_their_last_use(tmp_path):
    place = encoding(tmp_path, age=31 * DAY)
    assert clean(tmp_path, days=40) == (set(), {place: "used 31 days ago"})
    assert clean(tmp_path, dry_run=True)[0] == {place}
    assert clean(tmp_path) == ({place}, {})
    assert list(place.parent.iterdir()) == []


def test_an_encoding_that_a_process_reads_stays(tmp_path):
    place = encoding(tmp_path, age=99 * DAY)
    usage.begin_use(place)
    assert usage.unused_seconds(place) < 60
    gone, stays = clean(tmp_path, days=0)
    assert gone == set()
    assert stays[place] == "a living process uses it"
    usage.end_use(place)
    assert clean(tmp_path, days=0)[0] == {place}


def test_marks_of_dead_readers_go_and_those_of_another_machine_count_for_a_month(tmp_path):
    place = encoding(tmp_path, age=99 * DAY)
    dead = place.with_name(f".{place.name}.used-{DEAD.mark}-0123abcd")
    far = place.with_name(f".{place.name}.used-{FAR.mark}-0123abcd")
    for each in (dead, far):
        each.touch()
    assert usage.in_use(place)
    gone, stays = clean(tmp_path, days=1)
    assert gone == {dead}
    assert stays[place] == "a living process uses it"
    os.utime(far, (time.time() - 31 * DAY,) * 2)
    assert clean(tmp_path, days=1)[0] == {far, place}


def test_marks_that_cannot_be_written_are_done_without(tmp_path):
    place = tmp_path / "none" / "encoded-0123"
    usage.begin_use(place)
    usage.end_use(place)
    assert not place.parent.exists()


def test_an_encoding_that_was_not_whole_goes_unless_it_is_being_made(tmp_path):
    place = folder(tmp_path / "data/toy/.building-0123")
    with held(tmp_path / "data/toy/encoded-0123"):
        assert clean(tmp_path)[0] == set()
    assert clean(tmp_path) == ({place}, {})


def test_an_encoding_that_can_go_on_goes_when_it_is_old(tmp_path):
    place = tmp_path / "data/toy/.building-0123"
    folder(place / "savepoint", age=2 * DAY)
    os.utime(place, (time.time() - 2 * DAY,) * 2)
    assert clean(tmp_path) == (set(), {place: "changed 2 days ago"})
    assert clean(tmp_path, days=1) == ({place}, {})


def test_what_a_full_disk_left_of_a_run_goes_when_it_is_old(tmp_path, run):
    place = folder(run.with_name("unfinished_seed_2"), age=2 * DAY)
    assert clean(tmp_path) == (set(), {place: "changed 2 days ago"})
    assert clean(tmp_path, days=1) == ({place}, {})


def test_states_of_a_training_go_when_they_are_old_or_their_run_is_finished_later(tmp_path, run):
    old = folder(run.with_name("seed_2.training") / "state_7", age=2 * DAY).parent
    os.utime(old, (time.time() - 2 * DAY,) * 2)
    begun_anew = folder(run.with_name(f"{run.name}.training"), age=0)
    os.utime(run / "metrics.json", (time.time() - DAY / 2,) * 2)
    assert clean(tmp_path) == (set(), {old: "changed 2 days ago", begun_anew: "changed 0 seconds ago"})
    assert clean(tmp_path, days=1)[0] == {old}
    os.utime(run / "metrics.json", (time.time() + 60,) * 2)
    assert clean(tmp_path) == ({begun_anew}, {})


def test_locks_of_dead_processes_go(tmp_path, run):
    lock = lock_file(run)
    lock.write_text(Holder(DEAD, "2026-01-31 10:00:00", "token").to_json())
    assert clean(tmp_path, dry_run=True) == ({lock}, {})
    assert lock.exists()
    assert clean(tmp_path) == ({lock}, {})
    assert not lock.exists()


def test_what_is_locked_between_the_look_and_the_removal_stays(tmp_path, run, monkeypatch):
    place = encoding(tmp_path, age=99 * DAY)
    lock = lock_file(run)
    for each in (lock, lock_file(place)):
        each.write_text(Holder(this_process(), "2026-01-31 10:00:00", "token").to_json())
    monkeypatch.setattr(cleaning, "holder_of", lambda path: None)
    gone, stays = clean(tmp_path)
    assert gone == set()
    assert all("is in use by process" in reason for reason in stays.values())
    assert place.exists()


def test_temporary_folders_of_dead_programs_go(tmp_path):
    dead = folder(tmp_path / "tmp" / f"fuxi_mtl-{DEAD.mark}-abcd_123")
    living = folder(tmp_path / "tmp" / f"fuxi_mtl-{this_process().mark}-abcd_123", age=99 * DAY)
    old = folder(tmp_path / "tmp" / "fuxi_mtl-abcd_123", age=2 * DAY)
    others = folder(tmp_path / "tmp" / ".x.partial-0123abcd", age=99 * DAY)
    gone, stays = clean(tmp_path)
    assert gone == {dead}
    assert set(stays) == {living, old}
    assert clean(tmp_path, days=1)[0] == {old}
    assert others.exists()


def test_finished_runs_are_named_and_never_touched(tmp_path, run):
    update = run.parent / "days/2026-11-08/seed_1"
    update.mkdir(parents=True)
    (update / "metrics.json").write_text("{}")
    done = cleaning.clean([tmp_path / "runs", tmp_path / "runs/.", tmp_path / "none"], [], 0)
    assert (done.found, done.runs) == ((), (run, update))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds"), (1, "1 second"), (61, "1 minute"), (7200, "2 hours"), (41.5 * DAY, "41 days")],
)
def test_a_time_is_said_as_people_do(seconds, text):
    assert duration(seconds) == text
