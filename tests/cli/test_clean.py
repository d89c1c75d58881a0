"""The command ``clean``, and sweeps of the command line."""

import os
import re
import time

import pytest
from command_line import call

from fuxi_mtl.cli.commands import main
from fuxi_mtl.runs import Run


def test_clean_says_what_goes_what_stays_and_how_large_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    old, young = (tmp_path / f"data/toy/encoded-{key}" for key in ("0a", "0b"))
    for place in (old, young):
        place.mkdir(parents=True)
        (place / "manifest.json").write_text("x" * 2048)
    os.utime(old / "manifest.json", (time.time() - 99 * 86400,) * 2)
    roots = ("--model_root", tmp_path / "runs", "--data_root", tmp_path / "data")
    for last, verb in (("--dry-run", "would go"), ("--older-than=98d", "removed")):
        done = call("clean", *roots, last)
        assert (done.status, done.err) == (0, "")
        assert done.out.splitlines() == [
            f"{verb:<9}   2.0 KiB  {old}: an encoded dataset",
            f"stays       2.0 KiB  {young}: an encoded dataset, used 0 seconds ago",
            f"1 {verb}, 2.0 KiB; 1 of their kinds stay, 2.0 KiB; 0 finished runs are never touched, 0 bytes.",
        ]
    assert not old.exists()
    assert young.exists()


def test_clean_finds_the_folders_in_the_stanzas(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "elsewhere/toy/Toy/.seed_1.partial-01234567"
    left.mkdir(parents=True)
    config = tmp_path / "config"
    config.mkdir()
    (config / "model_config.yaml").write_text(f"Toy:\n  model_root: {tmp_path}/elsewhere\n")
    (config / "dataset_config.yaml").write_text("{}\n")
    done = call("clean", "--config", config, "--older-than", "0m")
    assert f"removed     0 bytes  {left}: what was not whole yet" in done.out
    assert not left.exists()


@pytest.mark.parametrize("age", ["30", "d", "-1d", "3 days"])
def test_an_age_has_a_number_and_a_unit(age, capsys):
    with pytest.raises(SystemExit):
        main(["clean", f"--older-than={age}"])
    assert "is no age: write a number with m, h, d or w, such as 30d" in capsys.readouterr().err


def test_a_sweep_goes_on_and_its_second_call_runs_what_is_missing(monkeypatch, tmp_path):
    begun = []

    def trained(experiment, _, resume, restart, **__):
        begun.append((experiment.expid, experiment.training.seed, resume))
        if len(begun) == 2:
            raise ValueError("the disk is full")
        return Run(tmp_path / f"{experiment.expid}-{experiment.training.seed}")

    monkeypatch.setattr("fuxi_mtl.workflow.resume.run_or_resume", trained)
    monkeypatch.setattr("fuxi_mtl.comparison.compare", lambda folders: [f.name for f in folders])
    monkeypatch.setattr("fuxi_mtl.report.render", lambda tables, *_, **__: f"table of {tables}")
    done = call("run", "--expid", "Toy", "ToyFunnel", "--seed", 1, 2, "--resume")
    assert begun == [(expid, seed, True) for expid in ("Toy", "ToyFunnel") for seed in (1, 2)]
    assert done.status == 1
    assert "table of ['Toy-1', 'ToyFunnel-1', 'ToyFunnel-2']" in done.out
    assert done.err == (
        "SweepError: 1 of 4 runs failed; the others are whole, and the same command with --resume runs only "
        "what is missing:\n  Toy, seed 2: the disk is full\n"
    )
    assert re.search(r"ERROR Toy, seed 2 failed: the disk is full", done.out)
