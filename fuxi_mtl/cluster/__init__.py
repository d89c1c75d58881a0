"""Which processes train together, and what belongs to which of them; nothing here loads TensorFlow."""

from fuxi_mtl.cluster.environment import LOST, SCHEDULERS, Cluster, check_alone, cluster_of
from fuxi_mtl.cluster.parts import batches_of, part_of

__all__ = ["LOST", "SCHEDULERS", "Cluster", "batches_of", "check_alone", "cluster_of", "part_of"]
