"""The precision in which a network computes, and which one ``auto`` is on this machine for this model."""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

logger = logging.getLogger(__name__)

AUTO = "auto"
BATCHES = (256, 4096)  # rows of the products that are timed
PAYS = 1.1  # what a product has to gain: around it the step of a small model gains a tenth to a fifth
WIDEST = 512  # of a side: beyond it the gain is the same, and the measurement would not be short
SECONDS = 0.1  # that the timed calls may take; with those before them it stays below .2


@dataclass(frozen=True)
class Precision:
    """A dtype policy, and why it was taken.

    Attributes:
        policy: Keras's name of it.
        why: The sentence that the log has; empty where a stanza names the policy.
        gains: How many times as fast as in float32 a product is, by its rows; empty where none was timed.
    """

    policy: str
    why: str = ""
    gains: Mapping[str, float] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {key: value for key, value in asdict(self).items() if value}


def use_precision(precision: str) -> str:
    """Sets Keras's dtype policy and returns its name; ``auto`` is float32 until a model is known.

    See :func:`best_precision`.
    """
    policy = "float32" if precision == AUTO else precision
    if policy == "mixed_float16" and not tf.config.get_visible_devices("GPU"):
        logger.warning(
            "precision: mixed_float16 on a CPU was measured hundreds of times slower than mixed_bfloat16; "
            "use mixed_bfloat16 or float32 here."
        )
    keras.config.set_dtype_policy(policy)
    return policy


def best_precision(kernels: Iterable[Sequence[int]], batch: int) -> Precision:
    """What ``auto`` is: bfloat16 or float16 where they make this model faster on this machine.

    A GPU is asked for its compute capability: bfloat16 from 8.0 on, float16 from 7.0 on. On a CPU the widest
    product of the model is timed in both types, as a layer computes it: float32 in, the kernel cast.

    Args:
        kernels: Shapes of the matrices that the network multiplies by.
        batch: Rows of a step, between whose neighbours of :data:`BATCHES` the gain is read off.
    """
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        return _of_gpus(gpus)
    inner, outer = max(map(_sides, kernels), key=lambda sides: sides[0] * sides[1], default=(0, 0))
    if not inner:
        return Precision("float32", "the model multiplies by no matrix")
    gains = _gains(inner, outer)
    gain = _gain_of(gains, batch)
    told = " and ".join(f"{each:.2f} times with {rows:,} rows" for rows, each in gains.items())
    return Precision(
        "mixed_bfloat16" if gain >= PAYS else "float32",
        f"a product by {inner} x {outer} in bfloat16 is {told} as fast as in float32, so {gain:.2f} times "
        f"with batches of up to {batch:,}, which pays from {PAYS} on",
        {str(rows): each for rows, each in gains.items()},
    )


def _gain_of(gains: Mapping[int, float], batch: int) -> float:
    """The gain at a number of rows, along a line in logarithms; beyond the ends that of the end."""
    rows, found = np.log(list(gains)), np.log(list(gains.values()))
    return float(np.exp(np.interp(np.log(batch), rows, found)))


def _of_gpus(gpus: Sequence[Any]) -> Precision:
    capability = min(
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus
    )
    why = f"the compute capability is {'.'.join(map(str, capability))}"
    if capability >= (8, 0):
        return Precision("mixed_bfloat16", why)
    return Precision("mixed_float16" if capability >= (7, 0) else "float32", why)


def _sides(shape: Sequence[int]) -> tuple[int, int]:
    """Of a kernel how wide it takes and gives, as far as that is measured."""
    *_, inner, outer = shape
    return min(inner, WIDEST), min(outer, WIDEST)


@functools.cache  # all seeds of an experiment compute in one precision
def _gains(inner: int, outer: int) -> dict[int, float]:
    """How many times as fast a product is in bfloat16, by its rows."""
    random = np.random.default_rng(0)
    kernel = tf.constant(random.standard_normal((inner, outer), dtype=np.float32))
    gains = {}
    for rows in BATCHES:
        x = tf.constant(random.standard_normal((rows, inner), dtype=np.float32))
        products = [functools.partial(_product, x, kernel, dtype) for dtype in (tf.float32, tf.bfloat16)]
        plain, half = fastest(products, SECONDS / len(BATCHES))
        gains[rows] = round(plain / half, 3)
    return gains


def _product(x: tf.Tensor, kernel: tf.Tensor, dtype: tf.DType) -> None:
    """As a layer has it: the kernel is kept in float32, the inputs come from a layer of its precision."""
    tf.matmul(tf.cast(x, dtype), tf.cast(kernel, dtype)).numpy()


def fastest(
    calls: Sequence[Callable[[], None]], seconds: float, now: Callable[[], float] = time.perf_counter
) -> list[float]:
    """The least that each of some calls takes, in turns until the time is over.

    The first turn compiles and allocates: it is left out, and the second one is always timed.
    """
    for call in calls:
        call()
    least, end = [float("inf")] * len(calls), now() + seconds
    while True:
        for i, call in enumerate(calls):
            start = now()
            call()
            least[i] = min(least[i], now() - start)
        if now() >= end:
            return least
