"""What every tracker of trainings has: it begins, is told numbers, and ends with files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class Tracked:
    """The training that is followed.

    Attributes:
        expid: Key of the experiment.
        dataset_id: Its dataset.
        seed: Its seed.
        parameters: Every key of the resolved stanza with its value, columns left out.
        lineage: What it comes from, as texts: model, data hash, commit, version, machine, parent.
        folder: Where the run will lie.
        summaries: A folder for files of the tracker, which becomes ``tensorboard`` of the run.
        known_as: What the tracker called a training that is gone on with; None of a new one.
    """

    expid: str
    dataset_id: str
    seed: int
    parameters: Mapping[str, Any]
    lineage: Mapping[str, str]
    folder: Path
    summaries: Path
    known_as: str | None = None

    @property
    def name(self) -> str:
        """``MMoE_test seed 1``."""
        return f"{self.expid} seed {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        status: ``finished``, ``failed`` or ``interrupted``.
        metrics: Of its splits, ``test/ctr_AUC``; empty unless it is finished.
        files: What it leaves that is small: stanza, metrics, history, environment, diagnostics, its page.
    """

    status: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: Sequence[Path] = ()


class Tracker:
    """Where a training is followed from outside.

    A subclass is told what happens, in this order, and may raise: of :meth:`begin` an error ends the command
    before the first step; of the others it is said once, and the training goes on without the tracker. What
    its constructor takes behind a star are keys of a stanza.

    Attributes:
        package: What must be installed for it; nothing unless said.

    Example:
        >>> @fm.register_tracker
        ... class Printed(fm.Tracker):
        ...     def log(self, step, numbers):
        ...         print("losses/ctr" in numbers, "valid/ctr_AUC" in numbers)
        >>> _ = fm.fit(model, data, trackers=["Printed"], epochs=1)
        True True
    """

    package: ClassVar[str] = ""

    def begin(self, training: Tracked) -> str | None:
        """A training is about to take its first step, or to go on.

        Returns:
            What the tracker calls it, by which it is found again when an interrupted training goes on.
        """
        return None

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """An evaluation was made.

        Args:
            step: Optimizer steps until then.
            numbers: Finite ones by name: ``loss``, ``epoch``, ``learning_rate``, ``losses/ctr``,
                ``weights/ctr``, ``gradient_norms/ctr``, ``valid/ctr_AUC``,
                ``gates/.../entropy``, ``gradients/.../cosine``.
        """

    def pause(self) -> None:
        """The last step is taken: files in ``summaries`` are moved now."""

    def end(self, outcome: Outcome) -> None:
        """The run is whole, or will not be."""
