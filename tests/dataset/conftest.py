"""Small tables, written in any format and loaded as a dataset."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import Dataset, load_dataset
from fuxi_mtl.options import DatasetOptions, FeatureOptions, LabelOptions
from fuxi_mtl.tasks import parse_task


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table as ``name`` in the format that its suffix says."""

    def write_table(name: str, columns: Mapping | pl.DataFrame, **options) -> Path:
        path = tmp_path / name
        if path.suffix in (".npz", ".h5"):
            write_arrays(path, columns)
            return path
        frame = columns if isinstance(columns, pl.DataFrame) else pl.DataFrame(columns, strict=False)
        if path.suffix == ".parquet":
            frame.write_parquet(path, **options)
        else:
            frame.write_csv(path, **options)
        return path

    return write_table


def write_arrays(path: Path, columns: Mapping) -> None:
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            text = array.dtype.kind == "U"
            file.create_dataset(
                name,
                data=array.astype(object) if text else array,
                dtype=h5py.string_dtype() if text else None,
            )


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., DatasetOptions]:
    """Options of a dataset whose features and labels are given as plain dicts and names."""

    def make(train: Path, features: Sequence[dict], labels: Sequence = ("click",), **given) -> DatasetOptions:
        entries = [
            LabelOptions(name=label) if isinstance(label, str) else LabelOptions(**label) for label in labels
        ]
        return DatasetOptions(
            data_root=str(given.pop("data_root", tmp_path / "encoded")),
            data_format=given.pop("data_format", train.suffix[1:]),
            train_data=str(train),
            feature_cols=[FeatureOptions(**feature) for feature in features],
            label_col=entries,
            **given,
        )

    return make


@pytest.fixture
def load(write: Callable[..., Path], options: Callable[..., DatasetOptions]) -> Callable[..., Dataset]:
    """Writes columns as train.csv (or another ``file``) and loads them."""

    def load_columns(
        columns: Mapping | pl.DataFrame,
        features: Sequence[dict],
        labels: Sequence = ("click",),
        tasks: Mapping[str, str] | None = None,
        file: str = "train.csv",
        **given,
    ) -> Dataset:
        path = write(file, columns)
        names = [label if isinstance(label, str) else label["name"] for label in labels]
        planned = [parse_task(*item) for item in (tasks or dict(zip(names, names, strict=True))).items()]
        return load_dataset(
            options(path, features, labels, **given), planned, "small", threads=2, progress=False
        )

    return load_columns
