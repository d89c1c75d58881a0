"""Layout of sequences and of their weights in columns, inside a graph."""

from typing import TypeAlias

import tensorflow as tf

from fuxi_mtl.dataset.bags import Bag
from fuxi_mtl.dataset.raw import MISSING
from fuxi_mtl.features import PAD
from fuxi_mtl.serving.raw import integers, is_missing, is_zero, numbers

Entries: TypeAlias = tf.Tensor | tf.RaggedTensor


def is_padded(entries: Entries) -> bool:
    """Whether bags come as ``(batch, length)``, not as texts and not as a ragged tensor."""
    return not isinstance(entries, tf.RaggedTensor) and entries.shape.rank == 2


def lists(entries: Entries, splitter: str) -> tf.RaggedTensor:
    """Bags as a ragged tensor: texts are split, and missing members at the end of padded rows are dropped."""
    if isinstance(entries, tf.RaggedTensor):
        return entries
    if not is_padded(entries):
        return tf.strings.split(entries, splitter)
    places = tf.range(1, tf.shape(entries)[1] + 1)
    lengths = tf.reduce_max(tf.where(is_missing(entries), 0, places), axis=1)
    # The largest of no numbers is the smallest there is.
    return tf.RaggedTensor.from_tensor(entries, lengths=tf.maximum(lengths, 0))


def filled_lists(entries: Entries, bag: Bag) -> tf.RaggedTensor:
    """The members that take a place, with ``fill_na`` for a missing text or a list without members."""
    members = lists(entries, bag.splitter)
    if not bag.gaps:
        places = places_of(present(members.values, bag))
        rows = tf.gather(members.value_rowids(), places)
        members = _of_rows(tf.gather(members.values, places), rows, members.nrows())
    if bag.fill_na is None:
        return members
    if bag.gaps and entries.shape.rank == 1:
        return lists(tf.where(entries == MISSING, bag.fill_na, entries), bag.splitter)
    filling = tf.constant(bag.fill_na.split(bag.splitter))
    if members.dtype == tf.int64:
        filling = integers(filling)
    choices = tf.concat([members, tf.RaggedTensor.from_row_lengths(filling, [tf.size(filling)])], axis=0)
    rows = members.nrows()
    return tf.gather(choices, tf.where(members.row_lengths() == 0, rows, tf.range(rows)))


def present(members: tf.Tensor, bag: Bag) -> tf.Tensor:
    """Which members take a place where missing ones take none."""
    found = ~is_missing(members)
    return found if bag.zeros else found & ~is_zero(members)


def places_of(mask: tf.Tensor) -> tf.Tensor:
    """Where a vector is true; ``tf.boolean_mask`` builds checks of shapes around the same."""
    return tf.squeeze(tf.where(mask), 1)


def layout(members: tf.RaggedTensor, bag: Bag) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the members go.

    Returns:
        Row and column of each member that is kept, ``(kept, 2)``, and which these are among all, ``(kept,)``.
    """
    rows = members.value_rowids()
    places = tf.range(tf.size(rows, tf.int64)) - tf.gather(members.row_starts(), rows)
    missing = tf.gather(bag.max_len - members.row_lengths(), rows)  # below 0 where members are cut
    if bag.cuts_front:
        places += tf.minimum(missing, 0)
    kept = places_of((places >= 0) & (places < bag.max_len))
    if bag.padding == "pre":
        places += tf.maximum(missing, 0)
    return tf.gather(tf.stack([rows, places], 1), kept), kept


def weights(entries: Entries, bag: Bag, members: tf.RaggedTensor, ids: tf.Tensor) -> tf.Tensor:
    """The weights of bags ``(batch, max_len)``: 1 where none is given, 0 where there is no id.

    Args:
        entries: The raw weights.
        bag: The layout of the bags.
        members: The bags as they were given, missing members included.
        ids: Their ids, laid out.
    """
    if is_padded(entries):
        # What lies behind the last member is padding, whatever its value.
        given = tf.RaggedTensor.from_tensor(entries, lengths=members.row_lengths())
    else:
        given = lists(entries, bag.splitter)
    _check_lengths(given, members, str(bag.weights))
    if not bag.gaps:
        given = _of_present(given, members, bag)
    index, kept = layout(given, bag)
    values = numbers(tf.gather(given.values, kept), fill_na=1.0)
    placed = tf.tensor_scatter_nd_update(tf.ones(tf.shape(ids)), index, values)
    return tf.where(ids == PAD, 0.0, placed)


def _of_present(given: tf.RaggedTensor, members: tf.RaggedTensor, bag: Bag) -> tf.RaggedTensor:
    """The weights of members that take a place; none where there are not as many weights as members."""
    alike = given.row_lengths() == members.row_lengths()
    compared = tf.gather(members.values, places_of(tf.gather(alike, members.value_rowids())))
    rows = given.value_rowids()
    taken = tf.gather(places_of(tf.gather(alike, rows)), places_of(present(compared, bag)))
    return _of_rows(tf.gather(given.values, taken), tf.gather(rows, taken), given.nrows())


def _of_rows(values: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.RaggedTensor:
    """Lists of values that come in the order of their rows."""
    return tf.RaggedTensor.from_value_rowids(values, rows, count, validate=False)


def _check_lengths(given: tf.RaggedTensor, members: tf.RaggedTensor, column: str) -> None:
    """Weights that are there are as many as the members; an empty text counts as one missing weight."""
    lengths, expected = given.row_lengths(), members.row_lengths()
    missing = tf.math.unsorted_segment_sum(
        tf.cast(is_missing(given.values), tf.int64), given.value_rowids(), given.nrows()
    )
    absent = (lengths == 0) | (lengths == 1) & ((missing == 1) | (expected < 2))
    tf.debugging.Assert(
        tf.reduce_all(absent | (lengths == expected)),
        [f"{column}: a row has not as many weights as members. Weights, members:", lengths, expected],
    )
