"""An encoded dataset as it lies on disk, opened without reading it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.growing import Grown
from fuxi_mtl.features import FeatureMap
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.metrics import Truth, read_truth
from fuxi_mtl.tasks import Task

_HEADER_BYTES = 128


@dataclass(frozen=True)
class Split:
    """The rows of one split, in the order of the file; arrays are memory maps.

    Attributes:
        name: train, valid or test.
        ids: ``(rows, id columns)`` int32.
        numeric: ``(rows, numeric columns)`` float32.
        events: ``(rows, labels)`` float32, NaN where missing.
        sample_weight: ``(rows,)`` float32, or None.
        event_names: The label columns.
        meta_file: Parquet file of the columns that are carried along.
        meta_rows: These columns themselves, where the split does not lie on disk.
    """

    name: str
    ids: np.ndarray
    numeric: np.ndarray
    events: np.ndarray
    sample_weight: np.ndarray | None
    event_names: tuple[str, ...]
    meta_file: Path = Path()
    meta_rows: pl.DataFrame | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.events)

    def labels(self, tasks: Iterable[Task]) -> dict[str, np.ndarray]:
        """The label of each row by task, float32 ``(rows,)``, NaN where the task is not defined."""
        return labels_of(self.events, self.event_names, tasks)

    def truth(self, tasks: Iterable[Task]) -> dict[str, Truth]:
        """The truth of each task that has a meta column ``truth_{task}``, as simulated data do.

        Raises:
            ValueError: A true probability is none, or an outcome is neither 0 nor 1.
        """
        tasks = tuple(tasks)
        wanted = {f"{what}_{task.name}" for what in ("truth", "outcome") for task in tasks}
        names = [name for name in self.meta_columns if name in wanted]
        if not names:
            return {}
        frame = self.meta(names).cast(pl.Float64)
        columns = {name: frame[name].fill_null(np.nan).to_numpy() for name in names}
        found = {task.name: read_truth(task.name, columns, task.kind) for task in tasks}
        return {name: truth for name, truth in found.items() if truth}

    @property
    def meta_columns(self) -> tuple[str, ...]:
        """The columns that are carried along."""
        if self.meta_rows is not None:
            return tuple(self.meta_rows.columns)
        return tuple(pl.read_parquet_schema(self.meta_file)) if self.meta_file.is_file() else ()

    def meta(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The columns that are carried along, all unless some are named.

        Raises:
            DataError: A column is not carried along.
        """
        known = self.meta_columns
        wanted = list(known) if columns is None else list(columns)
        for name in wanted:
            if name not in known:
                raise DataError(
                    f"{name!r} is no meta column.{did_you_mean(name, known)} Add {{name: {name}, "
                    f"type: meta}} to feature_cols. Meta columns: {', '.join(known) or 'none'}."
                )
        if not wanted:
            return pl.DataFrame()
        if self.meta_rows is not None:
            return self.meta_rows.select(wanted).head(self.rows)
        return pl.read_parquet(self.meta_file, columns=wanted, n_rows=self.rows, glob=False)

    def head(self, rows: int) -> "Split":
        """The first rows."""
        return replace(
            self,
            ids=self.ids[:rows],
            numeric=self.numeric[:rows],
            events=self.events[:rows],
            sample_weight=None if self.sample_weight is None else self.sample_weight[:rows],
        )


@dataclass(frozen=True)
class Dataset:
    """An encoded dataset.

    Attributes:
        folder: Where it lies.
        key: Hash of the options and files that it was made from.
        encoder: Encodes further rows in the same way.
        train: Rows to train on.
        valid: Rows to choose by, or None.
        test: Rows to report on, or None.
        warnings: What the user should know about the data.
        grown: What became of the vocabularies, of an encoding that was extended.
        unknown: The share of entries that no vocabulary knows, by feature, of each split that did not make
            the vocabularies; nothing of an encoding of an earlier version.
    """

    folder: Path
    key: str
    encoder: Encoder
    train: Split
    valid: Split | None
    test: Split | None
    warnings: tuple[str, ...] = ()
    grown: Mapping[str, Grown] = field(default_factory=dict)
    unknown: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def feature_map(self) -> FeatureMap:
        """What the encoded columns mean."""
        return self.encoder.feature_map

    @property
    def rows(self) -> dict[str, int]:
        """Number of rows by split."""
        splits = (self.train, self.valid, self.test)
        return {split.name: split.rows for split in splits if split is not None}


def labels_of(events: np.ndarray, names: Sequence[str], tasks: Iterable[Task]) -> dict[str, np.ndarray]:
    """The label of each row by task.

    Args:
        events: ``(rows, labels)``.
        names: The label columns.
        tasks: What to predict.
    """
    columns = {name: events[:, i] for i, name in enumerate(names)}
    return {task.name: task.label(columns) for task in tasks}


def open_split(folder: Path, name: str, event_names: tuple[str, ...]) -> Split:
    """A split of an encoded dataset."""
    weights = folder / f"{name}.weights.npy"
    return Split(
        name=name,
        ids=_mapped(folder / f"{name}.ids.npy"),
        numeric=_mapped(folder / f"{name}.numeric.npy"),
        events=_mapped(folder / f"{name}.events.npy"),
        sample_weight=_mapped(weights) if weights.exists() else None,
        event_names=event_names,
        meta_file=folder / f"{name}.meta.parquet",
    )


def _mapped(file: Path) -> np.ndarray:
    # A file without any entry is a header only, which cannot be mapped.
    return np.load(file, mmap_mode="r" if file.stat().st_size > _HEADER_BYTES else None)
