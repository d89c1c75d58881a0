"""Another day for a run: new rows are measured, and trained on."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from typing_extensions import Unpack

from fuxi_mtl import runs
from fuxi_mtl.cluster import check_alone
from fuxi_mtl.dataset.frames import is_frame
from fuxi_mtl.interface.data import TemporaryFolder, with_reader
from fuxi_mtl.interface.fitting import check_replaceable, check_resumable
from fuxi_mtl.interface.keywords import FitOptions
from fuxi_mtl.interface.run import Run
from fuxi_mtl.interface.session import leaves_no_trace
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.workflow.remote_runs import check_writable, upload_run
from fuxi_mtl.workflow.update import PlannedUpdate, Update, update_run


@leaves_no_trace
def update(
    run: Run,
    rows: Any,
    *,
    valid_data: Any = None,
    test_data: Any = None,
    day: str = "",
    count_over: str = "new",
    statistics: str = "keep",
    expire_days: int | None = None,
    keep_calibration: bool = False,
    folder: str | Path | None = None,
    resume: bool = False,
    **options: Unpack[FitOptions],
) -> Run:
    """Measures new rows by a run, gives their new tokens ids, and trains on from it: a run of its own.

    The run that it goes on from stays as it is. What the new rows were worth before they were trained on is
    in :attr:`Run.update`.

    Args:
        run: A finished run.
        rows: New rows with labels: a frame of pandas or polars, an arrow table, a dict of arrays, or files.
        valid_data: Rows to choose and calibrate by.
        test_data: Rows to report on.
        day: Name of the day; today's date unless said.
        count_over: Rows in which a new token must reach ``min_categr_count``: the ``new`` ones, or those of
            all days, ``lineage``.
        statistics: Whether numbers are scaled as they are (``keep``), or by the new rows (``update``).
        expire_days: Tokens that were not seen for so many days are dropped.
        keep_calibration: Whether the calibration of the run stays, also where there are validation rows.
        folder: Where the new run goes, or a URL to which it is uploaded; without one it is temporary.
        resume: Goes on with an update of the same folder that was interrupted, if there is one.
        **options: Keys of training that change, as :func:`fuxi_mtl.fit` takes them, such as ``new_rows``: how
            vectors of new tokens start. One pass unless ``epochs`` says otherwise.

    Raises:
        ValueError: The rows, the day or an option cannot be used, or the interrupted update is another one.

    Example:
        >>> next_day = fm.update(run, frame, day="2026-11-08")
        >>> sorted(next_day.update["progressive"])
        ['after', 'before', 'undefined']
    """
    import_zoo()
    if not isinstance(run, Run):
        raise ValueError(
            f"update: run is {type(run).__name__}. It is a fm.Run, such as fit and load_run give."
        )
    given = {"train": rows, "valid": valid_data, "test": test_data}
    given = {name: each for name, each in given.items() if each is not None}
    for name, each in given.items():
        if not (is_frame(each) or isinstance(each, (str, Path))):
            raise ValueError(
                f"update: {name} rows are {type(each).__name__}. They can be: a frame of pandas or polars, "
                "an arrow table, a dict of arrays or lists, or a path or pattern of files."
            )
    check_alone(os.environ, "update", "Update in one of them")
    check_resumable("update", resume, folder)
    how = Update(day, count_over, statistics, expire_days, keep_calibration)
    owner = TemporaryFolder() if folder is None else None
    place = owner.path / run.expid / how.day if owner is not None else runs.local_root(folder)  # type: ignore[arg-type]
    if folder is not None:
        check_writable(folder, "folder")
        check_replaceable(place)
        if place.resolve() == run.folder.resolve():
            raise ValueError("update: folder is that of the run, which stays: name another one.")
    number = int(run.update.get("number", 0)) + 1
    changes = {"export": False, **options}
    with TemporaryDirectory(prefix="fuxi_mtl-") as encoded, runs.held_run(place):
        planned = PlannedUpdate.of(runs.Run(run.folder), given, how, changes=changes, root=Path(encoded))
        made, model, encoder = update_run(planned, place, number=number, saves=owner is None, resume=resume)
    if folder is not None:
        upload_run(folder, made.folder)
    model.features = with_reader(model.features, encoder)
    model.recipe.fits += 1
    return Run(made.folder, owner, model)
