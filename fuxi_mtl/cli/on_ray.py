"""Workers that Ray starts, on however many machines its cluster has."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuxi_mtl.cli.processes import python_path
from fuxi_mtl.cluster import LOST

logger = logging.getLogger(__name__)

STATUS = "exit status"
ARRIVAL = 600  # seconds that workers may take to start; Ray's own 60 are not enough on a busy machine
RESTARTS = 3  # times that all workers are started again when one was lost


class LostError(RuntimeError):
    """A worker lost another one; a restart may help."""


class FailedError(RuntimeError):
    """A worker failed, and would again."""


def run_on_ray(arguments: Sequence[str], address: str, count: int, gpus: Sequence[int]) -> int:
    """Runs one command in several workers of Ray Train that train as one, and again when one is lost.

    All machines of the cluster see the same files under the same paths, the working directory included.

    Args:
        arguments: The command, as this process was called.
        address: Of a cluster that runs, as `ray.init` takes it, or ``local`` to start one here.
        count: How many workers.
        gpus: -1 for CPUs, anything else for a GPU each, which Ray chooses.

    Returns:
        The exit status: 0, or 1 if a worker has failed, which it has told.

    Raises:
        ValueError: Ray is not installed, or the cluster cannot be reached.
        LostError: A worker was lost once more after the last restart.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(ARRIVAL))  # Ray hands it on
    try:
        import ray
        from ray.train import ScalingConfig, TrainingFailedError
        from ray.train.tensorflow import TensorflowTrainer
    except ImportError as error:
        raise ValueError(f"--ray needs Ray ({error}): pip install 'fuxi-mtl[ray]'.") from error
    try:
        place = None if address == "local" else address
        ray.init(address=place, runtime_env={"env_vars": {"PYTHONPATH": python_path()}})
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ValueError(f"--ray {address}: there is no cluster of Ray ({_reason(error)}).") from error
    uses_gpu = list(gpus) != [-1]
    # What is said last counts.
    command = [*arguments, "--ray", "", "--processes", "1", "--gpu", "0" if uses_gpu else "-1"]
    try:
        for restart in range(RESTARTS + 1):
            trainer = TensorflowTrainer(
                _work,
                train_loop_config={
                    "command": [*command, *(["--resume"] if restart else [])],
                    "folder": str(Path.cwd()),
                },
                scaling_config=ScalingConfig(num_workers=count, use_gpu=uses_gpu),
            )
            try:
                trainer.fit()
            except TrainingFailedError as error:
                if f"{FailedError.__name__}: {STATUS}" in str(error):  # Ray keeps errors as text
                    return 1
                reason = _reason(error)
            else:
                return 0
            if restart < RESTARTS:
                logger.warning("A worker was lost (%s): all start again and go on.", reason)
    finally:
        ray.shutdown()
    raise LostError(f"a worker was lost {RESTARTS + 1} times, the last time so: {reason}")


def _reason(error: BaseException) -> str:
    """The last line of what Ray says, which is the cause."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:300]


def _work(config: Mapping[str, Any]) -> None:
    """What each worker does; Ray has set its ``TF_CONFIG``."""
    from fuxi_mtl.cli.commands import main

    os.chdir(config["folder"])
    status = main(config["command"])
    if status == LOST:
        raise LostError
    if status:
        raise FailedError(f"{STATUS} {status}")
