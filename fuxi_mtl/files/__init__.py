"""Files and folders that are whole or not there, locks of their writers, and what killed writers left."""

from fuxi_mtl.files.checked import (
    DamagedError,
    check_yaml,
    checked_json,
    checked_yaml,
    checksum_of,
    read_arrays,
    read_json,
)
from fuxi_mtl.files.leavings import (
    PARTIAL,
    REPLACED,
    TEMPORARY,
    USED,
    Leaving,
    leavings_in,
    leavings_of,
    partial_name,
    remove_dead,
    remove_leavings,
    removed,
    temporary_folder,
)
from fuxi_mtl.files.listed import check_listed, list_files
from fuxi_mtl.files.locks import Lock, LockedError, held, holder_of, lock_file, locks_in
from fuxi_mtl.files.processes import end_with_parent, ending_of
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
    "DamagedError",
    "Leaving",
    "Lock",
    "LockedError",
    "check_listed",
    "check_yaml",
    "checked_json",
    "checked_yaml",
    "checksum_of",
    "end_with_parent",
    "ending_of",
    "held",
    "holder_of",
    "leavings_in",
    "leavings_of",
    "list_files",
    "lock_file",
    "locks_in",
    "name_problem",
    "partial_name",
    "read_arrays",
    "read_json",
    "remove_dead",
    "remove_leavings",
    "removed",
    "replace_folder",
    "temporary_folder",
    "whole_folder",
    "write_bytes",
    "write_text",
]
