"""How TensorFlow treats graphs, for tests that run one a few times only."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

import pytest
import tensorflow as tf

from fuxi_mtl.model import MultiTaskModel


@contextmanager
def as_traced() -> Iterator[None]:
    """Inside, graphs run as they were traced: to rewrite one first takes as long as to trace it."""
    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


@contextmanager
def without_graphs() -> Iterator[None]:
    """Inside, models are compiled to run eagerly: to trace a step takes as long as to take a dozen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MultiTaskModel, "compile", partialmethod(MultiTaskModel.compile, run_eagerly=True))
        yield
