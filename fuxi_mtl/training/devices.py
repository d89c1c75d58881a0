"""Devices of a run."""

import logging
from collections.abc import Sequence

import tensorflow as tf

from fuxi_mtl.cluster import Cluster
from fuxi_mtl.cluster.workers import Workers, connect, connected

logger = logging.getLogger(__name__)


def use_devices(gpus: Sequence[int]) -> tf.distribute.Strategy:
    """Restricts TensorFlow to some GPUs; must run before anything is computed.

    Args:
        gpus: Ids of GPUs; ``[-1]`` is the CPU. With several, every step is split over them.

    Returns:
        The strategy under whose scope the model must be built; that of all workers, once this process is
        connected with others.

    Raises:
        ValueError: A GPU of that id does not exist although others do.
    """
    workers = connected()
    if workers is not None:  # which has chosen the devices
        return workers.strategy
    wanted = [gpu for gpu in gpus if gpu >= 0]
    present = tf.config.list_physical_devices("GPU")
    if wanted and not present:
        logger.warning("--gpu %s: no GPU is visible to TensorFlow; using the CPU.", _text(wanted))
        wanted = []
    if any(gpu >= len(present) for gpu in wanted):
        raise ValueError(f"--gpu {_text(wanted)}: there are {len(present)} GPUs, numbered from 0.")
    tf.config.set_visible_devices([present[gpu] for gpu in wanted], "GPU")
    if len(wanted) > 1:
        return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(len(wanted))])
    return tf.distribute.get_strategy()


def join_workers(cluster: Cluster, gpus: Sequence[int]) -> Workers:
    """Connects this process with the other workers of a training; must run before anything is computed.

    Args:
        cluster: Which they are, and which one this is.
        gpus: The GPU of this process; -1 is the CPU.

    Raises:
        ValueError: There are several, or it does not exist although others do.
        WorkerError: The other workers do not come.
    """
    if len(gpus) > 1:
        raise ValueError(
            f"--gpu {_text(gpus)}: each worker of a training has one device. Start a process for each GPU."
        )
    use_devices(gpus)
    return connect(cluster, len(tf.config.get_visible_devices("GPU")))


def _text(gpus: Sequence[int]) -> str:
    return " ".join(map(str, gpus))
