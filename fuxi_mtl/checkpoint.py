"""Saves and restores a model with everything that training it changes."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import keras
import tensorflow as tf

from fuxi_mtl.model import MultiTaskModel


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another model."""


def save(model: MultiTaskModel, folder: Path) -> None:
    """Writes network, optimizer and weighting; an older checkpoint stays until the new one is whole.

    Rows that have put off moves make them first: the network is stored as it would be evaluated.

    Raises:
        CheckpointError: It cannot be written; the older one is still there.
    """
    model.settle()
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _state(model).write(str(partial / "state"))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"{folder}: the checkpoint cannot be written ({_reason(error)}). "
            "Make room, or set model_root to another folder."
        ) from error


def restore(model: MultiTaskModel, folder: Path) -> None:
    """Reads what :func:`save` wrote; an uncompiled model takes the network's weights only.

    Raises:
        CheckpointError: Nothing there, damaged, or written by a model of another shape.
    """
    path = str(folder / "state")
    if not Path(f"{path}.index").is_file():
        raise CheckpointError(f"{folder}: no checkpoint there. Train the experiment again.")
    try:
        _check_shapes(model, tf.train.load_checkpoint(path).get_variable_to_shape_map())
        status = _state(model).read(path)
        if model.compiled:
            status.assert_consumed()
        else:
            status.expect_partial()
        status.assert_existing_objects_matched()
    # TensorFlow's reader turns damage into errors of many kinds.
    except (tf.errors.OpError, AssertionError, ValueError, LookupError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: the checkpoint is damaged, or of another model ({_reason(error)}). "
            "Train the experiment again."
        ) from error


def _state(model: MultiTaskModel) -> tf.train.Checkpoint:
    """Every variable by its position.

    TensorFlow does not see layers that Keras keeps in lists, and the names of Keras's variables depend on
    how many layers the process made before.
    """
    weights = {id(variable) for variable in model.weights}
    state = {"network": _values(model.weights)}
    if model.compiled:
        state["seeds"] = _values(v for v in model.variables if id(v) not in weights)
        state["optimizer"] = _values(model.optimizer.variables)
        state["weighting"] = model.weighting
    return tf.train.Checkpoint(**state)


def _values(variables: Iterable[keras.Variable]) -> list[tf.Variable]:
    return [variable.value for variable in variables]


def _check_shapes(model: MultiTaskModel, stored: dict[str, list[int]]) -> None:
    prefix = "network/"
    found = {name: tuple(shape) for name, shape in stored.items() if name.startswith(prefix)}
    for position, variable in enumerate(model.weights):
        shape = found.pop(f"{prefix}{position}/.ATTRIBUTES/VARIABLE_VALUE", None)
        if shape != tuple(variable.shape):
            was = "missing there" if shape is None else f"{shape} there"
            raise ValueError(f"{variable.path} is {tuple(variable.shape)} here and {was}")
    if found:
        raise ValueError(f"it has {len(found)} variables more")


def _reason(error: Exception) -> str:
    """The first line of what TensorFlow says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
