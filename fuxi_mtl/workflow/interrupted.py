"""Interrupted trainings: found beside their runs, and compared with what would go on from them."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fuxi_mtl.config import Experiment
from fuxi_mtl.training.initial import InitialRun
from fuxi_mtl.training.state import (
    CURES,
    FORMAT,
    RATES,
    FinishedTraining,
    StateFolder,
    Stored,
    stored_states,
    training_folder,
)
from fuxi_mtl.workflow.keys import as_read_again, keys_of_going_on, told_changes

logger = logging.getLogger(__name__)


def interrupted_training(run: Path) -> list[Stored]:
    """The states of a training whose run was to lie in a folder, the newest first; none if it is whole."""
    return stored_states(training_folder(run))


def check_same(stored: Stored, identity: Mapping[str, Any]) -> None:
    """Raises if a training cannot go on from a state.

    Args:
        stored: The state.
        identity: What :func:`identity_of` says of the training.

    Raises:
        ValueError: The state has another format, or is of other data, another stanza or another start; or its
            training came to numbers that are not finite, and would again.
    """
    if stored.note["format"] != FORMAT:
        raise ValueError(
            f"{stored.folder} has format {stored.note['format']}, and this version goes on from {FORMAT}. "
            "Begin anew with --restart, or use the version that wrote it."
        )
    there = stored.note["identity"]
    differing, diverged = _differing(there, identity), stored.diverged
    if diverged is not None and not differing:
        raise ValueError(
            f"{stored.folder}: its training has gone on from there, and would come to the same end: "
            f"{diverged} With a smaller {' or '.join(CURES)} --resume goes on from there; --restart begins "
            "anew."
        )
    if diverged is not None:
        same = {key: identity["stanza"][key] for key in CURES}
        differing = _differing({**there, "stanza": {**there["stanza"], **same}}, identity)
    if differing:
        raise ValueError(
            f"{stored.folder} is of another training: they differ in {differing}. Begin anew with --restart."
        )


def continued(experiment: Experiment, data_key: str | None = None) -> tuple[FinishedTraining, ...]:
    """The training that ``resume_path`` goes on with; none if it is null.

    Args:
        experiment: What is trained.
        data_key: The key of its data; None while they are not read.

    Raises:
        ValueError: There is no such run, or it is of another training.
    """
    found = FinishedTraining.of(experiment)
    if found is None:
        return ()
    there = identity_of(found.experiment, found.data_key)
    here = identity_of(experiment, data_key or found.data_key)
    for side in (there, here):
        side["stanza"].pop("resume_path")
    if differing := _differing(there, here):
        raise ValueError(
            f"resume_path: {found.run.folder} is of another training: they differ in {differing}. To start "
            "another one from its weights, use init_from."
        )
    return (found,)


def _differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """In what two identities differ; empty if they do not."""
    changed = told_changes(there["stanza"], here["stanza"])
    if there["data_key"] != here["data_key"]:
        changed.append("the data")
    if "parent" in there and there["parent"] != here["parent"]:  # states of older versions do not say it
        changed.append("the run that it starts from")
    return ", ".join(changed)


def goes_on(run: Path, identity: Mapping[str, Any], restart: bool = False) -> bool:
    """Whether there is an interrupted training to go on with; it is compared before data are encoded.

    Args:
        run: The folder of its run.
        identity: What :func:`identity_of` says of the training that would go on.
        restart: Whether it begins anew where the interrupted one is another.

    Raises:
        ValueError: It is another one, and nobody said to begin anew.
    """
    found = interrupted_training(run)
    if not found:
        return False
    try:
        check_same(found[0], identity)
    except ValueError as error:
        if not restart:
            raise
        logger.info("%s It begins anew.", error)
        return False
    return True


def states_of(run: Path, identity: Mapping[str, Any], keep: int, resume: bool) -> StateFolder:
    """Where the states of a training go, and which it goes on from.

    Args:
        run: The folder of its run.
        identity: What :func:`identity_of` says of it.
        keep: How many states stay.
        resume: Whether it goes on from an interrupted training, if there is one.

    Raises:
        ValueError: See :func:`check_same`.
    """
    found = interrupted_training(run)
    if found and resume:
        check_same(found[0], identity)
    elif found:
        logger.info(
            "An interrupted training is there: %s. --resume would go on with it. This one begins anew, and "
            "the other stays until the first state of this one is saved.",
            found[0],
        )

    def has_other_rates(stored: Stored) -> bool:
        there = stored.note["identity"]["stanza"]
        return any(there.get(key) != identity["stanza"].get(key) for key in RATES)

    sources = tuple(replace(each, keeps_rates=has_other_rates(each)) for each in found) if resume else ()
    return StateFolder(training_folder(run), identity, keep, sources)


def identity_of(
    experiment: Experiment, data_key: str, initial: InitialRun | None = None, **more: Any
) -> dict[str, Any]:
    """What a training is known by, as it is read again.

    Args:
        experiment: What is trained.
        data_key: The key of its data.
        initial: The run that it starts from.
        **more: Keys beside those of the stanza.
    """
    start = {} if initial is None else initial.description()
    parent = {key: value for key, value in start.items() if key != "folder"}  # which may be moved
    keys = {"stanza": {**keys_of_going_on(experiment), **more}, "data_key": data_key, "parent": parent}
    return as_read_again(keys)
