"""A model that nobody has: it is told the true propensity."""

import functools

import tensorflow as tf

from fuxi_mtl import NaiveIPW
from fuxi_mtl.features import FeatureMap
from fuxi_mtl.registry import register


@register
class TruePropensity(NaiveIPW):
    """Inverse propensities with the propensity of the simulator, which is the last number of the inputs."""

    @functools.wraps(NaiveIPW.__init__)  # the same options, by which a stanza is checked
    def __init__(self, features, tasks, **options):
        *known, self.truth = features.features
        super().__init__(FeatureMap(features.dataset_id, tuple(known), features.labels), tasks, **options)
        self.features = features  # the inputs it is given; its network sees all but the last

    def click_logit(self, inputs):
        """The logit of the true propensity."""
        p = tf.clip_by_value(inputs["numeric"][:, self.truth.columns.start], 1e-7, 1 - 1e-7)
        return tf.math.log(p) - tf.math.log1p(-p)

    def prepare(self, labels, batches):
        """There is nothing to fit."""
