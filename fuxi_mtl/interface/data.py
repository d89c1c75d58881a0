"""A dataset of a program: rows in memory or files, their columns, and what is to be predicted."""

import shutil
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from fuxi_mtl.config import make_dataset
from fuxi_mtl.dataset import Dataset as EncodedDataset
from fuxi_mtl.dataset import Encoder, load_dataset
from fuxi_mtl.dataset.frames import describe, is_frame, rows_of
from fuxi_mtl.dataset.sources import format_of
from fuxi_mtl.dataset.unknown import UnknownIds
from fuxi_mtl.features import FeatureMap
from fuxi_mtl.files import temporary_folder
from fuxi_mtl.interface.columns import Label, Meta
from fuxi_mtl.interface.keywords import DataOptions
from fuxi_mtl.options import FeatureOptions, LabelOptions
from fuxi_mtl.tasks import Task, Tasks


class TemporaryFolder:
    """A folder that is gone with the last object that refers to this one, or when the program ends."""

    def __init__(self) -> None:
        self.path = temporary_folder()
        self._removal = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class Dataset:
    """Rows with their columns and tasks, read and encoded when something needs them.

    Rows are frames of pandas or polars, arrow tables, dicts of arrays or lists, or files: a path or a pattern
    such as ``part_*.parquet``. All are read by the same rules; a row, column or value that cannot be read is
    named. Encoded rows lie in a temporary folder, or under ``data_root`` if that is given, where a later
    program finds them again.

    Args:
        train_data: Rows to train on.
        features: The inputs, as :class:`Categorical`, :class:`Numeric`, :class:`Sequence` and
            :class:`Embedding`.
        tasks: What to predict: ``{"ctr": "click", "cvr": "buy | click"}``. Without them each label is a task.
        labels: Labels that are more than columns of 0 and 1, as :class:`Label`; the others are found in
            ``tasks``.
        valid_data: Rows to choose by; or ``valid_size`` takes them from the training rows.
        test_data: Rows to report on; or ``test_size``.
        group_id: Column of the groups of gAUC.
        sample_weight: Column with each row's weight in the loss.
        meta: Columns to carry along, by name or as :class:`Meta`.
        dataset_id: What runs call the data; only runs on the same data are compared.
        encode_workers: Processes that encode files side by side; the encoded rows do not depend on it.
        **options: All other keys of a dataset's stanza: ``valid_size``, ``test_size``, ``split_type``,
            ``split_col``, ``min_categr_count``, ``n_rows``, ``inconsistent``, ...

    Raises:
        ValueError: An option is wrong; a column or an entry only when it is read.

    Example:
        >>> rows = {"item": ["a", "b", "a", "c"], "price": [1.5, 2.0, 0.5, 3.0], "click": [0, 1, 0, 1]}
        >>> data = fm.Dataset(
        ...     rows,
        ...     valid_size=0.25,
        ...     features=[fm.Categorical("item"), fm.Numeric("price")],
        ...     tasks={"ctr": "click"},
        ... )
        >>> [feature.name for feature in data.features.features]
        ['item', 'price']
    """

    def __init__(
        self,
        train_data: Any,
        *,
        features: Iterable[FeatureOptions | Mapping[str, Any]],
        tasks: Mapping[str, str] | None = None,
        labels: Iterable[str | LabelOptions] = (),
        valid_data: Any = None,
        test_data: Any = None,
        group_id: str | None = None,
        sample_weight: str | None = None,
        meta: Iterable[str | FeatureOptions] = (),
        dataset_id: str = "data",
        encode_workers: int = 1,
        **options: Unpack[DataOptions],
    ):
        given = {"train": train_data, "valid": valid_data, "test": test_data}
        self._frames = {name: rows for name, rows in given.items() if is_frame(rows)}
        for name, rows in given.items():
            if not (rows is None or name in self._frames or isinstance(rows, (str, Path))):
                raise ValueError(
                    f"Dataset: {name}_data is {type(rows).__name__}. It can be: a frame of pandas or polars, "
                    "an arrow table, a dict of arrays or lists, or a path or pattern of files."
                )
        for key, word in (("feature_cols", "features"), ("label_col", "labels")):
            if key in options:
                raise ValueError(f"Dataset: {key} is a stanza's word; here it is {word}=[...].")
        if not (tasks is None or isinstance(tasks, Mapping)):
            raise ValueError(f'Dataset: tasks is {tasks!r}. It says what each is: {{"ctr": "click", ...}}.')
        entries: dict[str, Any] = {
            "dataset_id": dataset_id,
            "group_id": group_id,
            "sample_weight": sample_weight,
        }
        entries |= {
            f"{name}_data": describe(rows) if name in self._frames else rows
            for name, rows in given.items()
            if rows is not None
        }
        if "data_format" not in options and isinstance(train_data, (str, Path)):
            found = format_of(Path(train_data))
            entries |= {"data_format": found} if found else {}
        columns = _listed("features", features)
        for each in columns:
            if isinstance(each, str):
                raise ValueError(
                    f"Dataset: features has {each!r}. Say what it is: fm.Categorical({each!r}), "
                    f"fm.Numeric({each!r}), fm.Sequence({each!r}) or fm.Embedding({each!r})."
                )
        entries["feature_cols"] = [*columns, *_carried(_listed("meta", meta), group_id)]
        entries["label_col"] = _labels(_listed("labels", labels), tasks)
        if tasks is not None:
            entries["tasks"] = dict(tasks)
        self.entries: dict[str, Any] = {**entries, **options}
        self.options, planned = make_dataset(self.entries, "Dataset")
        if isinstance(encode_workers, bool) or not isinstance(encode_workers, int) or encode_workers < 1:
            raise ValueError(
                f"Dataset: encode_workers is {encode_workers!r}. It is a number of processes, from 1."
            )
        self._encode_workers = encode_workers
        self._tasks = Tasks(planned, explicit=tasks is not None)
        self._folder = None if "data_root" in options else TemporaryFolder()
        self._encoded: dict[tuple[Task, ...], EncodedDataset] = {}

    @property
    def dataset_id(self) -> str:
        """What runs call the data."""
        return str(self.entries["dataset_id"])

    @property
    def tasks(self) -> Tasks:
        """What to predict."""
        return self._tasks

    @property
    def features(self) -> FeatureMap:
        """The inputs with the sizes that the training rows give them; reads the data.

        Raises:
            ValueError: The data cannot be read.
        """
        return self.encoded(self._tasks).feature_map

    def encoded(
        self, tasks: Sequence[Task], n_rows: int | None = None, encode_workers: int = 1
    ) -> EncodedDataset:
        """The encoded rows, for tasks that a model has planned.

        Args:
            tasks: They decide which labels must be 0 or 1, and which rows contradict themselves.
            n_rows: Rows of each source at most; those of the dataset unless said.
            encode_workers: Processes that encode files; those of the dataset if these are more.

        Raises:
            ValueError: The data cannot be read.
        """
        key = tuple(tasks)
        if n_rows is None and key in self._encoded:
            return self._encoded[key]
        options = self.options if n_rows is None else replace(self.options, n_rows=n_rows)
        loaded = load_dataset(
            options,
            key,
            self.dataset_id,
            progress=False,
            encode_workers=max(encode_workers, self._encode_workers),
            frames=self._frames,
            root=None if self._folder is None else self._folder.path,
        )
        known = with_reader(loaded.encoder.feature_map, loaded.encoder, self._folder)
        loaded = replace(loaded, encoder=replace(loaded.encoder, feature_map=known))
        if n_rows is None:
            self._encoded[key] = loaded
        return loaded

    def __repr__(self) -> str:
        tasks = ", ".join(f"{task.name}: {task.expression}" for task in self._tasks)
        sources = [
            f"{name}_data={self.entries[f'{name}_data']}"
            for name in ("train", "valid", "test")
            if f"{name}_data" in self.entries
        ]
        return f"<Dataset {self.dataset_id!r}: {'; '.join(sources)}; {tasks}>"


