"""Start of a training from a finished run: yesterday's model, or another one with some layers in common."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import Encoder
from fuxi_mtl.dataset.matching import NEW, Match, match_ids, scaled_otherwise
from fuxi_mtl.lineage import find_run
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import TrainingOptions
from fuxi_mtl.runs import Run
from fuxi_mtl.training.checkpoint import StoredModel, TableRows, Transfer
from fuxi_mtl.training.checkpoint.naming import Part, layers_of

logger = logging.getLogger(__name__)

_SHOWN = 8


@dataclass(frozen=True)
class InitialRun:
    """A finished run that a training starts from.

    Attributes:
        run: The run.
        encoder: The encoding of its inputs.
        options: What is taken, see ``init_with``.
    """

    run: Run
    encoder: Encoder
    options: TrainingOptions

    @classmethod
    def of(cls, experiment: Experiment) -> "InitialRun | None":
        """The run that a stanza names, if it names one.

        Raises:
            ValueError: There is no such run, or it is damaged.
        """
        options, about = experiment.training, experiment.options
        if options.init_from is None:
            return None
        try:
            folder = find_run(options.init_from, about.model_root, about.dataset_id, options.seed)
            run = Run(folder)
            return cls(run, Encoder.load(run.features), options)
        except (ValueError, OSError, LookupError, TypeError) as error:
            raise ValueError(f"init_from: {error}") from error

    @property
    def stored(self) -> StoredModel:
        """Its weights, and all else that training changed."""
        return StoredModel(self.run.checkpoint)

    @property
    def steps(self) -> int:
        """Optimizer steps that the training has behind it when it starts.

        Adam's moments are taken with the count that corrects their bias; without them it starts at 0.
        """
        return self.stored.steps if self.options.init_with == "warm" else 0

    def description(self) -> dict[str, Any]:
        """What a run tells of the one it came from."""
        content = self.run.read_json(self.run.metrics, "expid", "dataset_id", "seed", "data_key", "finished")
        known = {key: content[key] for key in ("expid", "dataset_id", "seed", "data_key", "finished")}
        return {"folder": str(Path(self.run.folder).resolve()), **known, "with": self.options.init_with}

    def put_into(self, model: MultiTaskModel, encoder: Encoder) -> None:
        """Gives a model what this run has for it.

        Args:
            model: Compiled; what it was prepared with is there already.
            encoder: The encoding of its inputs.

        Raises:
            ValueError: Layers do not fit, and ``init_missing`` does not allow for new ones; or features come
                in another order, which no shape would tell.
        """
        tables, matches = self._tables(model, encoder)
        fitted = self._fitted_together(model)

        def wanted(name: str, part: Part) -> bool:
            if self.options.init_fitted == "refit" and name.startswith(
                tuple(f"network/{p}/" for p in fitted)
            ):
                return False
            return self._wanted(name, part)

        transfer = self.stored.planned(model, tables, wanted, fitted)
        if self.options.init_with != "embeddings":
            self._check_columns(model)
        self._check_missing(transfer)
        self.stored.put_into(model, transfer, tables)
        self._tell(transfer, matches, encoder)

    def _wanted(self, name: str, part: Part) -> bool:
        if self.options.init_with == "embeddings":
            return bool(part.feature) and name.startswith("network/")
        return self.options.init_with == "warm" or name.startswith("network/")

    def _fitted_together(self, model: MultiTaskModel) -> list[str]:
        """The paths of layers that were fitted before training."""
        fitted = {id(layer) for layer in model.fitted_beforehand()}
        return [path for path, layer in layers_of(model) if id(layer) in fitted]

    def _tables(
        self, model: MultiTaskModel, encoder: Encoder
    ) -> tuple[dict[str, TableRows | str], list[Match]]:
        """Where the rows of each feature come from, or why from nowhere; and what is known of each table."""
        tables: dict[str, TableRows | str] = {}
        matches = []
        for feature in model.features.features:
            if not feature.has_ids:
                continue
            try:
                match = match_ids(encoder, self.encoder, feature.name)
                _ = match.rows  # which says if composed vectors fit
                owns = match.here.name == feature.name
                tables[feature.name] = TableRows(match, self._copied(match, told=owns))
                if owns:
                    matches.append(match)
            except ValueError as error:
                tables[feature.name] = str(error)
        return tables, matches

    def _copied(self, match: Match, told: bool) -> dict[str, np.ndarray]:
        """The rows of new tokens, if they are to start as OOV's; of a shared table it is told once."""
        if self.options.new_rows == "random" or not match.new:
            return {}
        if told and self.stored.trained(match.there.name) is False:
            logger.warning(
                "new_rows: oov: feature %r: no training row of %s was OOV, so that new tokens start as a row "
                "that was never trained.",
                match.here.name,
                self.run.folder,
            )
        return {"": np.flatnonzero(match.ids == NEW)}

    def _check_columns(self, model: MultiTaskModel) -> None:
        """Layers behind the embeddings know vectors by their columns, and shapes do not tell these apart."""
        embedded = embedded_columns(model)
        there = self.stored.columns(self.encoder.feature_map, embedded)
        for name, here in embedded.items():
            known = there.get(name, here)
            if list(here.items()) != list(known.items()) and _width(here) == _width(known):
                raise ValueError(
                    f"init_from {self.run.folder}: the inputs come in another order there, which the layers "
                    f"behind them were trained for ({', '.join(known)} there, {', '.join(here)} here). Keep "
                    "the order of feature_cols, or set init_with: embeddings."
                )

    def _check_missing(self, transfer: Transfer) -> None:
        problems = transfer.problems
        if not problems or self.options.init_missing == "new":
            return
        told = "; ".join(f"{name}: {problem}" for name, problem in list(problems.items())[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        less = {"warm": "weights", "weights": "embeddings"}.get(self.options.init_with)
        other = f", or take less with init_with: {less}" if less else ""
        raise ValueError(
            f"init_from {self.run.folder}: {len(problems)} parts of the model do not fit ({told}{more}). Set "
            f"init_missing: new to start these anew{other}."
        )

    def _tell(self, transfer: Transfer, matches: list[Match], encoder: Encoder) -> None:
        taken = [name for name in transfer.taken if name.startswith("network/")]
        logger.info(
            "Starts from %s (%s): %d parts of the network, %d of its training.",
            self.run.folder,
            self.options.init_with,
            len(taken),
            len(transfer.taken) - len(taken),
        )
        for match in matches:
            logger.info(
                "feature %r: %s of %s ids are known there, %s are new.",
                match.here.name,
                f"{match.known:,}",
                f"{match.known + match.new:,}",
                f"{match.new:,}",
            )
        for name, problem in transfer.problems.items():
            logger.info("Starts anew: %s (%s).", name, problem)
        if transfer.left and self.options.init_with != "embeddings":
            logger.info("Not taken from there: %s.", ", ".join(transfer.left))
        changed = scaled_otherwise(encoder, self.encoder)
        if changed and self.options.init_with != "embeddings":
            logger.warning(
                "init_from: %s are scaled otherwise there: the layers behind them read other numbers.",
                ", ".join(changed),
            )


def embedded_columns(model: MultiTaskModel) -> dict[str, dict[str, tuple[int, int]]]:
    """The columns of each feature in the output of each layer that embeds, by the name of the layer."""
    from fuxi_mtl.layers import FeatureEmbedding

    return {
        f"network/{path}": layer.column_ranges
        for path, layer in layers_of(model)
        if isinstance(layer, FeatureEmbedding)
    }


def _width(columns: Mapping[str, tuple[int, int]]) -> int:
    return max((end for _, end in columns.values()), default=0)
