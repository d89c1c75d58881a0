"""Workers of this machine are started, watched and ended together; what they run is no training here."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import call

import fuxi_mtl as fm
from fuxi_mtl.cli import processes
from fuxi_mtl.cli.commands import main
from fuxi_mtl.cli.processes import ProcessError, launch
from fuxi_mtl.training.devices import join_workers

# What each worker does, by its rank; the environment and the command are what a training would get.
STARTED = (
    "import json, os, sys, time; "
    "config = json.loads(os.environ['TF_CONFIG']); rank = config['task']['index']; "
    "told = json.dumps([config, os.environ['OMP_NUM_THREADS'], sys.argv[2:]]); "
    "open(f'{sys.argv[1]}/{rank}.json', 'w').write(told); "
)


@pytest.fixture
def works(tmp_path, monkeypatch):
    """Makes workers do something else than training; their folder of what they were started with."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(processes, "_PATIENCE", 0.5)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    popen = subprocess.Popen

    def do(what: str) -> Path:
        def started(command, **options):
            assert command[:3] == [sys.executable, "-m", "fuxi_mtl"]
            return popen([sys.executable, "-c", STARTED + what, str(tmp_path), *command[3:]], **options)

        monkeypatch.setattr(subprocess, "Popen", started)
        return tmp_path

    return do


def test_each_worker_has_the_command_its_task_and_its_share_of_the_cores(works, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(6), raising=False)
    folder = works("")
    assert launch(["run", "--expid", "X", "--processes", "2"], 2, [-1]) == 0
    told = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    clusters = [config["cluster"]["worker"] for config, _, _ in told]
    assert clusters[0] == clusters[1]
    assert len(set(clusters[0])) == 2
    assert all(address.startswith("127.0.0.1:") for address in clusters[0])
    assert [threads for _, threads, _ in told] == ["3", "3"]
    expected = "run --expid X --processes 2 --processes 1 --gpu -1 --ends_with_parent".split()
    assert [command for _, _, command in told] == [expected, expected]


def test_each_worker_has_a_gpu_of_its_own(works):
    folder = works("")
    assert launch(["run"], 2, [3, 5]) == 0
    assert [json.loads((folder / f"{rank}.json").read_text())[2][-2] for rank in range(2)] == ["3", "5"]


def test_as_many_gpus_as_processes_are_named():
    with pytest.raises(ValueError, match="--gpu 0: each of 2 processes has one GPU of its own"):
        launch(["run"], 2, [0])


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("sys.exit(3)", "ended with status 3"),
        (
            "os.kill(os.getpid(), 9)",
            "was killed by SIGKILL; the system does that when the memory is not enough",
        ),
    ],
)
def test_a_worker_that_fails_ends_all_and_is_shown(works, end, told):
    works(f"print('hopeless', flush=True)\nif rank == 1: {end}\ntime.sleep(60)")
    started = time.monotonic()
    with pytest.raises(ProcessError, match="Worker 1 of 2") as error:
        launch(["run"], 2, [-1])
    assert time.monotonic() - started < 20
    assert told in str(error.value)
    assert "--resume goes on" in str(error.value)
    assert str(error.value).endswith("the last lines:\n  hopeless")
    assert error.value.exit_status == (1 if "3" in end else 75)  # a killed one may be gone on with


# A worker that hears of the chief's end, and ends first; and the other way round.
HEARD = "\nif rank == {first}: sys.exit({told})\ntime.sleep({later})\n"


def test_a_chief_that_is_killed_is_told_as_another_worker(works):
    works("\nif rank == 0: os.kill(os.getpid(), 9)\nsys.exit(75)")
    with pytest.raises(ProcessError, match=r"Worker 0 of 2 \(process \d+\) was killed by SIGKILL") as error:
        launch(["run"], 2, [-1])
    assert str(error.value).endswith("--resume goes on from the last state of the training.")
    assert error.value.exit_status == 75


def test_who_only_heard_of_the_chiefs_error_does_not_say_how_the_command_ends(works):
    works(HEARD.format(first=1, told=75, later=0.5) + "sys.exit(4)")
    assert launch(["run"], 2, [-1]) == 4


def test_a_chief_that_is_whole_needs_no_worker_any_more(works):
    works(HEARD.format(first=1, told=75, later=0.3))
    assert launch(["run"], 2, [-1]) == 0


