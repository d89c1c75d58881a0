"""Decoders of amounts, counts and times by a likelihood or a transformed error: one to three raw numbers."""

import logging
import math
from collections.abc import Mapping
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.decoders.base import LARGEST, Decoder
from fuxi_mtl.options import option

logger = logging.getLogger(__name__)

_NORMAL = 0.5 * math.log(2 * math.pi)
_OFF = 2.0  # times the labels on average, or a part of them, from where on values are said to be off
_WIDE = 2.0  # sigma beyond which a lognormal's mean is more than seven times its median


class ZeroInflatedLognormal(Decoder):
    """ZILN, a zero or a lognormal amount (Wang, Liu and Miao 2019), for spend with many zeros.

    Of the raw numbers ``(z, mu, s)``, with ``sigma = softplus(s)`` kept from ``sigma_min`` to ``sigma_max``::

        error = BCE(1[y > 0], z) + 1[y > 0] (log y + log sigma + log(2 pi) / 2 + (log y - mu)^2 / (2 sigma^2))
        value = sigmoid(z) exp(mu + sigma^2 / 2)

    Differs from the paper: the same bounds of sigma in error and value, and biases that start at the rate and
    the logarithms of the training labels.

    Args:
        task: Name of the task.
        columns: Not used.
        unit: Labels are divided by it first, values multiplied.
        sigma_min: Least sigma.
        sigma_max: Largest sigma.
        amount_over: What the amounts' part is averaged over: all ``rows``, as in the paper, or the
            ``positives``.

    Raises:
        ValueError: Another word, or a label below 0.
    """

    outputs = 3
    monotone = False

    def __init__(
        self,
        task: str,
        columns: Mapping[str, int] | None = None,
        *,
        unit: Annotated[
            float, option("What labels are divided by, so that amounts are near 1.", above=0)
        ] = 1.0,
        sigma_min: Annotated[float, option("Least standard deviation of the logarithm.", above=0)] = 0.01,
        sigma_max: Annotated[float, option("Largest standard deviation of the logarithm.", above=0)] = 5.0,
        amount_over: Annotated[
            str,
            option("What the error of amounts is averaged over.", choices=("rows", "positives")),
        ] = "rows",
    ):
        super().__init__(task, columns)
        if sigma_min >= sigma_max:
            raise ValueError(f"sigma_min {sigma_min:g} is not below sigma_max {sigma_max:g}.")
        self.unit, self.bounds, self.over_rows = unit, (sigma_min, sigma_max), amount_over == "rows"
        self.share = self._state("positive_share", ())

    def fit(self, labels, numeric):
        """The share of positives, and where the biases start."""
        self.check(labels)
        positive = np.log(labels[labels > 0] / self.unit)
        if not len(positive):
            raise ValueError(f"decoder {self._type} of {self.task!r}: all labels are 0.")
        share = len(positive) / len(labels)
        self.share.assign(share)
        rate = min(max(share, 0.5 / len(labels)), 1 - 0.5 / len(labels))
        deviation = float(np.clip(positive.std(), *self.bounds))
        return [math.log(rate / (1 - rate)), float(positive.mean()), math.log(math.expm1(deviation))]

    def error(self, raw, target):
        """See the class."""
        z, mu, _ = tf.unstack(raw, axis=-1)
        sigma, positive = self._sigma(raw), target > 0
        amount = tf.math.log(tf.where(positive, target / self.unit, 1.0))  # of a label of 0 a NaN gradient
        away = (amount - mu) / sigma
        amounts = tf.where(positive, amount + tf.math.log(sigma) + _NORMAL + away**2 / 2, 0.0)
        if not self.over_rows:
            amounts /= self.share
        happens = tf.cast(positive, raw.dtype)
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=happens, logits=z) + amounts

    def value(self, raw, inputs):
        """See the class."""
        z, mu, _ = tf.unstack(raw, axis=-1)
        exponent = tf.math.log_sigmoid(z) + mu + self._sigma(raw) ** 2 / 2
        return self.unit * tf.exp(tf.clip_by_value(exponent, -100.0, LARGEST))

    @property
    def part_names(self):
        """``prob``, the probability of an amount above 0."""
        return ("prob",)

    def parts(self, raw):
        """See the names."""
        return (tf.sigmoid(raw[..., 0]),)

    @property
    def watched(self):
        """Means of mu and sigma, and shares: of the least sigma, of one beyond 2, of a clipped value."""
        return ("mu", "sigma", "least_sigma", "wide", "clipped")

    def watch(self, raw):
        """See the names."""
        mu, sigma = raw[..., 1], self._sigma(raw)
        exponent = tf.math.log_sigmoid(raw[..., 0]) + mu + sigma**2 / 2
        shares = (sigma <= self.bounds[0], sigma > _WIDE, exponent > LARGEST)
        return (mu, sigma, *(tf.cast(each, raw.dtype) for each in shares))

    def _sigma(self, raw: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(tf.nn.softplus(raw[..., 2]), *self.bounds)


class LogSquaredError(Decoder):
    """The squared error of the logarithm, and a value that is not biased low.

    With ``z = (log(1 + y) - m) / sd``, m and sd of the training labels, ``error = (raw - z)^2``. The plain
    way back, ``exp(f) - 1`` with ``f = m + sd raw``, is near the median: too small by ``exp(-s^2 / 2)`` for
    residuals of deviation s. Duan's smearing puts it right on rows that were not trained on::

        naive       exp(f) - 1
        smearing    S exp(f) - 1        S = mean exp(log(1 + y) - f) over the validation rows
        normal      exp(f + s^2 / 2) - 1        s^2 the residuals' variance there

    clipped at 0. Until training is over, and without validation rows, S is 1.

    Args:
        task: Name of the task.
        columns: Not used.
        standardise: Whether z has mean 0 and deviation 1; else m is 0 and sd is 1.
        back: ``naive``, ``smearing`` or ``normal``.

    Raises:
        ValueError: Another word, or a label below 0.

    Reference:
        Duan. Smearing estimate: a nonparametric retransformation method. JASA 1983.
    """

    kind = "regression"
    unsettled = "they are too small on average (the decoder tweedie needs no such rows)"

    def __init__(
        self,
        task: str,
        columns: Mapping[str, int] | None = None,
        *,
        standardise: Annotated[bool, option("Whether the logarithm is scaled to deviation 1.")] = True,
        back: Annotated[
            str,
            option(
                "The way back from logarithms: naive is biased low, the others learn from validation rows.",
                choices=("smearing", "normal", "naive"),
            ),
        ] = "smearing",
    ):
        super().__init__(task, columns)
        self.standardise, self.back, self.settles = standardise, back, back != "naive"
        self.offset, self.scale = self._state("offset", ()), self._state("scale", ())
        self.factor = self._state("factor", (), 1.0)

    def fit(self, labels, numeric):
        """Mean and deviation of the logarithms."""
        self.check(labels)
        logarithms = np.log1p(labels)
        self.offset.assign(logarithms.mean() if self.standardise else 0.0)
        self.scale.assign((logarithms.std() or 1.0) if self.standardise else 1.0)
        self.factor.assign(1.0)
        return [0.0 if self.standardise else float(logarithms.mean())]

    def settle(self, raw, labels):
        """The factor of the way back; values that it does not put right are said."""
        if not self.settles or not len(labels):
            return
        logarithms = _number(self.offset) + _number(self.scale) * raw.astype(np.float64)
        residuals = np.log1p(labels) - logarithms
        smeared = np.exp(residuals).mean() if self.back == "smearing" else np.exp(residuals.var() / 2)
        self.factor.assign(smeared)
        times = np.mean(smeared * np.exp(logarithms) - 1) / max(np.mean(labels), np.finfo(np.float64).tiny)
        if not 1 / _OFF < times < _OFF:
            logger.warning(
                "%s: on the validation rows values are %.3g times the labels on average: one factor (back: "
                "%s) does not fit, as the residuals of the logarithm depend on it. value_calibration: ratio "
                "mends the average; the decoders tweedie, wlr and tpm need no factor.",
                self.task,
                times,
                self.back,
            )

    def learnt(self, label, inputs):
        """The scaled logarithm."""
        return (tf.math.log1p(label) - self.offset) / self.scale

    def error(self, raw, target):
        """See the class."""
        return (raw - target) ** 2

    def value(self, raw, inputs):
        """See the class."""
        exponent = tf.clip_by_value(self.offset + self.scale * raw, -100.0, LARGEST)
        if self.back == "naive":
            return tf.maximum(tf.math.expm1(exponent), 0.0)
        return tf.maximum(self.factor * tf.exp(exponent) - 1.0, 0.0)


class _Exponential(Decoder):
    """A value ``exp(raw)``, whose mean is right where the error's gradient vanishes."""

    def fit(self, labels, numeric):
        """Where the bias starts: at the logarithm of the mean."""
        self.check(labels)
        if not labels.max() > 0:
            raise ValueError(f"decoder {self._type} of {self.task!r}: all labels are 0.")
        return [math.log(labels.mean())]

    @property
    def watched(self):
        """The mean of the raw number, and the share of values that are clipped."""
        return ("raw", "clipped")

    def watch(self, raw):
        """See the names."""
        return raw, tf.cast(tf.abs(raw) > LARGEST, raw.dtype)

    def value(self, raw, inputs):
        """``exp(raw)``."""
        return tf.exp(tf.clip_by_value(raw, -LARGEST, LARGEST))


class Poisson(_Exponential):
    """Poisson regression, for counts: ``error = exp(z) - y z``, ``value = exp(z)``; right on average."""

    def error(self, raw, target):
        """See the class."""
        return tf.exp(tf.minimum(raw, LARGEST)) - target * raw


class Tweedie(_Exponential):
    """Tweedie regression, for amounts with zeros: right on average whatever its power.

    ``error = -y exp((1 - p) z) / (1 - p) + exp((2 - p) z) / (2 - p)``, ``value = exp(z)``.

    Args:
        task: Name of the task.
        columns: Not used.
        power: p: near 1 like counts, near 2 like gamma-distributed amounts.

    Raises:
        ValueError: The power lies outside, or a label is below 0.
    """

    def __init__(
        self,
        task: str,
        columns: Mapping[str, int] | None = None,
        *,
        power: Annotated[
            float, option("Power of the variance: near 1 counts, near 2 amounts.", above=1, below=2)
        ] = 1.5,
    ):
        super().__init__(task, columns)
        self.power = power

    def error(self, raw, target):
        """See the class."""
        z, p = tf.clip_by_value(raw, -4 * LARGEST, 4 * LARGEST), self.power
        return -target * tf.exp((1 - p) * z) / (1 - p) + tf.exp((2 - p) * z) / (2 - p)


class WeightedLogistic(_Exponential):
    """WLR, weighted logistic regression of watch time (Covington et al., RecSys 2016), right on average.

    ``error = T softplus(-z) + softplus(z)`` on every row, ``value = exp(z)``. The paper's has the second part
    on rows without a click only (``exact: False``; here rows with a time of 0): its value is the odds, too
    large by ``1 / (1 - ctr)``.

    Args:
        task: Name of the task.
        columns: Not used.
        exact: Whether every row has the second part.
        unit: Times are divided by it first, values multiplied.
        clip_quantile: Longer times than this quantile of the training rows count as long as that; 1 for none.

    Raises:
        ValueError: A label is below 0.
    """

    def __init__(
        self,
        task: str,
        columns: Mapping[str, int] | None = None,
        *,
        exact: Annotated[
            bool, option("Whether the value is right on average; else the odds of the paper.")
        ] = True,
        unit: Annotated[
            float, option("What labels are divided by, so that times are near 1.", above=0)
        ] = 1.0,
        clip_quantile: Annotated[
            float, option("Quantile of the training labels at which longer ones are cut.", above=0, most=1)
        ] = 0.999,
    ):
        super().__init__(task, columns)
        self.exact, self.unit, self.quantile = exact, unit, clip_quantile
        self.largest = self._state("largest", ())

    def fit(self, labels, numeric):
        """The longest time, and where the bias starts."""
        super().fit(labels, numeric)
        times = labels / self.unit
        self.largest.assign(np.quantile(times, self.quantile))
        times = np.minimum(times, _number(self.largest))
        rows = len(times) if self.exact else max((times == 0).sum(), 1)
        return [math.log(max(times.sum(), 1e-8) / rows)]

    def learnt(self, label, inputs):
        """The time in units, cut."""
        return tf.minimum(label / self.unit, self.largest)

    def error(self, raw, target):
        """See the class."""
        away = tf.nn.softplus(raw)
        if not self.exact:
            away = tf.where(target > 0, 0.0, away)
        return target * tf.nn.softplus(-raw) + away

    def value(self, raw, inputs):
        """See the class."""
        return self.unit * super().value(raw, inputs)


def _number(variable: keras.Variable) -> float:
    """Its value, on several devices, too, where the variable itself is no number."""
    return float(tf.convert_to_tensor(variable))
