"""The first pass in several processes: each file by itself, added up in the order of the files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.first_pass import FileFound, FirstPass
from fuxi_mtl.dataset.fitting import observed
from fuxi_mtl.dataset.parallel.files import SharedFiles
from fuxi_mtl.dataset.recipe import Recipe
from fuxi_mtl.dataset.sources import Begin, Source


@dataclass(frozen=True)
class _Work:
    """What is to be done with each file.

    Attributes:
        recipe: What to encode, without its sources and vocabularies.
        folder: Where coded rows go.
        observes: Whether the inputs are observed; an encoder that is there already needs no more.
    """

    recipe: Recipe
    folder: Path
    observes: bool


def fit_files(
    fitting: FirstPass,
    shared: SharedFiles,
    assigned: np.ndarray | None,
    advance: Callable[[int], None],
    between: Callable[[Begin], None],
) -> None:
    """Reads all training files from where the pass is on.

    Args:
        fitting: The pass.
        shared: The training files.
        assigned: Split of each row, or None if all are for training.
        advance: Is told the number of rows of each file.
        between: Is told where the pass goes on, whenever it has come to another file.

    Raises:
        DataError: An entry cannot be read: that of the first file that has one.
        LostProcessError: A process is gone.
    """
    recipe, processes = fitting.recipe, shared.processes
    observes = recipe.known is None or recipe.growth is not None
    known = None if recipe.known is None else alone(replace(recipe.known, tokens={}, seen=None))
    processes.keep(_Work(replace(recipe, sources={}, known=known), fitting.coded.folder.parent, observes))

    def tasks() -> Iterator[tuple[str, tuple]]:
        for number, source, start in shared.parts(fitting.begin, counted=assigned is not None):
            rows = None if assigned is None else assigned[start : start + shared.rows[number]]
            yield source.name, (number, source, rows)

    for found in processes.map(_fit_file, tasks()):
        fitting.add(found)
        advance(found.rows)
        if fitting.begin.file < len(shared.source.files):
            between(fitting.begin)


def alone(encoder: Encoder) -> Encoder:
    """The encoder without what belongs to this process."""
    return replace(encoder, feature_map=replace(encoder.feature_map, reader=None))


def _fit_file(
    work: _Work, each: Callable, number: int, source: Source, assigned: np.ndarray | None
) -> FileFound:
    recipe, rows = replace(work.recipe, sources={"train": source}), 0

    def advance(more: int) -> None:
        nonlocal rows
        rows += more

    fitting = FirstPass.of_file(recipe, work.folder, each, number)
    blocks = fitting.blocks(assigned, advance)
    if work.observes:
        observed(recipe.inputs, blocks, each, None, fitting.observers)
    else:
        for _ in blocks:
            pass
    return fitting.found(rows)