@pytest.mark.parametrize("told", ["143", "130"])
@pytest.mark.parametrize("first", [0, 1])
def test_an_interruption_of_one_worker_is_one_of_all_and_the_chief_has_time_to_save(works, first, told):
    folder = works(HEARD.format(first=first, told=told, later=0.8) + f"sys.exit({told})")
    assert launch(["run"], 2, [-1]) == int(told)
    assert not list(folder.glob("fuxi_mtl-workers-*"))


def test_a_worker_that_is_interrupted_where_nobody_hears_of_it_is_named(works):
    works("\nif rank == 1: os.kill(os.getpid(), 15)\ntime.sleep(.3)\nsys.exit(75)")
    with pytest.raises(ProcessError, match=r"Worker 1 of 2 .* was killed by SIGTERM") as error:
        launch(["run"], 2, [-1])
    assert error.value.exit_status == 143


def test_a_chief_that_fails_has_said_why_and_gives_its_status(works):
    works("\nif rank == 0: sys.exit(4)\ntime.sleep(60)")
    assert launch(["run"], 2, [-1]) == 4


def test_a_signal_goes_to_all_and_the_status_is_the_chiefs(works):
    folder = works(
        "\nimport signal\n"
        "def heard(number, frame):\n"
        "    open(f'{sys.argv[1]}/heard_{rank}', 'a').write('x')\n"
        "    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, heard)\n"
        "open(f'{sys.argv[1]}/ready_{rank}', 'w')\n"
        "time.sleep(60)"
    )

    def terminate() -> None:
        until = time.monotonic() + 30
        while not all((folder / f"ready_{rank}").exists() for rank in range(2)) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate).start()
    assert launch(["run"], 2, [-1]) == 143
    assert [(folder / f"heard_{rank}").read_text() for rank in range(2)] == ["x", "x"]


LAUNCHER = """
import subprocess, sys
from fuxi_mtl.cli import processes
from fuxi_mtl.cli.commands import main
WORKER = '''
import os, sys, time
from fuxi_mtl.cli import commands
def work(*_):
    print(os.getpid(), flush=True)
    time.sleep(60)
commands._start = work
commands.main(sys.argv[1:])
'''
popen = subprocess.Popen
subprocess.Popen = lambda command, **how: popen(
    [sys.executable, "-c", WORKER, *command[3:]], **{**how, "stdout": None}
)
processes.launch(["run", "--expid", "X"], 2, [-1])
"""


def test_no_worker_outlives_a_launcher_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE) as launcher:
        workers = [int(launcher.stdout.readline()) for _ in range(2)]
        launcher.kill()
        killed = time.monotonic()
        try:
            assert launcher.stdout.read() == b""  # comes when no worker has the terminal any more
            assert time.monotonic() - killed < 20
        finally:
            for pid in workers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_processes_and_a_scheduler_exclude_each_other(monkeypatch):
    told = call("run", "--expid", "Toy", "--processes", "2", "--cluster", "slurm")
    assert told.status == 1
    assert "slurm names workers that are started already" in told.err
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert "TF_CONFIG names workers" in call("run", "--expid", "Toy", "--processes", "2").err


def test_a_worker_has_one_device():
    with pytest.raises(ValueError, match="--gpu 0 1: each worker of a training has one device"):
        join_workers(None, [0, 1])


def test_what_trains_in_one_process_is_refused_where_others_wait(monkeypatch):
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    told = "trains in this process alone, and TF_CONFIG names 2 workers"
    for command in (("pareto",), ("update", "--train_data", "x.csv")):
        assert f"{command[0]} {told}" in call(*command, "--expid", "Toy").err
    with pytest.raises(ValueError, match=f"fit {told}"):
        fm.experiment("Toy", config="config").fit()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("--processes 0", "'0' is not a whole number, 1 or more"),
        ("--encode_workers 0", "'0' is not a whole number, 1 or more"),
        ("--port 99999", "'99999' is not a whole number from 1 to 65535"),
        ("--gpu x", "'x' is not a whole number, -1 or more"),
        ("--seed 1.5", "'1.5' is not a whole number\n"),
    ],
)
def test_a_number_that_is_none_is_told_without_what_python_calls_it(capsys, given, told):
    with pytest.raises(SystemExit):
        main(["run", "--expid", "Toy", *given.split()])
    assert f"argument {given.split()[0]}: {told}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("--ray local", "--ray local needs --processes N"),
        ("--port 5", "--port 5 goes with --cluster slurm or kubernetes"),
    ],
)
def test_an_option_without_the_one_that_it_goes_with_is_told(given, told):
    answer = call("run", "--expid", "Toy", *given.split())
    assert answer.status == 1
    assert told in answer.err
