"""Saves and restores a model with everything that training it changes."""

import shutil
from pathlib import Path

import tensorflow as tf

from fuxi_mtl.model import MultiTaskModel


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another model."""


def save(model: MultiTaskModel, folder: Path) -> None:
    """Writes network, optimizer and weighting; an older checkpoint stays until the new one is whole."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tf.train.Checkpoint(model=model).write(str(partial / "state"))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def restore(model: MultiTaskModel, folder: Path) -> None:
    """Reads what :func:`save` wrote; an uncompiled model takes the network's weights only.

    Raises:
        CheckpointError: Nothing there, damaged, or written by a model of another shape.
    """
    if not (folder / "state.index").is_file():
        raise CheckpointError(f"{folder}: no checkpoint there. Train the experiment again.")
    try:
        status = tf.train.Checkpoint(model=model).read(str(folder / "state"))
        status.assert_existing_objects_matched()
        if model.compiled:
            status.assert_consumed()
        else:
            status.expect_partial()
    except (tf.errors.OpError, AssertionError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise CheckpointError(
            f"{folder}: the checkpoint is damaged, or of another model ({reason}). "
            "Train the experiment again."
        ) from error
