"""Encoding of several files side by side, in processes: the same bytes as by one."""

from fuxi_mtl.dataset.parallel.encoding import SharedEncoding
from fuxi_mtl.dataset.parallel.files import SharedFiles
from fuxi_mtl.dataset.parallel.fitting import fit_files
from fuxi_mtl.dataset.parallel.processes import FileProcesses, LostProcessError

__all__ = ["FileProcesses", "LostProcessError", "SharedEncoding", "SharedFiles", "fit_files"]
