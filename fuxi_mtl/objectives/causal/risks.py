"""Estimators of the conversion risk over all exposures, as objectives.

With o = 1 where a row was clicked and its conversion is known, e the cross-entropy of that conversion, w
the inverse propensity weights and e^ an imputed error, over the exposures D::

    inverse_propensity    sum_D o w e / |D|                          (sum_O w e / sum_O w, self-normalised)
    doubly_robust         sum_D [e^ + o w (e - e^)] / |D|            unbiased if w or e^ is right
    error_imputation      sum_D [o e + (1 - o) e^] / |D|             unbiased if e^ is right
    imputation_loss       sum_D o w (e^ - e)^2 / |D|                 e constant

A row counts in D if its click is known. With p the propensity of a click and q the share of clicked rows
whose conversion is known, ``P(o = 1) = p q``, so ``w = 1 / (p q)``: conversions that are missing at random
leave the estimates unbiased. An estimate of a risk may be negative: nobody clamps it, takes its logarithm,
or gives it to an adaptive weighting.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from fuxi_mtl.layers.checks import check_choice
from fuxi_mtl.objectives import Heads, Labels, Objective
from fuxi_mtl.objectives.causal.chain import Chain
from fuxi_mtl.objectives.causal.propensity import WATCHED, InversePropensity
from fuxi_mtl.objectives.losses import bce_with_logits

Error = Callable[[Heads, Labels], tf.Tensor]


@dataclass(frozen=True)
class Imputation:
    """What the error of a row may be, whether it was clicked or not.

    ``error``: ``e^ = softplus(z)``, a number from 0 up, as the error itself; the conversion head has no part
    in it. ``label``: ``e^ = BCE(sigmoid(z), pCVR)``, the error if a pseudo-label were true; it pulls the
    conversion head towards the pseudo-label on unclicked rows.

    Attributes:
        head: Key of z among the heads.
        kind: ``error`` or ``label``.
        detached: Whether a risk leaves the imputation alone, which then learns from its own loss only. It
            never reaches a pseudo-label.

    Raises:
        ValueError: Another kind.
    """

    head: str
    kind: str = "error"
    detached: bool = False

    def __post_init__(self):
        check_choice("imputation", self.kind, ("error", "label"))

    def in_risk(self, chain: Chain) -> Error:
        """e^ as it stands in an estimate of the risk."""

        def error(heads: Heads, labels: Labels) -> tf.Tensor:  # noqa: ARG001
            if self.kind == "label":
                pseudo = tf.stop_gradient(tf.sigmoid(heads[self.head]))
                return bce_with_logits(heads[chain.conversion.name], pseudo)
            imputed = tf.nn.softplus(heads[self.head])
            return tf.stop_gradient(imputed) if self.detached else imputed

        return error

    def in_its_own_loss(self, chain: Chain) -> Error:
        """e^ as a function of the imputation alone."""

        def error(heads: Heads, labels: Labels) -> tf.Tensor:  # noqa: ARG001
            if self.kind == "error":
                return tf.nn.softplus(heads[self.head])
            conversion = tf.stop_gradient(heads[chain.conversion.name])
            return bce_with_logits(conversion, tf.sigmoid(heads[self.head]))

        return error


def heuristic_error(chain: Chain, eta: float) -> Error:
    """``e^ = eta BCE(1, pCVR) + (1 - eta) BCE(0, pCVR)``: a conversion with probability eta everywhere."""
    return lambda heads, labels: bce_with_logits(heads[chain.conversion.name], eta)  # noqa: ARG005


def inverse_propensity(chain: Chain, ipw: InversePropensity, scale: float = 1.0) -> Objective:
    """The inverse-propensity-scored risk, named ``{conversion}_ips``.

    Args:
        chain: The tasks; the propensity is the head of the click.
        ipw: Its weights.
        scale: Constant factor.
    """
    return Objective(
        name=chain.ips,
        scale=scale,
        watch=_watch(chain, ipw),
        watched=WATCHED,
        **_weighted(chain, ipw, _conversion_error(chain)),
    )


def doubly_robust(chain: Chain, ipw: InversePropensity, imputed: Error, scale: float = 1.0) -> Objective:
    """The doubly robust risk, named ``{conversion}_dr``.

    Args:
        chain: The tasks; the propensity is the head of the click.
        ipw: Its weights. Self-normalised, they divide the correction of clicked rows only.
        imputed: e^, such as ``Imputation.in_risk``.
        scale: Constant factor.
    """
    observed = _conversion_error(chain)

    def difference(heads: Heads, labels: Labels) -> tf.Tensor:
        return observed(heads, labels) - imputed(heads, labels)

    correction = Objective(name="correction", **_weighted(chain, ipw, difference))
    return _Corrected(
        name=chain.dr,
        error=imputed,
        given=_exposed(chain),
        kind="fixed",
        scale=scale,
        watch=_watch(chain, ipw),
        watched=WATCHED,
        correction=correction,
    )


def error_imputation(chain: Chain, imputed: Error, scale: float = 1.0) -> Objective:
    """The error-imputation-based risk, named ``{conversion}_eib``: e^ where the conversion is not known."""
    observed = _conversion_error(chain)

    def difference(heads: Heads, labels: Labels) -> tf.Tensor:
        return observed(heads, labels) - imputed(heads, labels)

    correction = Objective("correction", difference, _exposed(chain), observed=_clicked(chain))
    return _Corrected(chain.eib, imputed, _exposed(chain), kind="fixed", scale=scale, correction=correction)


def imputation_loss(
    chain: Chain, ipw: InversePropensity | None, imputation: Imputation, scale: float = 1.0
) -> Objective:
    """How far e^ is from the error of clicked rows, named ``{conversion}_imputation``.

    Args:
        chain: The tasks.
        ipw: Weights of clicked rows, constants here; None for ones.
        imputation: What learns from it: neither the conversion head nor the propensity does.
        scale: Constant factor.
    """
    observed, imputed = _conversion_error(chain), imputation.in_its_own_loss(chain)

    def error(heads: Heads, labels: Labels) -> tf.Tensor:
        return tf.square(imputed(heads, labels) - tf.stop_gradient(observed(heads, labels)))

    name = chain.imputation
    return Objective(name, kind="fixed", scale=scale, **_weighted(chain, ipw, error, detached=True))


@dataclass(frozen=True)
class _Corrected(Objective):
    """A mean over exposures plus another objective's mean, each with its own divisor."""

    correction: Objective | None = None

    def quotients(self, heads, labels, sample_weight=None):
        quotients = super().quotients(heads, labels, sample_weight)
        if self.correction is not None:
            quotients += self.correction.quotients(heads, labels, sample_weight)
        return quotients


