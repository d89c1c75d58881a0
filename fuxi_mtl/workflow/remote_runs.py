"""Runs whose model_root is a URL: written on this machine, uploaded when whole, fetched to be used."""

import logging
from collections.abc import Iterable
from pathlib import Path

from fuxi_mtl.config import Experiment
from fuxi_mtl.files.remote import (
    MANIFEST,
    RemoteError,
    as_url,
    check_url,
    download_folder,
    file_system,
    files_at,
    is_url,
    read_manifest,
    same_as,
    upload_folder,
)
from fuxi_mtl.lineage import day_folder, split_day
from fuxi_mtl.runs import Run, held_run, local_root

logger = logging.getLogger(__name__)

_PATIENCE = 600.0  # seconds to wait for another process that fetches the same run


def url_of(model_root: str, folder: Path) -> str:
    """Where a run of this machine goes."""
    return f"{model_root.rstrip('/')}/{folder.relative_to(local_root(model_root)).as_posix()}"


def fetch_runs(model_root: str, first: Path) -> None:
    """Gets a run that another machine has uploaded, and its updates; what is only here stays.

    Args:
        model_root: Where runs go; nothing is done for a folder.
        first: What the lineage began with, on this machine.

    Raises:
        RemoteError: The store cannot be asked, a file is not what its manifest says, or the run here is
            another one than that of the same name there.
    """
    if not is_url(model_root):
        return
    _fetch(url_of(model_root, first), first)
    pattern = url_of(model_root, day_folder(first, "*")) + f"/{MANIFEST}"
    for manifest in files_at(pattern, "model_root"):
        url = manifest.rpartition("/")[0]
        _fetch(url, day_folder(first, url.split("/")[-2]))


def fetch_all(model_root: str | Path, expids: Iterable[str] | None = None) -> None:
    """Gets all runs that lie there with their updates, or those of some experiments; likewise.

    Args:
        model_root: Where runs go; nothing is done for a folder.
        expids: Names, perhaps with a day.
    """
    if not is_url(model_root):
        return
    root = as_url(model_root).rstrip("/")
    wanted = {name for each in expids or () for name in (each, split_day(each)[0])}
    for manifest in files_at(f"{root}/*/*/seed_*/{MANIFEST}", "model_root"):
        dataset_id, expid, seed, _ = manifest.split("/")[-4:]
        if not wanted or expid in wanted:
            fetch_runs(root, local_root(root) / dataset_id / expid / seed)


def fetch_run(url: str | Path) -> Path:
    """The folder on this machine of one run, which is fetched unless it is there.

    Args:
        url: Of the run, such as ``s3://runs/mtl/tiny_mtl/MMoE_test/seed_2026``.

    Raises:
        RemoteError: No whole run is there, or see :func:`fetch_runs`.
    """
    url = as_url(url).rstrip("/")
    check_url("run", url)
    folder = local_root(url)
    _fetch(url, folder)
    if not folder.is_dir():
        raise RemoteError(f"{url}: no whole run is there, as it has no {MANIFEST}.")
    return folder


def fetch_parents(experiment: Experiment) -> None:
    """Gets the runs that a training starts from, where ``init_from`` or ``resume_path`` names them there.

    Raises:
        RemoteError: See :func:`fetch_runs`.
    """
    options, about = experiment.training, experiment.options
    for name in (options.init_from, options.resume_path):
        if name is None:
            continue
        if is_url(name):
            fetch_run(name)
        elif is_url(about.model_root) and not Path(name).expanduser().is_dir():
            _fetch_named(name, about.model_root, about.dataset_id, options.seed)


def _fetch_named(name: str, model_root: str, dataset_id: str, seed: int) -> None:
    """Gets the run of an experiment with a seed, or with any if there is none with it."""
    for expid in dict.fromkeys((name, split_day(name)[0])):
        place = local_root(model_root) / dataset_id / expid
        if "/" in expid:
            continue
        found = files_at(f"{url_of(model_root, place)}/seed_*/{MANIFEST}", "model_root")
        seeds = [manifest.split("/")[-2] for manifest in found]
        for each in [f"seed_{seed}"] if f"seed_{seed}" in seeds else seeds:
            fetch_runs(model_root, place / each)


def _fetch(url: str, folder: Path) -> None:
    if read_manifest(url) is None:
        if folder.is_dir():
            logger.info("%s is not there, or not whole: %s is used.", url, folder)
        return
    if not folder.is_dir():
        with held_run(folder, wait=_PATIENCE):  # several workers of a machine fetch one run
            if not folder.is_dir():
                download_folder(url, folder)
                logger.info("Downloaded %s to %s.", url, folder)
                return
    if not same_as(url, folder):
        raise RemoteError(
            f"{folder} and {url} are two runs of one name. Remove the one that is not wanted; run --resume "
            "uploads the one of this machine."
        )


def check_writable(url: str | Path, key: str) -> None:
    """Says before a training, and not behind it, that a run cannot go to a URL, as far as that is known.

    Raises:
        RemoteError: A package is missing, the scheme is unknown, or the URL holds a secret.
    """
    if is_url(url):
        file_system(as_url(url), key)


def upload_run(url: str | Path, folder: Path) -> None:
    """Uploads a whole run, unless the same lies there already; see :func:`publish_run`."""
    if is_url(url) and not same_as(as_url(url), folder):
        upload_folder(folder, as_url(url))


def publish_run(model_root: str, run: Run) -> None:
    """Uploads a whole run, unless the same lies there already.

    Raises:
        RemoteError: It cannot be written; the run is whole on this machine, and run --resume uploads it.
    """
    if not is_url(model_root):
        return
    upload_run(url_of(model_root, run.folder), run.folder)