class Reader:
    """Reads rows in memory for a model: see :class:`fuxi_mtl.features.RowReader`.

    Args:
        encoder: How the columns are encoded.
        folder: Kept as long as this is.
    """

    def __init__(self, encoder: Encoder, folder: TemporaryFolder | None = None):
        self.encoder, self._folder = encoder, folder

    def reads(self, rows: Any) -> bool:
        """Whether these are rows in memory."""
        return is_frame(rows)

    def encode(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """``ids`` and ``numeric`` of rows in memory.

        Raises:
            DataError: A column is missing, or an entry cannot be read.
        """
        rules = {column.name: column.rule for column in self.encoder.columns}
        frame = rows_of("rows", rows, rules, self.encoder.raw_columns)
        ids, numeric = self.encoder.encode(frame)
        unknown = UnknownIds(self.encoder)
        unknown.observe(frame, ids)
        unknown.tell("the rows")
        return ids, numeric

    def like(self, rows: Any, columns: Mapping[str, np.ndarray]) -> Any:
        """Columns as a frame of the kind of these rows; of a dict a dict."""
        return frame_like(rows, columns)


def with_reader(features: FeatureMap, encoder: Encoder, folder: TemporaryFolder | None = None) -> FeatureMap:
    """The features, which then know how raw rows are encoded."""
    return replace(features, reader=Reader(encoder, folder))


def frame_like(rows: Any, columns: Mapping[str, np.ndarray]) -> Any:
    """Columns as a frame of the library of `rows`, with the index of a pandas frame; of a dict a dict.

    In a frame, an array of several numbers a row is as many columns: its name with ``_0``, ``_1`` and so on.
    """
    library = type(rows).__module__.partition(".")[0]
    if library in ("pandas", "pyarrow", "polars"):
        columns = {
            name if array.ndim == 1 else f"{name}_{i}": column
            for name, array in columns.items()
            for i, column in enumerate(array.T if array.ndim > 1 else [array])
        }
    if library == "pandas":
        import pandas as pd

        return pd.DataFrame(dict(columns), index=rows.index)
    if library == "pyarrow":
        import pyarrow as pa

        return pa.table(dict(columns))
    if library == "polars":
        import polars as pl

        return pl.DataFrame(dict(columns))
    return dict(columns)


def _listed(word: str, columns: Any) -> list[Any]:
    """Columns as a list. A lone name is refused: its letters would be taken for columns."""
    if isinstance(columns, (str, Mapping)) or not isinstance(columns, Iterable):
        raise ValueError(f"Dataset: {word} is {columns!r}. It is a list: {word}=[...].")
    return list(columns)


def _carried(meta: Iterable[str | FeatureOptions], group_id: str | None) -> list[FeatureOptions]:
    """Entries of the columns that are carried along, with that of the groups."""
    columns = [Meta(each) if isinstance(each, str) else each for each in meta]
    names = [name for each in columns for name in ([each.name] if isinstance(each.name, str) else each.name)]
    return columns if group_id is None or group_id in names else [*columns, Meta(group_id)]


def _labels(labels: Iterable[str | LabelOptions], tasks: Mapping[str, str] | None) -> list[LabelOptions]:
    """The labels that were given, then those that only tasks name."""
    columns = [Label(each) if isinstance(each, str) else each for each in labels]
    known = {each.name for each in columns}
    for expression in (tasks or {}).values():
        for part in str(expression).replace("|", "&").split("&"):
            name = part.strip().removeprefix("!").strip()
            if name and name not in known:
                columns.append(Label(name))
                known.add(name)
    return columns
