"""The table of mutants fits the code, and what is said of a mutant is what its tests did."""

import io
import json
import sys
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks import mutant_worker, mutants
from benchmarks.__main__ import main
from benchmarks.mutants import Mutant, check_lines, measure_mutants, read_mutants, section

DIVIDES = Mutant("divides", "code.py", "a / b", "a * b", ("test_code.py::test_it",))
DIVIDES_LATER = replace(DIVIDES, what="later")


def test_every_line_of_the_table_is_in_its_file_once_and_changes():
    table = read_mutants()
    check_lines(table)
    assert len({(each.file, each.what) for each in table}) == len(table) >= 60
    for each in table:
        changed = (mutants.ROOT / each.file).read_text().replace(each.text, each.becomes)
        compile(changed, each.file, "exec")  # what cannot be read is seen by every test
        assert each.becomes != each.text


def test_tests_that_were_added_for_a_mutant_are_among_those_that_see_it():
    for each in read_mutants():
        if each.added:
            check_lines([Mutant(each.what, each.file, each.text, each.becomes, (each.added,))])
            assert each.added.partition("::")[0] in {test.partition("::")[0] for test in each.tests}, each


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("a // b", "divides: code.py has 'a / b' 0 times, not once"),
        ("a / b + a / b", "divides: code.py has 'a / b' 2 times, not once"),
    ],
)
def test_a_line_that_is_not_there_once_is_an_error(tmp_path, code, message):
    (tmp_path / "code.py").write_text(code)
    with pytest.raises(ValueError, match=message):
        check_lines([DIVIDES], tmp_path)


def test_a_test_that_is_not_there_is_an_error(tmp_path):
    (tmp_path / "code.py").write_text("a / b")
    (tmp_path / "test_code.py").write_text("def test_that():\n    pass\n")
    with pytest.raises(ValueError, match="divides: there is no test_code.py::test_it"):
        check_lines([DIVIDES], tmp_path)


@pytest.fixture
def answers(monkeypatch):
    """What pytest's exit status is: first of the whole code, then of each mutant."""
    given = []

    @contextmanager
    def worker():
        yield lambda tests, mutant=None: {
            "status": given.pop(0),
            "seconds": 2.0,
            "log": "FAILED tests/test_a.py::test_b - assert 1 == 2\n",
        }

    monkeypatch.setattr(mutants, "_worker", worker)
    monkeypatch.setattr(mutants, "check_lines", lambda _: None)
    monkeypatch.setattr(mutants, "read_mutants", lambda: [DIVIDES, replace(DIVIDES, what="halves")])
    return given


def test_a_mutant_is_killed_by_the_test_that_fails_and_survives_without_one(answers, tmp_path, capsys):
    answers += [0, 1, 0]
    assert main(["mutants", "--results", str(tmp_path)]) == 0
    assert "survived    2.0 s  code.py: halves" in capsys.readouterr().out
    content = json.loads((tmp_path / "mutants.json").read_text())
    killed, survived = content["cells"]
    assert (killed["outcome"], killed["by"]) == ("killed", "tests/test_a.py::test_b")
    assert survived["outcome"] == "survived"
    told = "\n".join(section(content))
    assert "named for them see 1, and 1 are not seen" in told
    assert "| code.py | halves | none |" in told


def test_tests_that_never_end_kill(answers, tmp_path):
    answers += [0, -14, 1]
    assert [each["outcome"] for each in measure_mutants([], tmp_path)["cells"]] == ["killed", "killed"]


def test_a_part_of_the_mutants_is_measured_anew_and_what_was_changed_is_forgotten(
    answers, tmp_path, monkeypatch
):
    answers += [0, 1, 1, 0, 0, 0, 1]
    measure_mutants([], tmp_path)
    (first, second) = measure_mutants(["code.py: halves"], tmp_path)["cells"]
    assert (first["outcome"], second["outcome"]) == ("killed", "survived")
    monkeypatch.setattr(mutants, "read_mutants", lambda: [replace(DIVIDES, becomes="a"), DIVIDES_LATER])
    (kept,) = measure_mutants(["later"], tmp_path)["cells"]
    assert kept["what"] == "later"


@pytest.mark.parametrize(
    ("statuses", "message"),
    [([1], "tests fail though nothing is broken"), ([0, 2], "code.py, divides: the tests cannot run")],
)
def test_tests_that_say_nothing_of_a_mutant_end_the_run(answers, tmp_path, statuses, message):
    answers += statuses
    with pytest.raises(RuntimeError, match=message):
        measure_mutants([], tmp_path)


def test_a_part_that_no_mutant_has_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no mutant's file or sentence holds 'nowhere'"):
        measure_mutants(["nowhere"], tmp_path)


def test_a_worker_that_has_ended_is_an_error(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nread task; echo no module >&2\n")
    script.chmod(0o700)
    monkeypatch.setattr(mutants, "_copy_tree", lambda copy: copy.mkdir())
    monkeypatch.setattr(sys, "executable", str(script))
    with (
        pytest.raises(RuntimeError, match="the process that runs the tests has ended:\nno module"),
        mutants._worker() as ask,
    ):
        ask(["tests"])


def test_the_worker_takes_no_modules_from_elsewhere(tmp_path):
    with pytest.raises(RuntimeError, match=r"fuxi_mtl comes from .*__init__.py, not from the copy"):
        mutant_worker.serve(tmp_path)


def test_the_worker_breaks_one_file_at_a_time_and_mends_it(tmp_path, monkeypatch, capsys):
    file = tmp_path / "fuxi_mtl" / "__init__.py"
    for name in ("fuxi_mtl", "fuxi_mtl_zoo"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("a / b")
    seen = []
    monkeypatch.setattr(mutant_worker, "PRELOADED", ())
    monkeypatch.setattr(
        mutant_worker,
        "_in_fork",
        lambda tests, seconds: seen.append((tests, seconds > 0, file.read_text())) or 1,
    )
    monkeypatch.setattr(
        mutant_worker.importlib.util,
        "find_spec",
        lambda name: SimpleNamespace(origin=str(tmp_path / name / "__init__.py")),
    )
    task = {"file": "fuxi_mtl/__init__.py", "text": "a / b", "becomes": "a * b", "tests": ["t"]}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(task) + "\n"))
    mutant_worker.serve(tmp_path)
    assert seen == [(["t"], True, "a * b")]
    assert file.read_text() == "a / b"
    assert json.loads(capsys.readouterr().out)["status"] == 1
