"""Encoded splits and batches, made from files of raw rows.

:func:`load_dataset` reads, checks, fits, encodes and caches; :func:`training_batches` and
:func:`evaluation_batches` feed the network; :class:`Encoder` does the same to rows that come later.
"""

from typing import TYPE_CHECKING, Any

from fuxi_mtl.dataset.encoding import Column, Encoder
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.inputs import declared_features, dummy_features
from fuxi_mtl.dataset.loading import data_key, load_as_encoded, load_dataset, verify_files
from fuxi_mtl.dataset.sampling import NegativeSample
from fuxi_mtl.dataset.splits import Dataset, Split

if TYPE_CHECKING:
    from fuxi_mtl.dataset.batches import (
        batches_per_epoch,
        evaluation_batches,
        random_batch,
        training_batches,
    )

__all__ = [
    "Column",
    "DataError",
    "Dataset",
    "Encoder",
    "NegativeSample",
    "Split",
    "batches_per_epoch",
    "data_key",
    "declared_features",
    "dummy_features",
    "evaluation_batches",
    "load_as_encoded",
    "load_dataset",
    "random_batch",
    "training_batches",
    "verify_files",
]


def __getattr__(name: str) -> Any:
    # Batches need TensorFlow, which takes seconds to import; encoding does not.
    if name in ("batches_per_epoch", "evaluation_batches", "random_batch", "training_batches"):
        from fuxi_mtl.dataset import batches

        return getattr(batches, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
