"""Simulated rows as parquet files, block by block: any number of rows fits into memory."""

import dataclasses
import json
import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.files import partial_name, remove_leavings, write_text
from fuxi_mtl.simulation import funnel, regression
from fuxi_mtl.simulation.settings import FunnelSettings, RegressionSettings, Settings, split_rows
from fuxi_mtl.simulation.summary import FunnelSummary, RegressionSummary

logger = logging.getLogger(__name__)

SETTINGS_FILE = "simulation.json"


def make_generator(settings: Settings) -> funnel.Funnel | regression.Regression:
    """The generator of these settings."""
    if isinstance(settings, RegressionSettings):
        return regression.Regression.of(settings)
    return funnel.Funnel.of(settings)


def simulate(settings: Settings, folder: str | Path) -> dict[str, Any]:
    """Writes ``train.parquet``, ``valid.parquet``, ``test.parquet`` and ``simulation.json``.

    Files are written under other names and renamed when all are whole; what was there before is replaced.

    Args:
        settings: Of one of the generators, checked.
        folder: Made if it is not there.

    Returns:
        What ``simulation.json`` holds: the settings, what the columns mean, and the rates of each split.

    Raises:
        ValueError: The folder cannot be written.
    """
    folder, start = Path(folder), time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        generator = make_generator(settings)
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(_SplitFile(folder / f"{name}.parquet", _summary(settings)))
                for name in split_rows(settings)
            }
            _fill(files, generator, split_rows(settings))
            for file in files.values():
                file.close()
            for file in files.values():
                file.publish()
    except OSError as error:
        raise ValueError(f"--output {folder} cannot be written ({error.strerror}).") from error
    content = {
        "generator": "funnel" if isinstance(settings, FunnelSettings) else "regression",
        "settings": dataclasses.asdict(settings),
        "numpy": np.__version__,
        **_solved(generator),
        "splits": {name: file.summary.result() for name, file in files.items()},
    }
    write_text(folder / SETTINGS_FILE, json.dumps(content, indent=2) + "\n")
    logger.info("%d rows in %.1f seconds: %s", settings.rows, time.perf_counter() - start, folder)
    return content


def _summary(settings: Settings) -> FunnelSummary | RegressionSummary:
    return FunnelSummary() if isinstance(settings, FunnelSettings) else RegressionSummary()


def _solved(generator: funnel.Funnel | regression.Regression) -> dict[str, Any]:
    """What was drawn or solved for that explains the numbers."""
    if isinstance(generator, funnel.Funnel):
        return {"intercepts": generator.intercepts._asdict(), "truth": funnel.TRUTH}
    first, second = generator.weights.T
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    cosine = float(first @ second / lengths) if lengths else None
    return {"cosine": cosine, "phases": generator.phases.tolist(), "truth": regression.TRUTH}


def _fill(
    files: dict[str, "_SplitFile"],
    generator: funnel.Funnel | regression.Regression,
    splits: dict[str, tuple[int, int]],
) -> None:
    first = 0
    for frame in generator.frames():
        for name, (start, stop) in splits.items():
            inside = slice(max(start - first, 0), max(stop - first, 0))
            if (part := frame[inside]).height:
                files[name].append(part)
        first += frame.height


class _SplitFile:
    """A parquet file that appears under its name when it is whole."""

    def __init__(self, path: Path, summary: FunnelSummary | RegressionSummary):
        self.path, self.summary = path, summary
        self._partial = partial_name(path)
        self._writer: Any = None

    def __enter__(self) -> "_SplitFile":
        remove_leavings(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._partial.unlink(missing_ok=True)

    def append(self, frame: pl.DataFrame) -> None:
        """Adds rows."""
        import pyarrow.parquet as pq  # Slow to import, and only needed here.

        table = frame.to_arrow()
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._partial, table.schema, compression="zstd")
        self._writer.write_table(table)
        self.summary.add(frame)

    def close(self) -> None:
        """Writes what a reader needs at the end."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def publish(self) -> None:
        """Gives the file its name."""
        self._partial.replace(self.path)
