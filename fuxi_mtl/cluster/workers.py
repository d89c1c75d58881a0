"""The connection between the workers of a training: messages, numbers and scores.

Training steps are TensorFlow's `MultiWorkerMirroredStrategy`. Around them the chief (worker 0) decides, and
all others hear what to do: messages go through the key-value store that TensorFlow's coordination service
keeps in the chief, which also notices within :data:`HEARTBEATS` seconds that a worker is gone. Numbers go
from one to all in buffers of two sizes, because a collective remembers the shape of its first run by its key.
"""

import errno
import json
import logging
import math
import re
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from tensorflow.python.distribute import collective_all_reduce_strategy as multi_worker
from tensorflow.python.eager import context as eager_context

from fuxi_mtl.cluster import LOST, Cluster, part_of
from fuxi_mtl.interruption import Terminated

logger = logging.getLogger(__name__)

HEARTBEATS = 20  # seconds without a sign of life after which a worker counts as gone
ARRIVAL = 600  # seconds that workers wait for each other at the start
_LOOK = 1000  # milliseconds of one look into the store: signals are handled between two
_SAID_AFTER, _SAID_EVERY = 30, 300  # seconds of waiting before it is said, and before it is said again
_GROUP, _KEYS = 0x4D54_4C00, 0x4D54_4C00  # of our collectives; TensorFlow counts its own from 1
_BUFFERS = (1 << 12, 1 << 20)  # int32 numbers of a collective: 16 KB for few numbers, 4 MB for many
# What TensorFlow says when a peer is gone, or when it learns that others have said so.
_GONE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
)


class WorkerError(RuntimeError):
    """Another worker is gone, has failed, or has other data."""

    exit_status = LOST


class Numbers(Protocol):
    """A variable, or some rows of one, that is read and written piece by piece."""

    def chunks(self) -> Iterator[Any]:
        """The places of the pieces."""

    def read(self, chunk: Any) -> np.ndarray:
        """The numbers of a piece."""

    def write(self, chunk: Any, values: np.ndarray) -> None:
        """Sets them."""


