"""Which processes train together, and what belongs to which of them; nothing here loads TensorFlow."""

from fuxi_mtl.cluster.environment import SCHEDULERS, Cluster, cluster_of
from fuxi_mtl.cluster.parts import batches_of, part_of

__all__ = ["SCHEDULERS", "Cluster", "batches_of", "cluster_of", "part_of"]
