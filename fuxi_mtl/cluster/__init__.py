"""Devices and processes that train together: which they are, what belongs to which, and what they exchange.

What this file offers loads no TensorFlow; `replicas` (what is put together in a step) and `workers` (the
connection between processes) do, and are imported by their own names.
"""

from fuxi_mtl.cluster.environment import LOST, MOST_PORT, SCHEDULERS, Cluster, check_alone, cluster_of
from fuxi_mtl.cluster.parts import batches_of, part_of

__all__ = ["LOST", "MOST_PORT", "SCHEDULERS", "Cluster", "batches_of", "check_alone", "cluster_of", "part_of"]
