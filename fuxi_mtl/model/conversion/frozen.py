"""Conversion models whose propensity is a network of its own, fitted beforehand and then left alone."""

from collections.abc import Sequence

import keras
import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.cluster.workers import together
from fuxi_mtl.features import FeatureMap
from fuxi_mtl.layers import FeatureEmbedding, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.model.conversion.base import ConversionModel
from fuxi_mtl.objectives.losses import logit_and
from fuxi_mtl.options.shared import BottomOptions
from fuxi_mtl.tasks import Task


class PropensityModel(MultiTaskModel):
    """The click alone: a stack on embeddings of its own; without hidden layers, a logistic regression.

    Args:
        features: The inputs.
        click: The task.
        embedding_dim: Width of the embeddings.
        hidden_units: Widths of the hidden layers.
    """

    def __init__(self, features: FeatureMap, click: Task, embedding_dim: int, hidden_units: Sequence[int]):
        super().__init__(features, (click,))
        self.embedding = FeatureEmbedding(features, embedding_dim, 1e-6)
        self.towers = Towers([click.name], hidden_units)

    def heads(self, x, training=False):
        """See the base class."""
        return self.towers(x, training=training)


class FrozenPropensityModel(ConversionModel):
    """A conversion model that learns nothing about clicks: its click head is the frozen propensity.

    :meth:`prepare` fits the propensity on the training data, before the first step. What is trained
    afterwards is the conversion tower and the further heads.

    Args:
        features: The inputs.
        tasks: A click, a conversion given that click, and both.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        propensity_hidden_units: Sequence[int],
        propensity_epochs: int,
        propensity_learning_rate: float,
        **common: Unpack[BottomOptions],
    ):
        super().__init__(features, tasks, **common)
        self.fitting = (propensity_epochs, propensity_learning_rate)
        self.sizes = (common["embedding_dim"], tuple(propensity_hidden_units))
        self.propensity = PropensityModel(features, self.chain.click, *self.sizes)

    def tower_names(self):
        """No tower for the click."""
        return [self.chain.conversion.name, *self.imputed_heads()]

    def build(self, input_shape=None):
        """Creates every variable; those of the propensity are not to be trained."""
        super().build(input_shape)
        self.propensity.trainable = False

    def embed(self, inputs):
        """The embeddings, and the logit of the click."""
        return {"own": self.embedding(inputs), "click": self.click_logit(inputs)}

    def embedding_layers(self):
        """See the base class."""
        return {"own": self.embedding}

    def click_logit(self, inputs):
        """What the frozen model says, ``(batch,)``."""
        return self.propensity(inputs, training=False)[self.chain.click.name]

    def heads(self, x, training=False):
        """See the base class."""
        heads = self.towers(self.bottom(x["own"], training=training), training=training)
        return self.with_click(heads, x["click"])

    def with_click(self, heads, click):
        """The heads of the towers, the click's, and the product."""
        product = logit_and(click, heads[self.chain.conversion.name])
        return heads | {self.chain.click.name: click, self.chain.joint.name: product}

    def shared_variables(self):
        """None: there is one risk, and what it shares with others is no more than the embeddings."""
        return []

    def fitted_beforehand(self):
        """The propensity."""
        return [self.propensity]

    def prepare(self, labels, batches):
        """Fits the propensity."""
        super().prepare(labels, batches)
        epochs, rate = self.fitting
        # A copy is trained, so that nothing of its optimizer stays with this model.
        fitted = PropensityModel(self.features, self.chain.click, *self.sizes)
        fitted.build()
        fitted.set_weights(self.propensity.get_weights())
        fitted.compile(keras.optimizers.Adam(rate, global_clipnorm=10.0))
        _fit(fitted, batches(epochs))
        fitted.apply_deferred_updates()
        self.propensity.set_weights(fitted.get_weights())


def _fit(model: MultiTaskModel, batches: tf.data.Dataset) -> None:
    """A step on each batch; Keras's own loop does not run over several processes."""
    workers = together(model)
    if workers is None:
        model.fit(batches, shuffle=False, verbose=0)
        return
    step = tf.function(
        lambda batch: workers.strategy.run(model.train_step, args=(batch,)),
        autograph=False,
        reduce_retracing=True,
    )
    with workers.watched():
        for batch in workers.own_rows(batches):
            step(batch)
