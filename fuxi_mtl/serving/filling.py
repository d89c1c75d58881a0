"""Rows of tables that are written into a SavedModel piece by piece, so that no process holds a table."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

Rows = Iterable[tuple[int, np.ndarray]]
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # ends the names of variables in TensorFlow's checkpoints


def fill_tables(
    folder: Path, variables: Sequence[tf.Variable], attribute: str, rows: Mapping[int, Rows]
) -> None:
    """Puts rows into the variables of a SavedModel that was written without them.

    Args:
        folder: The SavedModel.
        variables: Those of the saved object, in the list that is its attribute.
        attribute: The name of that.
        rows: By the id of a variable, its rows piece by piece: the number of the first, ``(rows, width)``.
    """
    place = folder / "variables"
    prefix, parts = place / "variables", place / "parts"
    stored = tf.train.load_checkpoint(str(prefix))
    tables = {f"{attribute}/{at}{_VALUE}": v for at, v in enumerate(variables) if id(v) in rows}
    others = [name for name in stored.get_variable_to_shape_map() if name not in tables]
    parts.mkdir()
    written = [_written(parts, 0, others, [""] * len(others), [stored.get_tensor(name) for name in others])]
    for name, variable in tables.items():
        count, width = variable.shape
        for first, values in rows[id(variable)]:
            piece = f"{count} {width} {first},{len(values)}:0,{width}"
            written.append(_written(parts, len(written), [name], [piece], [np.asarray(values, np.float32)]))
    for file in place.glob("variables.*"):
        file.unlink()
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=written, destination_prefix=str(prefix), delete_old_dirs=True
    )
    shutil.rmtree(parts, ignore_errors=True)


def _written(
    parts: Path, number: int, names: list[str], pieces: list[str], values: list[np.ndarray | bytes]
) -> str:
    """Writes tensors, or pieces of them; the prefix of the files."""
    prefix = str(parts / str(number) / "variables")
    Path(prefix).parent.mkdir()
    tensors = [tf.convert_to_tensor(value) for value in values]
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=pieces, tensors=tensors)
    return prefix
