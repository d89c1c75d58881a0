"""What usually goes wrong with data and runs: each finding with its number, and what to do.

:func:`examine_data` looks at an encoded dataset, :func:`examine_run` at what a run has stored. Neither trains
nor predicts.
"""

from fuxi_mtl.workflow.doctor.data import examine_data
from fuxi_mtl.workflow.doctor.findings import Finding, told
from fuxi_mtl.workflow.doctor.run import examine_run

__all__ = ["Finding", "examine_data", "examine_run", "told"]
