"""Checkpoints of a model and of everything that training changes, each thing under its name.

A checkpoint is one HDF5 file, which h5py and every HDF5 viewer read::

    network/embedding/user_id                    the rows of a feature, in whatever table they lie
    network/embedding/item_id/remainders         ... of one that is composed of two rows, and /quotients
    network/bottom/stack/hidden/0/kernel         any other variable, by the attributes that lead to its layer
    optimizer/rows/embedding/user_id/momentums   the slots of both kinds
    optimizer/dense/bottom/stack/hidden/0/kernel/velocities
    optimizer/dense/iterations                   what the optimizer has but once: here the count of all steps
    optimizer/dense/turns/0/iterations           ... and of the steps of a turn, where variables take turns
    seeds/bottom/stack/dropout                   random states
    weighting/weight                             the state of the weighting
    surgery/found                                of PE-LTR: the weights of the next step

Rows of tables that are spread over workers lie beside it, see :mod:`fuxi_mtl.training.checkpoint.spread`.
"""

from fuxi_mtl.training.checkpoint.files import (
    FILE,
    CheckpointError,
    is_spread,
    restore,
    rows_of_tables,
    save,
)
from fuxi_mtl.training.checkpoint.transfer import StoredModel, TableRows, Transfer

__all__ = [
    "FILE",
    "CheckpointError",
    "StoredModel",
    "TableRows",
    "Transfer",
    "is_spread",
    "restore",
    "rows_of_tables",
    "save",
]
