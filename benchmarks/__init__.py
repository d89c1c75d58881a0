"""Speed, memory and quality of fuxi_mtl beside its peers: one command a table, see README.md.

Everything here but `workload` and `peers` runs in fuxi_mtl's own environment; those two need numpy alone.
"""
