"""What every test needs before anything is imported."""

import gc
import os
from collections import Counter

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


# Files of forty seconds of a core and more, as measured: the last file must not leave a core idle.
LONG = (
    "model_zoo/test_contract.py",
    "serving/test_export.py",
    "cli/test_interrupted.py",
    "model/test_on_two_devices.py",
    "cli/test_fork_folder.py",
    "cli/test_workers.py",
    "interface/test_fit.py",
    "test_packaging.py",
    "training/test_training_state.py",
    "training/test_initial.py",
    "interface/test_examples.py",
    "cli/test_command_line.py",
    "cli/test_interrupted_updates.py",
    "cli/test_train.py",
    "decoders/test_heads.py",
    "layers/test_bricks.py",
    "model_zoo/test_histories_of_models.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Files that take long come first, then those of many tests; pyproject.toml has them dealt like that."""
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (not item.path.as_posix().endswith(LONG), -sizes[item.path]))


def pytest_collection_finish():
    """Every run begins with a garbage collection; what was imported is left out of it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # tracing makes objects by the hundred thousand
    _keep_kernels()


def _keep_kernels():
    """TensorFlow makes the kernel of an operation once, whatever is asked of it.

    It makes one for each name of a variable, which Keras numbers, so that they are new in every test; and it
    forgets all of them with its seed, from which nothing of ours is drawn. That was a third of a small test.
    """
    import tensorflow as tf
    from tensorflow.python.ops import gen_resource_variable_ops as operations

    named = operations.var_handle_op

    def var_handle_op(*arguments, debug_name="", **keywords):
        return named(*arguments, **keywords)

    def set_seed(seed):
        pass

    operations.var_handle_op, tf.random.set_seed = var_handle_op, set_seed


@pytest.fixture
def seed_of_tensorflow(monkeypatch):
    """It is set as outside of tests."""
    import tensorflow as tf

    monkeypatch.setattr(tf.random, "set_seed", tf.compat.v2.random.set_seed)


@pytest.fixture(scope="module", autouse=True)
def _what_a_file_leaves():
    """Likewise: else the collections of later files take longer and longer, a quarter of each run at last."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def graphs_as_traced():
    """For files whose graphs run a few times only: none is rewritten before it runs."""
    import graphs

    with graphs.as_traced():
        yield


@pytest.fixture
def float32_afterwards():
    """Keras's policy is the one of every other test again, whatever a test has made of it."""
    yield
    import keras

    keras.config.set_dtype_policy("float32")


@pytest.fixture
def eagerly():
    """Few steps of a training take less time than to trace one."""
    import graphs

    with graphs.without_graphs():
        yield
