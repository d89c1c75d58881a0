"""The body of CGC and PLE: levels of private and shared experts under the towers."""

from typing import ClassVar

from typing_extensions import Unpack

from fuxi_mtl.layers import ExtractionLevels, FeatureEmbedding, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options.shared import ExtractionOptions, embedding_options, mlp_options


class ExtractionModel(MultiTaskModel):
    """``z_k = tower_k(levels_k(x))``, the levels those of :class:`fuxi_mtl.layers.ExtractionLevels`.

    Args:
        features: The inputs.
        tasks: What to predict.
        num_layers: Number of levels.
        **options: Experts and gates of each level, and what all models share.
    """

    defaults: ClassVar[ExtractionOptions] = {
        "num_shared_experts": 4,
        "num_specific_experts": 2,
        "expert_hidden_units": (256, 128),
        "gate_hidden_units": (),
    }

    def __init__(self, features, tasks, *, num_layers: int, **options: Unpack[ExtractionOptions]):
        super().__init__(features, tasks)
        names, mlp = [task.name for task in tasks], mlp_options(options)
        self.embedding = FeatureEmbedding(features, **embedding_options(options))
        self.bottom = ExtractionLevels(
            names,
            mlp,
            num_layers=num_layers,
            num_shared_experts=options["num_shared_experts"],
            num_specific_experts=options["num_specific_experts"],
            expert_hidden_units=options["expert_hidden_units"],
            gate_hidden_units=options["gate_hidden_units"],
        )
        self.towers = Towers(names, options["tower_hidden_units"], outputs=self.head_widths, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        return self.towers(self.bottom(x, training=training), training=training)

    def shared_variables(self):
        """The last kernels of the last level's shared experts."""
        return self.bottom.shared_variables()
