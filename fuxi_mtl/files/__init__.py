"""Files and folders that are whole or not there, locks of their writers, and what killed writers left."""

from fuxi_mtl.files.leavings import (
    PARTIAL,
    REPLACED,
    TEMPORARY,
    USED,
    Leaving,
    leavings_in,
    leavings_of,
    partial_name,
    remove_leavings,
    removed,
    temporary_folder,
)
from fuxi_mtl.files.locks import Lock, LockedError, held, holder_of, lock_file, locks_in
from fuxi_mtl.files.writing import (
    MOST_BYTES,
    name_problem,
    replace_folder,
    whole_folder,
    write_bytes,
    write_text,
)

__all__ = [
    "MOST_BYTES",
    "PARTIAL",
    "REPLACED",
    "TEMPORARY",
    "USED",
    "Leaving",
    "Lock",
    "LockedError",
    "held",
    "holder_of",
    "leavings_in",
    "leavings_of",
    "lock_file",
    "locks_in",
    "name_problem",
    "partial_name",
    "remove_leavings",
    "removed",
    "replace_folder",
    "temporary_folder",
    "whole_folder",
    "write_bytes",
    "write_text",
]