class Workers:
    """All processes of a training, as one of them sees them.

    The chief :meth:`tell`s, all others :meth:`hear`, in the same order; each :meth:`say`s, and the chief
    :meth:`collect`s. :meth:`share` and :meth:`gather` are called by all at once.

    Args:
        cluster: Which they are.
        strategy: Under which they take their steps.
    """

    def __init__(self, cluster: Cluster, strategy: tf.distribute.Strategy):
        self.cluster, self.strategy = cluster, strategy
        self.rank, self.size, self.is_chief = cluster.rank, cluster.size, cluster.is_chief
        self._store = eager_context.context()
        self._told, self._said = 0, [0] * self.size
        self._passes: dict[tuple[int, int], Any] = {}

    def tell(self, what: str, **content: Any) -> None:
        """Has all others hear something; of the chief."""
        self._store.set_config_key_value(f"fuxi_mtl/told/{self._told}", json.dumps([what, content]))
        self._told += 1

    def hears(self, seconds: float) -> bool:
        """Whether the chief has told something more by then; :meth:`hear` gives it."""
        try:
            self._store.get_config_key_value(f"fuxi_mtl/told/{self._told}", round(1000 * seconds))
        except tf.errors.DeadlineExceededError:
            return False
        return True

    def hear(self, *expected: str) -> tuple[str, dict[str, Any]]:
        """What the chief tells next: what, and its content.

        Args:
            *expected: What it may be; a failure of the chief may always be.

        Raises:
            WorkerError: The chief has failed or is gone.
            KeyboardInterrupt: The chief was interrupted.
        """
        text = self._waited_for(f"fuxi_mtl/told/{self._told}", 0)
        self._told += 1
        what, content = json.loads(text)
        if what == "fail":
            kinds = {kind.__name__: kind for kind in (KeyboardInterrupt, Terminated)}
            raise kinds.get(content["kind"], WorkerError)(
                f"{self.cluster.name(0)} has ended: {content['reason']}"
            )
        if what not in expected:
            raise WorkerError(
                f"{self.cluster.name(0)} is at {what!r} where this one is at {' or '.join(expected)}: give "
                "all workers the same command and the same version."
            )
        return what, content

    def say(self, value: Any) -> None:
        """Tells the chief something that :meth:`collect` gives it; of all others."""
        key = f"fuxi_mtl/said/{self.rank}/{self._said[self.rank]}"
        self._store.set_config_key_value(key, json.dumps(value))
        self._said[self.rank] += 1

    def collect(self, own: Any, limit: float = math.inf) -> list[Any]:
        """What each worker says next, in their order, with the chief's own; of the chief.

        Args:
            own: The chief's.
            limit: Seconds to wait at most.

        Raises:
            WorkerError: A worker is gone, or says nothing.
        """
        found, until = [own], time.monotonic() + limit
        for rank in range(1, self.size):
            text = self._waited_for(f"fuxi_mtl/said/{rank}/{self._said[rank]}", rank, until)
            self._said[rank] += 1
            found.append(json.loads(text))
        return found

    def share(self, numbers: Iterable[Numbers]) -> None:
        """Gives all workers the chief's numbers; called by all, each with its own of the same shapes."""
        for group in _grouped(numbers):
            size = sum(values.nbytes for _, _, values in group)
            sent = self._sent(0, b"".join(values.tobytes() for _, _, values in group), size)
            start = 0
            for each, chunk, values in () if self.is_chief else group:
                each.write(chunk, np.frombuffer(sent, values.dtype, values.size, start).reshape(values.shape))
                start += values.nbytes

    def gather(self, own: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        """The arrays of all workers; called by all.

        Every worker passes what another one sends through its buffer; only the chief keeps it.

        Args:
            own: This worker's.
            shapes: Of all of them, in order; their dtype is that of `own`.

        Returns:
            All arrays in the chief, none elsewhere.
        """
        found = [own]
        for rank in range(1, self.size):
            size = int(np.prod(shapes[rank])) * own.itemsize
            data = np.ascontiguousarray(own).tobytes() if rank == self.rank else b""
            sent = self._sent(rank, data, size, keep=self.is_chief)
            if self.is_chief:
                found.append(np.frombuffer(sent, own.dtype).reshape(shapes[rank]))
        return found if self.is_chief else []

    def own_rows(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The rows of whole global batches that this worker takes."""

        @tf.autograph.experimental.do_not_convert
        def own(*batch: Any) -> Any:
            return tf.nest.map_structure(self._own_rows, batch)

        return batches.map(own)

    def _own_rows(self, column: tf.Tensor) -> tf.Tensor:
        return column[part_of(tf.shape(column)[0], self.rank, self.size)]

    def fail(self, error: BaseException) -> None:
        """Has all others end, because this one does; of the chief."""
        try:
            self.tell("fail", kind=type(error).__name__, reason=str(error) or type(error).__name__)
        except tf.errors.OpError:  # they know
            logger.debug("nobody hears of the failure")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Turns what TensorFlow says of a peer that is gone into a sentence."""
        try:
            yield
        except _GONE as error:
            lost = self._lost(error)
            if lost is None:
                raise
            raise lost from error

    def _lost(self, error: tf.errors.OpError) -> WorkerError | None:
        """Who is gone, as far as TensorFlow says; None if the error is about something else."""
        text = error.message
        if isinstance(error, tf.errors.InternalError) and "ollective" not in text:
            return None
        ranks = [int(rank) for rank in re.findall(r"task:(\d+)", text) if int(rank) < self.size]
        others = [rank for rank in ranks if rank != self.rank]
        if not self.is_chief and "connect" in text:  # the store is in the chief
            others = [0]
        return self._gone(self.cluster.name(others[0]) if others else "another worker")

    def _gone(self, who: str) -> WorkerError:
        return WorkerError(
            f"{who} is gone: its own log says why. Start all workers again by the same command; --resume "
            "goes on from the last state of the training."
        )

    def _waited_for(self, key: str, rank: int, until: float = math.inf) -> str:
        """The value of a key that a worker will set."""
        started, said = time.monotonic(), float(_SAID_AFTER)
        with self.watched():
            while True:
                try:
                    return self._store.get_config_key_value(key, _LOOK)
                except tf.errors.DeadlineExceededError:
                    self._check_all_alive()
                    waited = time.monotonic() - started
                if waited > said:
                    logger.info("Waiting for %s, for %.0f s until now.", self.cluster.name(rank), waited)
                    said += _SAID_EVERY
                if time.monotonic() > until:
                    raise WorkerError(
                        f"{self.cluster.name(rank)} is alive and has said nothing for {waited:.0f} s: its "
                        "log says why."
                    )

    def _check_all_alive(self) -> None:
        """Raises if a worker is gone: who waits for a key does not hear of it."""
        states = self._store.get_task_states([("worker", self.size)])
        gone = [rank for rank, state in enumerate(states) if isinstance(state, tf.errors.UnavailableError)]
        if gone:
            raise self._gone(self.cluster.name(gone[0]))

    def _sent(self, root: int, data: bytes, size: int, keep: bool = True) -> bytes:
        """Bytes of one worker, in all workers that keep them."""
        kept, place = bytearray(), 0
        while place < size:
            numbers = next((n for n in _BUFFERS if size - place <= 4 * n), _BUFFERS[-1])
            piece = data[place : place + 4 * numbers] if root == self.rank else b""
            buffer = np.frombuffer(piece.ljust(4 * numbers, b"\0"), np.int32)
            passed = self._pass(root, numbers)(buffer)
            if keep:
                kept += passed.numpy().tobytes()
            place += 4 * numbers
        return bytes(kept[:size])

    def _pass(self, root: int, numbers: int) -> Any:
        """The collective by which a worker sends a buffer to all."""
        if (root, numbers) not in self._passes:
            key = _KEYS + len(_BUFFERS) * root + _BUFFERS.index(numbers)
            own = {"group_size": self.size, "group_key": _GROUP, "instance_key": key}

            def passed(buffer):
                with tf.device(f"/job:worker/replica:0/task:{self.rank}/device:CPU:0"):
                    if root == self.rank:
                        return tf.raw_ops.CollectiveBcastSendV2(input=tf.identity(buffer), **own)
                    return tf.raw_ops.CollectiveBcastRecvV2(shape=[numbers], T=tf.int32, **own)

            signature = [tf.TensorSpec([numbers], tf.int32)]
            self._passes[root, numbers] = tf.function(passed, signature, autograph=False)
        return self._passes[root, numbers]


_CONNECTED: list[Workers] = []


def connected() -> Workers | None:
    """The workers that this process is one of; None if it trains alone."""
    return _CONNECTED[0] if _CONNECTED else None


def together(model: Any) -> Workers | None:
    """The workers that train a model in common; None of a model that this process has for itself."""
    workers = connected()
    return workers if workers is not None and model.distribute_strategy is workers.strategy else None


def connect(cluster: Cluster, accelerators: int = 0) -> Workers:
    """Connects this process with the others; before TensorFlow has computed anything, and once.

    Args:
        cluster: Which they are.
        accelerators: GPUs that TensorFlow sees in this process: none or one.

    Raises:
        WorkerError: The others do not come, or another program has the port.
        ValueError: TensorFlow has computed something already.
    """
    known = connected()
    if known is not None:
        return known
    _check_port(cluster)
    job = multi_worker.coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=cluster.size)
    eager_context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=1000 * ARRIVAL,
        heartbeat_timeout_in_ms=1000 * HEARTBEATS,
        coordinated_jobs=[job],
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.rank,
        num_accelerators={"GPU": accelerators},
        rpc_layer="grpc",
    )
    logger.info("This is %s of %d; waiting for the others.", cluster.name(), cluster.size)
    try:
        with _signals_end_it():
            strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except tf.errors.OpError as error:
        reason = error.message.strip().partition("\n")[0]
        raise WorkerError(
            f"{cluster.name()} cannot join the others ({reason}). All {cluster.size} workers are to start "
            f"within {ARRIVAL} s, each with its own task, and to reach each other at "
            f"{', '.join(cluster.addresses)}."
        ) from error
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise ValueError(
            f"{cluster.name()} cannot join the others: TensorFlow has computed something in this process "
            "before. A module (of --models, say) that makes tensors or layers when it is imported is to make "
            "them in a function."
        ) from error
    _CONNECTED.append(Workers(cluster, strategy))
    return _CONNECTED[0]


