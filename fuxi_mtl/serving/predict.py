"""Predictions for a file of raw rows, in blocks, beside the columns that the user wants to keep."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import tensorflow as tf

from fuxi_mtl.dataset import DataError, Encoder
from fuxi_mtl.dataset.ahead import ahead
from fuxi_mtl.dataset.csv_reading import COMMAS, CsvFormat
from fuxi_mtl.dataset.reading import BLOCK_ROWS
from fuxi_mtl.dataset.sources import Source, source_of
from fuxi_mtl.dataset.unknown import UnknownIds
from fuxi_mtl.files import partial_name, remove_leavings
from fuxi_mtl.files.remote import Copies, as_path
from fuxi_mtl.fusion.graph import GraphFusion
from fuxi_mtl.model import MultiTaskModel

logger = logging.getLogger(__name__)

Score = Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]]
WRITABLE = (".csv", ".parquet")


def predict_file(
    model: MultiTaskModel,
    encoder: Encoder,
    input: str | Path,  # noqa: A002 - as on the command line
    output: str | Path,
    keep: Sequence[str] = (),
    *,
    batch_size: int = 8192,
    sep: str | None = None,
    csv: CsvFormat = COMMAS,
    block_rows: int = BLOCK_ROWS,
    fusion: GraphFusion | None = None,
    copies: Copies | None = None,
) -> int:
    """Writes ``{task}_pred`` for each row of a file, after the columns to keep, in the order of the file.

    Behind them comes ``fused_score`` if there is a fusion.

    Labels are not needed. The columns of a csv file are carried over as the texts that they are. The output
    appears under its name when it is whole.

    Args:
        model: A trained model.
        encoder: The encoding that it was trained with.
        input: A csv, parquet, npz or h5 file, by its suffix.
        output: A csv or parquet file, by its suffix; an older one is replaced.
        keep: Columns to carry over.
        batch_size: Rows in a step of the network.
        sep: Separator of a csv file; a comma unless said, a tab for .tsv.
        csv: Quotes and encoding of a csv file. A bad row is always an error here: scores belong to rows.
        block_rows: Rows in memory at a time.
        fusion: Makes one score of an encoded row and its predictions by task.
        copies: Where an input that is a URL has its local copy.

    Returns:
        The number of rows.

    Raises:
        DataError: A file, a column or an entry is not as it must be.
    """
    input, output = as_path(input).expanduser(), Path(output).expanduser()  # noqa: A001
    keep = tuple(dict.fromkeys(keep))
    source = source_of("input", input, sep, replace(csv, bad_rows="raise"), block_rows, copies)
    _check_output(input, output)
    columns: dict[str, type[pl.DataType]] = dict.fromkeys(model.served_columns, pl.Float32)
    if fusion is not None:
        columns["fused_score"] = pl.Float64
    _check_keep(keep, columns)
    source.check_columns([*encoder.raw_columns, *keep])

    def score(ids: np.ndarray, numeric: np.ndarray) -> list[np.ndarray]:
        inputs = {"ids": ids, "numeric": numeric}
        scores = model.predict(inputs, batch_size=batch_size, verbose=0)
        found = [scores[name] for name in model.served_columns.values()]
        if fusion is not None:
            given = inputs, model.scalars(scores)
            found.append(fusion(*tf.nest.map_structure(tf.convert_to_tensor, given)).numpy())
        return found

    unknown = UnknownIds(encoder)
    frames = _scored(score, columns, encoder, source, keep, unknown)
    partial = partial_name(output)
    remove_leavings(output)
    try:
        with partial.open("wb") as file:
            rows = _write(frames, file, output)
        partial.replace(output)
    except OSError as error:
        raise DataError(f"output: cannot write {output} ({error.strerror or error}).") from error
    finally:
        partial.unlink(missing_ok=True)
    unknown.tell("the input")
    for note in source.notes():
        logger.warning("input: %s", note)
    logger.info("Wrote %d rows to %s.", rows, output)
    return rows


def _scored(
    score: Score,
    columns: Mapping[str, type[pl.DataType]],
    encoder: Encoder,
    source: Source,
    keep: Sequence[str],
    unknown: UnknownIds,
) -> Iterator[pl.DataFrame]:
    """The frames to write; one without rows if the file has none."""
    some = False
    for kept, ids, numeric in ahead(_encoded(encoder, source, keep, unknown)):
        some = True
        scores = zip(columns.items(), score(ids, numeric), strict=True)
        yield pl.DataFrame([*kept, *(pl.Series(name, x, dtype) for (name, dtype), x in scores)])
    if not some:
        # Without a row no block says what type a column has.
        schema: dict[str, Any] = dict.fromkeys(keep, pl.String)
        yield pl.DataFrame(schema=schema | dict(columns))


def _encoded(
    encoder: Encoder, source: Source, keep: Sequence[str], unknown: UnknownIds
) -> Iterator[tuple[list[pl.Series], np.ndarray, np.ndarray]]:
    """The columns to keep, ids and numbers of each block."""
    columns = list(dict.fromkeys([*encoder.raw_columns, *keep]))
    for block in source.blocks(columns, texts=set(encoder.text_columns) - set(keep)):
        with block.errors():
            ids, numeric = encoder.encode(block.frame, texts=block.texts)
            unknown.observe(block.frame, ids, block.texts)
        yield [block.frame[name] for name in keep], ids, numeric


def _write(frames: Iterator[pl.DataFrame], file: BinaryIO, output: Path) -> int:
    """Writes one frame after the other and returns the number of rows."""
    return (_write_parquet if output.suffix == ".parquet" else _write_csv)(frames, file)


def _write_csv(frames: Iterator[pl.DataFrame], file: BinaryIO) -> int:
    rows = 0
    for number, frame in enumerate(frames):
        for name, dtype in frame.schema.items():
            if dtype.is_nested():
                raise DataError(
                    f"keep: column {name!r} holds lists, which a csv file cannot. Write a parquet file."
                )
        frame.write_csv(file, include_header=number == 0)
        rows += frame.height
    return rows


def _write_parquet(frames: Iterator[pl.DataFrame], file: BinaryIO) -> int:
    import pyarrow.parquet as pq  # Slow to import, and only needed here.

    rows, writer = 0, None
    try:
        for frame in frames:
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                # Few predictions are alike: to number them takes most of the time of writing them.
                others = [name for name, dtype in frame.schema.items() if not dtype.is_float()]
                writer = pq.ParquetWriter(file, table.schema, use_dictionary=others)
            writer.write_table(table)
            rows += frame.height
    finally:
        if writer is not None:
            writer.close()
    return rows


def _check_output(path: Path, output: Path) -> None:
    if output.suffix not in WRITABLE:
        raise DataError(
            f"output: {output} has the suffix {output.suffix!r}. Suffixes: {', '.join(WRITABLE)}."
        )
    if output.exists() and path.exists() and output.samefile(path):
        raise DataError(f"output: {output} is the input itself: name another file.")
    if output.is_dir() or not output.parent.is_dir():
        wrong = output if output.is_dir() else output.parent
        raise DataError(f"output: {wrong} {'is a folder' if output.is_dir() else 'does not exist'}.")


def _check_keep(keep: Sequence[str], columns: Iterable[str]) -> None:
    for name in columns:
        if name in keep:
            raise DataError(f"keep: {name!r} is the name of a prediction: rename that column of the input.")
