"""Which rows and which batches belong to which worker."""


def part_of(rows: int, rank: int, size: int) -> slice:
    """The rows of a global batch that one of several workers takes, one behind the other, evenly.

    Workers get none where there are fewer rows than workers.

    >>> [part_of(5, rank, 3) for rank in range(3)]
    [slice(0, 1, None), slice(1, 3, None), slice(3, 5, None)]
    """
    return slice(rows * rank // size, rows * (rank + 1) // size)


def batches_of(rows: int, batch_size: int, rank: int, size: int) -> range:
    """The numbers of the batches of a pass that one of several workers takes, whole ones.

    >>> [batches_of(1000, 128, rank, 3) for rank in range(3)]
    [range(0, 2), range(2, 5), range(5, 8)]
    """
    mine = part_of(-(-rows // batch_size), rank, size)
    return range(mine.start, mine.stop)
