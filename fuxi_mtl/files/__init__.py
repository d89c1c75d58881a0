"""Files and folders that are whole or not there, locks of their writers, and what killed writers left."""

from fuxi_mtl.files.leavings import Leaving, leavings_of, partial_name, remove_leavings
from fuxi_mtl.files.locks import Lock, LockedError, held, holder_of
from fuxi_mtl.files.writing import MOST_BYTES, name_problem, replace_folder, write_bytes, write_text

__all__ = [
    "MOST_BYTES",
    "Leaving",
    "Lock",
    "LockedError",
    "held",
    "holder_of",
    "leavings_of",
    "name_problem",
    "partial_name",
    "remove_leavings",
    "replace_folder",
    "write_bytes",
    "write_text",
]