def _check_port(cluster: Cluster) -> None:
    """Tells who has no port, of which TensorFlow says only that it could not start.

    It listens on all interfaces, and so this looks at all.
    """
    both = socket.has_dualstack_ipv6()
    with socket.socket(socket.AF_INET6 if both else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what ended does not count, as for gRPC
        if both:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            probe.bind(("", cluster.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # else TensorFlow may know better
                return
            raise WorkerError(
                f"{cluster.name()} cannot listen: another program of this machine has port {cluster.port}. "
                "End it, or give the workers other ports."
            ) from error


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Inside, signals end the process: TensorFlow waits where Python hears of none.

    SIGTERM does so only until TensorFlow waits for others: it then takes that signal for itself, and keeps
    the interpreter, so that nothing here can give it back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _grouped(numbers: Iterable[Numbers]) -> Iterator[list[tuple[Numbers, Any, np.ndarray]]]:
    """Pieces that fill a buffer together: whose they are, their places and what is in them."""
    group: list[tuple[Numbers, Any, np.ndarray]] = []
    size = 0
    for each in numbers:
        for chunk in each.chunks():
            values = each.read(chunk)
            group.append((each, chunk, values))
            size += values.nbytes
            if size >= 4 * _BUFFERS[-1]:
                yield group
                group, size = [], 0
    if group:
        yield group
