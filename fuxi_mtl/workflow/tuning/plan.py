"""How a search goes on: what proposes values, what ends trials, how many there are, where they are kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fuxi_mtl.hints import among

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median", "halving")
STORAGES = {"journal": "study.journal", "sqlite": "study.db"}  # and the file of each
TRIALS = 40


@dataclass(frozen=True)
class Plan:
    """How a search goes on.

    Attributes:
        trials: How many there are to be, over all processes and days; None for the whole grid, else
            :data:`TRIALS`.
        sampler: One of :data:`SAMPLERS`.
        pruner: One of :data:`PRUNERS`.
        storage: One of :data:`STORAGES`.
        choose: Rule that chooses a trial of a front.
        seed: Of the sampler.
        minutes: After so many no trial goes on; None for no end.
        retrain: With how many new seeds the winner is trained.
    """

    trials: int | None = None
    sampler: str = "tpe"
    pruner: str = "none"
    storage: str = "journal"
    choose: str = "fairness"
    seed: int = 2026
    minutes: float | None = None
    retrain: int = 3

    def check(self, objectives: Sequence[str]) -> None:
        """The names are known, and go with the objectives.

        Raises:
            ValueError: One does not.
        """
        from fuxi_mtl.options import RULES  # the command line asks for the names above long before

        rules = [rule for rule in RULES if rule != "weighted"]  # which needs weights
        known = {"sampler": SAMPLERS, "pruner": PRUNERS, "storage": [*STORAGES], "choose": rules}
        for key, names in known.items():
            if getattr(self, key) not in names:
                raise ValueError(f"tune: {key} is {getattr(self, key)!r}.{among(getattr(self, key), names)}")
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"tune: trials is {self.trials}; it must be 1 or more.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(
                f"tune: minutes is {self.minutes:g}; it must be above 0. Leave it out for no end."
            )
        if self.retrain < 0:
            raise ValueError(f"tune: retrain is {self.retrain}; it must be 0 or more.")
        if self.pruner != "none" and len(objectives) > 1:
            raise ValueError(
                f"tune: the pruner {self.pruner} needs one order of trials, and {len(objectives)} objectives "
                f"({', '.join(objectives)}) give none before the end. Leave it out, or name one objective."
            )