def _weighted(chain: Chain, ipw: InversePropensity | None, error: Error, detached: bool = False) -> dict:
    """Parts of an objective: the weighted error of known conversions over all exposures, or the weights."""

    def weight(heads: Heads, labels: Labels) -> tf.Tensor:
        if ipw is None:
            return tf.ones_like(labels[chain.click.name])
        weights = ipw(heads[chain.click.name])
        return tf.stop_gradient(weights) if detached else weights

    def product(heads: Heads, labels: Labels) -> tf.Tensor:
        return weight(heads, labels) * error(heads, labels)

    if ipw is not None and ipw.options.self_normalised:
        return {"error": error, "given": _clicked(chain), "weight": weight}
    # An unclicked row adds exactly nothing: 0 times a large number could be more.
    over = _known(chain) if ipw is None else _exposed(chain)
    return {"error": product, "given": over, "observed": _clicked(chain)}


def _conversion_error(chain: Chain) -> Error:
    name = chain.conversion.name
    return lambda heads, labels: bce_with_logits(heads[name], labels[name])


def _clicked(chain: Chain) -> Callable[[Labels], tf.Tensor]:
    """Rows whose conversion is known: its label is missing wherever there was no click."""
    return lambda labels: tf.logical_not(tf.math.is_nan(labels[chain.conversion.name]))


def _exposed(chain: Chain) -> Callable[[Labels], tf.Tensor]:
    """Exposures: rows whose click is known."""
    return lambda labels: tf.logical_not(tf.math.is_nan(labels[chain.click.name]))


def _known(chain: Chain) -> Callable[[Labels], tf.Tensor]:
    """Unclicked exposures, and clicked ones with a known conversion: what a mean without weights is over."""
    return lambda labels: (labels[chain.click.name] == 0) | _clicked(chain)(labels)


def _watch(chain: Chain, ipw: InversePropensity) -> Error:
    click, conversion = chain.click.name, chain.conversion.name
    return lambda heads, labels: ipw.observe(heads[click], labels[click], labels[conversion])
