"""The body of ESMM and ESM2: towers of conditional events, whose logits a funnel chains."""

from collections.abc import Sequence
from typing import ClassVar

from typing_extensions import Unpack

from fuxi_mtl.layers import FeatureEmbedding, Towers, make_bottom
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives.funnel import Funnel, entire_space, split_values, towers_of
from fuxi_mtl.options.shared import BottomOptions, embedding_options, mlp_options
from fuxi_mtl.tasks import Task


class EntireSpaceModel(MultiTaskModel):
    """Trained on what every exposure defines; conditional towers learn through products alone.

    Values at the end of the chain, such as ``spend | buy``, have towers of their own, trained where the event
    that they are given has happened.

    Args:
        features: The inputs.
        tasks: What to predict.
        **common: What lies under the towers, and what all models share.
    """

    defaults: ClassVar[BottomOptions] = {"tower_hidden_units": (256, 128)}

    def __init__(self, features, tasks, **common: Unpack[BottomOptions]):
        super().__init__(features, tasks)
        self.events, values = split_values(tasks)
        self.values = [task.name for task in values]
        self.funnel = Funnel(towers_of(self.steps(self.events)))
        mlp = mlp_options(common)
        names = [*(tower.name for tower in self.funnel.towers), *self.values]
        self.embedding = FeatureEmbedding(features, **embedding_options(common))
        self.bottom = make_bottom(common["bottom"], names, mlp)
        self.towers = Towers(names, common["tower_hidden_units"], outputs=self.head_widths, **mlp)

    @classmethod
    def steps(cls, tasks: Sequence[Task]) -> Sequence[Task]:
        """The tasks of whose conditional events there are towers."""
        return tasks

    def heads(self, x, training=False):
        """See the base class."""
        towers = self.towers(self.bottom(x, training=training), training=training)
        return self.funnel.logits(towers, self.events) | {name: towers[name] for name in self.values}

    def shared_variables(self):
        """The last layer that the bottom shares; none means the embeddings."""
        return self.bottom.shared_variables()

    @classmethod
    def supervised_tasks(cls, tasks):
        """Those that are defined on every exposure, never a conditional rate itself; and values."""
        events, values = split_values(tasks)
        return (*entire_space(events), *values)
