"""Runs whose model_root is a URL: written on this machine, uploaded when whole, fetched to be used."""

import logging
from pathlib import Path

from fuxi_mtl.files.remote import (
    MANIFEST,
    RemoteError,
    download_folder,
    files_at,
    is_url,
    read_manifest,
    same_as,
    upload_folder,
)
from fuxi_mtl.lineage import day_folder
from fuxi_mtl.runs import Run, local_root

logger = logging.getLogger(__name__)


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


def _fetch(url: str, folder: Path) -> None:
    named = read_manifest(url)
    if named is None:
        if folder.is_dir():
            logger.info("%s is not there, or not whole: %s is used.", url, folder)
    elif not folder.is_dir():
        download_folder(url, folder)
        logger.info("Downloaded %s to %s.", url, folder)
    elif not same_as(url, folder):
        raise RemoteError(
            f"{folder} and {url} are two runs of one name. Remove the one that is not wanted; run --resume "
            "uploads the one of this machine."
        )


def publish_run(model_root: str, run: Run) -> None:
    """Uploads a whole run, unless the same lies there already.

    Raises:
        RemoteError: It cannot be written; the run is whole on this machine, and run --resume uploads it.
    """
    if not is_url(model_root):
        return
    url = url_of(model_root, run.folder)
    if not same_as(url, run.folder):
        upload_folder(run.folder, url)
